"""Delivery: the archives that a plan asks for are proved right or fetched, and whole tiles are stamped."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from retrieve.archives import Archive, Verified
from retrieve.decisions import Decision, expected_md5
from retrieve.delivery.gate import Gate
from retrieve.delivery.part import remove_outdated_parts
from retrieve.delivery.plan import TilePlan
from retrieve.delivery.pool import Fetched, GivenUp, in_parallel
from retrieve.delivery.transfer import Fetcher
from retrieve.delivery.window import BEGIN, Found, Window
from retrieve.errors import AccessError, Closed, SourceError, Transient, remedy
from retrieve.formats.kinds import unsound
from retrieve.host.disk import local_file, md5_of, sync_directory
from retrieve.host.progress import Progress
from retrieve.settings import MOST_JOBS, Settings
from retrieve.source.opening import open_container
from retrieve.source.patience import Pauses, RateLimit
from retrieve.stamps.inventory import holds_source
from retrieve.stamps.stamps import DOWNLOADED, UNFINISHED, Record, Stamps

#: Give up after this many archives in a row have failed, or after twice JOBS if that is more.
_ENOUGH = 20


@dataclass
class Tally:
    """What came of a delivery.

    Attributes
    ----------
    fetched, bytes
        Number of archives that were fetched, and their bytes.
    proved
        Number of archives that were here already without a record, or with another mtime, and proved right.
    done
        Number of tiles that are here and stamped.
    failed
        By tile: the problem of each of its archives that failed.
    again
        An archive failed that another run may bring.
    fatal
        The problem that ended the delivery, since the next archive would have met it, too; empty if none did.
    """

    fetched: int = 0
    bytes: int = 0
    proved: int = 0
    done: int = 0
    failed: dict[str, list[str]] = field(default_factory=dict)
    again: bool = False
    fatal: str = ""

    @property
    def failures(self) -> int:
        """Number of archives that failed."""
        return sum(map(len, self.failed.values()))


class Delivery:
    """Carries out plans, tile after tile, with several archives at once.

    Parameters
    ----------
    plans
        The tiles to bring home.
    found
        By service, how many transfers at once went well in earlier runs.
    """

    def __init__(self, plans: list[TilePlan], settings: Settings, stamps: Stamps, found: Mapping[str, Found]) -> None:
        self.tally = Tally()
        self._plans = {plan.tile: plan for plan in plans}
        self._products = settings.product_set()
        self._settings = settings
        self._stamps = stamps
        self._progress = Progress("download", unit="B", quiet=settings.quiet)
        self._stop = threading.Event()
        self._limit = RateLimit(settings.rate)
        self._pauses = Pauses(lambda line: None if settings.quiet else self._progress.say(line))
        self._guard = threading.Lock()
        self._failed_in_a_row = 0
        self._in_source = False
        self._found = found
        self._shards = settings.shard.count if settings.shard else 1
        self._gates: dict[str, Gate] = {}
        self._fetchers: dict[str, Fetcher] = {}
        self._fetched: set[str] = set()
        self._verified: dict[str, dict[str, Verified]] = {}

    @property
    def count(self) -> int:
        """Number of tiles to bring home."""
        return len(self._plans)

    def found(self) -> dict[str, Found]:
        """By service, how many transfers at once went well, those of all shards, as far as that is known now."""
        found = {service: gate.found() for service, gate in self._gates.items()}
        return {service: one._replace(number=one.number * self._shards) for service, one in found.items() if one}

    def access_ends(self) -> datetime | None:
        """When the first of the credentials that the delivery needs ends, if they do.

        Raises
        ------
        SourceError
            If a source cannot be reached, or the credentials cannot be used: then nothing was begun.
        """
        sources = {
            self._products.source(name, plan.stamp.source)
            for plan in self._plans.values()
            for name, decision in plan.decisions.items()
            if decision is Decision.FETCH
        }
        ends = [self._fetcher(source).container.access_ends() for source in sources]
        return min((end for end in ends if end), default=None)

    def run(self) -> None:
        """Bring the tiles home; what fails is in the tally, and said at once.

        A stop from outside (Ctrl-C, SIGTERM) ends the transfers; part files stay, to go on from.
        """
        # The largest first, that none of them is alone at the end; tiles that are about alike stay in their order.
        plans = sorted(self._plans.values(), key=lambda plan: -(plan.largest().bit_length() // 2))
        work = [item for plan in plans for item in plan.todo()]
        remove_outdated_parts(self._settings.archives, (archive for _, archive in work))
        for plan in self._plans.values():
            self._verified[plan.tile] = {one.archive.name: one for one in plan.kept()}
            self._stamp_if_whole(plan)
        if not work:
            return
        self._in_source = holds_source(self._settings)
        self._progress.total = sum(archive.bytes for _, archive in work)
        jobs = min(self._settings.jobs or MOST_JOBS, len(work))
        # Closed within the progress: the bar is gone only when no thread writes to it any more.
        self._note(len(work))
        try:
            with self._progress, closing(in_parallel(work, self._act, jobs, self._stop)) as results:
                for result in results:
                    self._count(result)
                    self._note(len(work))
        finally:
            self._record_unfinished()

    def _note(self, count: int) -> None:
        done = self.tally.fetched + self.tally.proved
        at_once = min(sum(gate.number for gate in self._gates.values()), count - done)
        text = f"{done}/{count} archives" + (f", {at_once} at once" if at_once > 0 else "")
        self._progress.note(text, self.tally.failures)

    def _act(self, tile: str, archive: Archive) -> Verified:
        """Bring one archive home, in a thread of the pool: keep the file if it proves right, otherwise fetch it."""
        plan = self._plans[tile]
        verified = self._prove(plan, archive)
        if verified is None and self._in_source:
            raise SourceError("it is not as it was listed, and not replaced, since ARCHIVES holds the source itself")
        if verified is None:
            fetcher = self._fetcher(self._products.source(archive.name, plan.stamp.source))
            try:
                verified = fetcher.fetch(archive)
            except Closed:
                raise
            except AccessError as error:
                # A single file may be private in a public container; the others can still be fetched.
                fetcher.container.check()
                raise self._or_enough(SourceError(str(error))) from error
            except Transient as error:
                raise self._or_enough(error) from error
            self._failed_in_a_row = 0
            self._fetched.add(archive.name)
        else:
            self._progress.advance(archive.bytes)
        # Here and not where the result is taken: a stop may come before that.
        with self._guard:
            if archive.name in self._fetched:
                self.tally.fetched += 1
                self.tally.bytes += verified.archive.bytes
            else:
                self.tally.proved += 1
        self._verified[tile][archive.name] = verified
        return verified

    def _or_enough(self, error: SourceError) -> SourceError:
        """Give back the error, or one that ends the run if too many archives failed before this one."""
        with self._guard:
            self._failed_in_a_row += 1
            count = self._failed_in_a_row
        if count < max(_ENOUGH, 2 * (self._settings.jobs or MOST_JOBS)):
            return error
        return GivenUp(f"{error}; {count} failed in a row, so the run ends: run 'make download' again later")

    def _prove(self, plan: TilePlan, archive: Archive) -> Verified | None:
        decision = plan.decisions[archive.name]
        path = self._settings.archives / archive.name
        held = local_file(path)
        if decision is Decision.FETCH or held is None or (decision is Decision.INSPECT and unsound(path)):
            return None
        md5 = md5_of(path)
        if decision is Decision.HASH and md5 != expected_md5(archive, plan.record.verified.get(archive.name)):
            return None
        return Verified(archive, md5, held.mtime_ns)

    def _fetcher(self, source: str) -> Fetcher:
        with self._guard:
            if source not in self._fetchers:
                container = open_container(source, self._settings)
                self._fetchers[source] = Fetcher(
                    container,
                    self._gate(container.service),
                    self._settings.archives,
                    self._settings.retries,
                    self._progress.advance,
                    self._pauses.tell,
                    self._stop,
                    self._limit,
                )
            return self._fetchers[source]

    def _gate(self, service: str) -> Gate:
        if service not in self._gates:
            window = self._window(self._found.get(service))
            self._gates[service] = Gate(window, self._stop)
        return self._gates[service]

    def _window(self, found: Found | None) -> Window:
        """Window of a service; shards, which run at the same time, divide what one run would have."""
        if self._settings.jobs:
            return Window(self._settings.jobs, fixed=True)
        most, begin = (max(one // self._shards, 1) for one in (MOST_JOBS, BEGIN))
        return Window(most, found.share(self._shards) if found else None, begin=begin)

    def _count(self, result: Fetched) -> None:
        tally = self.tally
        if result.verified is None:
            if result.fatal:
                self._give_up(result.tile, str(result.problem))
            else:
                self._progress.say(str(result.problem))
                tally.failed.setdefault(result.tile, []).append(str(result.problem))
                tally.again |= result.again
            return
        archive, md5 = result.verified.archive, result.verified.md5
        if result.name in self._fetched and archive.md5 not in (None, md5):
            self._progress.say(
                f"the MD5 of '{result.name}' at the source is that of other bytes; two fetches agree, so it was kept"
            )
        self._stamp_if_whole(self._plans[result.tile])

    def _give_up(self, tile: str, problem: str) -> None:
        """Stop the run: every further archive would fail in the same way. Those already under way fail silently."""
        if not self.tally.fatal:
            self._progress.say(problem)
            self.tally.fatal = problem
        self.tally.failed.setdefault(tile, []).append(problem)
        self._stop.set()

    def _stamp_if_whole(self, plan: TilePlan) -> None:
        """Stamp a tile once each of its archives is verified.

        If an archive changed at the source since it was listed, the stamp of the source is brought up to date first.
        """
        verified = self._verified.get(plan.tile, {})
        if len(verified) < len(plan.stamp.archives):
            return
        try:
            self._stamp(plan, {one.name: verified[one.name] for one in plan.stamp.archives})
        except OSError as error:
            self._give_up(
                plan.tile,
                f"cannot stamp {self._products.unit.name} {plan.tile} in '{self._settings.stamps}': {remedy(error)}",
            )
        else:
            self.tally.done += 1
        # Last: if a signal comes before, the end of the run makes up for it.
        del self._verified[plan.tile]

    def _stamp(self, plan: TilePlan, ordered: dict[str, Verified]) -> None:
        now = replace(plan.stamp, archives=tuple(one.archive for one in ordered.values()))
        mtime_ns = plan.stamp_ns
        if now.archives != plan.stamp.archives:
            mtime_ns = self._stamps.write(now.state, plan.tile, now.text(), now.date_ns, mtime_ns)
        sync_directory(self._settings.archives)
        # Before: what is left of it never goes on beside a stamp that knows better.
        self._stamps.remove(UNFINISHED, plan.tile)
        self._stamps.write(DOWNLOADED, plan.tile, Record(now.source, ordered).text(), mtime_ns, sync=True)

    def _record_unfinished(self) -> None:
        """Keep on record what was verified of tiles that are not whole, so that the next run does not hash it again.

        A tile whose stamp a signal prevented gets it now. No more depends on the record than that: it is not synced,
        and where it cannot be written the next run hashes.
        """
        with suppress(OSError):
            for tile in tuple(self._verified):
                plan = self._plans[tile]
                self._stamp_if_whole(plan)
                known = dict(self._verified.get(tile, {}))
                if any(plan.record.verified.get(name) != one for name, one in known.items()):
                    text = Record(plan.stamp.source, plan.record.verified | known).text()
                    self._stamps.write(UNFINISHED, tile, text, plan.stamp_ns)
