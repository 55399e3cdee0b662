"""What the benches share: the embedded VOSpace in a process of its own, and what a command costs."""

from __future__ import annotations

import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
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


def cost(*command: str, cwd: Path, environment: dict[str, str]) -> Cost:
    """Run a command, which must succeed."""
    with tempfile.TemporaryFile("w+") as said:
        begin = time.monotonic()
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=subprocess.DEVNULL, stderr=said)
        # The usage of this child and of those that it waited for; all children together would hide a peak.
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"'{' '.join(command)}' failed: {said.read()}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000)


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
