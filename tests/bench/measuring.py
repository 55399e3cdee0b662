"""What the benches share: the embedded VOSpace in a process of its own, and what a command costs."""

from __future__ import annotations

import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

HERE = Path(__file__).resolve().parents[2]


class Server:
    """`bin/vospace-demo` from `__enter__` to `__exit__`, and what it counted.

    Parameters
    ----------
    latency, per_node
        Seconds that every request, and every node of an answer, takes longer.
    """

    def __init__(self, root: Path, latency: float = 0.0, per_node: float = 0.0) -> None:
        words = [str(HERE / "bin/vospace-demo"), str(root), "--latency", str(latency), "--per-node", str(per_node)]
        self._process = subprocess.Popen(
            words, env=os.environ | {"PYTHON": sys.executable}, stdout=subprocess.PIPE, text=True
        )
        self.host = self._process.stdout.readline().strip().partition("=")[2]
        if not self.host:
            raise SystemExit("cannot start the embedded VOSpace; try 'bin/vospace-demo' by hand")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()

    def counts(self) -> dict[str, object]:
        """What was asked and sent since `forget`."""
        return json.loads(self._ask("control/requests"))

    def forget(self) -> None:
        """Count anew."""
        self._ask("control/requests", "DELETE")

    def misbehave(self, faults: list[dict[str, object]]) -> None:
        """Let these faults be the only ones."""
        self._ask("control/faults", "POST", json.dumps(faults).encode())

    def warm_up(self, container: str) -> None:
        """Have it read all files once, for their MD5s."""
        self._ask(container)

    def _ask(self, path: str, method: str = "GET", body: bytes | None = None) -> bytes:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        request = urllib.request.Request(f"https://{self.host}/{path}", data=body, method=method)
        with urllib.request.urlopen(request, context=context) as answer:
            return answer.read()


@dataclass(frozen=True)
class Cost:
    """What a command cost: seconds on the clock, seconds of user and system time, peak memory in MB."""

    wall: float
    cpu: float
    memory: float


#: Starts a command from a small process: who starts one counts in its peak of memory, and a bench is large.
_STARTER = """
import os, sys, time
report, *command = sys.argv[1:]
begin = time.monotonic()
_, status, usage = os.wait4(os.posix_spawnp(command[0], command, os.environ), 0)
seconds = time.monotonic() - begin
status, used = os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime
print(status, seconds, used, usage.ru_maxrss, file=open(report, "w"))
"""


def cost(*command: str, cwd: Path, environment: dict[str, str]) -> Cost:
    """Run a command, which must succeed."""
    with tempfile.NamedTemporaryFile("r") as report, tempfile.TemporaryFile("w+") as said:
        starter = [sys.executable, "-ISc", _STARTER, report.name, *command]
        subprocess.run(starter, cwd=cwd, env=environment, stdout=subprocess.DEVNULL, stderr=said, check=True)
        status, seconds, used, kilobytes = map(float, report.read().split())
        if status:
            said.seek(0)
            raise SystemExit(f"'{' '.join(command)}' failed: {said.read()}")
    return Cost(seconds, used, kilobytes / 1000)


def median(costs: Iterable[Cost]) -> Cost:
    """Median of each figure."""
    columns = zip(*((one.wall, one.cpu, one.memory) for one in costs), strict=True)
    return Cost(*map(statistics.median, columns))


def surroundings(place: Path, server: Server | None = None) -> dict[str, str]:
    """Environment of the commands that are measured, with a HOME of their own."""
    home = place / "home"
    home.mkdir(exist_ok=True)
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "PYTHON": sys.executable,
        **({"VOSPACE_WEBSERVICE": server.host} if server else {}),
    }
