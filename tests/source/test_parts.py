"""Listings in parts, by ranges of names and name by name: what they ask for, and that they find what whole ones do."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from retrieve.errors import SourceError
from retrieve.source.container import Listing, Way
from retrieve.source.listing import gather
from support.listing import ask, listed
from support.site import RESULTS, Site, names
from support.survey import make_tiny
from vospace_demo.faults import Fault
from vospace_demo.server import VOSpace

pytestmark = pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")

NODE = RESULTS.rpartition("/")[2]
#: What is there: 42 tiles in three columns; and what is asked for, of which one is there in part and one not at all.
THERE = [f"{column}.{row}" for column in (240, 241, 260) for row in range(290, 304)]
PART, NONE = "241.295", "260.310"
ASKED = ["240.290", "240.291", "240.303", PART, "260.303", NONE]
WAYS = [("vos", Way.NAMES), ("vos", Way.RANGES), ("arc", Way.NAMES)]


@pytest.fixture
def container(tmp_path: Path) -> Path:
    """A container that holds more nodes than are listed whole unasked."""
    path = tmp_path / "space" / RESULTS
    make_tiny(path, THERE)
    (path / names(PART)[2]).unlink()
    (path / "final_cat-241-290.fits").write_bytes(b"other")
    (path / "setools_mask").mkdir()
    return path


@pytest.fixture
def space(container: Path) -> VOSpace:
    """The embedded VOSpace with that container."""
    with VOSpace(container.parents[RESULTS.count("/")]) as space:
        yield space


@pytest.fixture(params=WAYS, ids=lambda one: f"{one[0]}-{one[1].name.lower()}")
def part(request: pytest.FixtureRequest) -> tuple[str, Way]:
    """A service and a way to ask it."""
    return request.param


@pytest.fixture
def at(part: tuple[str, Way], monkeypatch: pytest.MonkeyPatch, site: Site, here: VOSpace) -> str:
    """Where to list, in that way; which one is cheapest on a loopback hangs on the moment."""
    choose(monkeypatch, part[1])
    site.list_tiles(*ASKED)
    return f"INPUT_PATH={part[0]}:{RESULTS}"


def choose(monkeypatch: pytest.MonkeyPatch, way: Way) -> None:
    """Have a container asked in a certain way."""
    monkeypatch.setattr("retrieve.availability.asking.cheapest", lambda *_: {way: 1.0})


def stamps(site: Site) -> dict[str, str]:
    """Text of all stamps."""
    return {path: text for path, (_, text) in site.stamps().items()}


def test_what_is_found_is_what_a_whole_listing_finds(
    at: str, site: Site, here: VOSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = listed(at)
    assert "4/6 (66.7%) complete" in told
    assert ": what else is there was not looked at" in told
    in_parts = site.stamps()
    choose(monkeypatch, Way.WHOLE)
    assert "also there: 1 container (setools_mask), 1 other file" in listed(at, "STAMPS=whole")
    site.list_tiles(*ASKED)
    (site.directory / "stamps").rename(site.directory / "parts")
    (site.directory / "whole").rename(site.directory / "stamps")
    assert site.stamps() == in_parts


def test_the_way_and_why_are_told_to_who_asks(at: str, part: tuple[str, Way]) -> None:
    where = at.partition("=")[2]
    told = ask(at, "V=1").problems
    assert told == f"to ask '{where}' for 42 archives should take: {part[1].value} 1 s\n"


def test_no_more_is_asked_for_than_it_takes(at: str, part: tuple[str, Way], here: VOSpace) -> None:
    listed(at, probe=3)
    asked = {name: count for (route, name), count in here.requests().nodes.items() if route == "nodes"}
    # May the caller read it, twice, and in between the first 101 nodes in the hope that there are no more.
    of_the_container = asked.pop(NODE)
    if part[1] is Way.NAMES:
        assert of_the_container == 3
        assert asked == {name: 1 for tile in ASKED for name in names(tile)}
    else:
        # Four ranges of each product, and a page each; after the very last node one more.
        assert of_the_container == 3 + 4 * 7 + 1
        assert sum(asked.values()) == 3


def test_a_container_that_was_listed_whole_is_known_to_be_large(
    at: str, part: tuple[str, Way], here: VOSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(monkeypatch, Way.WHOLE)
    listed(at, probe=0)
    choose(monkeypatch, part[1])
    listed(at, probe=0)
    here.forget()
    listed(at, probe=0)
    assert here.requests().nodes["nodes", NODE] == (2 if part[1] is Way.NAMES else 2 + 4 * 7 + 1)


def test_what_vanished_is_asked_for_though_parts_were_listed_meanwhile(
    at: str, site: Site, container: Path, here: VOSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.list_tiles(*THERE)
    choose(monkeypatch, Way.WHOLE)
    listed(at, probe=0)
    site.list_tiles(*ASKED)
    choose(monkeypatch, Way.NAMES)
    listed(at, probe=0)
    # What is not in the list now was there all the same.
    gone = names("260.290")[0]
    (container / gone).unlink()
    choose(monkeypatch, Way.WHOLE)
    here.forget()
    listed(at, probe=0)
    assert [name for route, name in here.requests().nodes if route == "nodes" and name != NODE] == [gone]


def test_a_fault_in_a_part_changes_no_stamp(at: str, site: Site, here: VOSpace) -> None:
    listed(at)
    before = site.stamps()
    here.fault(Fault("status", node=names("240.290")[3], status=503, count=-1))
    here.fault(Fault("cut", node=NODE, route="nodes", at=5000, count=-1))
    with pytest.raises(SourceError, match=f"cannot list '{at.partition('=')[2]}'"):
        ask(at, "RETRIES=1")
    assert site.stamps() == before


def test_a_listing_in_parts_that_is_short_is_made_whole(
    site: Site, here: VOSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a service gives less than all of a range, the sample finds that out."""
    choose(monkeypatch, Way.RANGES)
    site.list_tiles(*ASKED)

    def short(*words: object, within: object = None, **options: object) -> Listing:
        return Listing() if within else gather(*words, within=within, **options)

    monkeypatch.setattr("retrieve.source.listing.gather", short)
    told = ask(f"INPUT_PATH=vos:{RESULTS}")
    assert "4/6 (66.7%) complete" in told.text
    assert re.fullmatch(
        r"cannot list 'vos:.*' in parts: '.*' is there, but was not shown; it is listed whole instead\n", told.problems
    )


