"""Faults of the source and of the way to it: after any of them nothing wrong has a final name, and the next run mends.

Each archive of one download has a fault of its own, so that one run shows all of them, beside each other.
"""

from __future__ import annotations

import gzip
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from retrieve.delivery.part import PART
from retrieve.stamps.stamps import Record, Stamp
from support.site import RESULTS, TILES, Site, names
from vospace_demo.faults import Fault
from vospace_demo.server import VOSpace

#: At the first byte of a body, in its middle, at its last byte.
POSITIONS = {"first": 0, "middle": 100, "last": -1}
#: Settings of a run that meets faults: every archive meets its own at once, and what stalls does so for longer than a
#: busy machine lets one wait that does not.
PATIENT = ("TIMEOUT=5", "RETRIES=1", "JOBS=70")
AGAIN = "; run 'make download' again"
REFUSED = "access refused without a certificate; make one with 'cadc-get-cert -u USER'"


@dataclass(frozen=True)
class Case:
    """A fault of one archive, and what comes of it.

    Attributes
    ----------
    faults
        What the server does; their `node` and `count` are filled in.
    problem
        What is said if it always happens; empty if the archive comes nevertheless.
    refused
        It is not tried again, as it would not help: the archive fails even if it happens once.
    """

    faults: tuple[Fault, ...]
    problem: str
    refused: bool = False


def answers(route: str) -> Iterator[tuple[str, Case]]:
    """Faults in the place of an answer."""
    for status in (409, 423, 429, 500, 502, 503, 504):
        fault = Fault("status", route=route, status=status, retry_after=0 if status in (429, 503) else None)
        yield f"{route} {status}", Case((fault,), f"the server answered {status} ")
    for status in (401, 403):
        yield f"{route} {status}", Case((Fault("status", route=route, status=status),), REFUSED, refused=True)
    yield f"{route} 404", Case((Fault("status", route=route, status=404),), "it is listed, and yet it is not found")
    yield f"{route} html", Case((Fault("html", route=route),), "a web page was sent in its place")
    yield f"{route} reset", Case((Fault("reset", route=route),), "the connection was cut")


def bodies(route: str, has_md5: bool) -> Iterator[tuple[str, Case]]:
    """Faults at a byte of the content, and in how it is sent."""
    damaged = "its MD5 is not the source's" if has_md5 else "no whole gzip stream"
    problems = {
        "cut": "the connection was cut",
        "reset": "the connection was cut",
        "stall": "nothing came for too long",
        "flip": f"it is damaged at the source ({damaged}",
        "short": "it ended after ",
    }
    for kind, problem in problems.items():
        for position, at in POSITIONS.items():
            # A reset before the first byte of the body is one in the place of the answer.
            fault = Fault(kind, route=route, at=max(at, 1) if (kind, at) == ("reset", 0) else at, seconds=60)
            yield f"{kind} {position}", Case((fault,), problem)
    yield "encoding", Case((Fault("encoding"),), "")


def vault_only() -> Iterator[tuple[str, Case]]:
    """Faults of a service that redirects and serves ranges."""
    cut = Fault("cut", route="storage", at=100)
    yield "cut, no range", Case((cut, Fault("refuse-range", route="storage")), "the connection was cut")
    yield "cut, past end", Case((cut, Fault("status", route="storage", status=416)), "the connection was cut")


CASES = {
    "vos": dict([*answers("files"), *answers("storage"), *bodies("storage", has_md5=True), *vault_only()]),
    "arc": dict([*answers("files"), *bodies("files", has_md5=False)]),
}


def assigned(service: str, archives: list[str]) -> dict[str, Case]:
    """An archive for each case of a service: one of each product and tile in turn."""
    assert len(CASES[service]) <= len(archives)
    return dict(zip(archives, CASES[service].values(), strict=False))


def comes(service: str, case: Case, count: int) -> bool:
    """Whether an archive comes though its fault strikes `count` times."""
    if case.refused:
        return False
    # The negotiated URLs of Vault lead past the route on which it redirects.
    return count == 1 or not case.problem or (service == "vos" and case.faults[0].route == "files")


def check_truth(site: Site, container: Path) -> None:
    """What has a final name is as at the source, and what a stamp says of it holds."""
    here = site.directory / "archives"
    for path in here.iterdir():
        assert path.name.endswith(PART) or path.read_bytes() == (container / path.name).read_bytes(), path.name
    for path, (mtime_ns, text) in site.stamps().items():
        state, _, tile = path.partition("/")
        if state != "downloaded":
            continue
        record = Record.parse(text)
        assert set(record.verified) == set(names(tile))
        for name, one in record.verified.items():
            assert (here / name).stat().st_size == one.archive.bytes
            assert (here / name).stat().st_mtime_ns == one.mtime_ns
        available = site.stamps()[f"available/{tile}"]
        assert available[0] == mtime_ns
        assert Stamp.parse(available[1]).archives == tuple(one.archive for one in record.verified.values())


