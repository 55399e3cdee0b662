"""Listings: whole or an error, on both services; what is in a container beside archives; several containers.

What is about a listing is asked of `avail` in this very process; what Make makes of it is tested once for each kind.
"""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from retrieve.errors import SourceError
from retrieve.stamps.stamps import Stamp
from support.listing import ask, lead, listed
from support.pages import documented_keys, keys
from support.site import HERE, RESULTS, TILES, Site, environment, names
from vospace_demo.faults import Fault
from vospace_demo.results import make_many
from vospace_demo.server import VOSpace

pytestmark = pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")

NODE = RESULTS.rpartition("/")[2]
ALWAYS = {"node": NODE, "route": "nodes", "count": -1}
#: Nodes of the container of conftest.py: the archives of ten tiles for both PSF models.
NODES = 80


@dataclass
class Place:
    """A run directory in which everything was listed once, and the service that it was listed from."""

    service: str
    site: Site
    space: VOSpace

    def state(self) -> object:
        """All that a failed listing must leave alone."""
        listed = self.site.directory / "stamps/mccd/listing"
        return self.site.stamps(), listed.read_text(), (self.site.directory / "stamps/settings.mk").read_text()


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Place]]:
    """One listing on each service for all faults: each leaves it as it was."""
    root = tmp_path_factory.mktemp("space")
    make_many(root / RESULTS, TILES, "mccd")
    with VOSpace(root) as space:
        made = {}
        for service in ("vos", "arc"):
            directory, home = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("home")
            site = Site(directory, environment(home) | space.environment() | {"INSECURE": "yes"})
            site.list_tiles(*TILES, "300.300")
            site.done("avail", f"INPUT_PATH={service}:{RESULTS}")
            made[service] = Place(service, site, space)
        yield made


@pytest.fixture(params=["vos", "arc"])
def place(request: pytest.FixtureRequest, places: dict[str, Place], monkeypatch: pytest.MonkeyPatch) -> Place:
    """One of them, to which this process is led."""
    lead(places[request.param].site, monkeypatch)
    return places[request.param]


HIDDEN = r"'\w+_24\d\.29[01]\.tgz' is there"
SHORT = rf"the listing ends (after '\S+'|before the first node) every time, but {HIDDEN}; Cavern stops at a pipe or"
#: A fault, and what is said of it: by service, where one of them is not misled.
FALSE_LISTINGS: dict[str, tuple[Fault, str | dict[str, str]]] = {
    "cut connection": (Fault("cut", at=9000, **ALWAYS), "the connection was cut, 2 times; try again later"),
    "reset connection": (Fault("reset", at=9000, **ALWAYS), "the connection was cut, 2 times; try again later"),
    "cut just before its end": (Fault("cut", at=-3, **ALWAYS), "the connection was cut, 2 times; try again later"),
    "stall": (Fault("stall", at=9000, seconds=20, **ALWAYS), "nothing came for too long, 2 times; try again later"),
    "damage": (
        Fault("flip", at=9000, **ALWAYS),
        r"the listing broke off, or is not XML \(.*\), 2 times; try again later",
    ),
    "web page": (
        Fault("html", **ALWAYS),
        "a web page was sent in its place, 2 times; is there a proxy or a login page in between?",
    ),
    "server in trouble": (
        Fault("status", status=503, retry_after=0, **ALWAYS),
        "the server answered 503 Service Unavailable, 2 times; try again later",
    ),
    "unreadable": (
        Fault("unreadable", **ALWAYS),
        "you may not read it without a certificate; make one with 'cadc-get-cert",
    ),
    "no access": (Fault("status", status=403, **ALWAYS), "access refused without a certificate; make one with"),
    "short": (Fault("swallow", at=30, **ALWAYS), SHORT),
    "empty": (Fault("swallow", at=0, **ALWAYS), SHORT),
    "short once": (
        Fault("swallow", node=NODE, route="nodes", at=30),
        f"the listing was short, {HIDDEN} but was not shown; try again later",
    ),
    "same page": (
        Fault("repeat", at=20, **ALWAYS),
        {"vos": "the server sent the same page again; try again later", "arc": SHORT},
    ),
    "same page of the size asked for": (
        Fault("repeat", **ALWAYS),
        {"vos": "the server sent the same page again; try again later"},
    ),
    "backwards": (Fault("backwards", **ALWAYS), {"vos": "its pages go backwards; try again later"}),
    "one node to a page": (Fault("cap", at=1, **ALWAYS), SHORT),
    "capped": (Fault("cap", at=30, **ALWAYS), {"arc": SHORT}),
}


