"""Whatever happens at the source and here, in whatever order: after `avail` and `download` both are the same."""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from retrieve.delivery.part import PART
from retrieve.products import archive_name
from support.site import HERE
from vospace_demo.server import VOSpace

PRODUCTS = ("final_cat", "logs")
TILES = [f"24{x}.290" for x in range(5)]
CONTAINER = "cfis/results"
#: 2021-08-05T11:25:32 UTC in nanoseconds; all dates at the source are near it.
BEGIN = 1_628_162_732_000_000_000
#: Steps by which the date of an archive changes when it is replaced: Cavern and Vault tell whole milliseconds.
STEPS = [step * 1_000_000 for step in (-3_600_000, -1_000, -1, 1, 1_000, 86_400_000)]
DEADLINE = 60.0

tiles = st.sampled_from(TILES)
archives = st.builds(archive_name, st.sampled_from(PRODUCTS), tiles)
contents = st.builds(
    lambda seed, size: gzip.compress(f"{seed}".encode() * size, 1, mtime=0), st.integers(0, 99), st.integers(1, 30_000)
)


class Mirror(RuleBasedStateMachine):
    """A container that others write into, and a run directory in which things go wrong."""

    #: How the container is reached: as a ``directory``, or through ``vos`` or ``arc``.
    kind = "directory"

    def __init__(self) -> None:
        super().__init__()
        self.top = Path(tempfile.mkdtemp())
        self.source = self.top / "space" / CONTAINER
        self.here = self.top / "run" / "archives"
        self.stamps = self.top / "run/stamps/mccd"
        self.source.mkdir(parents=True)
        self.here.mkdir(parents=True)
        (self.top / "home").mkdir()
        (self.top / "run/tile_numbers.txt").write_text("\n".join(TILES) + "\n")
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.top / "home"),
            "PYTHON": sys.executable,
            "LC_ALL": "C.UTF-8",
            "INSECURE": "yes",
        }
        self.closing = ExitStack()
        self.input_path = str(self.source)
        if self.kind != "directory":
            space = self.closing.enter_context(VOSpace(self.top / "space"))
            self.environment |= space.environment()
            self.input_path = f"{self.kind}:{CONTAINER}"

    def teardown(self) -> None:
        try:
            if (self.stamps / "listing").exists():
                self.bring_up_to_date()
        finally:
            self.closing.close()
            shutil.rmtree(self.top)

    def command(self, target: str) -> list[str]:
        return ["make", "-f", str(HERE / "Makefile"), target, "RETRIES=1", f"PRODUCTS={' '.join(PRODUCTS)}",
                f"INPUT_PATH={self.input_path}"]  # fmt: skip

    def make(self, target: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(target), cwd=self.top / "run", env=self.environment, text=True, capture_output=True
        )

    def put(self, name: str, content: bytes, step_ns: int) -> None:
        """Write an archive at the source, dated after or before the one that it replaces."""
        path = self.source / name
        date_ns = path.stat().st_mtime_ns if path.exists() else BEGIN
        # A new file, renamed: one that is being read stays what it was.
        new = self.source / "new"
        new.write_bytes(content)
        os.utime(new, ns=(date_ns + step_ns, date_ns + step_ns))
        new.rename(path)

    @initialize(content=contents)
    def begin(self, content: bytes) -> None:
        for tile in TILES[:2]:
            for product in PRODUCTS:
                self.put(archive_name(product, tile), content, 0)

    @rule(tile=tiles, content=contents)
    def new_tile(self, tile: str, content: bytes) -> None:
        for product in PRODUCTS:
            self.put(archive_name(product, tile), content, STEPS[-1])

    @rule(name=archives, content=contents, step_ns=st.sampled_from(STEPS))
    def replace_at_source(self, name: str, content: bytes, step_ns: int) -> None:
        self.put(name, content, step_ns)

    @rule(name=archives)
    def delete_at_source(self, name: str) -> None:
        (self.source / name).unlink(missing_ok=True)

    @rule(name=archives)
    def failed_upload(self, name: str) -> None:
        self.put(name, b"", STEPS[-1])

    @rule(
        which=st.integers(0, 1 << 16),
        at=st.integers(0, 1 << 16),
        damage=st.sampled_from(["truncate", "empty", "grow", "delete"]),
    )
    def damage_here(self, which: int, at: int, damage: str) -> None:
        """What a `stat` shows."""
        self.change(which, at, damage)

    @rule(which=st.integers(0, 1 << 16), at=st.integers(0, 1 << 16), damage=st.sampled_from(["flip", "touch"]))
    def alter_here(self, which: int, at: int, damage: str) -> None:
        """What leaves the length as it was."""
        self.change(which, at, damage)

    def change(self, which: int, at: int, damage: str) -> None:
        """Archives and part files alike; which there are depends on when a crash came."""
        paths = sorted(self.here.iterdir())
        if not paths:
            return
        path = paths[which % len(paths)]
        content = path.read_bytes()
        at %= max(len(content), 1)
        match damage:
            case "truncate":
                path.write_bytes(content[:at])
            case "empty":
                path.write_bytes(b"")
            case "grow":
                path.write_bytes(content + b"\0")
            case "flip" if content:
                path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            case "touch":
                path.touch()
            case "delete":
                path.unlink()

    @rule(tile=tiles, state=st.sampled_from(["available", "downloaded"]), cut=st.booleans())
    def lose_stamp(self, tile: str, state: str, cut: bool) -> None:
        stamp = self.stamps / state / tile
        if stamp.exists():
            stamp.write_text(stamp.read_text()[:-7]) if cut else stamp.unlink()

    @rule()
    def avail(self) -> None:
        result = self.make("avail")
        assert result.returncode == 0, result.stderr

    @precondition(lambda self: (self.stamps / "listing").exists())
    @rule()
    def download(self) -> None:
        """It may fail: since the listing, archives may have gone."""
        result = self.make("download")
        assert "Traceback" not in result.stderr
        assert result.returncode == 0 or "cannot fetch " in result.stderr, result.stderr

    @precondition(lambda self: (self.stamps / "listing").exists())
    @rule(changes=st.integers(0, 8))
    def crash(self, changes: int) -> None:
        """Kill a download after some changes in the directory of the archives."""
        process = subprocess.Popen(
            self.command("download"), cwd=self.top / "run", env=self.environment, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        before, end = sorted(self.here.iterdir()), time.monotonic() + DEADLINE
        while process.poll() is None and changes:
            assert time.monotonic() < end
            now = sorted(self.here.iterdir())
            changes -= now != before
            before = now
        os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
        process.wait()

    @rule()
    def bring_up_to_date(self) -> None:
        self.avail()
        result = self.make("download")
        assert result.returncode == 0, result.stderr
        for tile in TILES:
            there = {name: self.source / name for name in (archive_name(product, tile) for product in PRODUCTS)}
            if all(path.exists() and path.stat().st_size for path in there.values()):
                for name, path in there.items():
                    assert (self.here / name).read_bytes() == path.read_bytes(), name
                    assert not list(self.here.glob(f"{name}.*{PART}"))
        before = self.seen()
        result = self.make("download")
        assert (result.returncode, result.stdout) == (0, "nothing to fetch\n"), result.stderr
        assert self.seen() == before

    def seen(self) -> dict[str, tuple[int, int]]:
        """Which files are here and in the stamps, and when they were last changed; not what Make collects anew."""
        paths = [*self.here.iterdir(), *(path for path in self.stamps.rglob("2*") if path.is_file())]
        return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


class MirrorOfVault(Mirror):
    kind = "vos"


class MirrorOfCavern(Mirror):
    kind = "arc"


def check(machine: type[Mirror], examples: int, steps: int, derandomize: bool = False) -> None:
    """Try so many sequences of so many steps."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            derandomize=derandomize,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.soak
@pytest.mark.short
@pytest.mark.parametrize(("machine", "examples"), [(Mirror, 2), (MirrorOfVault, 1)])
def test_after_any_sequence_of_events_a_sync_makes_here_and_there_the_same(
    machine: type[Mirror], examples: int
) -> None:
    check(machine, examples, steps=6, derandomize=True)


@pytest.mark.soak
@pytest.mark.parametrize(("machine", "examples"), [(Mirror, 200), (MirrorOfVault, 40), (MirrorOfCavern, 40)])
def test_after_very_many_sequences_of_events_a_sync_makes_here_and_there_the_same(
    machine: type[Mirror], examples: int
) -> None:
    check(machine, examples, steps=30)
