"""Verbs that are killed, or lose their power: where each begins, what it is given, and what it has to lead to."""

from __future__ import annotations

import io
import os
import re
import shutil
import ssl
import tarfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from support.making import make_newer
from support.promises import Files, Known, broken, files_of, md5
from support.site import PROGRESS, TILES, Site, names
from vospace_demo.server import VOSpace

#: Seconds after which a test gives up waiting for what a process should have done by then.
DEADLINE = 300.0
#: Other victims, other moments: given in the environment.
SEED = int(os.environ.get("SEED", "1"))
#: What may differ between two runs, each by when it was: of these, only that they are here.
OF_THEIR_TIME = ("runs", "listing", "stale-", "report.html", "manifest.ecsv", "map.", "placed")
#: Begins names of what is not finished, which nobody reads: a list of a Make that was killed, a stamp without its name.
LEFT = "."


def newer_at_the_source(site: Site, container: Path) -> None:
    """An archive is newer at the source, and another one gone."""
    make_newer(container, TILES[1])
    (container / names(TILES[2])[3]).unlink()


def newer_here(site: Site, container: Path) -> None:
    """An archive is newer than what was unpacked."""
    make_newer(container, TILES[1])
    site.done("avail")
    site.done("download")


def to_mend(site: Site, container: Path) -> None:
    """One archive is newer at the source, one damaged here, one not here, and one has lost its stamp."""
    make_newer(container, TILES[1])
    site.done("avail")
    archives = site.directory / "archives"
    os.truncate(archives / names(TILES[3])[0], 100)
    (archives / names(TILES[4])[1]).unlink()
    (site.directory / "stamps/mccd/downloaded" / TILES[5]).unlink()


def packed(archive: Path, change: Callable[[dict[str, bytes]], None], newer: int) -> None:
    """Have an archive hold other files, and be some hours newer."""
    mtime_ns = archive.stat().st_mtime_ns + newer * 3_600_000_000_000
    with tarfile.open(archive) as tar:
        files = {one.name: tar.extractfile(one).read() for one in tar if one.isfile()}
    change(files)
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), mtime_ns // 10**9
            tar.addfile(member, io.BytesIO(content))
    os.utime(archive, ns=(mtime_ns, mtime_ns))


def shared(site: Site, container: Path) -> list[Path]:
    """Three archives, of three tiles, brought a file of the same path; that of the last is there."""
    archives = [container / names(tile)[4] for tile in TILES[1:4]]
    for newer, path in enumerate(archives, 1):
        packed(path, lambda files, newer=newer: files.update({"output/all/shared.txt": bytes(newer)}), newer)
    for step in ("avail", "download", "untar"):
        site.done(step)
    return archives


def taken(site: Site, container: Path) -> None:
    """A newer archive brings a file whose path is taken."""
    packed(shared(site, container)[0], lambda files: files.update({"output/all/shared.txt": b"newest"}), 9)
    site.done("avail")
    site.done("download")


def given_back(site: Site, container: Path) -> None:
    """A newer archive comes without the file, and without another one."""
    packed(shared(site, container)[2], lambda files: [files.pop("output/all/shared.txt"), files.popitem()], 1)
    site.done("avail")
    site.done("download")


def damaged(site: Site, container: Path) -> None:
    """An archive and an unpacked file are damaged."""
    with (site.directory / "archives" / names(TILES[3])[0]).open("r+b") as file:
        file.write(b"?")
    next((site.directory / "output").rglob("*.fits")).write_bytes(b"?")


def as_it_was(site: Site, container: Path) -> None:
    """Nothing happened since."""


class Case(NamedTuple):
    """A verb that does not come to its end, again and again from the same state.

    Attributes
    ----------
    state
        Where it begins; see `Site.begin`.
    words
        What make is given; of each shard, if there are several.
    kills
        How many in the soak test, of each service.
    before
        What happens to the source, or here, between the two.
    status
        What make ends with when nobody kills it.
    after
        What make is given afterwards, so that all is well.
    """

    state: str
    words: tuple[str, ...]
    kills: int
    before: Callable[[Site, Path], None] = as_it_was
    shards: int = 0
    status: int = 0
    after: tuple[str, ...] = ()


CASES = {
    "avail": Case("listed", ("avail",), 50, newer_at_the_source),
    "download": Case("listed", ("download", "JOBS=4"), 70),
    "shards-download": Case("listed", ("download",), 30, shards=2),
    "mend": Case("downloaded", ("download",), 50, to_mend),
    "untar": Case("downloaded", ("untar",), 60),
    "shards-untar": Case("downloaded", ("untar",), 30, shards=2),
    "free": Case("downloaded", ("untar", "KEEP=no"), 50),
    "free-later": Case("unpacked", ("untar", "KEEP=no"), 10),
    "replace": Case("unpacked", ("untar",), 40, newer_here),
    "taken": Case("downloaded", ("untar",), 20, taken),
    "given-back": Case("downloaded", ("untar",), 20, given_back, status=2, after=("untar",)),
    "verify": Case("unpacked", ("verify",), 30, damaged, status=2, after=("download", "untar")),
    "missing": Case("listed", ("missing",), 15),
    "sync": Case("", ("sync",), 30),
    "watch": Case("", ("watch", "EVERY=1s"), 15),
    "link": Case("unpacked", ("link",), 10),
    "status": Case("unpacked", ("status",), 5),
    "report": Case("unpacked", ("report",), 5),
    "map": Case("unpacked", ("map",), 5),
    "manifest": Case("unpacked", ("manifest",), 5),
    "doctor": Case("unpacked", ("doctor",), 5),
}


