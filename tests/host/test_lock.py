"""Tickets: which of them exclude a run, whose holders count as alive, and what is said; without a run for each."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, redirect_stderr
from fcntl import LOCK_EX, flock
from pathlib import Path

import pytest

from retrieve.errors import RetrieveError
from retrieve.host import lock as locks
from retrieve.shards import parse_shard
from support.patience import within

HOLDER = "process 7 on candide since 2026-11-22 11:00:00Z"
ELSEWHERE = "00000000-7-77"


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have locks look for signs of life a thousand times as often, and nobody wait for ever."""
    for name, value in {"_SETTLED": 0.0, "_POLL": 0.001, "BEAT": 0.002, "BETWEEN_LOOKS": 0.002, "LOOKS": 3}.items():
        monkeypatch.setattr(locks, name, value)
    with within():
        yield


@pytest.fixture
def neighbour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[bytes]]:
    """A process of this machine."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(b"1")
        process.stdin.flush()
        process.stdout.read(1)  # it is not a copy of this one any more
        yield process


def take(directory: Path, shard: str = "") -> AbstractContextManager[None]:
    """Take the lock of a share."""
    return locks.lock(directory, parse_shard(shard))


def start_of(pid: int) -> int:
    """When a process was started, as Linux says."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def owner(directory: Path, pid: int) -> str:
    """What the tickets of a process of this machine are named by."""
    with take(directory):
        (path,) = directory.iterdir()
    machine = path.name.split(".")[-1].split("-")[0]
    return f"{machine}-{pid}-{start_of(pid)}"


def put(directory: Path, name: str, text: str = HOLDER) -> Path:
    """Put a ticket of another run there."""
    path = directory / name
    path.write_text(text)
    return path


def names(directory: Path) -> list[str]:
    """What is in a directory."""
    return sorted(path.name for path in directory.iterdir())


def test_a_ticket_tells_the_run_its_share_and_comes_after_the_others(tmp_path: Path) -> None:
    tickets = put(tmp_path, f"lock.2-of-4.3.{ELSEWHERE}"), put(tmp_path, f"turn.8.{ELSEWHERE}")
    (tmp_path / "runs.jsonl").touch()
    before = threading.active_count()
    with take(tmp_path, "1/4"):
        (own,) = set(tmp_path.glob("lock*")) - set(tickets)
        *kind, number, holder = own.name.split(".")
        assert (kind, number) == (["lock", "1-of-4"], "4")
        assert holder.partition("-")[2] == f"{os.getpid()}-{start_of(os.getpid())}"
        assert own.read_text().startswith(f"process {os.getpid()} on ")
        assert own.read_text().endswith("Z for shard 1/4")
    assert {*names(tmp_path)} == {"runs.jsonl", *(path.name for path in tickets)}
    assert threading.active_count() == before
    with take(tmp_path / "above" / "all"):
        (own,) = (tmp_path / "above" / "all").iterdir()
        assert own.read_text().endswith("Z")


@pytest.mark.parametrize(
    ("held", "asked", "allowed"),
    [
        ("", "", False),
        ("", ".1-of-4", False),
        (".1-of-4", "", False),
        (".1-of-4", ".1-of-4", False),
        (".1-of-4", ".1-of-5", False),
        (".1-of-4", ".2-of-3", False),
        (".1-of-4", ".2-of-4", True),
    ],
)
def test_all_tiles_exclude_every_share_and_a_share_its_like(
    held: str, asked: str, allowed: bool, tmp_path: Path
) -> None:
    ticket = put(tmp_path, f"lock{held}.5.{ELSEWHERE}")
    with ticket.open("rb") as file:
        flock(file, LOCK_EX)
        shard = asked.lstrip(".").replace("-of-", "/")
        if allowed:
            with take(tmp_path, shard):
                assert len(names(tmp_path)) == 2
        else:
            with pytest.raises(RetrieveError) as refusal, take(tmp_path, shard):
                pass
            assert str(refusal.value) == f"'{tmp_path}' is in use by {HOLDER}; wait for it, or stop it"
    assert names(tmp_path) == [ticket.name]


def test_who_has_said_nothing_yet_is_another_run(tmp_path: Path) -> None:
    with put(tmp_path, f"lock.1.{ELSEWHERE}", "").open("rb") as file:
        flock(file, LOCK_EX)
        with pytest.raises(RetrieveError, match="in use by another run; wait"), take(tmp_path):
            pass


