"""Progress: a bar on a terminal, plain lines in a log, nothing where quiet is asked for."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
from contextlib import closing
from pathlib import Path

import pytest

from retrieve.host.progress import Progress
from retrieve.wording import span
from support.endings import stalled_download
from support.site import HERE, TILES, Site
from vospace_demo.faults import Fault
from vospace_demo.server import VOSpace

#: What lasts, as progress names it.
STEPS = ("listing", "download", "untar", "verify")
#: The toolkit's Python, in a hurry to show what else is shown after half a minute.
HASTY = f"""#!/bin/sh
shift 2  # -m retrieve
exec {sys.executable} -P -c '
import sys
from retrieve import __main__
from retrieve.host import program, progress
progress.EVERY = progress.BAR_EVERY = 0.005
progress.BAR_AFTER = 0.0
program.run("retrieve", lambda: __main__.main(sys.argv[1:]))
' "$@"
"""


@pytest.fixture
def hasty(site: Site, vault: str, space: VOSpace, tmp_path: Path) -> Site:
    """A run directory in which progress shows at once."""
    space.fault(Fault("latency", route="nodes", seconds=0.1))
    script = tmp_path / "python"
    script.write_text(HASTY)
    script.chmod(0o755)
    site.environment |= {"PYTHON": str(script), "INPUT_PATH": vault, "TERM": "xterm-256color"}
    site.list_tiles(*TILES)
    return site


def on_terminal(site: Site, columns: int, *words: str) -> tuple[str, str]:
    """Run `make` with a terminal of that width for stderr, which must succeed; return what stdout and stderr got."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    shown = b""
    with (
        closing(os.fdopen(ours, "rb", buffering=0)) as terminal,
        subprocess.Popen(
            ["make", "-f", str(HERE / "Makefile"), *words],
            cwd=site.directory, env=site.environment, stdout=subprocess.PIPE, stderr=theirs, text=True,
        ) as process,
    ):  # fmt: skip
        os.close(theirs)
        try:
            while piece := terminal.read(1 << 16):
                shown += piece
        except OSError:  # as a terminal ends
            pass
        stdout = process.stdout.read()
    assert process.returncode == 0, shown
    return stdout, shown.decode()


def test_what_lasts_shows_a_bar_on_a_terminal_and_lines_in_a_log_and_nothing_where_quiet_is_asked_for(
    hasty: Site,
) -> None:
    site, verbs = hasty, ("avail", "download", "untar", "verify")
    stdout, bars = on_terminal(site, 80, *verbs)
    for step in STEPS:
        assert re.search(rf"\r{step}: ", bars), bars
    pieces = re.split(r"[\r\n]+", bars)
    assert max(map(len, pieces)) <= 80
    assert any(re.fullmatch(r"download: +\d+% \S+/\S+ \[.*\] \|.*\|", one) for one in pieces), bars
    assert "\x1b" not in bars  # no colour, with NO_COLOR or without

    result = site.make("-k", *verbs, "STAMPS=s2", "ARCHIVES=a2", "DEST=d2")
    lines = result.stderr.splitlines()
    assert (result.returncode, result.stdout) == (0, stdout.replace("'output'", "'d2/output'"))
    for step in STEPS:
        assert re.search(rf"^{step}: \d+", result.stderr, re.MULTILINE), result.stderr
    assert all(line.isprintable() for line in lines)
    assert next(line for line in lines if line.startswith("untar: ")) == "untar: 0 of 10 tiles"

    told = on_terminal(site, 80, "-s", "avail", "STAMPS=s3")
    assert told == ("".join(stdout.splitlines(keepends=True)[:9]), "")
    assert on_terminal(site, 80, "verify", "V=quiet")[1] == ""


def test_a_bar_is_as_wide_as_the_terminal_and_a_dumb_one_has_none(hasty: Site) -> None:
    site = hasty
    _, wide = on_terminal(site, 200, "avail", "download")
    assert 100 < max(map(len, re.split(r"[\r\n]+", wide))) <= 200
    site.environment["TERM"] = "dumb"
    _, dumb = on_terminal(site, 200, "avail")
    assert re.match(r"listing: \d+ nodes\r\n", dumb)
    assert "\r" not in dumb.replace("\r\n", "\n")


def test_quiet_keeps_the_problems(site: Site, container: Path) -> None:
    site.list_tiles(*TILES[:2])
    (container / f"logs_{TILES[0]}.tgz").write_bytes(b"no archive at all")
    result = site.make("-s", "sync", f"INPUT_PATH={container}")
    problems = [line for line in result.stderr.splitlines() if not line.startswith("make")]
    assert result.returncode == 2
    assert len(problems) >= 1
    assert f"logs_{TILES[0]}.tgz" in problems[0]
    assert not [line for line in problems if " to fetch, " in line]


@pytest.mark.soak
def test_a_log_gets_a_line_each_half_minute(site: Site, vault: str, space: VOSpace) -> None:
    site.list_tiles(*TILES)
    site.done("avail", f"INPUT_PATH={vault}")
    with stalled_download(site, space, seconds=35) as process:
        _, stderr = process.communicate(timeout=120)
    assert len(re.findall(r"^download: \S+ k?B of \S+ kB, ", stderr, re.MULTILINE)) == 2


def test_a_line_of_a_log_tells_bytes_rate_archives_failures_and_time_left() -> None:
    progress = Progress("download", "B", total=3_400_000_000)
    assert progress.line(30) == "download: 0 B of 3.4 GB, 0 B/s"
    progress.advance(1_300_000_000)
    progress.advance(-100_000_000)
    progress.note("12/140 archives", failures=1)
    assert progress.line(60) == "download: 1.2 GB of 3.4 GB, 20.0 MB/s, 12/140 archives, 1 failed, 2 min left"
    assert Progress("listing", "nodes").line(30) == "listing: 0 nodes"
    assert [span(seconds) for seconds in (0.4, 89, 90, 5300, 5400, 86_400, 200_000)] == [
        "0 s", "89 s", "2 min", "88 min", "1 h 30 min", "24 h 0 min", "2 days",
    ]  # fmt: skip
