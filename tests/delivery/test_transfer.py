"""Transfers of one archive: what is made of whatever a source may send."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from retrieve.archives import Archive, Verified
from retrieve.delivery.gate import Gate
from retrieve.delivery.part import PART, part_path
from retrieve.delivery.pool import Stopped
from retrieve.delivery.transfer import Fetcher
from retrieve.delivery.window import Window
from retrieve.errors import AccessError, Gone, SourceError, Transient
from retrieve.source.container import Body
from retrieve.source.patience import RateLimit

CONTENT = gzip.compress(b"an archive", mtime=0)
OTHER = gzip.compress(b"an Archive", mtime=0)
UNSOUND = bytes(len(CONTENT))
MD5 = hashlib.md5(CONTENT).hexdigest()
ARCHIVE = Archive("logs_240.290.tgz", len(CONTENT), MD5, "2021-08-05T11:25:32.123")
WITHOUT_MD5 = ARCHIVE._replace(md5=None)
NEWER = Archive(ARCHIVE.name, len(OTHER), hashlib.md5(OTHER).hexdigest(), "2021-08-06T11:25:32.123")
SECONDS = ARCHIVE.date_ns // 10**9
#: What a source says of the archive, and what of the rest of it.
WHOLE = Body(0, len(CONTENT), MD5, SECONDS, CONTENT)
REST = replace(WHOLE, start=5, chunks=CONTENT[5:])
CUT = replace(WHOLE, chunks=CONTENT[:5])
SILENT = Body(0, None, None, None, CONTENT)


@dataclass
class Script:
    """A source that answers each `read` with the next of some bodies or errors, each `look_up` with the next node."""

    sends: list[Body | Exception]
    nodes: list[Archive | Exception | None] = field(default_factory=list)
    uri: str = "vos:x"
    asked: list[int] = field(default_factory=list)

    @contextmanager
    def read(self, name: str, start: int, attempt: int) -> Iterator[Body]:
        """Send what is next, in pieces."""
        self.asked.append(start)
        body = self.sends.pop(0)
        if isinstance(body, Exception):
            raise body
        yield replace(body, chunks=(body.chunks[at : at + 7] for at in range(0, len(body.chunks), 7)))

    def look_up(self, name: str) -> Archive | None:
        """Give the node that is next."""
        node = self.nodes.pop(0)
        if isinstance(node, Exception):
            raise node
        return node


class Unhurried(threading.Event):
    """Is not set, and nobody waits for it; `waits` are the seconds for which one would have."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        """Tell at once that nothing happened."""
        self.waits.append(timeout)
        return False


@dataclass
class Run:
    """One fetch by a script, and what was seen of it."""

    directory: Path
    script: Script
    moved: list[int] = field(default_factory=list)
    pauses: list[tuple[float, str]] = field(default_factory=list)
    stop: Unhurried = field(default_factory=Unhurried)

    def fetch(self, archive: Archive = ARCHIVE) -> Verified:
        """Fetch an archive with two tries more."""
        fetcher = Fetcher(
            self.script, gate(self.stop), self.directory, 2, self.moved.append, self.pause, self.stop, RateLimit(0)
        )
        return fetcher.fetch(archive)

    def pause(self, seconds: float, reason: str) -> None:
        """Note a pause."""
        self.pauses.append((seconds, reason))

    def files(self) -> dict[str, bytes]:
        """All files that there are now, by name."""
        return {path.name: path.read_bytes() for path in self.directory.iterdir()}


def gate(stop: threading.Event) -> Gate:
    """A gate that keeps nobody waiting."""
    return Gate(Window(1, fixed=True), stop)


def test_what_is_whole_gets_no_name_after_a_stop_and_one_without_being_fetched_again_later(tmp_path: Path) -> None:
    """The record of what was verified is written then: what would get its name later would miss it."""
    part = part_path(tmp_path, ARCHIVE)
    part.write_bytes(CONTENT)
    stop = threading.Event()
    # Without a container: nothing is to be asked for.
    fetcher = Fetcher(None, gate(stop), tmp_path, 0, lambda _: None, lambda *_: None, stop, RateLimit(0))
    stop.set()
    with pytest.raises(Stopped):
        fetcher.fetch(ARCHIVE)
    assert [path.suffix for path in tmp_path.iterdir()] == [PART]
    stop.clear()
    assert fetcher.fetch(ARCHIVE).archive == ARCHIVE
    assert [path.name for path in tmp_path.iterdir()] == [ARCHIVE.name]


NOT_FOUND = Gone("it is not found")
DATED_LATER = WITHOUT_MD5._replace(date=NEWER.date)


@pytest.mark.parametrize(
    ("archive", "sends", "nodes", "asked"),
    [
        pytest.param(ARCHIVE, [WHOLE], [], [0], id="as listed"),
        pytest.param(ARCHIVE, [SILENT], [], [0], id="nothing is said of it"),
        pytest.param(ARCHIVE, [replace(WHOLE, modified=7)], [], [0], id="another date, and the right MD5"),
        pytest.param(WITHOUT_MD5, [replace(WHOLE, md5=None)], [], [0], id="the date as listed"),
        pytest.param(WITHOUT_MD5, [WHOLE], [], [0], id="an MD5 that was not listed"),
        pytest.param(WITHOUT_MD5, [SILENT], [], [0], id="nothing is said or known"),
        # What came is gone on with, if the rest is of the same content for certain.
        pytest.param(ARCHIVE, [CUT, REST], [], [0, 5], id="cut, and the rest"),
        pytest.param(ARCHIVE, [CUT, WHOLE], [], [0, 5], id="cut, and all of it again"),
        pytest.param(ARCHIVE, [CUT, SILENT], [], [0, 5], id="cut, and all of it again, without an MD5"),
        pytest.param(ARCHIVE, [CUT, replace(REST, md5=None), WHOLE], [], [0, 5, 0], id="a rest without an MD5"),
        pytest.param(ARCHIVE, [CUT, replace(REST, length=None), WHOLE], [], [0, 5, 0], id="a rest of no length"),
        pytest.param(WITHOUT_MD5, [replace(CUT, md5=None), WHOLE], [], [0, 0], id="cut, of no MD5"),
        pytest.param(ARCHIVE, [Transient("busy"), CUT, REST], [], [0, 0, 5], id="busy, then cut"),
        pytest.param(ARCHIVE, [replace(WHOLE, chunks=OTHER), WHOLE], [], [0, 0], id="damaged on its way"),
        pytest.param(WITHOUT_MD5, [replace(SILENT, chunks=UNSOUND), SILENT], [], [0, 0], id="damaged, of no MD5"),
        pytest.param(ARCHIVE, [replace(WHOLE, chunks=CONTENT + b"x"), WHOLE], [], [0, 0], id="too long"),
        # What is said is not what was listed, but the node is as it was: what is said does not count any more.
        pytest.param(ARCHIVE, [replace(WHOLE, length=7), replace(WHOLE, length=7)], [ARCHIVE], [0, 0], id="length"),
        pytest.param(ARCHIVE, [replace(WHOLE, md5="x"), replace(WHOLE, md5="x")], [ARCHIVE], [0, 0], id="MD5"),
        pytest.param(
            WITHOUT_MD5, [replace(SILENT, modified=7)] * 2, [WITHOUT_MD5, WITHOUT_MD5], [0, 0], id="date"
        ),
        pytest.param(ARCHIVE, [NOT_FOUND, WHOLE], [ARCHIVE], [0, 0], id="not found, but listed"),
        pytest.param(ARCHIVE, [NOT_FOUND, NOT_FOUND, WHOLE], [ARCHIVE], [0, 0, 0], id="not found twice, but listed"),
        pytest.param(ARCHIVE, [CUT, NOT_FOUND, REST], [ARCHIVE], [0, 5, 5], id="cut, then not found, but listed"),
    ],
)  # fmt: skip
def test_what_is_right_in_the_end_is_kept(
    archive: Archive, sends: list[Body | Exception], nodes: list[Archive], asked: list[int], tmp_path: Path
) -> None:
    run = Run(tmp_path, Script(list(sends), list(nodes)))
    assert run.fetch(archive) == Verified(archive, MD5, archive.date_ns)
    assert run.files() == {archive.name: CONTENT}
    assert (tmp_path / archive.name).stat().st_mtime_ns == archive.date_ns
    assert (run.script.asked, run.script.sends, run.script.nodes) == (asked, [], [])
    assert sum(run.moved) == len(CONTENT)


@pytest.mark.parametrize("first", [NOT_FOUND, replace(WHOLE, md5="x"), replace(WHOLE, chunks=OTHER)])
def test_what_was_replaced_at_the_source_comes_as_it_is_now(first: Body | Exception, tmp_path: Path) -> None:
    later = Body(0, len(OTHER), NEWER.md5, None, OTHER)
    run = Run(tmp_path, Script([CUT, first, *[first] * (first.__class__ is Body and first.md5 == MD5), later], [NEWER]))
    assert run.fetch() == Verified(NEWER, NEWER.md5, NEWER.date_ns)
    assert run.files() == {ARCHIVE.name: OTHER}
    assert sum(run.moved) == len(OTHER)


DAMAGED = replace(WHOLE, chunks=OTHER)
UNLIKE = [replace(WHOLE, chunks=bytes([number]) * len(CONTENT)) for number in range(3)]


@pytest.mark.parametrize(
    ("archive", "sends", "nodes", "error", "text"),
    [
        pytest.param(ARCHIVE, [NOT_FOUND], [None], Gone, "it is gone since it was listed; run 'make avail'", id="gone"),
        pytest.param(
            ARCHIVE, [NOT_FOUND], [ARCHIVE._replace(bytes=0)], SourceError,
            "it is empty at the source, as a failed upload leaves it; ask who made it", id="emptied",
        ),
        pytest.param(
            ARCHIVE, [NOT_FOUND] * 4, [ARCHIVE], Transient, "it is listed, and yet it is not found, 3 times",
            id="listed, and not found",
        ),
        # What is said of the node when it is read again tells more only if there is an answer.
        pytest.param(ARCHIVE, [NOT_FOUND], [Transient("busy")], Gone, "it is not found", id="gone, then busy"),
        pytest.param(ARCHIVE, [NOT_FOUND], [AccessError("closed")], AccessError, "closed", id="gone, then closed"),
        pytest.param(ARCHIVE, [Transient("busy; wait")] * 3, [], Transient, "busy, 3 times; wait", id="busy"),
        pytest.param(ARCHIVE, [AccessError("closed")], [], AccessError, "closed", id="closed"),
        pytest.param(
            ARCHIVE, [DAMAGED] * 2, [ARCHIVE], SourceError,
            "it is damaged at the source (its MD5 is not the source's); ask who made it", id="damaged there",
        ),
        pytest.param(
            WITHOUT_MD5, [replace(SILENT, chunks=UNSOUND)] * 2, [WITHOUT_MD5], SourceError,
            "it is damaged at the source (no whole gzip stream: it is no gzip file); ask who made it",
            id="unsound there",
        ),
        pytest.param(
            ARCHIVE, UNLIKE, [], Transient, "it came damaged (its MD5 is not the source's), 3 times",
            id="damaged in another way each time",
        ),
        pytest.param(
            ARCHIVE, [replace(WHOLE, chunks=b"")] * 3, [], Transient,
            f"it ended after 0 of {len(CONTENT)} bytes, 3 times", id="nothing comes",
        ),
        pytest.param(
            WITHOUT_MD5, [replace(SILENT, chunks=CONTENT + b"x")] * 3, [], Transient,
            f"more than its {len(CONTENT)} bytes came, 3 times", id="too long",
        ),
        # Without an MD5 only the node tells of what the bytes are.
        *(
            pytest.param(
                WITHOUT_MD5, [replace(SILENT, modified=7)] * 2, [WITHOUT_MD5, now], SourceError,
                "it changes at the source while it is fetched; run 'make avail' later", id=f"then {now}",
            )
            for now in (None, DATED_LATER)
        ),
    ],
)  # fmt: skip
def test_what_is_not_right_gets_no_name_and_it_is_said_why(
    archive: Archive, sends: list[Body | Exception], nodes: list[Archive | None], error: type, text: str, tmp_path: Path
) -> None:
    run = Run(tmp_path, Script(list(sends), list(nodes)))
    with pytest.raises(error) as caught:
        run.fetch(archive)
    assert str(caught.value).startswith(text)
    assert (run.script.sends, run.script.nodes) == ([], [])
    assert archive.name not in run.files()
    if "damaged" in text:
        assert run.files() == {}, "what is damaged is of no use"
        assert sum(run.moved) == 0


@pytest.mark.parametrize(
    ("uri", "content", "text"),
    [
        ("arc:x", OTHER, ""),
        ("arc:x", UNSOUND, "it is damaged at the source (no whole gzip stream: it is no gzip file); ask who made it"),
        ("vos:x", OTHER, "it is damaged at the source (its MD5 is not the source's); ask who made it"),
    ],
)
def test_two_fetches_of_the_same_sound_bytes_outweigh_an_md5_that_may_be_old(
    uri: str, content: bytes, text: str, tmp_path: Path
) -> None:
    run = Run(tmp_path, Script([replace(WHOLE, chunks=content)] * 2, [ARCHIVE], uri))
    if text:
        with pytest.raises(SourceError) as caught:
            run.fetch()
        assert str(caught.value) == text
        assert run.files() == {}
    else:
        assert run.fetch() == Verified(ARCHIVE, hashlib.md5(content).hexdigest(), ARCHIVE.date_ns)
        assert run.files() == {ARCHIVE.name: content}
    ((seconds, reason),) = run.pauses
    assert reason == "it came damaged (its MD5 is not the source's)"
    assert run.stop.waits == [seconds], "as long as it was said"


@pytest.mark.parametrize(("part", "asked"), [(CONTENT, []), (OTHER, [0]), (CONTENT + b"x", [0]), (CONTENT[:5], [5])])
def test_a_part_that_is_whole_gets_its_name_if_it_is_right(part: bytes, asked: list[int], tmp_path: Path) -> None:
    part_path(tmp_path, ARCHIVE).write_bytes(part)
    run = Run(tmp_path, Script([WHOLE]))
    assert run.fetch() == Verified(ARCHIVE, MD5, ARCHIVE.date_ns)
    assert run.script.asked == asked
    assert run.files() == {ARCHIVE.name: CONTENT}


def test_a_part_that_is_whole_and_of_no_md5_comes_again(tmp_path: Path) -> None:
    """Not all of its bytes may have been on disk when the power went."""
    part_path(tmp_path, WITHOUT_MD5).write_bytes(CONTENT)
    run = Run(tmp_path, Script([SILENT]))
    assert run.fetch(WITHOUT_MD5) == Verified(WITHOUT_MD5, MD5, ARCHIVE.date_ns)
    assert run.script.asked == [0]
    assert run.files() == {ARCHIVE.name: CONTENT}


def test_a_fetch_ends_before_it_asks_and_while_it_waits_once_it_is_told_to_stop(tmp_path: Path) -> None:
    script, stop = Script([Transient("busy", 60.0), WHOLE]), threading.Event()
    fetcher = Fetcher(script, gate(stop), tmp_path, 2, lambda _: None, lambda *_: stop.set(), stop, RateLimit(0))
    for asked in [0], [0]:
        with pytest.raises(Stopped):
            fetcher.fetch(ARCHIVE)
        assert script.asked == asked
    assert list(tmp_path.iterdir()) == []