def test_a_holder_on_this_machine_is_known_by_its_process(
    neighbour: subprocess.Popen[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine, pid, start = owner(tmp_path, neighbour.pid).split("-")
    name = f"lock.1.{machine}-{pid}-{start}"
    put(tmp_path, name)
    assert locks.taken(tmp_path) == {"": True}
    with pytest.raises(RetrieveError, match="is in use by"), take(tmp_path):
        pass
    neighbour.kill()
    os.waitid(os.P_PID, neighbour.pid, os.WEXITED | os.WNOWAIT)  # a zombie, which nobody has asked after
    assert locks.taken(tmp_path) == {"": False}
    with take(tmp_path):
        assert name not in names(tmp_path)
    put(tmp_path, f"lock.1.{machine}-{os.getpid()}-{int(start) - 1}")  # its number was another one's before
    with take(tmp_path):
        assert len(names(tmp_path)) == 1
    assert capsys.readouterr() == ("", "")


def test_a_holder_on_another_machine_that_shows_no_sign_of_life_is_looked_for_and_given_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LOOKS", 1)
    monkeypatch.setattr(locks, "BETWEEN_LOOKS", 0.02)
    name = put(tmp_path, f"lock.1-of-2.1.{ELSEWHERE}").name
    with take(tmp_path):
        assert name not in names(tmp_path)
    said = f"'{tmp_path}' was in use by {HOLDER}; looking for 0 s whether it still is\n"
    assert capsys.readouterr().err == said


def test_a_holder_on_another_machine_that_renews_its_date_is_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LOOKS", 10_000)
    ticket = put(tmp_path, f"lock.1.{ELSEWHERE}")
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(0.003):
            os.utime(ticket)

    beating = threading.Thread(target=beat)
    beating.start()
    with pytest.raises(RetrieveError, match="is in use by"), take(tmp_path):
        pass
    ended.set()
    beating.join()


def test_one_look_tells_by_its_date_whether_a_holder_on_another_machine_seems_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LOOKS", 30)
    put(tmp_path, f"lock.1-of-3.1.{ELSEWHERE}")
    old = put(tmp_path, "lock.2-of-3.2.00000000-8-88")
    put(tmp_path, f"turn.1.{ELSEWHERE}")
    os.utime(old, (time.time() - 31, time.time() - 31))
    assert locks.taken(tmp_path) == {"1/3": True, "2/3": False}


def test_a_ticket_that_is_given_back_at_once_was_drawn_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(locks, "_SETTLED", 60.0)
    monkeypatch.setattr(locks, "LOOKS", 10_000)
    ticket = put(tmp_path, f"lock.1.{ELSEWHERE}")
    with ticket.open("rb") as file:
        flock(file, LOCK_EX)
        gone = threading.Timer(0.02, ticket.unlink)
        gone.start()
        with take(tmp_path):
            assert ticket.name not in names(tmp_path)
        gone.join()
    assert capsys.readouterr().err == ""


def test_a_ticket_that_cannot_be_looked_at_is_not_taken_for_gone(tmp_path: Path) -> None:
    (tmp_path / f"lock.1.{ELSEWHERE}").mkdir()
    with pytest.raises(IsADirectoryError), take(tmp_path):
        pass
    assert names(tmp_path) == [f"lock.1.{ELSEWHERE}"]


def test_a_directory_that_cannot_be_written_is_told_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RetrieveError) as refusal, take(tmp_path / "file/stamps"):
        pass
    said = f"cannot write '{tmp_path}/file/stamps': not a directory; give STAMPS a directory of yours"
    assert str(refusal.value) == said


def test_a_holder_renews_the_date_of_its_ticket(tmp_path: Path) -> None:
    with take(tmp_path):
        (ticket,) = tmp_path.iterdir()
        os.utime(ticket, (0, 0))
        while not ticket.stat().st_mtime_ns:
            time.sleep(0.001)


def test_a_holder_whose_ticket_is_gone_says_so_and_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ends: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: ends.append(number))
    try:
        with take(tmp_path):
            (ticket,) = tmp_path.iterdir()
            ticket.unlink()
            while not ends:
                time.sleep(0.001)
    finally:
        signal.signal(signal.SIGTERM, before)
    said = f"'{tmp_path}' was taken over by another run, to which this one seemed dead; run it again\n"
    assert capsys.readouterr().err == said


class Heard(io.StringIO):
    """Takes what is said, and has a ticket given back a while after."""

    def __init__(self, ticket: Path) -> None:
        super().__init__()
        self.then = threading.Timer(0.02, ticket.unlink)

    def write(self, text: str) -> int:
        """Take what is said."""
        if not self.getvalue():
            self.then.start()
        return super().write(text)


def test_who_waits_long_for_a_turn_says_once_for_whom(tmp_path: Path) -> None:
    with put(tmp_path, f"lock.1-of-2.1.{ELSEWHERE}").open("rb") as file:
        flock(file, LOCK_EX)
        heard = Heard(put(tmp_path, f"turn.1.{ELSEWHERE}", ""))
        with take(tmp_path, "2/2"), redirect_stderr(heard), locks.turn(tmp_path):
            heard.then.join()
            (ticket,) = tmp_path.glob("turn.*")
            assert ticket.name.startswith("turn.2.")
    assert heard.getvalue() == f"waiting for {HOLDER}, who is placing tiles; stop it if it does not go on\n"
    assert names(tmp_path) == [f"lock.1-of-2.1.{ELSEWHERE}"]


def test_who_waits_for_a_turn_a_short_time_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where it does not know yet whether the other one lives."""
    monkeypatch.setattr(locks, "LOOKS", 10_000)
    put(tmp_path, f"lock.1-of-2.1.{ELSEWHERE}")
    ticket = put(tmp_path, f"turn.1.{ELSEWHERE}", "")
    given_back = threading.Timer(0.02, ticket.unlink)
    given_back.start()
    with locks.turn(tmp_path):
        assert ticket.name not in names(tmp_path)
    given_back.join()
    assert capsys.readouterr().err == ""


def test_the_turn_of_a_run_that_is_gone_does_not_count(tmp_path: Path) -> None:
    ticket = put(tmp_path, f"turn.1.{ELSEWHERE}", "")
    with locks.turn(tmp_path):
        assert ticket.name not in names(tmp_path)
