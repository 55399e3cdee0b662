"""Self-test: what the user's service does, as a few requests show that only read, and what the toolkit makes of it."""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from statistics import median
from typing import NamedTuple

from retrieve import VERSION
from retrieve.archives import Archive
from retrieve.campaign.checkup import Check, ask
from retrieve.campaign.hiding import hide_from
from retrieve.errors import SourceError
from retrieve.host.disk import new_md5
from retrieve.host.threads import in_threads
from retrieve.settings import Settings
from retrieve.source.container import Wanted, Way
from retrieve.source.credentials import find
from retrieve.source.nodes import name_of
from retrieve.source.pages import Page
from retrieve.source.service import parse_uri
from retrieve.source.vospace import VOSpace
from retrieve.wording import size, some

#: Nodes that are asked for in a page.
PAGE = 20
#: How often the container is asked for, how many archives by name, and how many links and files are tried.
REQUESTS, NAMES, FEW = 5, 5, 3
#: Bytes of files that are read at most without FORCE=yes, and of the piece that is asked for alone.
LEAVE, PIECE = 10_000_000, 100
#: Numbers of requests at once that are tried, in turn, until one is too many.
AT_ONCE = (2, 4, 8, 16, 32)
#: Seconds in which so many threads should have started.
_PATIENCE = 10.0
_HOW = {"certificate": "with a certificate", "token": "with a token", "basic": "with a password", "": "as nobody"}


class _Came(NamedTuple):
    """A file as it was read whole: how many bytes, their MD5, and that of the first half, to go on from."""

    bytes: int
    md5: str
    half: object