def settled(space: VOSpace) -> None:
    """Wait until the server noticed that nobody listens any more: until then it counts what it was asked for."""
    ssl.get_server_certificate(("localhost", space.port))  # whoever connected before us has been heard
    end = time.monotonic() + DEADLINE
    while any("process_request" in thread.name for thread in threading.enumerate()):
        assert time.monotonic() < end, "the server did not notice"
        time.sleep(0.001)
    space.forget()


def outcome(site: Site) -> dict[str, object]:
    """All that a run leaves behind, so that two of them can be compared."""
    found: dict[str, object] = {}
    for path, (content, mtime_ns) in files_of(site.directory).items():
        name = path.rpartition("/")[2]
        dated = re.match(r"archives/|output/run|stamps/mccd/(?!members/)", path)
        if not name.startswith(LEFT):
            found[path] = None if name.startswith(OF_THEIR_TIME) else (md5(content), mtime_ns if dated else 0)
    links = (path for path in site.directory.rglob("*") if path.is_symlink())
    return found | {str(path.relative_to(site.directory)): path.readlink() for path in links}


def listed(files: Files) -> set[str]:
    """Tiles of which it is known what is at the source."""
    return {path.rpartition("/")[2] for path in files if re.match(r"stamps/mccd/(available|incomplete)/2", path)}


class Trial:
    """A case on its way: the run directory in which it begins.

    Attributes
    ----------
    source
        Contents of the archives at the source, by name.
    """

    def __init__(self, name: str, site: Site, uri: str, space: VOSpace, container: Path) -> None:
        self.name, self.case = name, CASES[name]
        self._site, self._space, self._known = site, space, Known()
        site.list_tiles(*TILES)
        site.environment |= {"INPUT_PATH": uri}
        self._known.learn(container)
        if self.case.state:
            site.begin(self.case.state, uri)
        self.case.before(site, container)
        self._known.learn(container)
        self.source = {path.name: path.read_bytes() for path in container.glob("*.tgz")}
        files = files_of(site.directory)
        self._wrong, self._listed = set(broken(files, self._known)), listed(files)

    @cached_property
    def undisturbed(self) -> tuple[float, dict[str, object]]:
        """Seconds that the verb takes, and what it leaves behind, if nothing happens to it."""
        site, begin = self.fresh(called="undisturbed"), time.monotonic()
        self._run(site, "undisturbed")
        return time.monotonic() - begin, outcome(site)

    def fresh(self, files: Files | None = None, called: str = "again") -> Site:
        """Make a copy of the run directory, or one with some files."""
        directory = self._site.directory.with_name(called)
        shutil.rmtree(directory, ignore_errors=True)
        if files is None:
            shutil.copytree(self._site.directory, directory, symlinks=True)
        for name, (content, mtime_ns) in (files or {}).items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            if mtime_ns:
                os.utime(path, ns=(mtime_ns, mtime_ns))
        return replace(self._site, directory=directory)

    def broken(self, files: Files) -> set[str]:
        """Promises that are broken, and were not before; a tile that was listed is one that stays so."""
        lost = {f"nothing is known of '{tile}'" for tile in self._listed - listed(files)}
        return (set(broken(files, self._known)) | lost) - self._wrong

    def complete(self, again: Site, about: str) -> None:
        """Run the verb once more: it comes to the same end as if nothing had happened, and fetches nothing twice."""
        files = files_of(again.directory)
        whole = {name for name, content in self.source.items() if files.get(f"archives/{name}", ("",))[0] == content}
        settled(self._space)
        self._run(again, about)
        assert not self._space.requests().bytes.keys() & whole, about
        assert not set(broken(files_of(again.directory), self._known)), about
        differ = {path for path, _ in outcome(again).items() ^ self.undisturbed[1].items()}
        assert not differ, f"{about}: {sorted(differ)} are not as without it"

    def _run(self, again: Site, about: str) -> None:
        shards = [[f"SHARD={number}/{self.case.shards}"] for number in range(1, self.case.shards + 1)] or [[]]
        for shard in shards:
            end = again.make(*self.case.words, *shard)
            # Whoever held a lock is dead, which is known at once: nothing is said of it.
            said = [line for line in end.stderr.splitlines() if not (PROGRESS.match(line) or line.startswith("make"))]
            assert self.case.status or (end.returncode, said) == (0, []), f"{about}: {end.stderr}"
        if self.case.after:
            again.done(*self.case.after)