@pytest.mark.parametrize(
    ("at", "count"),
    [
        ("vos", -1),
        ("arc", 1),
        pytest.param("vos", 1, marks=pytest.mark.soak),
        pytest.param("arc", -1, marks=pytest.mark.soak),
    ],
    ids=["vos-always", "arc-once", "vos-once", "arc-always"],
    indirect=["at"],
)
def test_no_fault_leaves_a_wrong_byte_or_a_stamp_that_lies(
    count: int, site: Site, at: str, space: VOSpace, container: Path
) -> None:
    service = at.partition(":")[0]
    archives = [name for tile in TILES for name in names(tile)]
    site.begin("listed", at)
    cases = assigned(service, archives)
    for name, case in cases.items():
        for fault in case.faults:
            space.fault(replace(fault, node=name, count=count))
    failing = {name for name, case in cases.items() if not comes(service, case, count)}

    result = site.make("download", *PATIENT)

    assert result.returncode == 2, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("cannot fetch ")]
    told = {line.split("'")[1]: line for line in lines}
    assert set(told) == failing
    for name in failing:
        assert cases[name].problem in told[name]
        assert "; " in told[name], "the remedy is lacking"
    assert {path.name for path in (site.directory / "archives").glob("*.tgz")} == set(archives) - failing
    check_truth(site, container)
    tiles = {tile for tile in TILES if not failing.intersection(names(tile))}
    assert {path for path in site.stamps() if path.startswith("downloaded/")} == {f"downloaded/{one}" for one in tiles}
    advice = "run 'make download' again" if any(line.endswith(AGAIN) for line in lines) else "see above"
    assert f"{len(TILES) - len(tiles)} of 10 tiles failed; {advice}" in result.stderr

    space.clear_faults()
    space.forget()
    site.done("download")
    assert set(space.requests().bytes) == failing
    check_truth(site, container)
    assert set(site.files("archives")) == set(archives)


def test_what_is_closed_to_the_caller_stops_a_run_early_and_one_closed_file_does_not(
    site: Site, at: str, space: VOSpace
) -> None:
    site.begin("listed", at)
    route = "storage" if at.startswith("vos") else "files"
    space.fault(Fault("status", node="*.tgz", route=route, status=403, count=-1))
    space.forget()
    result = site.make("download", "JOBS=4", "RETRIES=5")
    assert result.returncode == 2
    assert REFUSED in result.stderr
    # A score of files that were asked for once, and of each whether at least the container is open.
    assert 20 <= space.requests().routes[route] < 20 + 4
    space.clear_faults()
    space.fault(Fault("unreadable", node=RESULTS.rpartition("/")[2]))
    space.fault(Fault("status", node="*.tgz", route=route, status=401, count=-1))
    space.forget()
    result = site.make("download", "JOBS=4", "RETRIES=5")
    assert result.returncode == 2
    assert space.requests().routes[route] <= 4
    assert "you may not read it without a certificate; make one with 'cadc-get-cert -u USER'" in result.stderr
    assert result.stderr.count("cannot read ") == 1
    assert site.files("archives") == {}


def test_a_source_that_went_away_ends_a_run_early(site: Site, tmp_path: Path, container: Path) -> None:
    site.list_tiles(*TILES)
    with VOSpace(tmp_path / "space") as space:
        site.environment |= space.environment() | {"INSECURE": "yes"}
        site.done("avail", f"INPUT_PATH=vos:{RESULTS}")
    result = site.make("download", "JOBS=4", "RETRIES=1")
    assert result.returncode == 2
    lines = [line for line in result.stderr.splitlines() if line.startswith("cannot fetch ")]
    assert len(lines) == 20
    assert all("the connection was refused, 2 times" in line for line in lines)
    assert lines[-1].endswith("; 20 failed in a row, so the run ends: run 'make download' again later")
    assert site.files("archives") == {}


def test_an_md5_of_older_bytes_is_outweighed_by_two_fetches_on_cavern(
    site: Site, tmp_path: Path, container: Path
) -> None:
    site.list_tiles(TILES[0])
    name = names(TILES[0])[0]
    warning = f"the MD5 of '{name}' at the source is that of other bytes; two fetches agree, so it was kept\n"
    with VOSpace(tmp_path / "space", arc_md5="bare") as space:
        site.environment |= space.environment() | {"INSECURE": "yes"}
        space.fault(Fault("stale-md5", node=name))
        site.done("avail", f"INPUT_PATH=arc:{RESULTS}")

        def kept() -> None:
            space.forget()
            result = site.make("download", "RETRIES=1")
            assert result.returncode == 0, result.stderr
            assert warning in result.stderr
            assert space.requests().nodes["files", name] == 2
            check_truth(site, container)

        kept()
        space.forget()
        assert site.done("download") == "nothing to fetch\n"
        assert space.requests().total == 0
        # Rewritten on the mount to as many bytes, under the MD5 that it had: only the date tells.
        replace_by(container / name, sound((container / name).stat().st_size, seed=1))
        site.done("avail")
        kept()


