"""Placing: unpacked tiles get their places in the output tree, then their stamps, some tiles at a time.

The order makes each step safe to stop at. First what was unpacked, and the lists that name it, are on disk; then files
are renamed to their places and obsolete ones removed; then that is on disk; then come the stamps. What a stopped run
left undone, the next one does again, since no stamp vouches for it yet.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from retrieve.archives import is_tar, nanoseconds
from retrieve.host.disk import sync_directory, sync_file_system
from retrieve.host.lock import turn
from retrieve.output.claims import Claims, Conflict
from retrieve.output.staging import TileJob, TileOutcome, failed
from retrieve.output.tree import Refused, Tree
from retrieve.shards import Shard
from retrieve.stamps.members import MEMBERS, OBSOLETE, pack, read_members, unpack_list
from retrieve.stamps.stamps import EXTRACTED, Record, Stamps


class Placing:
    """Places and stamps the tiles of a run.

    Parameters
    ----------
    jobs
        All tiles of the run.
    keep
        Whether archives stay after they were unpacked.
    shard
        The run's share of the tiles, if it does not have all: other runs may place theirs at the same time.
    """

    def __init__(
        self, jobs: list[TileJob], stamps: Stamps, destination: Path, *, keep: bool, shard: Shard | None = None
    ) -> None:
        self._jobs = {job.tile: job for job in jobs}
        self._stamps = stamps
        self._destination = destination
        self._tree = Tree(destination)
        self._claims = Claims(stamps)
        self._keep = keep
        path = stamps.directory / "placed"
        self._notices = Notices(path) if shard else None
        if shard is None:
            path.unlink(missing_ok=True)
        #: Tiles and archives whose files are not in the tree yet, although the lists name them.
        self._absent: set[tuple[str, str]] = set()
        #: Tiles to unpack again: one of their files had been replaced by another tile's, which has now been removed.
        self.to_redo: set[str] = set()

    def place(self, outcomes: list[TileOutcome]) -> Iterator[TileOutcome]:
        """Place and stamp some tiles that were unpacked; a tile for which that fails has a problem afterwards."""
        outcomes = [self._attempt(self._prepare, outcome) for outcome in outcomes]
        prepared = any(not outcome.problem for outcome in outcomes)
        if prepared:
            self._sync(*self._tree.places, self._stamps.directory)
            with self._turn():
                self._tell(f"{outcome.tile}\n" for outcome in outcomes if not outcome.problem)
                outcomes = [self._attempt(self._announce, outcome) for outcome in outcomes]
                sync_directory(self._stamps.directory / MEMBERS)
                self._absent = {(one.tile, name) for one in outcomes for name in one.fresh}
                outcomes = [self._attempt(self._adopt, outcome) for outcome in outcomes]
        for outcome in outcomes:
            shutil.rmtree(self._jobs[outcome.tile].staging, ignore_errors=True)
        if prepared:
            outcomes = [self._attempt(self._prepare_stamp, outcome) for outcome in outcomes]
            self._sync(*self._tree.places, self._stamps.directory)
            with self._turn():
                outcomes = [self._attempt(self._forget_obsolete, outcome) for outcome in outcomes]
                for outcome in outcomes:
                    if not outcome.problem and outcome.tile not in self.to_redo:
                        self._stamps.publish(EXTRACTED, outcome.tile)
            self._stamps.sync(EXTRACTED)
        yield from outcomes

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Lock the tree and all lists for a moment, and read what other shards have changed."""
        if self._notices is None:
            yield
            return
        with turn(self._stamps.directory):
            for tile, *to_redo in self._notices.read():
                self._claims.look_again(tile)
                if to_redo and tile in self._jobs:
                    self.to_redo.add(tile)
            yield

    def _tell(self, lines: Iterable[str]) -> None:
        """Tell other shards, before anything is done: this run may be killed half way."""
        if self._notices:
            self._notices.tell(lines)

    def _attempt(self, step: Callable[[TileOutcome], TileOutcome], outcome: TileOutcome) -> TileOutcome:
        if outcome.problem:
            return outcome
        try:
            return step(outcome)
        except Refused as error:
            return replace(outcome, problem=f"cannot unpack tile '{outcome.tile}': {error}")
        except OSError as error:
            return failed(outcome.tile, self._destination, error)

    def _prepare(self, outcome: TileOutcome) -> TileOutcome:
        """Check that nothing is in the way, then write down which files are going to be in the output tree."""
        job = self._jobs[outcome.tile]
        for number in range(len(outcome.fresh)):
            obstacle = self._tree.obstacle(job.staging / str(number))
            if obstacle:
                raise Refused(obstacle)
        self._claims.prepare(outcome.tile, outcome.members)
        return outcome

    def _announce(self, outcome: TileOutcome) -> TileOutcome:
        """Replace the list of a tile, without the files that have given way since the old one was read."""
        if outcome.carried:
            members, now = unpack_list(outcome.members), read_members(self._stamps, outcome.tile)
            members |= {name: now[name] for name in now.keys() & members.keys() - set(outcome.fresh) - {OBSOLETE}}
            packed = pack(members)
            if packed != outcome.members:
                outcome = replace(outcome, members=packed)
                self._claims.prepare(outcome.tile, packed)
                self._sync(self._stamps.directory)
        else:
            # All of its files come back.
            self.to_redo.discard(outcome.tile)
        self._claims.announce(outcome.tile)
        return outcome

    def _adopt(self, outcome: TileOutcome) -> TileOutcome:
        job = self._jobs[outcome.tile]
        superseded: set[str] = set()
        lost: list[tuple[str, str]] = []
        for number, name in enumerate(outcome.fresh):
            staging = job.staging / str(number)
            date_ns = nanoseconds(outcome.record.verified[name].archive.date)
            conflict = Conflict(
                staging, self._destination, self._claims, self._absent, date_ns, superseded, outcome.kept
            )
            self._tree.adopt(staging, conflict.staged_wins)
            self._absent.discard((outcome.tile, name))
            lost += [(name, path) for path in conflict.lost]
        if lost:
            # As it is now: of its own archives, one may have given way to another.
            members = read_members(self._stamps, outcome.tile)
            for name, path in lost:
                members[name].files[path] = None
            self._claims.write(outcome.tile, pack(members))
        if outcome.replaces:
            self._remove(outcome.tile, set(unpack_list(outcome.members)[OBSOLETE].files))
        return replace(outcome, superseded=tuple(sorted(superseded)))

    def _forget_obsolete(self, outcome: TileOutcome) -> TileOutcome:
        """Take the obsolete files off a tile's list, once it is on disk that they are gone."""
        if outcome.replaces:
            members = read_members(self._stamps, outcome.tile)
            members.pop(OBSOLETE, None)
            self._claims.write(outcome.tile, pack(members))
        return outcome

    def _remove(self, tile: str, obsolete: set[str]) -> None:
        """Remove files that an earlier version of a tile had, unless another archive brought them, too."""
        shared = {path: list(self._claims.of(path)) for path in obsolete}
        gone = {path for path, claims in shared.items() if all(claim.bytes is None for claim in claims)}
        for path in gone:
            for claim in shared[path]:
                # Its own file there had given way to the one that goes now.
                self._tell([f"{claim.tile} to_redo\n"])
                self._stamps.remove(EXTRACTED, claim.tile)
                self.to_redo.add(claim.tile)
        self._tree.remove(gone)

    def _prepare_stamp(self, outcome: TileOutcome) -> TileOutcome:
        text = (outcome.record if self._keep else freed(outcome.record)).text()
        self._stamps.prepare(EXTRACTED, outcome.tile, text, outcome.mtime_ns)
        return outcome

    def _sync(self, *directories: Path) -> None:
        for directory in {directory.stat().st_dev: directory for directory in directories}.values():
            sync_file_system(directory)


