"""JOBS=auto on a service that turns away what is too much at once: it finds how much that is, and remembers it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from retrieve.delivery.gate import Gate
from retrieve.delivery.pool import Stopped
from retrieve.delivery.window import Found, Window
from retrieve.errors import Transient
from retrieve.shards import Shard
from support.patience import within
from support.site import RESULTS, TILES, Site, names
from vospace_demo.faults import Fault
from vospace_demo.server import VOSpace


@pytest.mark.parametrize(
    ("at", "status"),
    [("vos", 503), ("arc", 0), pytest.param("vos", 429, marks=pytest.mark.soak)],
    ids=["vos-503", "arc-reset", "vos-429"],
    indirect=["at"],
)
def test_what_the_service_refuses_is_found_out_and_the_next_run_knows_it(
    status: int, site: Site, at: str, space: VOSpace
) -> None:
    site.list_tiles(*TILES[:2])
    site.environment |= space.environment() | {"INSECURE": "yes"}
    site.done("avail", f"INPUT_PATH={at}")
    # They meet, be the machine ever so busy: of the eight that follow the first four, three are too many.
    space.fault(Fault("crowded", route="files", at=5, status=status, seconds=2))
    space.forget()
    first = site.json("download")
    ((number, refused),) = first["at_once"].values()
    assert (first["fetched"], refused) == (14, True)
    assert 4 <= number <= 7
    assert 1 <= space.requests().refused <= 4
    for path in (site.directory / "archives").iterdir():
        path.unlink()
    space.forget()
    assert site.json("download")["fetched"] == 14
    assert space.requests().peak <= number


def test_a_number_that_is_given_is_kept_though_some_are_refused(site: Site, at: str, space: VOSpace) -> None:
    site.begin("listed", at)
    space.fault(Fault("crowded", at=2, status=503))
    space.forget()
    assert site.json("download", "JOBS=3")["at_once"] == {}
    assert space.requests().peak <= 3


def test_the_largest_come_first_so_that_none_is_alone_at_the_end(
    site: Site, at: str, space: VOSpace, container: Path
) -> None:
    large = names(TILES[7])[3]
    (container / large).write_bytes(os.urandom(300_000))
    site.list_tiles(*TILES)
    site.done("avail", f"INPUT_PATH={at}")
    space.forget()
    site.json("download", "JOBS=1")
    asked = [name for route, name in space.requests().nodes if route == "files"]
    assert asked[0] == large
    tiles = [asked[start].removesuffix(".tgz")[-7:] for start in range(0, len(asked), 7)]
    assert tiles == [TILES[7], *sorted(set(TILES) - {TILES[7]})]
    for start in range(0, len(asked), 7):
        sizes = [(container / name).stat().st_size for name in asked[start : start + 7]]
        assert sizes == sorted(sizes, reverse=True)


def test_shards_divide_what_one_run_would_fetch_at_once(site: Site, space: VOSpace) -> None:
    site.environment |= space.environment() | {"INSECURE": "yes"}
    site.list_tiles(*TILES)
    site.done("avail", f"INPUT_PATH=vos:{RESULTS}")
    mine = next(number for number in range(1, 17) if Shard(number, 16).owns(TILES[0]))
    # Two of them meet, be the machine ever so busy.
    space.fault(Fault("latency", route="storage", seconds=0.7))
    space.forget()
    found = site.json("download", f"SHARD={mine}/16")["at_once"]
    assert space.requests().peak == 2
    # What was found is told as that of all of them.
    assert [number for number, _ in found.values()] == [32]


def test_no_more_pass_than_the_window_says_and_none_after_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieve.delivery.gate._LOOK", 0.01)
    stop = threading.Event()
    gate = Gate(Window(2, fixed=True), stop)
    with within(), gate.passed():
        for _ in range(3):  # one after the other
            with gate.passed():
                pass
        with gate.passed():
            threading.Timer(0.02, stop.set).start()
            with pytest.raises(Stopped), gate.passed():
                pass
            assert stop.is_set()
            with pytest.raises(Stopped), gate.passed():
                pass
    with pytest.raises(Stopped), gate.passed():
        pass


@pytest.mark.parametrize(("error", "number"), [(Transient("503", crowded=True), 4), (Transient("reset"), 8)])
def test_what_is_refused_is_told_and_halves_the_number_if_it_may_have_been_too_much(
    error: Transient, number: int
) -> None:
    gate = Gate(Window(8, Found(8, refused=False)), threading.Event())
    with pytest.raises(Transient) as told, within(), gate.passed():
        raise error
    assert told.value is error
    assert gate.number == number
