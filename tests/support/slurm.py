"""A Slurm of the tests' own: a controller and some nodes, all on this host, started and ended by their process numbers.

Everything it writes is below one directory, and its ports are free ones, so that several can run side by side. Nothing
of a Slurm that the host has is touched: every Slurm command obeys `SLURM_CONF`.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

#: Seconds after which it is given up to wait for what should have happened by then.
DEADLINE = 180.0
DAEMONS = ("munged", "slurmctld", "slurmd")

#: No database, no containers, no delays; processes are found by their parents, which needs no privileges of cgroups.
CONFIGURATION = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={directory}/munge.socket
StateSaveLocation={directory}/state
SlurmctldPidFile={directory}/slurmctld.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdSpoolDir={directory}/spool-%n
SlurmdPidFile={directory}/slurmd-%n.pid
SlurmdLogFile={directory}/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1
PropagateResourceLimits=NONE
MailProg=/bin/true
ReturnToService=2
KillWait=2
PartitionName=tests Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def lacking() -> str:
    """Say why there can be no Slurm here; empty if there can."""
    missing = [name for name in (*DAEMONS, "sbatch") if not shutil.which(name)]
    if missing:
        return f"needs {', '.join(missing)}: apt-get install slurmctld slurmd slurm-client munge"
    return "" if os.geteuid() == 0 else "needs root: Slurm's daemons start jobs for others"


class Slurm:
    """Some nodes with a CPU each, from `start` to `stop`.

    Attributes
    ----------
    environment
        What the environment of a Slurm command needs.
    """

    def __init__(self, directory: Path, nodes: int) -> None:
        self.directory = directory
        self.nodes = [f"n{number + 1}" for number in range(nodes)]
        self.environment = {"SLURM_CONF": str(directory / "slurm.conf")}
        self._daemons: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Slurm:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def run(self, *command: str) -> str:
        """Run a Slurm command, which must succeed, and return what it prints."""
        return subprocess.run(
            command, env=os.environ | self.environment, check=True, text=True, capture_output=True
        ).stdout

    def states(self, *jobs: str) -> dict[str, str]:
        """State of each job or array task (``12_3``) that was submitted, or of those of some jobs only."""
        rows = self.run("squeue", "--noheader", "--array", "--states=all", "--format=%i %T").splitlines()
        found = dict(row.split() for row in rows)
        return {job: state for job, state in found.items() if not jobs or job.partition("_")[0] in jobs}

    def wait(self, *jobs: str) -> dict[str, str]:
        """Wait until some jobs have ended, however they did; return the state in which each did."""
        ended = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}
        self.wait_until(lambda: set(self.states(*jobs).values()) <= ended)
        return self.states(*jobs)

    def wait_until(self, happened: Callable[[], bool]) -> None:
        """Look until something happened."""
        end = time.monotonic() + DEADLINE
        while not happened():
            assert time.monotonic() < end, f"it did not happen: {self.states()}"
            time.sleep(0.3)

    def stop(self) -> None:
        """End the jobs, then the daemons: those of a job outlive the node's, which is meant for upgrades."""
        if len(self._daemons) > 1:
            subprocess.run(["scancel", "--quiet", "--user=root"], env=os.environ | self.environment, check=False)
            self.wait_until(lambda: not self.run("squeue", "--noheader", "--states=R,CG,CF"))
        for daemon in self._daemons:
            daemon.send_signal(signal.SIGTERM)
        for daemon in self._daemons:
            try:
                daemon.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons = []

    def _start(self) -> None:
        key = self.directory / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        (self.directory / "state").mkdir()
        (self.directory / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
        host, ports = socket.gethostname().partition(".")[0], _free_ports(1 + len(self.nodes))
        nodes = [
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1\n"
            for name, port in zip(self.nodes, ports[1:], strict=True)
        ]
        configuration = CONFIGURATION.format(host=host, port=ports[0], directory=self.directory)
        (self.directory / "slurm.conf").write_text(configuration + "".join(nodes))
        # It minds who may look into the directories above its socket, which is nobody's business in a test.
        munge = [f"--{name}-file={self.directory}/munge.{name}" for name in ("key", "pid", "seed", "log")]
        self._daemon("munged", "--foreground", "--force", *munge, f"--socket={self.directory}/munge.socket")
        self._up(["munge", "--no-input", f"--socket={self.directory}/munge.socket"])
        self._daemon("slurmctld", "-D")
        self._up(["scontrol", "ping"])
        for name in self.nodes:
            (self.directory / f"spool-{name}").mkdir()
            self._daemon("slurmd", "-D", "-N", name)
        self.wait_until(lambda: self.run("sinfo", "-h", "-N", "-t", "idle", "-o", "%N").split() == self.nodes)

    def _daemon(self, *command: str) -> None:
        with (self.directory / f"{command[0]}.out").open("ab") as output:
            self._daemons.append(
                subprocess.Popen(
                    command,
                    env=os.environ | self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            )

    def _up(self, question: list[str]) -> None:
        def answers() -> bool:
            return not subprocess.run(question, env=os.environ | self.environment, capture_output=True).returncode

        end = time.monotonic() + DEADLINE
        while not answers():
            assert self._daemons[-1].poll() is None, (self.directory / f"{self._daemons[-1].args[0]}.out").read_text()
            assert time.monotonic() < end, f"no answer to {question}"
            time.sleep(0.05)


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