class SelfTest:
    """Asks a service what the toolkit will ask of it.

    Parameters
    ----------
    wanted
        The archives of the tile lists, and how to choose the way to ask for them.
    """

    def __init__(self, container: VOSpace, wanted: Wanted, settings: Settings) -> None:
        self._container = container
        self._wanted = wanted
        self._settings = settings
        self._paged = Way.RANGES in container.ways
        self._latency = 0.0
        self._page = Page()
        self._whole = self._listed = False
        self._links: list[Archive] = []
        self._chosen: list[Archive] = []
        self._first: _Came | None = None

    def run(self) -> Iterator[Check]:
        """Ask everything, one after the other; nothing more of a container that cannot be read."""
        well = True
        for one in ask({"service": self._service}):
            yield one
            well = one.ok is not False
        if not well:
            return
        questions = {"paging": self._paging} | ({"names": self._names} if self._paged else {})
        questions |= {"look-up": self._look_up, "links": self._follow, "way": self._way, "files": self._choose}
        if not self._settings.dryrun:
            questions |= {"MD5": self._md5, "ranges": self._ranges, "resume": self._resume, "at once": self._at_once}
        yield from ask(questions)

    def _service(self) -> Iterator[Check]:
        who = find(self._settings)
        self._container.check()  # the first request connects
        took = [self._timed(self._container.check) for _ in range(REQUESTS)]
        self._latency = median(took)
        resource, _ = parse_uri(self._container.uri)
        problem = f" ({who.problem})" if who.problem else ""
        text = f"{resource}, asked {_HOW[who.method]}{problem}: it answers in {1000 * self._latency:.0f} ms"
        yield Check("service", True, text)

    @staticmethod
    def _timed(action: Callable[[], object]) -> float:
        begin = time.monotonic()
        action()
        return time.monotonic() - begin

    def _paging(self) -> Iterator[Check]:
        """Two pages, the second of which begins with the last node of the first; or one document."""
        first = self._page = self._container.glimpse("", PAGE)
        follows = self._container.glimpse(name_of(first.last), PAGE) if self._paged and first.count else first
        self._whole = follows.count == 1 if self._paged else first.count <= PAGE
        if self._paged and first.count > PAGE:
            problem = f"{PAGE} nodes were asked for, and more came"
        elif self._paged and follows.first != first.last:
            problem = "the second page does not begin where the first one ended"
        elif self._whole and (name := self._left_out()):
            problem = f"the listing ended after {some(first.count, 'node')} without '{name}', which is there"
        else:
            problem = ""
        self._listed = not problem
        capped = f", though {PAGE} were asked for," if first.count < PAGE else ""
        if problem:
            text = f"{problem}; its listings cannot be trusted, ask the service's help desk"
        elif self._whole or not first.count:
            text = f"{some(first.count, 'node')} in all, and no more pages: it is listed whole"
        elif self._paged:
            text = f"pages of {first.count} nodes{capped} follow one another: it can be listed"
        else:
            text = "no pages, one document: it is listed whole, or archives are asked for by name"
        yield Check("paging", self._listed, text)

    def _left_out(self) -> str:
        """Name of an archive of the lists that is there, though the listing ended without it."""
        shown = {one.name for one in self._page.archives} | self._page.links.keys()
        names = [name for name in self._wanted.names if name not in shown]
        some_names = names[:: max(len(names) // NAMES, 1)][:NAMES]
        return next((name for name in some_names if self._container.look_up(name)), "")

    def _names(self) -> Iterator[Check]:
        """A page may begin at any name, also at one that is not there."""
        files = self._page.archives
        if not files:
            yield Check("names", None, "not tried: no file was seen")
            return
        name = files[len(files) // 2].name
        for begin in (name, name[:-1]):
            came = name_of(self._container.glimpse(begin, 2).first)
            if not came.startswith(begin):
                text = f"a page that was to begin at '{begin}' began at '{came}'; ranges of names cannot be listed"
                yield Check("names", False, f"{text}, ask the service's help desk")
                return
        yield Check("names", True, "a page begins at any name: ranges of names can be listed, several at once")

    def _look_up(self) -> Iterator[Check]:
        """By its name a file is what the listing says, and what is not there is told."""
        files = self._page.archives[:NAMES]
        if not files:
            yield Check("look-up", None, "not tried: no file was seen")
            return
        other = [one.name for one in files if self._container.look_up(one.name) != one]
        if other:
            text = f"'{other[0]}' is something else by its name than in the listing; try again, it may have changed"
        elif self._container.look_up(f"no-{files[0].name}"):
            text = "a name that the listing does not show is found; ask the service's help desk"
        else:
            text = f"{some(len(files), 'file')} as in the listing, and one that is not there: can be asked for by name"
            yield Check("look-up", True, text)
            return
        yield Check("look-up", False, text)

    def _follow(self) -> Iterator[Check]:
        names = list(self._page.links)[:FEW]
        if not names:
            yield Check("links", None, f"not tried: no link among the first {some(self._page.count, 'node')}")
            return
        self._links = [one for one in map(self._container.look_up, names) if one]
        leads = f"{len(self._links)} of {some(len(names), 'link')} followed to a file"
        yield Check("links", True, f"{leads}: links count as the files that they lead to")

    def _way(self) -> Iterator[Check]:
        wanted = self._wanted
        if not wanted.names:
            yield Check("way", None, "not chosen: TILES names no tiles, so the container would be listed whole")
            return
        if not self._listed:
            yield Check("way", None, "not chosen: the container cannot be listed")
            return
        # As the toolkit would, in the hope that there are no more nodes.
        is_small = wanted.trial and self._container.glimpse("", wanted.trial + 1).count <= wanted.trial
        way = Way.WHOLE if is_small else wanted.choose(self._latency, None)[0]
        how = "listed whole" if way is Way.WHOLE else f"asked for {way.value}"
        yield Check("way", True, f"the {some(len(wanted.names), 'archive')} of TILES would be {how}")

    def _choose(self) -> Iterator[Check]:
        """Take the smallest files, as far as there is leave; who sends no ranges may send the first three times."""
        files = sorted((one for one in self._page.archives + self._links[:1] if one.bytes), key=lambda one: one.bytes)
        if not files:
            yield Check("files", None, "not tried: no file with a byte in it was seen")
            return
        count = 2 * files[0].bytes
        for one in files[:FEW]:
            if self._settings.force or count + one.bytes <= LEAVE:
                self._chosen.append(one)
                count += one.bytes
        if self._chosen:
            text = f"{some(len(self._chosen), 'file')} to read, with what is read again at most {size(count)}"
            yield Check("files", True, f"{text}; without FORCE=yes no more than {size(LEAVE)}")
        else:
            text = f"not tried: even the smallest has {size(files[0].bytes)}, and is read up to three times"
            yield Check("files", None, f"{text}; FORCE=yes gives leave for more than {size(LEAVE)}")

    def _md5(self) -> Iterator[Check]:
        """The bytes that come are those that are promised."""
        if not self._chosen:
            yield Check("MD5", None, "not tried: no file is read")
            return
        for one in self._chosen:
            came, said = self._read(one)
            self._first = self._first or came
            if came.bytes != one.bytes:
                problem = f"'{one.name}' has {one.bytes} bytes by its node, and {came.bytes} came"
            elif {one.md5, said} - {None, came.md5}:
                problem = f"'{one.name}' came with another MD5 than the service says"
            else:
                continue
            text = f"{problem}; 'make download' will refuse it, or fetch it twice: ask who made it"
            yield Check("MD5", False, text)
            return
        known = sum(one.md5 is not None for one in self._chosen)
        text = f"said of {known} of {some(len(self._chosen), 'file')}"
        right = ", and right: archives are verified by it" if known else ""
        without = "" if known == len(self._chosen) else "; without it an archive is verified by its gzip stream"
        yield Check("MD5", True, text + right + without)

    def _read(self, one: Archive) -> tuple[_Came, str | None]:
        """Read a file whole, or a chunk more than it should have; give also the MD5 that its sender says."""
        digest, half, count, middle = new_md5(), None, 0, one.bytes // 2
        with self._container.read(one.name, 0, 0) as body:
            for chunk in body.chunks:
                if half is None and count + len(chunk) >= middle:
                    half = digest.copy()
                    half.update(chunk[: middle - count])
                digest.update(chunk)
                count += len(chunk)
                if count > one.bytes:
                    break
        return _Came(count, digest.hexdigest(), half), body.md5

    def _ranges(self) -> Iterator[Check]:
        """A piece is sent alone."""
        if not self._first:
            yield Check("ranges", None, "not tried: no file was read")
            return
        one = self._chosen[0]
        start = one.bytes // 2
        length = min(PIECE, one.bytes - start)
        with self._container.read(one.name, start, 0, length) as body:
            came = 0
            for chunk in body.chunks if body.start == start else ():
                came += len(chunk)
                if came > length:
                    break
        if came == length:
            yield Check("ranges", True, "a piece of a file is sent alone: HEADERS=yes reads no more than headers")
        else:
            text = f"{length} bytes of a file were asked for, and more came"
            yield Check("ranges", not self._paged, f"{text}: {self._unlike('HEADERS=yes reads whole files')}")

    def _resume(self) -> Iterator[Check]:
        """The second half fits the first one."""
        if not self._first or not self._first.half:
            yield Check("resume", None, "not tried: no file was read")
            return
        one, digest = self._chosen[0], self._first.half
        start = one.bytes // 2
        with self._container.read(one.name, start, 0) as body:
            if body.start != start:
                text = "the second half of a file was asked for, and the whole came"
                yield Check("resume", not self._paged, f"{text}: {self._unlike('what was cut begins anew')}")
                return
            count = start
            for chunk in body.chunks:
                digest.update(chunk)
                count += len(chunk)
                if count > one.bytes:
                    break
        if digest.hexdigest() == self._first.md5:
            yield Check("resume", True, "the second half of a file fits the first: what was cut goes on where it ended")
        else:
            text = f"the second half of '{one.name}' does not fit the first; what was cut would have to begin anew"
            yield Check("resume", False, f"{text}, ask the service's help desk")

    def _unlike(self, what: str) -> str:
        return f"{what}, unlike with other services of its kind; ask its help desk" if self._paged else what

    def _at_once(self) -> Iterator[Check]:
        """Ask for one node so many times at once, until some are refused."""
        if not self._page.archives:
            yield Check("at once", None, "not tried: no file was seen")
            return
        name, well = self._page.archives[-1].name, 1
        for count in AT_ONCE:
            together = threading.Barrier(count, timeout=_PATIENCE)

            def problem(_: int, together: threading.Barrier = together) -> str:
                with suppress(threading.BrokenBarrierError):  # some threads could not be started
                    together.wait()
                try:
                    return "" if self._container.look_up(name) else "it was not found"
                except SourceError as error:
                    return str(error).partition(";")[0]

            with closing(in_threads(problem, range(count), count)) as answers:
                problems = [text for _, text in answers if text]
            if problems:
                text = f"{some(well, 'request')} at once answered, and of {count} {len(problems)} not ({problems[0]})"
                # JOBS=auto, which is 0, keeps to what is answered.
                advice = "" if well >= self._settings.jobs else f"; give JOBS={well}"
                yield Check("at once", not advice, text + advice)
                return
            well = count
        yield Check("at once", True, f"{well} requests at once answered, more were not tried: JOBS may be up to {well}")


def examine_services(tests: list[tuple[VOSpace, Wanted]], settings: Settings) -> Iterator[Check]:
    """Test each container; the answers hold nothing by which a person or a secret could be known.

    One attempt for each request: what a service does at once is to be seen.
    """
    where = f"Python {platform.python_version()} on {platform.system()}"
    yield Check("toolkit", True, f"retrieve {VERSION}, {where}")
    hide = hide_from(settings)
    for container, wanted in tests:
        for one in SelfTest(container, wanted, settings).run():
            yield one._replace(text=hide(one.text))


def hasty(settings: Settings) -> Settings:
    """Settings with which containers are to be opened for the test."""
    return replace(settings, retries=0, jobs=max(AT_ONCE), v=None)
