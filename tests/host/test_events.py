"""`ON_EVENT`: what a user's command is told and how often, and that nothing which it does changes the run."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from retrieve.host import events
from retrieve.host.events import Events
from support.endings import DEADLINE, stalled_download
from support.site import HERE, RESULTS, TILES, Site
from vospace_demo.server import VOSpace

#: A command that keeps each line, in the run directory, and says something.
KEEP = "ON_EVENT=cat >>events.jsonl; echo noise; echo noise >&2"


def told(directory: Path) -> list[dict[str, object]]:
    """What the command was told, call by call; from then on anew."""
    path = directory / "events.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [json.loads(line) for line in lines]


def test_each_run_and_what_it_unpacked_are_told_in_a_line_each(site: Site, vault: str) -> None:
    site.list_tiles(*TILES)
    (site.directory / "cert.pem").write_text("")
    site.done("sync", f"INPUT_PATH={vault}", KEEP)
    found = told(site.directory)
    assert [one["text"] for one in found] == [
        "avail ended with status 0: 10 tiles new or changed there",
        "download ended with status 0: 70 archives fetched",
        "10 tiles unpacked",
        "untar ended with status 0: 70 archives unpacked",
        "missing ended with status 0: 0 tiles missing",
    ]
    assert [one["event"] for one in found] == ["ended", "ended", "unpacked", "ended", "ended"]
    assert sorted(found[2]["tiles"]) == sorted(TILES)
    assert {one["directory"] for one in found} == {str(site.directory)}
    record = (site.directory / "stamps/mccd/runs.jsonl").read_text().splitlines()
    assert [one["run"] for one in found if one["event"] == "ended"] == list(map(json.loads, record))
    # A command may hold the address of a chat, which is as good as a password.
    assert "ON_EVENT" not in json.dumps(found)
    assert "ON_EVENT" not in (site.directory / "stamps/settings.mk").read_text()

    assert json.loads(site.done("missing", KEEP, "FORMAT=json"))["tiles"] == {}
    assert len(told(site.directory)) == 1
    site.done("missing", KEEP, "DRYRUN=yes")
    assert told(site.directory) == []


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("nowhere-to-be-found", r"exit status 127 \(.*nowhere-to-be-found: not found\)"),
        ("echo a >&2; echo b >&2; exit 3", r"exit status 3 \(b\)"),
        ("exec <&-; true", None),
    ],
)
def test_a_command_that_fails_is_told_once_and_the_run_is_as_without_it(
    command: str, problem: str | None, site: Site, vault: str
) -> None:
    site.begin("downloaded", vault)
    result = site.make("untar", "V=quiet", f"ON_EVENT={command}")
    assert (result.returncode, result.stdout.partition(";")[0]) == (0, "70 archives unpacked")
    expected = f"ON_EVENT failed: {problem}; the run is not affected, try the command by hand\n" if problem else ""
    assert re.fullmatch(expected, result.stderr), result.stderr


def test_a_command_that_does_not_end_is_killed_and_not_called_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(events, "LIMIT", 0.2)
    monkeypatch.chdir(tmp_path)
    told_ = Events("echo $$ >>calls; sleep 1000 & sleep 1000", tmp_path)
    # More than a pipe takes, and nobody reads it.
    for number in range(10_000):
        told_.unpacked(str(number))
    for _ in range(3):
        told_.ended("", {"verb": "untar", "status": 0})
        told_.finish()
    (group,) = map(int, (tmp_path / "calls").read_text().split())
    end = time.monotonic() + DEADLINE
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < end:
            os.killpg(group, 0)  # until init has taken notice
    problem = "ON_EVENT failed: it did not end in time, so it was killed; the run is not affected, "
    assert capsys.readouterr().err == f"{problem}try the command by hand\n"


def test_tiles_are_told_every_ten_seconds_at_most_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    now = 0.0
    told_ = Events("cat >>events.jsonl", tmp_path, lambda: now)
    for now in (0.0, 3.0, 9.9, 10.0, 12.0, 19.9, 35.0, 44.9, 45.0, 46.0):
        told_.unpacked(f"{now:g}")
        told_.finish()
    told_.ended("all", {"verb": "untar", "status": 0})
    told_.finish()
    calls = told(tmp_path)
    assert [one.get("tiles") for one in calls] == [
        ["0", "3", "9.9", "10"], ["12", "19.9", "35"], ["44.9", "45"], ["46"], None,
    ]  # fmt: skip


def test_a_need_of_a_person_is_told_once_a_day(site: Site, vault: str, space: VOSpace) -> None:
    site.list_tiles(TILES[0])
    certificate = Path(site.environment["HOME"]) / ".ssl/cadcproxy.pem"

    def needs(*words: str) -> list[tuple[str, str]]:
        site.make(*words, f"INPUT_PATH={vault}", KEEP)
        return [(one["about"], one["text"]) for one in told(site.directory) if one["event"] == "attention"]

    space.client_certificate(certificate, datetime.now(UTC) + timedelta(days=3))
    assert needs("avail") == []
    ends = datetime.now(UTC) + timedelta(days=1)
    space.client_certificate(certificate, ends)
    ((about, text),) = needs("sync")
    assert about == "certificate"
    assert text.startswith(f"the certificate ends on {ends:%F} ")
    assert needs("sync") == []
    mark = site.directory / "stamps/mccd/told/certificate"
    os.utime(mark, (0, 0))
    assert len(needs("avail")) == 1

    certificate.unlink()
    space.tree.private = frozenset([RESULTS])
    ((about, text),) = needs("avail")
    assert about == "source"
    assert f"cannot list '{vault}'" in text
    # What was not told is not taken for told.
    os.utime(site.directory / "stamps/mccd/told/source", (0, 0))
    site.make("avail", f"INPUT_PATH={vault}", "ON_EVENT=exit 1")
    assert len(needs("avail")) == 1
    # A watch that cannot begin says so, too.
    site.make("watch", f"INPUT_PATH={vault}", KEEP)
    assert [(one["event"], one["run"]) for one in told(site.directory)] == [("ended", {"verb": "watch", "status": 2})]


def test_a_disk_that_is_nearly_full_is_a_need_of_a_person(site: Site, vault: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: a file system is mounted")
    site.begin("listed", vault)
    archives = site.directory / "archives"
    archives.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(archives)], check=False).returncode:
        pytest.skip("needs a container with CAP_SYS_ADMIN: a file system is mounted")
    try:
        result = site.make("download", KEEP)
    finally:
        subprocess.run(["umount", str(archives)], check=True)
    assert result.returncode == 2
    first, second, last = told(site.directory)
    assert (first["about"], first["text"]) == ("disk", result.stderr.splitlines()[0])
    assert second["text"] == "the disk of 'archives' is nearly full; make room, or give ARCHIVES another directory"
    assert last["text"] == f"download ended with status 2: {first['text']}"


def test_a_run_that_is_stopped_tells_so(site: Site, vault: str, space: VOSpace) -> None:
    site.begin("listed", vault)
    with stalled_download(site, space, KEEP) as process:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=DEADLINE)
    (ended,) = told(site.directory)
    assert (ended["run"]["status"], ended["run"]["verb"]) == (143, "download")


@pytest.mark.skipif(not shutil.which("jq"), reason="needs jq: apt-get install jq")
def test_the_commands_of_the_page_work(site: Site, vault: str) -> None:
    """With a `mail` and a `curl` that keep what they are given."""
    page = (HERE / "docs/how-to/events.md").read_text()
    bin_ = site.directory / "bin"
    bin_.mkdir()
    for name in "mail", "curl":
        (bin_ / name).write_text(f'#!/bin/sh\necho "$@" >>{name}.log\ncat >>{name}.log\n')
        (bin_ / name).chmod(0o755)
    site.environment["PATH"] = f"{bin_}:{site.environment['PATH']}"
    scripts = re.findall(r"```sh\n(#!/bin/sh\n.*?)```", page, re.DOTALL)
    assert len(scripts) == 2
    site.list_tiles(TILES[0])
    for number, script in enumerate(scripts):
        path = site.directory / f"notify{number}"
        path.write_text(script)
        path.chmod(0o755)
        site.make("avail", f"INPUT_PATH={vault}", f"ON_EVENT=./{path.name}")
        site.make("avail", "INPUT_PATH=vos:cfis/nowhere", f"ON_EVENT=./{path.name}")
    mail, chat = ((site.directory / f"{name}.log").read_text() for name in ("mail", "curl"))
    assert mail.count("avail ended with status 2") == 1
    assert "status 0" not in mail
    assert '{"text":"avail ended with status 0: 0 tiles new or changed there"}' in chat
    assert "SECRET" not in chat  # which a list of processes would show
