"""Archives as people really have them: what `tar` unpacks of them is what comes, byte for byte."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import subprocess
import sysconfig
import tracemalloc
import zlib
from collections import Counter
from pathlib import Path

import pytest

from retrieve.formats.gunzip import GzipError, gunzip
from retrieve.formats.header import DIRECTORY, HARD_LINK, REGULAR, SYMBOLIC_LINK
from retrieve.formats.tar import TarStream
from retrieve.output.tree import Refused
from retrieve.output.unpack import Extracted, unpack
from retrieve.selection import EVERYTHING, Selection
from retrieve.stamps.members import read_members
from retrieve.stamps.stamps import Stamps
from support.site import Site
from support.tar_making import END, MTIME, downloaded, everything_below, fits, header, member, packed
from vospace_demo.results import make_archives

GOOD = member("output/run/good.txt")
#: The Debian packages of the tools that make archives here.
PACKAGES = {"bsdtar": "libarchive-tools", "pigz": "pigz", "zstd": "zstd", "xz": "xz-utils", "bzip2": "bzip2"}


def need(tool: str) -> str:
    """Name of a tool, if it is here."""
    if not shutil.which(tool):
        pytest.skip(f"'{tool}' is not here; install Debian's package '{PACKAGES[tool]}'")
    return tool


def described(root: Path) -> dict[bytes, tuple[bytes, int]]:
    """Extracted and mtime in nanoseconds of each file, also by way of a link, by the bytes of its path."""
    found = {}
    for directory, _, names in os.walk(os.fsencode(root)):
        for name in names:
            path = os.path.join(directory, name)
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    found[os.path.relpath(path, os.fsencode(root))] = file.read(), os.stat(path).st_mtime_ns
    return found


def by_both(
    archive: bytes, place: Path
) -> tuple[Extracted, dict[bytes, tuple[bytes, int]], dict[bytes, tuple[bytes, int]]]:
    """Unpack an archive here and with `tar`: what ours says came, and all that is there of both."""
    # By the other name `tar` looks what it is.
    (place / "a.tgz").write_bytes(archive)
    (place / "a.tar").write_bytes(archive)
    ours, tar = place / "ours", place / "tar"
    ours.mkdir()
    tar.mkdir()
    content = unpack(place / "a.tgz", ours, "quick")
    subprocess.run(["tar", "xf", str(place / "a.tar"), "-C", str(tar)], check=True, capture_output=True)
    return content, described(ours), described(tar)


def records(**values: bytes) -> bytes:
    """A pax header whose values are bytes; ``__`` in a key stands for a point."""
    text = b""
    for key, value in values.items():
        rest = b" " + key.replace("__", ".").encode() + b"=" + value + b"\n"
        length = next(n for n in range(len(rest), len(rest) + 9) if n == len(rest) + len(str(n)))
        text += str(length).encode() + rest
    return member("pax", text, b"x")


def of_year_2514() -> bytes:
    return packed(header("output/x", mtime=b"\x80" + (17_190_000_000).to_bytes(11, "big")), GOOD)


def of_version_7() -> bytes:
    """A header without the word ``ustar``."""
    block = bytearray(header("output/x"))
    block[257:265] = bytes(8)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


ODD: dict[str, bytes] = {
    "xattrs": packed(records(SCHILY__xattr__user__a=b"\xff\0\n7 a=", mtime=b"1628162732.123456789"), GOOD),
    "com.apple.provenance": packed(records(LIBARCHIVE__xattr__com__apple__provenance=b"AQAA\xfe"), GOOD),
    "user name in Latin-1": packed(records(uname=b"Andr\xe9", gname=b"\xe9t\xe9"), GOOD),
    "charset": packed(records(hdrcharset=b"BINARY", path=b"output/run/\xe9"), GOOD),
    "name in Latin-1": packed(member(b"output/run/\xe9t\xe9.txt"), GOOD),
    "directory in Latin-1": packed(
        header(b"output/\xe9", kind=b"5"), member(b"output/\xe9/x"), member(b"output/\xe9/y")
    ),
    "long name in Latin-1": packed(member("L", b"output/" + b"\xe9" * 150, b"L"), GOOD),
    "no-break space": packed(member("output/run/a\u00a0b.txt"), member("output/r\u00fcn/\u2009\u200d\ue000")),
    "content that begins as AppleDouble": packed(member("output/x", b"\0\x05\x16\x07"), GOOD),
    "the year 2514": of_year_2514(),
    "volume label": packed(header("a volume", kind=b"V"), GOOD),
    "Solaris": packed(member("pax", b"19 path=output/abc\n", b"X"), member("x")),
    "incremental": packed(member("output/run/", b"Ygood.txt\0\0", b"D"), GOOD),
    "hard link, then another file": packed(
        GOOD, header("output/h", kind=b"1", target="output/run/good.txt"), member("output/run/good.txt", b"later")
    ),
    "symbolic link, then another file": packed(
        GOOD, header("output/s", kind=b"2", target="run/good.txt"), member("output/run/good.txt", b"later")
    ),
    "link that becomes a file": packed(header("output/s", kind=b"2", target="elsewhere"), member("output/s")),
    "file that becomes a link": packed(member("output/s"), GOOD, header("output/s", kind=b"2", target="run/good.txt")),
    "link before its file": packed(header("output/run/s", kind=b"2", target="./good.txt"), GOOD),
    "link to a link": packed(
        header("output/a", kind=b"2", target="b"),
        header("output/b", kind=b"2", target="../output//run/../run/good.txt"),
        header("output/c", kind=b"1", target="output/b"),
        GOOD,
    ),
    "one block of zeros": packed(GOOD, end=bytes(512)),
    "plain": GOOD + member("output/large", bytes(3 << 20)) + END,
    "plain, of before there was a standard": of_version_7() + END,
}


@pytest.mark.parametrize("kind", ODD)
def test_what_comes_of_an_odd_archive_is_what_comes_with_tar(kind: str, tmp_path: Path) -> None:
    content, ours, tar = by_both(ODD[kind], tmp_path)
    assert ours == tar
    assert ours.keys() == {os.fsencode(name) for name in content.files}
    assert not content.left_out
    assert content.half_ended == (kind == "one block of zeros")


def test_a_hard_link_before_its_file_becomes_a_copy(tmp_path: Path) -> None:
    """Which `tar` refuses, although all data are there."""
    (tmp_path / "a.tgz").write_bytes(packed(header("output/l", kind=b"1", target="output/run/good.txt"), GOOD))
    (tmp_path / "s").mkdir()
    assert unpack(tmp_path / "a.tgz", tmp_path / "s", "quick").files == {"output/run/good.txt": 7, "output/l": 7}
    assert (tmp_path / "s/output/l").read_bytes() == b"content"


def test_only_what_is_selected_is_made_and_the_rest_that_links_lead_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.tgz").write_bytes(
        packed(
            header("output/empty.dat", kind=b"5"),
            member("output/run/a.dat"),
            GOOD,
            header("output/a link.dat", kind=b"2", target="run/good.txt"),
            header("output/dangling.dat", kind=b"2", target="nowhere"),
            # Where a symbolic link leads counts from its own place.
            header("output/astray.dat", kind=b"2", target="output/run/good.txt"),
        )
    )
    made = {}
    for only in (EVERYTHING, Selection(("*.dat",))):
        staging = tmp_path / "staging"
        staging.mkdir()
        content = unpack(tmp_path / "a.tgz", staging, "quick", only=only)
        assert content.left_out == ("output/dangling.dat", "output/astray.dat")
        made[content.needed] = set(everything_below(staging)), set(content.files)
        shutil.rmtree(staging)
    directories, files = {"output", "output/run"}, {"output/run/a.dat"}
    all_files = {*files, "output/run/good.txt", "output/a link.dat"}
    assert made == {
        (): ({*directories, "output/empty.dat", *all_files}, all_files),
        ("output/run/good.txt",): (directories | files, files),
    }


def test_links_to_what_is_no_file_of_the_archive_are_left_out_counted_and_listed(site: Site) -> None:
    links = {
        "dir": "good", "above": "../..", "out": "/etc/passwd", "far": "../../../x", "none": "nothing", "self": "self",
        "a": "b", "b": "a", "through": "above/run/good.txt", "long": "x" * 99,
    }  # fmt: skip
    wanted = [f"output/run/{name}" for name in links]
    blocks = [header(f"output/run/{name}", kind=b"2", target=target) for name, target in links.items()]
    archives = {
        "logs_100.300.tgz": packed(GOOD, header("output/run/good", kind=b"5"), *blocks),
        "logs_101.300.tgz": packed(header("output/s/l", kind=b"2", target="/dev/null"), member("output/s/x")),
    }
    downloaded(site, archives)
    result = site.make("untar")
    assert result.returncode == 0
    assert result.stdout.splitlines()[1] == f"{len(wanted) + 1} links left out, to what is no file of the same archive"
    assert site.files("output") == {"run/good.txt": b"content", "s/x": b"content"}
    assert not [path for path in (site.directory / "output").rglob("*") if path.is_symlink()]
    listed = read_members(Stamps(site.directory / "stamps", "mccd"), "100.300")["logs_100.300.tgz"]
    assert sorted(listed.left_out) == sorted(wanted)
    assert listed.files == {"output/run/good.txt": 7}
    assert "0 of 2 files bad" in site.done("verify")
    (site.directory / "stamps/mccd/listing").touch()
    assert f", 1 file, {len(wanted)} links left out" in site.done("status", "TILES=100.300")
    assert "left out" not in site.done("untar")


def apple_double(content: bytes = b"x") -> bytes:
    return b"\0\5\x16\7\0\2\0\0Mac OS X        " + content


def test_apple_double_companions_are_no_data(tmp_path: Path) -> None:
    blocks = (
        member("./._output", apple_double()),
        member("output/run/._x.fits", apple_double(bytes(5 << 20))),
        member("output/run/x.fits", fits(100)),
        member("output/run/._mine.txt", b"not of macOS"),
        member("output/run/._empty", b""),
    )
    (tmp_path / "a.tgz").write_bytes(packed(*blocks))
    (tmp_path / "s").mkdir()
    assert sorted(unpack(tmp_path / "a.tgz", tmp_path / "s", "quick").files) == [
        "output/run/._empty", "output/run/._mine.txt", "output/run/x.fits"
    ]  # fmt: skip


def with_holes(place: Path) -> Path:
    """Files with holes: in the middle, at the end, at the beginning, everywhere, many; and a FITS file."""
    made = place / "made/output/run"
    made.mkdir(parents=True)
    sizes = {"middle": (0, 1 << 20), "end": (0,), "begin": (3 << 20,), "many": tuple(range(0, 9 << 20, 1 << 18))}
    for name, places in {**sizes, "hole": ()}.items():
        with (made / name).open("wb") as file:
            for at in places:
                file.seek(at)
                file.write(random.Random(at).randbytes(5000))
            file.truncate(max(places, default=0) + 70_001)
    with (made / "image.fits").open("wb") as file:
        content = fits(6 << 20)
        file.write(content[:2880])
        file.truncate(len(content))
    for path in made.iterdir():
        os.utime(path, ns=(0, 1_600_000_000_000_000_000))
    return place / "made"


@pytest.mark.parametrize("form", ["gnu", "oldgnu", "pax 0.0", "pax 0.1", "pax 1.0", "bsdtar"])
def test_sparse_files_are_unpacked_with_their_holes(form: str, tmp_path: Path) -> None:
    made = with_holes(tmp_path)
    if form == "bsdtar":
        command = [need("bsdtar"), "czf", "a.tgz", "output"]
    else:
        name, _, version = form.partition(" ")
        sparse_version = [f"--sparse-version={version}"] if version else []
        command = ["tar", *sparse_version, f"--format={name}", "-czSf", "a.tgz", "output"]
    subprocess.run(command, cwd=made, check=True)
    archive = (made / "a.tgz").read_bytes()
    assert b"GNU.sparse" in gzip.decompress(archive) or "gnu" in form
    (made / "a.tgz").unlink()
    _, ours, tar = by_both(archive, tmp_path)
    assert ours == tar == described(made)
    blocks = [path.stat().st_blocks for path in (tmp_path / "ours").rglob("*") if path.is_file()]
    assert sum(blocks) * 512 < 1 << 20


@pytest.mark.parametrize("kind", ["zstd", "bzip2", "xz"])
def test_another_compression_is_called_by_its_name(kind: str, site: Site, tmp_path: Path) -> None:
    made = subprocess.run([need(kind), "-c"], input=GOOD + END, capture_output=True, check=True).stdout
    (tmp_path / "a.tgz").write_bytes(made)
    with pytest.raises(Refused, match=rf"^it is compressed with {kind}, not gzip$"):
        unpack(tmp_path / "a.tgz", tmp_path, "quick")


def test_a_plain_tar_is_fetched_whole_from_a_source_without_md5(site: Site, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for path in make_archives(source, "240.290", "mccd"):
        path.write_bytes(gzip.decompress(path.read_bytes()))
    site.list_tiles("240.290")
    short = source / "logs_240.290.tgz"
    whole = short.read_bytes()
    short.write_bytes(whole[: len(whole) // 1024 * 512])
    os.utime(short, (MTIME, MTIME))
    assert "no whole tar archive: it ends" in site.make("sync", f"INPUT_PATH={source}").stderr
    short.write_bytes(whole)
    site.done("sync")
    assert "0 of 7 archives bad" in site.done("verify")


def parallel(content: bytes) -> bytes:
    return subprocess.run(
        [need("pigz"), "-c", "-b", "128", "-i"], input=content, capture_output=True, check=True
    ).stdout


def test_what_pigz_makes_is_read(tmp_path: Path) -> None:
    content = random.Random(3).randbytes(3 << 20)
    _, ours, tar = by_both(parallel(member("output/x", content) + END), tmp_path)
    assert ours == tar


def test_memory_does_not_grow_with_what_follows_a_gzip_member(tmp_path: Path) -> None:
    path, large = tmp_path / "a.gz", os.urandom(32 << 20)
    path.write_bytes(gzip.compress(b"first") + gzip.compress(large, 0))
    tracemalloc.start()
    try:
        assert sum(map(len, gunzip(path))) == 5 + len(large)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_a_gzip_member_may_begin_anywhere(tmp_path: Path) -> None:
    """Also within the last bytes of what is read at once."""
    path, read = tmp_path / "a.gz", 1 << 20
    body = zlib.compressobj(0, zlib.DEFLATED, -15)
    first = body.compress(b"one") + body.flush()
    trailer = zlib.crc32(b"one").to_bytes(4, "little") + (3).to_bytes(4, "little")
    for offset in [*range(read - 12, read + 2), 2 * read - 1]:
        comment = b"c" * (offset - 10 - 1 - len(first) - 8)
        path.write_bytes(b"\x1f\x8b\x08\x10" + bytes(6) + comment + b"\0" + first + trailer + gzip.compress(b"two"))
        assert b"".join(gunzip(path)) == b"onetwo", offset
        path.write_bytes(path.read_bytes()[:offset] + b"\x1f")
        with pytest.raises(GzipError, match="something follows its end"):
            list(gunzip(path))


def test_names_are_bytes_from_the_archive_to_the_last_report(site: Site) -> None:
    """Also where the locale is not UTF-8, and where something is wrong with such a file."""
    site.environment["LC_ALL"] = "C"
    name = b"output/run/\xe9t\xe9\xc2\xa0\xe2\x98\x83.txt"
    downloaded(site, {"logs_100.300.tgz": packed(member(name)), "logs_101.300.tgz": packed(member(b"output/\xff\n"))})
    result = site.make("untar")
    assert "has control characters in its name" in result.stderr
    assert described(site.directory).keys() >= {name}
    assert "0 of 1 file bad" in site.make("verify").stdout
    (site.directory / os.fsdecode(name)).write_bytes(b"other")
    result = site.run("sh", "-c", 'make -f "$0" verify | cat -v', str(Path(__file__).parents[2] / "Makefile"))
    assert "* output/run/M-it" in result.stdout, result.stdout
    assert "Traceback" not in result.stderr
    (site.directory / "stamps/mccd/listing").touch()
    assert r"output/run/\udce9t" in site.make("status", "TILES=100.300").stdout
    site.make("untar")
    assert described(site.directory)[name][0] == b"content"


def _testtar() -> Path:
    """CPython's archive of every kind of member."""
    tests = Path(sysconfig.get_path("stdlib"), "test")
    for path in (tests / "archivetestdata/testtar.tar", tests / "testtar.tar"):
        if path.exists():
            return path
    version = sysconfig.get_python_version()
    pytest.skip(f"CPython's test data are not here; install Debian's package 'libpython{version}-testsuite'")


