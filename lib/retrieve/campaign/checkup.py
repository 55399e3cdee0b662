"""Checkup: is everything there that a run needs? Each question stands alone, and changes nothing."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from platform import python_version
from typing import NamedTuple

from retrieve.campaign.make import LOCK, PACKAGE, make_command
from retrieve.errors import RetrieveError, SourceError, Transient, remedy
from retrieve.host.messages import complain, show
from retrieve.host.room import existing, rooms
from retrieve.settings import Settings
from retrieve.source.credentials import find, require_given
from retrieve.source.opening import open_containers
from retrieve.wording import lifetime, some, span

#: The oldest version of GNU Make with which the Makefile works.
_MAKE = (4, 2)
#: If two clocks differ by so many seconds, certificates may be judged wrongly.
_APART = 60.0
#: A service that needs more seconds than this to answer has a problem.
_PATIENCE = 10.0
#: A date that no new file has.
_DATE_NS = 1_600_000_000_123_456_789


#: Of the longest name of a check, in characters.
_WIDTH = len("certificate")
_MARKS = {True: "ok", False: "!!", None: "--"}


class Check(NamedTuple):
    """An answer: the subject, whether it is well, and a line with the finding and, if it is not well, the remedy.

    None stands for what was not tried, which the line gives the reason of.
    """

    name: str
    ok: bool | None
    text: str


def examine(settings: Settings) -> Iterator[Check]:
    """Ask all questions in turn; without a network those that need one fail, and the rest is still asked."""
    hasty = replace(settings, retries=0, timeout=min(settings.timeout, _PATIENCE))
    questions: dict[str, Callable[[], Iterator[Check]]] = {
        "make": _make,
        "python": _python,
        "packages": _packages,
        "tiles": partial(_tiles, settings),
        "certificate": partial(_certificate, settings),
        "container": partial(_containers, hasty),
        **{name: partial(_room, name, getattr(settings, name.lower())) for name in ("STAMPS", "ARCHIVES", "DEST")},
    }
    return ask(questions)


def ask(questions: Mapping[str, Callable[[], Iterator[Check]]]) -> Iterator[Check]:
    """Ask questions in turn; what goes wrong with one is its answer."""
    for name, question in questions.items():
        try:
            yield from question()
        except RetrieveError as error:
            yield Check(name, False, str(error))
        except ModuleNotFoundError as error:
            yield Check(name, False, f"the package '{error.name}' is missing; install what '{LOCK}' lists")
        except OSError as error:
            yield Check(name, False, f"cannot use '{error.filename or name}': {remedy(error)}")


def tell(checks: Iterator[Check], settings: Settings) -> int:
    """Print a line per answer; exit status 1 if something is not well."""
    told = []
    for one in checks:
        told.append(one)
        if settings.format == "text":
            # At once: a question to a network that is silent takes its time.
            print(f"{_MARKS[one.ok]}  {one.name:<{_WIDTH}}  {one.text}", flush=True)
    ill = sum(one.ok is False for one in told)
    show(settings, text=[], data={"well": not ill, "checks": [one._asdict() for one in told]})
    if ill:
        complain(f"{ill} of {some(len(told), 'check')} not well; the lines with !! say what to do")
    return 1 if ill else 0


def obstacle(directory: Path) -> str:
    """Why nothing can be written in a directory, or made in its place; empty if all is well."""
    try:
        place = existing(directory)
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"\0")
            file.flush()
            os.utime(file.fileno(), ns=(_DATE_NS, _DATE_NS))
            kept = os.fstat(file.fileno()).st_mtime_ns
    except OSError as error:
        return f"cannot write in '{directory}': {remedy(error)}"
    if abs(kept - _DATE_NS) > 2e9:
        return f"the file system of '{place}' keeps no modification times; name a directory on another disk"
    return ""


def _make() -> Iterator[Check]:
    text = subprocess.run([make_command()[0], "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"GNU Make (\d+)\.(\d+)\S*", text)
    if found and (int(found[1]), int(found[2])) >= _MAKE:
        yield Check("make", True, found[0])
    else:
        what = found[0] if found else "this Make"
        yield Check(
            "make", False, f"{what} is too old, 4.2 is needed; on macOS: 'brew install make', then type 'gmake'"
        )


def _python() -> Iterator[Check]:
    # A Make that is too old does not get this far.
    yield Check("python", True, f"Python {python_version()}, '{sys.executable}'")


def _packages() -> Iterator[Check]:
    from packaging.requirements import Requirement

    if LOCK.exists():
        lines, source = re.findall(r"^(\w[^\\\n]*)", LOCK.read_text(encoding="utf-8"), re.MULTILINE), LOCK.name
        cure = f"run '{sys.executable} -m pip install -r {LOCK}'"
    else:
        lines, source = metadata.requires(PACKAGE), PACKAGE
        cure = f"install '{PACKAGE}' again"
    wanted = [one for one in map(Requirement, lines) if one.marker is None or one.marker.evaluate()]
    found = {one.name: _version(one.name) for one in wanted}
    wrong = [one for one in wanted if not one.specifier.contains(found[one.name])]
    if wrong:
        named = ", ".join(f"{one.name} {found[one.name] or 'missing'}" for one in wrong[:3])
        text = f"{some(len(wrong), 'package')} of {len(wanted)} not as in '{source}': {named}"
        yield Check("packages", False, f"{text}; {cure}")
    else:
        yield Check("packages", True, f"the {len(wanted)} packages of '{source}' in their versions")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _tiles(settings: Settings) -> Iterator[Check]:
    for one in settings.lists() or ():
        text = f"'{one.name}': {settings.counted(len(one.tiles))}" + ("" if one.tiles else "; write some into it")
        yield Check("tiles", bool(one.tiles), text)


def _certificate(settings: Settings) -> Iterator[Check]:
    require_given(settings)
    who = find(settings)
    if who.problem:
        yield Check("certificate", False, who.problem)
        return
    path = who.certificate or settings.token
    if path and stat.S_IMODE(Path(path).stat().st_mode) & 0o077:
        yield Check("certificate", False, f"others may use '{path}', which holds your key; run 'chmod 600 {path}'")
    elif ends := who.ends():
        yield Check("certificate", True, f"'{path}' is good for {lifetime(ends)}, until {ends:%F %R} UTC")
    elif who.method:
        yield Check("certificate", True, f"none, but {who.name}")
    else:
        text = "none, so only what everyone may read is there; make one with 'cadc-get-cert -u USER'"
        yield Check("certificate", True, text)


def _containers(settings: Settings) -> Iterator[Check]:
    for container in open_containers(settings):
        try:
            container.check()
            # Again, now that the service is known and connected to.
            begin = time.monotonic()
            container.check()
            took = 1000 * (time.monotonic() - begin)
            over = f", over the proxy '{proxy}'" if (proxy := container.proxy()) else ""
            yield Check("container", True, f"'{container.uri}' can be read; it answers in {took:.0f} ms{over}")
        except Transient as error:
            # It would not tell the time either, and might take long to fail.
            yield Check("container", False, str(error))
            continue
        except RetrieveError as error:
            yield Check("container", False, str(error))
        # The reason was given above.
        with suppress(SourceError):
            there = container.clock()
            if there is not None:
                yield _clock(there, container.uri)


def _clock(there: datetime, uri: str) -> Check:
    # A date in a header is cut to whole seconds.
    ahead = (datetime.now(UTC) - there).total_seconds() - 0.5
    text = f"{span(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} that of '{uri}'"
    if abs(ahead) <= _APART:
        return Check("clock", True, text)
    return Check("clock", False, f"{text}; set it: certificates are judged by it")


def _room(name: str, directory: Path) -> Iterator[Check]:
    problem = obstacle(directory)
    if problem:
        yield Check(name, False, problem)
        return
    found = list(rooms(existing(directory)))
    text = f"'{directory}': {', '.join(map(str, found))}"
    if any(one.scarce for one in found):
        yield Check(name, False, f"{text}; make room, or give {name} another directory")
    else:
        yield Check(name, True, text)
