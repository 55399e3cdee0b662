"""What `make` says and leaves behind, and directories in which it cannot work."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from contextlib import chdir
from pathlib import Path

import pytest

from retrieve.commands import avail
from retrieve.errors import SettingError
from retrieve.settings import Settings
from support.site import Site, names


def ours(result: subprocess.CompletedProcess[str]) -> list[str]:
    """Lines on stderr but those with which Make says which recipe failed."""
    return [line for line in result.stderr.splitlines() if not (line.startswith("make") and "Error" in line)]


def tree(directory: Path) -> dict[str, bytes | None]:
    """All that is in a directory: content of files, None for directories."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
    }  # fmt: skip


def refused(site: Site, *words: str) -> str:
    """Give `avail` settings that it must refuse before it writes anything, in this very process; return the line."""
    before = tree(site.directory)
    with chdir(site.directory), pytest.raises(SettingError) as caught:
        avail.main(Settings.parse(words))
    assert tree(site.directory) == before
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    return line


def read_only(site: Site, setting: str) -> list[str]:
    """A directory that nobody can write to: mounted read-only where root would ignore its permissions."""
    directory = site.directory / "read-only"
    directory.mkdir()
    if os.geteuid() == 0:
        wrapped = ["unshare", "--mount", "sh", "-c", f"mount -t tmpfs -o ro none '{directory}' && exec \"$@\"", "-"]
        if not shutil.which("unshare"):
            pytest.skip("needs unshare: apt-get install util-linux")
        if site.run(*wrapped, "true").returncode:
            pytest.skip("needs a container with CAP_SYS_ADMIN: a directory is mounted read-only")
        site.run = lambda *command: Site.run(site, *wrapped, *command)
    else:
        directory.chmod(0o555)
    return [f"{setting}=read-only"]


def make_newer(container: Path, tile: str) -> None:
    """Make the first archive of a tile an hour newer, with other bytes around the same members."""
    archive = container / names(tile)[0]
    mtime_ns = archive.stat().st_mtime_ns + 3_600_000_000_000
    archive.write_bytes(gzip.compress(gzip.decompress(archive.read_bytes()), mtime=mtime_ns // 1_000_000_000))
    os.utime(archive, ns=(mtime_ns, mtime_ns))