class Notices:
    """Messages between shards that run at the same time: a line per tile whose list or stamp changes.

    Only the holder of the lock reads and writes it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = path.stat().st_size if path.exists() else 0

    def read(self) -> list[list[str]]:
        """Words of each new line: a tile, and ``to_redo`` if its stamp was taken."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._position)
            text = file.read()
        self._position += len(text)
        return [line.split() for line in text.decode().splitlines()]

    def tell(self, lines: Iterable[str]) -> None:
        """Add some lines."""
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(lines)


def freed(record: Record) -> Record:
    """Give a record in which the unpacked tar archives are freed."""
    gone = {name: replace(one, mtime_ns=0) if is_tar(name) else one for name, one in record.verified.items()}
    return replace(record, verified=gone)


def free(tile: str, stamps: Stamps, archives: Path) -> tuple[int, int]:
    """Delete the archives of a tile that was unpacked, once its stamp says so.

    Returns
    -------
    tuple
        Number of archives, and their bytes.
    """
    record, downloaded = stamps.extracted(tile), stamps.downloaded(tile).verified
    if record.only:
        return 0, 0
    gone = freed(record)
    if gone != record:
        stamps.write(EXTRACTED, tile, gone.text(), stamps.mtime_ns(EXTRACTED, tile) or 0, sync=True)
    count = size = 0
    for name, one in gone.verified.items():
        if is_tar(name) and name in downloaded and downloaded[name].md5 == one.md5:
            try:
                (archives / name).unlink()
            except FileNotFoundError:
                continue
            count, size = count + 1, size + one.archive.bytes
    return count, size
