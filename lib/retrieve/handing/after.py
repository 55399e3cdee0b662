"""After: each unpacked tile is handed on to the user's command, and then removed from the output tree.

What the command did and what we write down about it cannot be one step. The order is: the intent, `handing/TILE`, is on
disk; the command runs; the intent becomes the record, `done/TILE`, and that is on disk; the files are removed. A run
that is killed leaves the intent, and the next one calls the command again and says so (``REPEATED=yes``).
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path

from retrieve.errors import remedy
from retrieve.host.disk import make_directory, sync_directory, sync_file_system
from retrieve.host.events import await_end, nameless
from retrieve.host.lock import turn
from retrieve.host.program import users_environment
from retrieve.output.claims import Claims
from retrieve.output.placing import Notices, freed
from retrieve.output.tree import Tree
from retrieve.settings import Settings
from retrieve.stamps.members import OBSOLETE, members_path, paths_of, read_members
from retrieve.stamps.stamps import DONE, DOWNLOADED, EXTRACTED, HANDING, Stamps
from retrieve.wording import span

#: Seconds that the command may take for a tile.
LIMIT = 3600.0
#: Seconds that it is given to end when the run is stopped.
_GRACE = 5.0
#: Tiles that the command failed for, one after the other, after which it is called for no more.
_ENOUGH = 3


class Handing:
    """Hands tiles on, one by one."""

    def __init__(self, settings: Settings, stamps: Stamps) -> None:
        self._settings = settings
        self._stamps = stamps

    def renew(self, stale: Collection[str]) -> set[str]:
        """Date those of some tiles anew that were handed on just as they are at the source now; return the others."""
        return {tile for tile in stale if not (self._stamps.handed_on(tile) and self._is_the_same(tile))}

    def _is_the_same(self, tile: str) -> bool:
        found, before = self._stamps.downloaded_with_mtime(tile), self._stamps.extracted(tile).verified
        if found is None or {one.md5 for one in found[0].verified.values()} - {one.md5 for one in before.values()}:
            return False
        text = freed(found[0]).text()
        for state in DONE, EXTRACTED:
            self._stamps.write(state, tile, text, found[1], sync=True)
        return True

    def clear(self) -> None:
        """Remove what a killed run left of tiles that it had handed on."""
        for tile in self._stamps.tiles(DONE):
            if members_path(self._stamps, tile).exists() and self._stamps.handed_on(tile):
                self._remove(tile)

    def waiting(self, tiles: Collection[str]) -> list[str]:
        """Tiles that are unpacked as they were fetched last, and not handed on yet."""
        downloaded, extracted, done = map(self._stamps.tiles, (DOWNLOADED, EXTRACTED, DONE))
        return sorted(
            tile
            for tile in extracted.keys() & tiles
            if extracted[tile] >= downloaded.get(tile, 0) and done.get(tile, -1) < extracted[tile]
        )

    def run(self, tiles: Collection[str]) -> Iterator[tuple[str, str]]:
        """Hand tiles on; yield each that was tried, with its problem if it was not taken."""
        failures = 0
        for tile in tiles:
            problem = self._hand_on(tile)
            if not problem:
                self._remove(tile)
            yield tile, problem and f"tile '{tile}' was not taken by AFTER: {problem}"
            failures = failures + 1 if problem else 0
            if failures == _ENOUGH:
                return

    def _hand_on(self, tile: str) -> str:
        """Call the command for a tile, and record that it took it; return the problem if it did not."""
        stamps, intent = self._stamps, self._stamps.path(HANDING, tile)
        mtime_ns = stamps.mtime_ns(EXTRACTED, tile) or 0
        repeated = stamps.mtime_ns(HANDING, tile) == mtime_ns
        try:
            if not repeated:
                stamps.write(HANDING, tile, stamps.extracted(tile).text(), mtime_ns, sync=True)
            if problem := self._call(tile, intent, repeated=repeated):
                return problem
            done = stamps.path(DONE, tile)
            make_directory(done.parent)
            intent.rename(done)
            sync_directory(done.parent)
        except OSError as error:
            return remedy(error)
        return ""

    def _call(self, tile: str, intent: Path, *, repeated: bool) -> str:
        files = (one.files for name, one in read_members(self._stamps, tile).items() if name != OBSOLETE)
        paths = "".join(sorted(f"{path}\n" for several in files for path, size in several.items() if size is not None))
        told = {"TILE": tile, "DEST": str(self._settings.dest.resolve()), "REPEATED": "yes" if repeated else "no"}
        with intent.open() as lock, nameless(paths.encode("utf-8", "surrogateescape")) as listing:
            # The command inherits the lock: one that outlives a killed run is still at it.
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return "the command of an earlier run is still at it; wait for it, or end it"
            except OSError:
                pass  # a file system without such locks
            process = subprocess.Popen(
                ["sh", "-c", self._settings.after],
                env=users_environment() | told,
                stdin=listing,
                stdout=sys.stderr.fileno(),
                pass_fds=[lock.fileno()],
            )
            try:
                await_end(process, LIMIT)
                if process.poll() is None:
                    return f"it did not end within {span(LIMIT)}, so it was stopped"
            finally:
                _end(process)
        status = process.returncode
        return f"exit status {status}; what it said is above" if status else ""

    def _remove(self, tile: str) -> None:
        """Remove the files of a tile; what another tile brought, too, goes with the last of them."""
        stamps, shard = self._stamps, self._settings.shard
        with turn(stamps.directory) if shard else nullcontext():
            claims = Claims(stamps)
            paths = paths_of(read_members(stamps, tile))
            Tree(self._settings.dest).remove(
                {path for path in paths if all(claim.tile == tile for claim in claims.of(path))}
            )
            # A file that came back after a power cut would be on no list.
            sync_file_system(self._settings.dest)
            members_path(stamps, tile).unlink(missing_ok=True)
            if shard:
                Notices(stamps.directory / "placed").tell([f"{tile}\n"])


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process that is not to go on."""
    for stop in process.terminate, process.kill:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                stop()
            await_end(process, _GRACE)