@pytest.mark.parametrize("fault", FALSE_LISTINGS)
def test_a_false_listing_is_named_and_changes_no_stamp(fault: str, place: Place) -> None:
    kind, reason = FALSE_LISTINGS[fault]
    if isinstance(reason, dict):
        reason = reason.get(place.service, "")
    before, stamps = place.state(), place.site.stamps()
    words = [f"INPUT_PATH={place.service}:{RESULTS}", "DEST=elsewhere", "RETRIES=1"]
    words += ["TIMEOUT=0.5"] if kind.kind == "stall" else []
    place.space.fault(kind)
    try:
        if not reason:
            listed(*words, page=25)
            assert place.site.stamps() == stamps
            return
        with pytest.raises(SourceError, match=f"^cannot list '{place.service}:{RESULTS}': {reason}") as caught:
            ask(*words, page=25)
    finally:
        place.space.clear_faults()
    assert "\n" not in str(caught.value)
    assert place.state() == before


@pytest.mark.parametrize(
    ("fault", "service"),
    [("cut connection", "vos"), ("short", "arc"), ("unreadable", "vos"), ("web page", "arc")],
)
def test_a_listing_that_failed_ends_make_in_one_line_and_changes_no_stamp(
    fault: str, service: str, places: dict[str, Place]
) -> None:
    place = places[service]
    kind, reason = FALSE_LISTINGS[fault]
    before = place.state()
    place.space.fault(kind)
    try:
        result = place.site.make("avail", "PSF=mccd", "DEST=elsewhere", "RETRIES=1")
    finally:
        place.space.clear_faults()
    problem, *others = (line for line in result.stderr.splitlines() if not line.startswith("make"))
    assert re.match(f"cannot list '{service}:{RESULTS}': {reason}", problem), problem
    assert (others, result.stdout, result.returncode) == ([], "", 2)
    assert place.state() == before


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (f"{RESULTS}/final_cat_{TILES[0]}.tgz", "it is not a container; give INPUT_PATH the container"),
        (f"{RESULTS}s", "it does not exist; check its name"),
    ],
)
def test_what_is_no_container_is_named(path: str, reason: str, place: Place) -> None:
    before = place.state()
    with pytest.raises(SourceError, match=f"^cannot list '{place.service}:{path}': {reason}"):
        ask(f"INPUT_PATH={place.service}:{path}")
    assert place.state() == before


def test_a_first_listing_that_is_short_is_found_out_by_the_sample(site: Site, at: str, here: VOSpace) -> None:
    site.list_tiles(*TILES)
    here.fault(Fault("swallow", at=0, **ALWAYS))
    with pytest.raises(SourceError, match=SHORT):
        ask(f"INPUT_PATH={at}")
    assert not site.stamps()
    assert not (site.directory / "stamps/settings.mk").exists()


def test_all_that_vanished_is_asked_for_whatever_the_sample_and_the_list(
    site: Site, at: str, here: VOSpace, container: Path
) -> None:
    where = f"INPUT_PATH={at}"
    site.list_tiles(*TILES, "300.300")
    listed(where, probe=0)
    gone = [*names(TILES[3]), names(TILES[5])[2]]
    for name in gone:
        (container / name).unlink()
    here.forget()
    assert "8/11 (72.7%) complete" in listed(where, probe=0)
    assert {name: count for (_, name), count in here.requests().nodes.items() if name in gone} == dict.fromkeys(gone, 1)
    here.forget()
    listed(where, probe=0)
    assert not [name for _, name in here.requests().nodes if name in gone]
    # What is not in the list was there all the same.
    site.list_tiles("300.300")
    listed(where, probe=0)
    here.fault(Fault("swallow", at=70, **ALWAYS))
    with pytest.raises(SourceError, match=SHORT):
        ask(where, probe=0)


