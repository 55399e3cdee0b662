"""Archives that are damaged, or mean harm: each is refused with its reason, and nothing of it remains."""

from __future__ import annotations

import errno
import gzip
import io
import os
import re
import shutil
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieve.formats.header import REGULAR, Member
from retrieve.output.tree import LONGEST, Refused
from retrieve.output.unpack import UNLIMITED, Limits, _bounded, _joined, _refusal, unpack
from retrieve.selection import EVERYTHING, Selection
from support.site import Site
from support.tar_making import END, downloaded, everything_below, fits, header, member, packed, padded, pax
from vospace_demo.results import make_archives

GOOD = member("output/run/good.txt")
#: What is written here by none of them; `EVIL` stands for its absolute path.
EVIL = "/EVIL"


def cut(content: bytes, end: int) -> bytes:
    return gzip.compress(gzip.decompress(content)[:end], 1, mtime=0)


def flipped(content: bytes, place: int) -> bytes:
    changed = bytearray(content)
    changed[place] ^= 0x10
    return bytes(changed)


def prefixed(prefix: str, name: str) -> bytes:
    """A header whose name has a prefix, as ustar has it for long ones."""
    block = bytearray(header(name))
    block[345 : 345 + len(prefix)] = prefix.encode()
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def sparse(name: str, size: int, spans: list[tuple[int | str, int]], content: bytes | None = None) -> bytes:
    """A sparse member, as pax format 1.0 has it."""
    lines = "".join(f"{number}\n" for number in (len(spans), *(one for span in spans for one in span)))
    content = b"x" * sum(length for _, length in spans) if content is None else content
    records = {"major": "1", "minor": "0", "name": name, "realsize": str(size)}
    head = pax({f"GNU.sparse.{key}": value for key, value in records.items()})
    return head + member("output/GNUSparseFile.0/x", padded(lines.encode()) + content)


WHOLE = packed(GOOD, member("output/run/other.fits", fits(5000)))
BIG = gzip.compress(b"".join((header("output/run/noise", 1 << 20), os.urandom(1 << 20), END)), 1)