def test_an_archive_that_may_not_be_read_is_found_all_the_same(
    at: str, part: tuple[str, Way], site: Site, here: VOSpace
) -> None:
    here.fault(Fault("status", node=names("240.290")[3], status=403, count=-1))
    told = ask(at)
    assert "4/6 (66.7%) complete" in told.text
    if part[1] is Way.NAMES:
        assert told.problems.endswith("; it is listed whole instead\n")
    else:
        assert told.problems == ""


def test_links_are_followed(at: str, site: Site, container: Path, here: VOSpace) -> None:
    elsewhere = container.parent / "elsewhere"
    elsewhere.mkdir()
    good, bad = names("240.290")[:2]
    (container / good).rename(elsewhere / good)
    (container / good).symlink_to(f"../elsewhere/{good}")
    (container / bad).unlink()
    (container / bad).symlink_to("nothing")
    told = ask(at)
    assert "3/6 (50.0%) complete" in told.text
    assert told.problems.startswith(f"the link '{bad}' counts as absent: it leads to ")
    assert f"{good}\t" in site.stamps()["incomplete/240.290"][1]


def test_in_between_a_watch_passes_over_what_is_done(
    at: str, site: Site, container: Path, here: VOSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = listed(at)
    available = site.directory / "stamps/mccd/available"
    done = available.with_name("extracted")
    done.mkdir()
    for stamp in available.iterdir():
        shutil.copy2(stamp, done)
    stamps = site.stamps()
    monkeypatch.setenv("RETRIEVE_UNFINISHED", "yes")
    (container / names("240.290")[0]).unlink()
    (container / names(PART)[2]).write_bytes(b"late")
    choose(monkeypatch, Way.NAMES)
    here.forget()
    told = listed(at)
    asked = {name for route, name in here.requests().nodes if route == "nodes" and name != NODE}
    assert asked == {name for tile in (PART, NONE) for name in names(tile)}
    assert told.splitlines()[0] == "tile_numbers.txt: 5/6 (83.3%) complete"
    assert "4 tiles not asked for, since done" in told
    assert f"available/{PART}" in site.stamps()
    assert {path: stamp for path, stamp in site.stamps().items() if PART not in path} == {
        path: stamp for path, stamp in stamps.items() if PART not in path
    }
    # What changed of the others is found by the next look at all of them.
    monkeypatch.delenv("RETRIEVE_UNFINISHED")
    listed(at)
    assert "incomplete/240.290" in site.stamps()
    assert "4/6" in first