def test_an_md5_of_other_bytes_on_vault_is_a_damaged_archive(site: Site, vault: str, space: VOSpace) -> None:
    site.list_tiles(TILES[0])
    name = names(TILES[0])[0]
    space.fault(Fault("stale-md5", node=name))
    site.done("avail", f"INPUT_PATH={vault}")
    result = site.make("download", "RETRIES=3")
    assert f"cannot fetch '{name}': it is damaged at the source (its MD5 is not the source's); ask" in result.stderr
    assert space.requests().nodes["storage", name] == 2
    assert not (site.directory / "archives" / name).exists()


def replace_by(path: Path, content: bytes, later_ns: int = 1_000_000_000) -> None:
    """Put other content in place of an archive, its date a little later."""
    mtime_ns = path.stat().st_mtime_ns + later_ns
    path.write_bytes(content)
    os.utime(path, ns=(mtime_ns, mtime_ns))


def test_what_changed_since_it_was_listed_comes_as_it_is_now(site: Site, at: str, container: Path) -> None:
    site.begin("listed", at)
    before = site.stamps()
    longer, gone, empty = (container / names(tile)[0] for tile in TILES[:3])
    same_length = container / names(TILES[3])[0]
    replace_by(longer, (container / names(TILES[9])[3]).read_bytes() + b"\0" * 1000)
    replace_by(same_length, same_length.read_bytes()[:-1] + b"\0")
    gone.unlink()
    replace_by(empty, b"")

    result = site.make("download", "RETRIES=1")

    assert result.returncode == 2
    lines = [line for line in result.stderr.splitlines() if line.startswith("cannot fetch ")]
    told = {line.split("'")[1]: line for line in lines}
    assert "it is gone since it was listed; run 'make avail'" in told.pop(gone.name)
    assert "it is empty at the source, as a failed upload leaves it; ask who made it" in told.pop(empty.name)
    # Where nothing but the file itself can tell, on Cavern, that is what counts.
    assert set(told) <= {same_length.name}
    check_truth(site, container)
    assert (site.directory / "archives" / longer.name).read_bytes() == longer.read_bytes()
    stamps = site.stamps()
    assert stamps[f"available/{TILES[0]}"][0] > before[f"available/{TILES[0]}"][0]
    assert not {f"downloaded/{tile}" for tile in TILES[1:3]} & stamps.keys()
    assert "nothing to fetch" in site.make("download", f"TILES={listed(site, TILES[0])}").stdout


def listed(site: Site, *tiles: str) -> str:
    """Write a list file of some tiles and return its name."""
    site.list_tiles(*tiles, name="some.txt")
    return "some.txt"