#: By name: the archive, and what of the message names the reason.
CORPUS: dict[str, tuple[bytes, str]] = {
    "parent directory": (packed(member("../evil")), "'../evil' leads out of 'output/'"),
    "parent within": (packed(member("output/../../evil")), "'output/../../evil' leads out"),
    "parent at the end": (packed(header("output/..", kind=b"5")), "'output/..' leads out"),
    "parent and back": (packed(member("output/../output/x")), "leads out of 'output/'"),
    "parent of a directory": (packed(header("output/../evil/", kind=b"5")), "leads out"),
    "absolute": (packed(member(EVIL)), f"'{EVIL}' is an absolute path"),
    "absolute with two slashes": (packed(member("/" + EVIL)), "is an absolute path"),
    "absolute by pax": (packed(pax({"path": EVIL}), member("output/x")), "is an absolute path"),
    "absolute by a long name": (
        packed(member("L", EVIL.encode(), b"L"), member("output/x")),
        "is an absolute path",
    ),
    "elsewhere": (packed(GOOD, member("elsewhere/x")), "'elsewhere/x' is not below 'output/'"),
    "beside": (packed(member("outputs/x")), "'outputs/x' is not below 'output/'"),
    "output as a file": (packed(member("output")), "'output' is not below 'output/'"),
    "no name": (packed(member("")), "'' is not below 'output/'"),
    "traversal by pax": (packed(pax({"path": "output/../../evil"}), member("output/x")), "leads out"),
    "traversal by global pax": (packed(pax({"path": "../evil"}, b"g"), member("output/x")), "leads out"),
    "traversal by a long name": (packed(member("L", b"output/../../evil\0", b"L"), member("x")), "leads out"),
    "traversal by a prefix": (packed(prefixed("output/../..", "evil")), "leads out of 'output/'"),
    "file through a link": (
        packed(header("output/l", kind=b"2", target=".."), member("output/l/evil")),
        "'output/l' is both a link and a directory",
    ),
    "file through a link to a directory": (
        packed(GOOD, header("output/l", kind=b"2", target="run"), member("output/l/deep/evil")),
        "'output/l' is both a link and a directory",
    ),
    "directory and link": (
        packed(member("output/d/x"), header("output/d", kind=b"2", target="../..")),
        "'output/d' is both a file and a directory",
    ),
    "hard link out": (packed(header("output/l", kind=b"1", target="../evil")), "is a hard link to '../evil'"),
    "hard link to a file": (packed(header("output/l", kind=b"1", target="/etc/passwd")), "to '/etc/passwd'"),
    "hard link to itself": (packed(header("output/l", kind=b"1", target="output/l")), "which is no file of"),
    "hard link to a symbolic link out": (
        packed(header("output/l", kind=b"2", target="/etc/passwd"), header("output/m", kind=b"1", target="output/l")),
        "'output/m' is a hard link to 'output/l', which is no file of",
    ),
    "where tiles are unpacked": (
        packed(member("output/.unpacking/mccd/400.300/0/output/evil")),
        "is where tiles are being unpacked",
    ),
    "character device": (packed(header("output/null", kind=b"3")), "'output/null' is a character device"),
    "block device": (packed(header("output/disk", kind=b"4")), "'output/disk' is a block device"),
    "named pipe": (packed(header("output/pipe", kind=b"6")), "'output/pipe' is a named pipe"),
    "device beside a file": (packed(GOOD, header("output/run/null", kind=b"3")), "is a character device"),
    "parent beside a file": (packed(GOOD, member("output/run/..")), "'output/run/..' leads out"),
    "escape in a name beside a file": (
        packed(GOOD, member("output/run/\x1b[2J")),
        "has control characters in its name",
    ),
    "unknown kind": (packed(header("output/x", kind=b"Z")), "is a member of an unknown kind"),
    "rest of a file": (packed(member("output/x", kind=b"M")), "'output/x' is a part of a file that begins on another"),
    "sparse without a map": (packed(member("output/x", kind=b"S")), "a sparse file whose pieces are not as long as it"),
    "sparse that leads out": (packed(sparse("/x", 9, [(0, 4)])), "'/x' is an absolute path"),
    "sparse with a short map": (packed(sparse("output/x", 99, [(0, 4)], b"123456")), "whose pieces are not as long"),
    "sparse beyond its end": (packed(sparse("output/x", 3, [(0, 4)])), "whose pieces are not as long as it says"),
    "sparse that overlaps": (packed(sparse("output/x", 99, [(8, 4), (9, 4)])), "a sparse file whose pieces overlap"),
    "sparse without end": (packed(sparse("output/x", 9, [(0, 1)] * (1 << 18))), "a sparse file of too many pieces"),
    "sparse with a map that is text": (packed(sparse("output/x", 9, [("x", 4)])), "a pax header with a bad number"),
    "file that no disk can keep": (
        packed(sparse("output/x", 1 << 62, [((1 << 62) - 4, 4)])),
        "is larger than a file can",
    ),
    "line feed in a name": (packed(member("output/a\nb")), "has control characters in its name"),
    "escape in a name": (packed(member("output/\x1b[2J")), "has control characters in its name"),
    "line separator in a name": (packed(member("output/a\u2028b")), "has control characters in its name"),
    "NUL in a name": (packed(pax({"path": "output/a\0b"}), member("output/x")), "has control characters in its name"),
    "turned name": (packed(member("output/stif.\u202egnp")), "has control characters in its name"),
    "next line in a name": (packed(member("output/a\x85b")), "has control characters in its name"),
    "long name": (packed(pax({"path": "output/" + "n" * 256}), member("x")), "is too long a name"),
    "long path": (packed(pax({"path": "output/" + "n/" * 2000}), member("x")), "is too long a name"),
    "deep path": (packed(pax({"path": "output/" + "n/" * 100 + "x"}), member("x")), "more than 64 directories deep"),
    "file and directory": (packed(member("output/a"), member("output/a/b")), "is both a file and a directory"),
    "directory and file": (packed(member("output/a/b"), member("output/a")), "is both a file and a directory"),
    "link below a file": (
        packed(member("output/f"), header("output/f/l", kind=b"2", target="../f")),
        "'output/f/l' is both a file and a directory",
    ),
    "size beyond the end": (packed(header("output/x", 5000), padded(b"x" * 600)), "it ends within a member"),
    "size of another member": (packed(header("output/x", 100), GOOD), "a header whose"),
    "size that is text": (packed(header("output/x", size=b"0000000zz0z\0")), "a header whose size is no number"),
    "negative size": (packed(header("output/x", size=b"\xff" * 12)), "a member of negative size"),
    "negative size by pax": (packed(pax({"size": "-1"}), member("output/x")), "a pax header with a bad number"),
    "size by pax beyond the end": (packed(pax({"size": "99999"}), member("output/x")), "it ends within a member"),
    "impossible date": (packed(header("output/x", mtime=b"\x80" + b"\x7f" * 11)), "has an impossible date"),
    "bad date by pax": (packed(pax({"mtime": "1e9"}), member("output/x")), "a pax header with a bad number"),
    "malformed pax": (
        packed(member("pax", b"99 path=x\n", b"x"), member("output/x")),
        "a pax header that is malformed",
    ),
    "pax without an end": (
        packed(member("pax", b"12 path=abcd", b"x"), member("output/x")),
        "pax header that is malformed",
    ),
    "pax without a member": (packed(pax({"path": "output/x"})), "an extended header without a member"),
    "long pax": (packed(header("pax", 1 << 30, b"x")), "an extended header of 1073741824 bytes"),
    "wrong checksum": (
        packed(GOOD, header("output/x", checksum=b"000001\0 "), GOOD),
        "a header whose checksum is wrong",
    ),
    "damaged header": (packed(GOOD, bytes(100) + b"x" + bytes(411), GOOD), "a header whose checksum"),
    "something after the end": (packed(GOOD, end=END + GOOD), "something follows its end mark"),
    "part of an end": (packed(GOOD, end=bytes(700)), "it ends within a block"),
    "no end": (packed(GOOD, end=b""), "it ends without an end mark"),
    "cut within a header": (cut(WHOLE, 1200), "it ends within a block"),
    "cut within content": (cut(WHOLE, 1600), "it ends within a member"),
    "cut after a header": (cut(WHOLE, 1536), "it ends within a member"),
    "cut within padding": (packed(member("output/x", b"x" * 10)[:700], end=b""), "it ends within a block"),
    "cut gzip": (BIG[: len(BIG) // 2], "the gzip stream is damaged: it is cut short"),
    "gzip cut in its trailer": (WHOLE[:-3], "the gzip stream is damaged: it is cut short"),
    "flipped bit": (flipped(BIG, len(BIG) // 2), "is damaged"),
    "flipped checksum": (flipped(WHOLE, -6), "the gzip stream is damaged: it is damaged"),
    "flipped length": (flipped(WHOLE, -1), "the gzip stream is damaged: it is damaged"),
    "garbage after gzip": (WHOLE + b"garbage", "the gzip stream is damaged: something follows its end"),
    "HTML": (b"<html><body>Please log in</body></html>", ": it is no gzip file"),
    "empty": (b"", "the gzip stream is damaged: it is empty"),
    "empty inside": (gzip.compress(b""), "it ends without an end mark"),
    "text inside": (gzip.compress(b"no tar" * 200), "a header whose checksum"),
    "cut FITS": (
        packed(member("output/run/x.fits", fits(9000)[:-2880])),
        "'output/run/x.fits' is damaged: it ends at byte",
    ),
    "long FITS": (packed(member("output/run/x.fits", fits(9000) + bytes(2879) + b"x")), "something that is no header"),
    "FITS without an end": (packed(member("output/run/x.fits", fits()[:80] + b" " * 2800)), "a header without its end"),
    "empty FITS": (packed(member("output/run/x.fits", b"")), "'output/run/x.fits' is damaged: it is empty"),
    "text as FITS": (packed(member("output/run/x.fits", b"no FITS")), "it does not begin as FITS"),
    "compressed FITS that is cut": (packed(member("output/run/x.fits.fz", fits(9000)[:5760])), "it ends at byte"),
}

#: What is beyond the limits, with those of which it breaks one.
BEYOND: dict[str, tuple[bytes, Limits, str]] = {
    "bomb of one": (packed(header("output/bomb", 500_000_000_000)), Limits(), "is it a bomb?"),
    "bomb that lies": (packed(header("output/bomb", 2_000_000_000), bytes(4096)), Limits(), "is it a bomb?"),
    "sparse bomb": (packed(sparse("output/x", 1 << 50, [((1 << 50) - 4, 4)])), Limits(), "is it a bomb?"),
    "too large": (packed(GOOD, member("output/b", bytes(5000))), Limits(bytes=4000), "is it a bomb?"),
    "too many": (packed(*(header(f"output/{i}") for i in range(300))), Limits(members=200), "more than 200 members"),
    "too many directories": (
        packed(*(header("output/" + "/".join(f"{i}-{j}" for j in range(15)) + "/f") for i in range(20))),
        Limits(members=200),
        "more than 200 members",
    ),
}


@pytest.mark.parametrize("name", CORPUS)
def test_what_is_hostile_or_broken_is_refused_where_it_is_unpacked(name: str, tmp_path: Path) -> None:
    content, reason = CORPUS[name]
    (tmp_path / "a.tgz").write_bytes(content)
    (tmp_path / "staging").mkdir()
    with pytest.raises(Refused) as caught:
        unpack(tmp_path / "a.tgz", tmp_path / "staging", "quick", UNLIMITED)
    assert reason in f": {caught.value}"


@pytest.mark.parametrize("only", [EVERYTHING, Selection(("*.fits",))])
def test_what_is_no_file_is_refused_also_where_it_is_not_asked_for(only: Selection, tmp_path: Path) -> None:
    (tmp_path / "a.tgz").write_bytes(CORPUS["device beside a file"][0])
    (tmp_path / "staging").mkdir()
    with pytest.raises(Refused, match=r"^'output/run/null' is a character device$"):
        unpack(tmp_path / "a.tgz", tmp_path / "staging", "quick", only=only)


def test_each_hostile_or_broken_archive_is_refused_with_its_reason(site: Site) -> None:
    assert len(CORPUS) > 30
    evil = site.directory.parent / "evil"
    archives = {}
    tiles = {}
    for number, (name, (content, _)) in enumerate(CORPUS.items()):
        tiles[name] = f"{100 + number}.300"
        archives[f"final_cat_{tiles[name]}.tgz"] = content
    good = ("050.300", "150.301", "400.300")
    for tile in good:
        archives[f"logs_{tile}.tgz"] = packed(
            member(f"output/run_{tile}/good.txt"), member(f"output/run_{tile}/good.fits", fits(5000))
        )
    downloaded(site, archives)
    before = {
        name: one
        for name, one in everything_below(site.directory.parent).items()
        if not name.startswith(("run/stamps", "run/archives"))
    }
    result = site.make("untar", "FORCE=yes")
    assert result.returncode == 2, result.stderr
    lines = {
        line.partition("'")[2][:7]: line for line in result.stderr.splitlines() if line.startswith("cannot unpack")
    }
    for name, (_, reason) in CORPUS.items():
        assert reason, name
        assert reason in lines[tiles[name]], (name, lines[tiles[name]])
        assert f"'archives/final_cat_{tiles[name]}.tgz'" in lines[tiles[name]]
    at_source = "it is so at the source, and fetching it again will not help: ask who made it"
    assert at_source in lines[tiles["gzip cut in its trailer"]]
    assert len(lines) == len(CORPUS)
    assert "Traceback" not in result.stderr
    assert f"{len(CORPUS)} of {len(CORPUS) + 3} tiles failed" in result.stderr
    assert set(site.files("output")) == {f"run_{tile}/good.{kind}" for tile in good for kind in ("txt", "fits")}
    after = {
        name: one
        for name, one in everything_below(site.directory.parent).items()
        if not name.startswith(("run/stamps", "run/archives", "run/output"))
    }
    after.pop("run/output", None)
    assert after == before
    assert not evil.exists()
    assert not Path(EVIL).exists()
    assert {path for path in site.stamps() if path.startswith("extracted/")} == {f"extracted/{tile}" for tile in good}


def test_a_symbolic_link_in_the_output_tree_is_not_followed(site: Site) -> None:
    outside = site.directory.parent / "outside"
    outside.mkdir()
    output = site.directory / "output"
    (output / "run").mkdir(parents=True)
    (output / "linked").symlink_to(outside)
    (output / "run/deep").symlink_to(outside)
    (output / "run/file.txt").symlink_to(outside / "file.txt")
    downloaded(
        site,
        {
            "logs_100.300.tgz": packed(member("output/linked/x.txt"), member("output/first/x.txt")),
            "logs_101.300.tgz": packed(member("output/run/deep/x.txt")),
            "logs_102.300.tgz": packed(member("output/run/file.txt")),
            "logs_103.300.tgz": packed(GOOD),
        },
    )
    result = site.make("untar")
    assert result.returncode == 2
    assert "'output/linked' is no directory here; move it away" in result.stderr
    assert "'output/run/deep' is no directory here; move it away" in result.stderr
    assert "'output/run/file.txt' is no regular file here; move it away" in result.stderr
    assert list(outside.iterdir()) == []
    # A tile appears whole or not at all.
    assert not (output / "first").exists()
    assert (output / "run/good.txt").read_bytes() == b"content"


@pytest.mark.soak
def test_a_million_empty_members_are_refused(site: Site) -> None:
    one = header("output/x")
    downloaded(site, {"logs_100.300.tgz": gzip.compress(one * 1_000_000 + END, 1)})
    result = site.make("untar")
    assert "it has more than 200000 members" in result.stderr
    assert site.files("output") == {}


@pytest.mark.parametrize(
    ("number", "size", "text"),
    [
        (errno.EEXIST, 1, "'output/x' is both a file and a directory"),
        (errno.EFBIG, 5 << 30, "'output/x' is larger than a file can be here"),
        (errno.EINVAL, 5 << 30, "'output/x' is larger than a file can be here"),
        (errno.EINVAL, (4 << 30) - 1, "'output/x' is no name for a file here: Invalid argument"),
        (errno.EILSEQ, 1, "'output/x' is no name for a file here: "),
        # Of these the member is not to blame.
        (errno.EFBIG, (4 << 30) - 1, ""),
        (errno.ENOSPC, 5 << 30, ""),
    ],
)
def test_a_member_is_blamed_for_what_it_is_to_blame_for(number: int, size: int, text: str) -> None:
    error = OSError(number, os.strerror(number))
    found = _refusal(Member("output/x", "", REGULAR, size, 0), error)
    if text:
        assert isinstance(found, Refused)
        assert str(found).startswith(text)
    else:
        assert found is error


@pytest.mark.parametrize(
    ("above", "target", "path"),
    [
        ("output", "run/x", "output/run/x"),
        ("output/run", ".././a//x", "output/a/x"),
        ("output/run", "../../x", "x"),
        ("", "output/l", "output/l"),
        ("output", "../../x", None),
        ("output", "/run/x", None),
        ("output", "l/x", None),
        ("output", "l/../x", None),
        (
            "output",
            "./" * ((LONGEST - 1) // 2) + "x" * (1 + (LONGEST - 1) % 2),
            f"output/{'x' * (1 + (LONGEST - 1) % 2)}",
        ),
        ("output", "./" * (LONGEST // 2) + "x" * (1 + LONGEST % 2), None),
    ],
)
def test_where_a_link_leads_is_told_unless_it_leads_out_or_through_another(
    above: str, target: str, path: str | None
) -> None:
    assert _joined(above, target, {"output/l": GOOD}) == path


def test_a_stream_is_read_as_far_as_its_size_allows() -> None:
    allowed = 10 - 1_000_000_000  # what headers and padding may take
    assert list(_bounded([bytes(4), bytes(6)], allowed)) == [bytes(4), bytes(6)]
    with pytest.raises(Refused, match="it unpacks to more than its size allows; is it a bomb"):
        list(_bounded([bytes(4), bytes(7)], allowed))


@pytest.mark.parametrize("name", BEYOND)
def test_what_is_beyond_the_limits_is_refused(name: str, tmp_path: Path) -> None:
    content, limits, reason = BEYOND[name]
    (tmp_path / "a.tgz").write_bytes(content)
    (tmp_path / "staging").mkdir()
    with pytest.raises(Refused, match=f"{re.escape(reason)}.*FORCE=yes"):
        unpack(tmp_path / "a.tgz", tmp_path / "staging", "quick", limits)


def test_what_is_just_within_the_limits_is_unpacked(tmp_path: Path) -> None:
    files = {f"output/{name}": 100 for name in "abc"}
    (tmp_path / "a.tgz").write_bytes(packed(*(member(name, bytes(size)) for name, size in files.items())))
    # Three files and the directory that they are in, and where that is.
    for most, bytes_ in ((5, 300), (4, 300), (5, 299)):
        staging = tmp_path / f"{most} {bytes_}"
        staging.mkdir()
        if (most, bytes_) == (5, 300):
            assert unpack(tmp_path / "a.tgz", staging, "quick", Limits(most, bytes_)).files == files
        else:
            with pytest.raises(Refused, match="FORCE=yes"):
                unpack(tmp_path / "a.tgz", staging, "quick", Limits(most, bytes_))


def test_force_lifts_the_limits(site: Site) -> None:
    downloaded(site, {"logs_100.300.tgz": BEYOND["bomb of one"][0]})
    assert "is it a bomb? if not, FORCE=yes unpacks it" in site.make("untar").stderr
    # Now the reason is that it is no more than its header.
    assert "it ends within a member" in site.make("untar", "FORCE=yes").stderr


def seeds() -> list[bytes]:
    """Tar streams of real archives, and of such as have every kind of header."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in ("output/run/" + "long" * 40 + ".txt", "output/run/a.fits"):
            info = tarfile.TarInfo(name)
            content = fits(100) if name.endswith("fits") else b"text"
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    several = b"".join((pax({"path": "output/p"}), GOOD, header("output/l", kind=b"1", target="output/p"), GOOD, END))
    soft = header("output/s", kind=b"2", target="run/good.txt") + header("output/t/u", kind=b"2", target="../s")
    odd = soft + sparse("output/holes", 9000, [(0, 600), (5000, 20)]) + member("output/._x", b"\0\5\x16\7") + GOOD + END
    return [made.getvalue(), several, odd, gzip.decompress(WHOLE)]


SEEDS = seeds()
Change = tuple[int, int, bytes]
CHANGES = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 1 << 16), st.binary(min_size=1, max_size=12)), min_size=1, max_size=6
)


def mutated(content: bytes, changes: list[Change]) -> bytes:
    """Overwrite, insert, delete or repeat some bytes."""
    for kind, place, piece in changes:
        at = place % (len(content) or 1)
        if kind == 0:
            content = content[:at] + piece + content[at + len(piece) :]
        elif kind == 1:
            content = content[:at] + piece + content[at:]
        elif kind == 2:
            content = content[:at] + content[at + len(piece) * 100 :]
        else:
            content = content[:at] + content[at // 512 * 512 : at // 512 * 512 + 1024] + content[at:]
    return content


def mended(content: bytes) -> bytes:
    """Give each block that may be a header its right checksum, so that what is behind it is reached."""
    blocks = [bytearray(content[at : at + 512]) for at in range(0, len(content), 512)]
    for block in blocks:
        if len(block) == 512 and block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\0 " % sum(block)
    return b"".join(blocks)


def unpack_mutated(place: Path, content: bytes, changes: list[Change], mend: bool, outside: bool) -> None:
    """Unpack a changed archive: it is refused, or what comes is regular files below output/ and nothing else."""
    shutil.rmtree(place, ignore_errors=True)
    staging = place / "in" / "staging"
    staging.mkdir(parents=True)
    archive = place / "a.tgz"
    if outside:
        archive.write_bytes(mutated(gzip.compress(content, 1, mtime=0), changes))
    else:
        changed = mutated(content, changes)
        archive.write_bytes(gzip.compress(mended(changed) if mend else changed, 1, mtime=0))
    try:
        files = unpack(archive, staging, "quick", Limits(members=100, bytes=10_000_000))
    except Refused as error:
        assert "\n" not in str(error)
        files = None
    assert sorted(path.name for path in place.iterdir()) == ["a.tgz", "in"]
    assert [path.name for path in (place / "in").iterdir()] == ["staging"]
    found = everything_below(staging)
    assert all(kind in ("file", "directory") and name.split("/")[0] == "output" for name, (kind, _) in found.items())
    if files is not None:
        assert files.files == {name: len(content) for name, (kind, content) in found.items() if kind == "file"}


SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=SLOW)
@given(st.sampled_from(SEEDS), CHANGES, st.booleans(), st.sampled_from([True, False, False, False]))
def test_mutated_archives_never_escape(
    tmp_path: Path, content: bytes, changes: list[Change], mend: bool, outside: bool
) -> None:
    unpack_mutated(tmp_path / "fuzz", content, changes, mend, outside)


@pytest.mark.soak
@settings(max_examples=40_000, deadline=None, suppress_health_check=SLOW)
@given(st.integers(0, 6), CHANGES, st.booleans(), st.sampled_from([True, False, False, False]))
def test_mutated_real_archives_never_escape(
    tmp_path_factory: pytest.TempPathFactory,
    number: int,
    changes: list[Change],
    mend: bool,
    outside: bool,
) -> None:
    made = REAL.setdefault("archives", make_archives(tmp_path_factory.mktemp("real"), "182.308", "mccd", ccds=1))
    unpack_mutated(made[0].parent / "fuzz", gzip.decompress(made[number].read_bytes())[:60_000], changes, mend, outside)


REAL: dict[str, list[Path]] = {}