@pytest.mark.parametrize(("probe", "asked"), [(3, 3), (100, 14)])
def test_the_sample_is_as_large_as_it_is_set(probe: int, asked: int, site: Site, at: str, here: VOSpace) -> None:
    site.list_tiles(TILES[0], "300.300", "301.301")
    listed(f"INPUT_PATH={at}", probe=probe)
    assert sum(count for (_, name), count in here.requests().nodes.items() if "_30" in name) == asked


@pytest.mark.parametrize("page", [2, 7, NODES])
def test_pages_of_any_size_make_the_same_listing(page: int, site: Site, vault: str, here: VOSpace) -> None:
    site.list_tiles(*TILES)
    listed(f"INPUT_PATH={vault}", page=page)
    assert set(site.stamps()) == {f"available/{tile}" for tile in TILES}
    # May the caller read it; the first page; those that begin with the last node of the one before, to the one that
    # holds nothing else.
    after_the_first = -(-max(NODES - page, 0) // (page - 1))
    assert here.requests().nodes[("nodes", NODE)] == 1 + 1 + after_the_first + 1


def test_cavern_is_listed_with_one_request_in_any_order(site: Site, here: VOSpace) -> None:
    site.list_tiles(*TILES)
    here.fault(Fault("backwards", **ALWAYS))
    assert "10/10" in listed(f"INPUT_PATH=arc:{RESULTS}", page=7)
    assert here.requests().nodes[("nodes", NODE)] == 2


@pytest.mark.parametrize("most", [2, 79])
def test_a_server_that_caps_its_pages_is_asked_until_nothing_is_new(
    most: int, site: Site, vault: str, here: VOSpace
) -> None:
    site.list_tiles(*TILES)
    here.fault(Fault("cap", at=most, **ALWAYS))
    assert "10/10" in listed(f"INPUT_PATH={vault}", probe=0)


def test_only_the_request_that_failed_is_made_again(site: Site, vault: str, here: VOSpace) -> None:
    site.list_tiles(*TILES)
    here.fault(Fault("cut", node=NODE, route="nodes", at=5000))
    assert "10/10" in listed(f"INPUT_PATH={vault}", page=30)
    assert here.requests().nodes[("nodes", NODE)] == 1 + 4 + 1


@contextmanager
def terminal() -> Iterator[tuple[int, list[str]]]:
    """A terminal to be written to, and what was."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    written: list[str] = []
    try:
        yield theirs, written
    finally:
        os.close(theirs)
        text = b""
        try:
            while piece := os.read(ours, 65536):
                text += piece
        except OSError:  # all was read
            pass
        os.close(ours)
        written.append(text.decode())


def test_a_slow_listing_is_no_stall_and_its_progress_counts_nodes_over_all_pages(
    site: Site, vault: str, space: VOSpace
) -> None:
    site.list_tiles(*TILES)
    # All pages take longer than one may, and each of them far less.
    space.fault(Fault("latency", node=NODE, route="nodes", seconds=0.6))
    space.fault(Fault("cap", at=20, **ALWAYS))
    with terminal() as (screen, written):
        subprocess.run(
            ["make", "-f", str(HERE / "Makefile"), "avail", f"INPUT_PATH={vault}", "TIMEOUT=3"],
            cwd=site.directory, env=site.environment | {"TERM": "xterm"}, stderr=screen, check=True,
            stdout=subprocess.DEVNULL, timeout=120,
        )  # fmt: skip
    counts = [int(count) for count in re.findall(r"listing: (\d+) nodes", written[0])]
    assert counts == sorted(counts)
    assert {58, 80} <= set(counts) <= set(range(NODES + 1))


def link(container: Path, name: str, target: Path | str) -> None:
    """Put a link in place of an archive."""
    (container / name).unlink(missing_ok=True)
    (container / name).symlink_to(target)


def test_links_to_archives_are_followed(site: Site, at: str, here: VOSpace, container: Path) -> None:
    elsewhere = container.parent / "elsewhere"
    make_many(elsewhere, TILES[:2], "mccd")
    for name in names(TILES[0]):
        link(container, name, f"../elsewhere/{name}")
    link(container, names(TILES[1])[0], elsewhere / names(TILES[1])[0])
    # A link to a link, in a directory that is a link.
    (container.parent / "again").symlink_to("elsewhere")
    link(container, names(TILES[1])[1], "../results/hop")
    link(container, "hop", f"../again/{names(TILES[1])[1]}")
    site.list_tiles(*TILES[:3])
    assert "3/3" in listed(f"INPUT_PATH={at}", probe=0)
    for tile, name in ((TILES[0], names(TILES[0])[3]), (TILES[1], names(TILES[1])[1])):
        stamp = Stamp.parse(site.stamps()[f"available/{tile}"][1])
        archive = next(one for one in stamp.archives if one.name == name)
        status = (elsewhere / name).stat()
        assert (archive.bytes, archive.date_ns // 1_000_000) == (status.st_size, status.st_mtime_ns // 1_000_000)
        assert (archive.md5 is not None) == at.startswith("vos")
    before = site.stamps()
    site.done("download")
    assert site.files("archives") == {
        path.name: path.read_bytes() for tile in TILES[:3] for path in (container / name for name in names(tile))
    }
    listed(f"INPUT_PATH={at}", probe=0)
    assert {path: stamp for path, stamp in site.stamps().items() if path.startswith("available")} == before
    os.utime(elsewhere / names(TILES[0])[3], (datetime.now(UTC).timestamp(), datetime.now(UTC).timestamp()))
    listed(f"INPUT_PATH={at}", probe=0)
    changed = {path for path, stamp in site.stamps().items() if path.startswith("available") and stamp != before[path]}
    assert changed == {f"available/{TILES[0]}"}


def test_links_that_lead_to_no_archive_are_named_and_count_as_absent(
    site: Site, at: str, here: VOSpace, container: Path
) -> None:
    outside, nowhere, circle, directory = (names(tile)[0] for tile in TILES[:4])
    link(container, outside, "/etc/hostname")
    link(container, nowhere, "nothing.tgz")
    link(container, circle, circle)
    link(container, directory, "..")
    site.list_tiles(*TILES)
    told = ask(f"INPUT_PATH={at}", probe=0)
    assert "tile_numbers.txt: 6/10 (60.0%) complete" in told.text
    lines = sorted(told.problems.splitlines())
    assert len(lines) == 4
    for line, name in zip(lines, sorted((outside, nowhere, circle, directory)), strict=True):
        assert line.startswith(f"the link '{name}' counts as absent: it leads to ")
    assert "that is out of reach of this service" in next(line for line in lines if outside in line)
    assert "it does not exist" in next(line for line in lines if nowhere in line)
    assert "that is no file" in next(line for line in lines if directory in line)
    assert {path for path in site.stamps() if path.startswith("incomplete")} == {
        f"incomplete/{tile}" for tile in TILES[:4]
    }
    data = json.loads(ask(f"INPUT_PATH={at}", "FORMAT=json", probe=0).text)
    assert keys(data) == documented_keys("avail")
    assert set(data["sources"][0]["dangling"]) == {outside, nowhere, circle, directory}


def test_a_link_to_the_container_is_the_container(site: Site, vault: str, here: VOSpace, container: Path) -> None:
    (container.parent / "latest").symlink_to(container)
    site.list_tiles(TILES[4])
    assert "1/1" in listed(f"INPUT_PATH={vault.replace(NODE, 'latest')}", probe=0)
    site.done("download")
    assert len(site.files("archives")) == 7


@pytest.mark.parametrize("kind", ["vos", "arc", "directory"])
def test_containers_and_foreign_files_are_counted_and_ignored(
    kind: str, site: Site, here: VOSpace, container: Path
) -> None:
    (container / names(TILES[0])[0]).unlink()
    (container / names(TILES[0])[0]).mkdir()
    (container / "old").mkdir()
    for name in ("README", f"final_cat_{TILES[0]}.tgz.bak", "final_cat_1.2.tgz", "ünï cödé & <co>.txt"):
        (container / name).write_text(name)
    (container / "shortcut").symlink_to("README")
    site.list_tiles(*TILES)
    input_path = str(container) if kind == "directory" else f"{kind}:{RESULTS}"
    text = listed(f"INPUT_PATH={input_path}")
    assert "9/10 (90.0%)" in text
    # Ten of them are archives of the other PSF model.
    assert text.splitlines()[-1] == (
        f"from '{input_path}': 9 complete tiles; also there: 2 containers ({names(TILES[0])[0]}, old), 15 other files"
    )
    source = json.loads(listed(f"INPUT_PATH={input_path}", "FORMAT=json"))["sources"][0]
    assert (source["archives"], source["containers"], source["others"]) == (69, 2, 15)


def test_the_newest_complete_set_of_several_containers_wins(
    site: Site, here: VOSpace, at: str, container: Path
) -> None:
    second, third = (container.with_name(name) for name in ("results_mccd_oc2", "results_late"))
    make_many(second, (*TILES[:4], "300.300"), "mccd")
    make_many(third, (TILES[3], TILES[4], "300.300", "301.301"), "mccd")
    hour = 3_600_000_000_000
    for directory, tile, hours in (
        (second, TILES[0], 1),
        (second, TILES[1], -1),
        (second, TILES[2], 1),
        (third, TILES[4], 1),
    ):
        for name in names(tile):
            status = (directory / name).stat()
            os.utime(directory / name, ns=(status.st_mtime_ns + hours * hour,) * 2)
    (second / names(TILES[2])[0]).unlink()  # newer, but not complete
    for name in names("300.300")[:3]:
        (second / name).unlink()
    (third / names("300.300")[0]).unlink()  # incomplete everywhere: the third has most of it
    site.list_tiles(*TILES[:5], "300.300", "301.301", "302.302")
    uris = [at, f"{at}_mccd_oc2", f"{at.removesuffix(NODE)}results_late"]
    where = f"INPUT_PATH={' '.join(uris)}"
    text = listed(where, probe=0)
    sources = {path.partition("/")[2]: Stamp.parse(stamp[1]).source for path, stamp in site.stamps().items()}
    assert sources == {
        TILES[0]: uris[1], TILES[1]: uris[0], TILES[2]: uris[0], TILES[3]: uris[0], TILES[4]: uris[2],
        "300.300": uris[2], "301.301": uris[2], "302.302": uris[0],
    }  # fmt: skip
    assert "tile_numbers.txt: 6/8 (75.0%) complete" in text
    assert [line.partition(";")[0] for line in text.splitlines()[-3:]] == [
        f"from '{uris[0]}': 3 complete tiles",
        f"from '{uris[1]}': 1 complete tile",
        f"from '{uris[2]}': 2 complete tiles",
    ]
    told = json.loads(listed(where, "FORMAT=json", probe=0))["sources"]
    assert [(one["uri"], one["complete"]) for one in told] == list(zip(uris, (3, 1, 2), strict=True))


def test_a_tile_is_fetched_from_the_container_that_was_chosen(
    site: Site, here: VOSpace, vault: str, container: Path
) -> None:
    late = container.with_name("results_late")
    make_many(late, TILES[:2], "mccd")
    for name in names(TILES[1]):
        os.utime(late / name, ns=((late / name).stat().st_mtime_ns + 3_600_000_000_000,) * 2)
    site.list_tiles(*TILES[:2])
    listed(f"INPUT_PATH={vault} {vault}_late")
    site.done("download")
    archives = site.files("archives")
    for tile, directory in ((TILES[0], container), (TILES[1], late)):
        for name in names(tile):
            assert archives[name] == (directory / name).read_bytes()
            fetched = (site.directory / "archives" / name).stat().st_mtime_ns
            assert fetched // 1_000_000 == (directory / name).stat().st_mtime_ns // 1_000_000


@pytest.mark.parametrize("kind", ["vos", "arc", "directory"])
def test_containers_of_patches_are_named_with_the_setting_that_lists_them(kind: str, site: Site, here: VOSpace) -> None:
    patches = Path(here.tree.root) / "patches"
    for number, tiles in enumerate((TILES[:4], TILES[4:]), start=1):
        make_many(patches / f"P{number}", tiles, "mccd")
    at = str(patches) if kind == "directory" else f"{kind}:patches"
    site.list_tiles(*TILES)
    (setting,) = re.findall(
        r": 0 complete tiles; also there: 2 containers \(P1, P2\); if the archives are in these, give (\S+=.*)\n",
        listed(f"INPUT_PATH={at}"),
    )
    assert setting == f"INPUT_PATH='{at}/P1 {at}/P2'"
    assert "10/10" in listed(setting.replace("'", ""))
    for name in ("P3", "P4", "A\x1b[2J", "B C"):
        (patches / name).mkdir()
    text = listed(f"INPUT_PATH={at}")
    assert r"also there: 6 containers (A\x1b[2J, B C, P1 and 3 more); if" in text
    assert f"INPUT_PATH='{at}/P1 {at}/P2 {at}/P3 …'\n" in text


def test_a_short_listing_of_one_of_several_containers_changes_nothing(
    site: Site, here: VOSpace, at: str, container: Path
) -> None:
    second = container.with_name("second")
    make_many(second, TILES[:3], "mccd")
    for path in second.iterdir():
        os.utime(path, ns=(path.stat().st_mtime_ns + 10**12,) * 2)
    site.list_tiles(*TILES)
    listed(f"INPUT_PATH={at} {at.replace(NODE, 'second')}")
    before = site.stamps()
    here.fault(Fault("swallow", node="second", route="nodes", count=-1, at=5))
    short = f"^cannot list '{at.replace(NODE, 'second')}': the listing ends after '"
    with pytest.raises(SourceError, match=short):
        ask(f"INPUT_PATH={at} {at.replace(NODE, 'second')}", probe=0)
    assert site.stamps() == before
    # The order was changed, and a container added.
    several = f"INPUT_PATH={container} {at.replace(NODE, 'second')} {at}"
    with pytest.raises(SourceError, match=short):
        ask(several, probe=0)
    assert site.stamps() == before
    # What is in one of them and was never in the other did not vanish.
    here.clear_faults()
    here.forget()
    listed(several, probe=0)
    assert not [name for _, name in here.requests().nodes if name.endswith(".tgz")]


def test_a_directory_with_spaces_in_its_name_is_one_container(site: Site, container: Path) -> None:
    container.rename(container.with_name("my results"))
    site.list_tiles(TILES[4])
    assert "1/1" in site.done("avail", f"INPUT_PATH={container.with_name('my results')}")
    site.done("download")
    assert len(site.files("archives")) == 7


def test_a_directory_of_lists_gets_a_line_for_each(site: Site, vault: str, here: VOSpace) -> None:
    (site.directory / "lists").mkdir()
    for name, tiles in {"W1.txt": TILES[:4], "W3.txt": (*TILES[2:], "300.300"), "W2.txt": ("301.301",)}.items():
        site.list_tiles(*(f"CFIS.{tile}.r.fits" for tile in tiles), name=f"lists/{name}")
    text = listed(f"INPUT_PATH={vault}", "TILES=lists")
    assert text.splitlines()[:3] == [
        "lists/W1.txt: 4/4 (100.0%) complete",
        "lists/W2.txt: 0/1 (0.0%) complete",
        "lists/W3.txt: 8/9 (88.9%) complete",
    ]
    assert len(site.stamps()) == 12