def sound(size: int, seed: int) -> bytes:
    """Content of an archive of so many bytes: random ones, stored in gzip as they are, and zeros behind its end."""
    content = gzip.compress(random.Random(seed).randbytes(size - 23 - 5 * (size // 60_000)), compresslevel=0, mtime=0)
    return content.ljust(size, b"\0")


def begun(site: Site, name: str) -> Path:
    """The part file of an archive."""
    return next((site.directory / "archives").glob(f"{name}.*{PART}"))


def test_a_cut_transfer_is_gone_on_with_on_vault_and_begun_again_on_cavern(
    site: Site, at: str, container: Path, space: VOSpace
) -> None:
    size = 3_000_000
    came = dict(zip((names(tile)[0] for tile in TILES), (1, 1_500_000, size - 1), strict=False))
    for name in came:
        replace_by(container / name, sound(size, seed=1))
    site.list_tiles(*TILES[:3])
    site.done("avail", f"INPUT_PATH={at}", "PRODUCTS=final_cat")
    is_vault = at.startswith("vos")
    cuts = [Fault("cut", node=name, route="storage" if is_vault else "files", at=at) for name, at in came.items()]

    # Within a run.
    space.faults.replace(cuts)
    space.forget()
    assert site.make("download", "RETRIES=1").returncode == 0
    assert space.requests().bytes == {name: size if is_vault else size + at for name, at in came.items()}
    check_content(site, container, *came)

    # Over two runs.
    for name in came:
        (site.directory / "archives" / name).unlink()
    space.faults.replace(cuts)
    assert site.make("download", "RETRIES=0").returncode == 2
    assert {name: begun(site, name).stat().st_size for name in came} == came
    space.forget()
    site.done("download")
    assert space.requests().bytes == {name: size - at if is_vault else size for name, at in came.items()}
    check_content(site, container, *came)


def check_content(site: Site, container: Path, *archives: str) -> None:
    """These archives are here, as at the source, and nothing else."""
    assert site.files("archives") == {name: (container / name).read_bytes() for name in archives}


def test_parts_of_two_contents_are_never_mixed(site: Site, vault: str, container: Path, space: VOSpace) -> None:
    """Cavern serves no ranges: there, nothing is gone on with."""
    # The other content is shorter than what came of the first, as long as it, or longer.
    archives = [names(tile)[0] for tile in TILES[:6]]
    sizes = dict(zip(archives, (1_000_000, 3_000_000, 5_000_000) * 2, strict=True))
    site.list_tiles(*TILES[:6])
    for name in sizes:
        replace_by(container / name, sound(3_000_000, seed=1))
        space.fault(Fault("cut", node=name, route="storage", at=2_000_000))
    site.done("avail", f"INPUT_PATH={vault}", "PRODUCTS=final_cat")
    assert site.make("download", "RETRIES=0").returncode == 2
    for name, size in sizes.items():
        assert begun(site, name).stat().st_size == 2_000_000
        replace_by(container / name, sound(size, seed=2))
    # Three of them are listed again before they are fetched.
    site.done("avail", f"TILES={listed(site, *TILES[:3])}")
    site.done("download", "TILES=tile_numbers.txt")
    check_content(site, container, *sizes)


def test_a_part_of_the_same_length_and_other_bytes_is_found_out(
    site: Site, vault: str, container: Path, space: VOSpace
) -> None:
    name = names(TILES[0])[0]
    size = 3_000_000
    replace_by(container / name, sound(size, seed=1))
    site.list_tiles(TILES[0])
    site.done("avail", f"INPUT_PATH={vault}", "PRODUCTS=final_cat")
    space.fault(Fault("cut", node=name, route="storage", at=2_000_000))
    assert site.make("download", "RETRIES=0").returncode == 2
    part = begun(site, name)
    part.write_bytes(b"x" * 2_000_000)
    space.forget()
    assert site.make("download", "RETRIES=1").returncode == 0
    assert space.requests().bytes[name] == 2 * size - 2_000_000
    check_content(site, container, name)
    # As after a power cut: the length was on disk, the content was not.
    (site.directory / "archives" / name).unlink()
    part.write_bytes(b"\0" * size)
    site.done("download")
    check_content(site, container, name)


def test_a_part_that_is_whole_only_gets_its_name(site: Site, vault: str, container: Path, space: VOSpace) -> None:
    site.begin("downloaded", vault)
    archive = site.directory / "archives" / names(TILES[0])[0]
    stamp = Stamp.parse(site.stamps()[f"available/{TILES[0]}"][1])
    archive.rename(f"{archive}.{stamp.archives[0].md5}{PART}")
    space.forget()
    site.done("download")
    assert not space.requests().bytes
    check_content(site, container, *(name for tile in TILES for name in names(tile)))


def test_another_host_serves_what_the_first_does_not(site: Site, vault: str, space: VOSpace, container: Path) -> None:
    site.begin("listed", vault)
    site.list_tiles(TILES[0])
    space.fault(Fault("status", node="*.tgz", route="files", status=500, count=-1))
    assert site.make("download", "RETRIES=1").returncode == 0
    assert space.requests().routes["negotiation"] == 3 * 7
    check_truth(site, container)
    # Nor must it matter that nothing can be negotiated.
    for path in (site.directory / "archives").iterdir():
        path.unlink()
    space.clear_faults()
    space.fault(Fault("status", node="*.tgz", route="storage", status=500, count=1))
    space.fault(Fault("status", route="negotiation", status=500, count=-1))
    assert site.make("download", "RETRIES=2").returncode == 0
    check_truth(site, container)


def test_a_server_that_asks_to_wait_is_heeded_and_it_is_told_once(
    site: Site, vault: str, space: VOSpace, container: Path
) -> None:
    site.begin("listed", vault)
    space.fault(Fault("status", node="*.tgz", route="files", status=503, retry_after=600, count=-1))
    process = site.start("download")
    try:
        assert "70 archives of 10 tiles to fetch" in process.stderr.readline()
        assert process.stderr.readline() == "the source is busy; trying again in 10 min\n"
        assert space.requests().routes["files"] <= 8
    finally:
        process.terminate()
        rest = process.communicate(timeout=60)[1]
    assert "stopped after 0 archives fetched" in rest
    assert "the source is busy" not in rest
