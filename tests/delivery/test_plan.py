"""The plan: which tiles a run of download takes up, and what it does about each archive, by stamps and one look."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from retrieve.archives import Archive, Verified
from retrieve.decisions import Decision
from retrieve.delivery.plan import TilePlan, plan_download
from retrieve.settings import Settings
from retrieve.stamps.stamps import AVAILABLE, DONE, DOWNLOADED, EXTRACTED, UNFINISHED, Record, Stamp, Stamps
from support.site import names

TILE, OTHER = "240.290", "241.290"
SOURCE = "vos:cfis/results"
DATE, LATER = "2021-08-05T11:25:32.123", "2021-08-06T09:00:01.5"
FETCH, HASH, KEEP = Decision.FETCH, Decision.HASH, Decision.KEEP


def archive(name: str, content: bytes = b"old", date: str = DATE) -> Archive:
    """An archive of some content as a source lists it."""
    return Archive(name, len(content), hashlib.md5(content).hexdigest(), date)


ONE, TWO, THREE = map(archive, names(TILE)[:3])
NEWER = archive(TWO.name, b"newer", LATER)


def record(*archives: Archive, mtime_ns: int | None = None) -> str:
    """The text of a record: as they came, or with another mtime of their files; 0 stands for those that were freed."""
    verified = {
        one.name: Verified(one, str(one.md5), one.date_ns if mtime_ns is None else mtime_ns) for one in archives
    }
    return Record(SOURCE, verified).text()


@dataclass
class Place:
    """Stamps and archives of a tile or two."""

    root: Path

    @property
    def stamps(self) -> Stamps:
        """The stamps."""
        return Stamps(self.root / "stamps", "mccd")

    def listed(self, *archives: Archive, lacking: tuple[str, ...] = (), tile: str = TILE) -> None:
        """Have archives at the source."""
        stamp = Stamp(SOURCE, archives, lacking)
        self.stamps.write(stamp.state, tile, stamp.text(), stamp.date_ns)

    def stamped(self, state: str, text: str, mtime_ns: int = ONE.date_ns) -> None:
        """Write a stamp of the tile."""
        self.stamps.write(state, TILE, text, mtime_ns)

    def here(self, *archives: Archive, mtime_ns: int | None = None) -> None:
        """Have files of that length here."""
        for one in archives:
            path = self.root / "archives" / one.name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(bytes(one.bytes))
            os.utime(path, ns=(one.date_ns if mtime_ns is None else mtime_ns,) * 2)

    def plans(self, *stale: str, **words: str) -> list[TilePlan]:
        """Plan a run for which Make found some tiles stale."""
        below = {"STAMPS": self.root / "stamps", "ARCHIVES": self.root / "archives", "INPUT_PATH": SOURCE}
        settings = Settings.parse([f"{name}={value}" for name, value in ({"TILES": "all"} | below | words).items()])
        return plan_download(settings, self.stamps, set(stale))

    def decisions(self, *stale: str, **words: str) -> list[Decision]:
        """What is to be done about the archives of the one tile that is planned."""
        (plan,) = self.plans(*stale, **words)
        return list(plan.decisions.values())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A place without stamps or archives."""
    return Place(tmp_path)


def test_a_tile_is_planned_if_it_is_stale_or_not_here_as_its_stamp_recorded_it(place: Place) -> None:
    place.listed(ONE, TWO)
    assert place.decisions() == [FETCH, FETCH]
    place.stamped(DOWNLOADED, record(ONE, TWO))
    place.here(ONE, TWO)
    assert place.plans() == []
    assert place.decisions(TILE) == [KEEP, KEEP]
    place.here(TWO, mtime_ns=1)
    assert place.decisions() == [KEEP, HASH]
    (place.root / "archives" / TWO.name).unlink()
    assert place.decisions() == [KEEP, FETCH]
    place.listed(ONE, NEWER)
    assert place.decisions(TILE) == [KEEP, FETCH]


def test_what_is_kept_is_as_the_source_lists_it_now_and_the_rest_comes_by_size(place: Place) -> None:
    large = archive(THREE.name, b"the largest")
    again = ONE._replace(date=LATER)
    place.listed(again, NEWER, large)
    place.stamped(DOWNLOADED, record(ONE, TWO))
    place.here(ONE, TWO)
    (plan,) = place.plans(TILE)
    assert (plan.tile, plan.stamp_ns) == (TILE, NEWER.date_ns)
    assert list(plan.kept()) == [Verified(again, str(ONE.md5), ONE.date_ns)]
    assert list(plan.todo()) == [(TILE, large), (TILE, NEWER)]
    assert plan.largest() == large.bytes


def test_an_incomplete_tile_is_planned_only_if_asked_for_and_if_anything_of_it_is_there(place: Place) -> None:
    place.listed(ONE, lacking=(TWO.name,))
    place.listed(lacking=(ONE.name, TWO.name), tile=OTHER)
    assert place.plans(TILE, OTHER) == []
    assert place.decisions(TILE, OTHER, PARTIAL="yes") == [FETCH]


def test_a_tile_that_is_not_at_the_source_and_one_whose_stamp_is_damaged_are_passed_over(place: Place) -> None:
    place.stamped(DOWNLOADED, record(ONE))
    assert place.plans(TILE) == []
    place.stamped(AVAILABLE, "damaged")
    assert place.plans(TILE) == []


def test_a_damaged_record_counts_for_nothing(place: Place) -> None:
    place.listed(ONE)
    place.here(ONE)
    for text in "damaged", Stamp(SOURCE, (ONE,)).text():
        place.stamped(DOWNLOADED, text)
        assert place.decisions(TILE) == [HASH]


def test_what_was_verified_of_a_tile_before_the_rest_failed_is_kept(place: Place) -> None:
    place.listed(ONE, TWO)
    place.stamped(UNFINISHED, record(ONE))
    place.here(ONE)
    assert place.decisions(TILE) == [KEEP, FETCH]


def test_a_tile_of_which_the_user_brought_what_had_failed_gets_its_stamp(place: Place) -> None:
    place.listed(ONE, TWO)
    place.stamped(DOWNLOADED, record(ONE, TWO))
    # Another date was proved right, and then the other one could not be had.
    place.stamped(UNFINISHED, record(ONE, mtime_ns=7))
    place.here(ONE, mtime_ns=7)
    place.here(TWO)
    assert place.decisions() == [KEEP, KEEP]


def test_of_a_tile_that_was_freed_only_what_changed_is_fetched(place: Place) -> None:
    place.listed(ONE, TWO)
    place.stamped(DOWNLOADED, record(ONE, TWO))
    place.stamped(EXTRACTED, record(ONE, TWO, mtime_ns=0))
    assert place.plans() == []
    place.listed(ONE, NEWER)
    assert place.decisions(TILE) == [KEEP, FETCH]


def test_a_tile_that_was_handed_on_is_fetched_whole_if_anything_of_it_changed(place: Place) -> None:
    place.stamped(DOWNLOADED, record(ONE, TWO))
    place.stamped(EXTRACTED, record(ONE, TWO, mtime_ns=0))
    place.stamped(DONE, "")
    place.listed(ONE, TWO._replace(date=LATER))
    assert place.decisions(TILE) == [KEEP, KEEP]
    place.listed(ONE, NEWER)
    assert place.decisions(TILE) == [FETCH, FETCH]
    place.listed(ONE, TWO, THREE)
    assert place.decisions(TILE) == [FETCH, FETCH, FETCH]