def test_the_archive_of_every_kind_that_cpython_ships_is_read_as_tar_reads_it(tmp_path: Path) -> None:
    path = _testtar()
    subprocess.run(["tar", "xf", str(path), "-C", str(tmp_path)], check=False, capture_output=True)
    there = {os.fsencode(found) for found in tmp_path.rglob("*") if found.is_symlink() or not found.is_dir()}
    stream = TarStream(gunzip(path))
    kinds = Counter()
    for one in stream:
        place = os.path.normpath(os.path.join(os.fsencode(tmp_path), one.name.encode("utf-8", "surrogateescape")))
        kinds[one.kind] += 1
        if one.kind == DIRECTORY:
            assert Path(os.fsdecode(place)).is_dir()
            continue
        if one.kind.endswith("device") and os.geteuid():
            continue
        there.remove(place)
        found = Path(os.fsdecode(place))
        if one.kind == REGULAR:
            content = bytearray(one.bytes)
            for at, piece in stream.content():
                content[at : at + len(piece)] = piece
            assert content == found.read_bytes(), one
            assert one.mtime_ns == found.stat().st_mtime_ns
        elif one.kind == SYMBOLIC_LINK:
            assert one.target == os.fsdecode(found.readlink())
        elif one.kind == HARD_LINK:
            assert found.samefile(tmp_path / one.target)
        else:
            is_kind = {"named pipe": Path.is_fifo, "block device": Path.is_block_device}.get(
                one.kind, Path.is_char_device
            )
            assert is_kind(found)
    assert not there
    assert kinds.keys() == {
        REGULAR, DIRECTORY, HARD_LINK, SYMBOLIC_LINK, "block device", "character device", "named pipe"
    }  # fmt: skip
    assert kinds[REGULAR] > 20
