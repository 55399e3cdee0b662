"""Whether more fits on a disk and in the quotas there, in the same words whoever asks."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from retrieve.errors import RetrieveError
from retrieve.handing.budget import Choice
from retrieve.host import room as rooms
from retrieve.host.room import Room, check_room, quotas, room
from support.site import TILES, Site

#: A file system that makes inodes as they are needed, and so reports none; nothing can be written in it.
PROC = Path("/proc")


def test_what_fits_is_not_told(tmp_path: Path) -> None:
    free = room(tmp_path)
    assert free.bytes > 0
    check_room(0, 0, tmp_path, "DEST")
    check_room(free.bytes // 2, 1, tmp_path, "DEST")


@pytest.mark.skipif(not PROC.is_dir(), reason="there is no /proc")
def test_inodes_count_only_where_there_is_a_number_of_them() -> None:
    assert room(PROC) == Room(0, None)
    check_room(0, 10**12, PROC, "DEST")
    with pytest.raises(RetrieveError, match="not enough space in '/proc': 1 B are needed and 0 B are free; make room"):
        check_room(1, 0, PROC, "DEST")


@pytest.mark.parametrize(("bytes_", "files"), [(10**18, 0), (0, 10**15)])
def test_what_does_not_fit_is_told_with_the_figures_and_the_setting(bytes_: int, files: int, tmp_path: Path) -> None:
    if files and room(tmp_path).inodes is None:
        pytest.skip("this disk makes inodes as they are needed")
    what, remedy = ("inodes", "remove files") if files else ("space", "make room")
    with pytest.raises(RetrieveError) as caught:
        check_room(bytes_, files, tmp_path, "ARCHIVES", "about ")
    text = str(caught.value)
    assert text.startswith(f"not enough {what} in '{tmp_path}': about ")
    assert text.endswith(f" are free; {remedy}, give ARCHIVES another directory, or FORCE=yes")


#: What Lustre's `lfs quota` says, without and with quotas, and above the soft limit; a long name has a line of its own.
LFS_NONE = """Disk quotas for {kind} (ID):
     Filesystem  kbytes   quota   limit   grace   files   quota   limit   grace
       /scratch 9821775       0       0       - 4432082       0       0       -
uid 6215 is using default file quota setting
"""
LFS = """Disk quotas for {kind} (ID):
     Filesystem  kbytes   quota   limit   grace   files   quota   limit   grace
/lustre/scratch-of-all
                1048576 2097152 4194304       -     120       0     300       -
"""
LFS_ABOVE = """Disk quotas for {kind} (ID):
     Filesystem  kbytes   quota   limit   grace   files   quota   limit   grace
       /scratch 3000000* 2000000 4000000 6d23h59m59s  301*       0     300       -
"""
LFS_INACCURATE = """Disk quotas for {kind} (ID):
     Filesystem  kbytes   quota   limit   grace   files   quota   limit   grace
       /scratch [1048576] 2097152 4194304       -  [120]       0     300       -
Some errors happened when getting quota info. Some devices may be not working or deactivated. The data in "[]" is """
LFS_INACCURATE += "inaccurate.\n"
#: What Linux's `quota -w -p` says to a user in two groups; `BLOCKS` and `FILES` stand for what is used.
QUOTA = """Disk quotas for user me (uid UID): 
     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace
      /dev/sda1  BLOCKS  100000  200000       0   FILES    1000       0       0
Disk quotas for group other (gid 987654): 
     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace
      /dev/sda1       5       5       5       0       5       5       5       0
Disk quotas for group mine (gid GID): none
"""  # noqa: W291
MOUNTS = """22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / {place} rw - lustre 10.0.0.1@tcp:/scratch rw
"""


def install(directory: Path, name: str, script: str) -> str:
    """Install a program, which counts its calls; return the PATH that leads to it."""
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(f"#!/bin/sh\necho \"$0 $*\" >>'{directory}/calls'\n{script}\n")
    (directory / name).chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"


def saying(text: str, status: int = 0) -> str:
    """A script that says something."""
    return f"cat <<'END'\n{text}END\nexit {status}"


def by_quota(blocks: str, files: str = "10", status: int = 0) -> str:
    """A `quota` of which so much is used; the soft limits are 102.4 MB and 1000 inodes."""
    text = QUOTA.replace("UID", str(os.geteuid())).replace("GID", str(os.getegid()))
    return saying(text.replace("BLOCKS", blocks).replace("FILES", files), status)


def calls(directory: Path) -> list[str]:
    """How the programs were called; from then on anew."""
    path = directory / "calls"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [line.removeprefix(f"{directory}/") for line in lines]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where programs can be installed, and are asked anew; `tmp_path/lustre dir` is on Lustre."""
    (tmp_path / "lustre dir").mkdir()
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS.format(place=str(tmp_path / "lustre dir").replace(" ", r"\040")))
    monkeypatch.setattr(rooms, "_MOUNTS", mounts)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    rooms._quotas.cache_clear()
    yield tmp_path / "bin"
    rooms._quotas.cache_clear()


@pytest.mark.parametrize(
    ("user", "group", "left"),
    [
        (LFS_NONE, LFS_NONE, []),
        (LFS, LFS_NONE, [Room(1048576 * 1024, 180, "your quota")]),
        (LFS_NONE, LFS_ABOVE, [Room(0, 0, "the quota of your group")]),
        (LFS_INACCURATE, LFS, [Room(1048576 * 1024, 180, "the quota of your group")]),
        ("lfs quota: not on a mounted Lustre filesystem", "%PNG\0\xff 1 2 3 4 5 6", []),
    ],
    ids=["none", "the user's", "the group's", "inaccurate", "garbage"],
)
def test_lustre_is_asked_once_for_the_user_and_the_group(user: str, group: str, left: list[Room], asked: Path) -> None:
    mine = user.format(kind="usr me").replace("ID", f"uid {os.geteuid()}")
    ours = group.format(kind="grp us").replace("ID", f"gid {os.getegid()}")
    install(asked, "lfs", f'if [ "$2" = -u ]; then {saying(mine)}\nfi\n{saying(ours)}')
    install(asked, "quota", by_quota("0"))
    place = asked.parent / "lustre dir"
    for directory in place, place / "archives", place / "output/x":
        assert list(quotas(directory)) == left
    assert calls(asked) == [f"lfs quota -u {os.geteuid()} {place}", f"lfs quota -g {os.getegid()} {place}"]


@pytest.mark.parametrize(
    ("script", "left"),
    [
        (by_quota("90000"), [Room(10_000 * 1024, 990, "your quota")]),
        (by_quota("150000*", "1001*", status=1), [Room(0, 0, "your quota")]),
        (saying("Disk quotas for user me (uid 0): none\n"), []),
        (saying("     /home  14340M  16384M  20480M    160k   0   0\n"), []),
        ("exec yes 1 2 3 4 5 6 7 8", []),
        ("exec sleep 600", []),
        (f"(sleep 2; {by_quota('95000')}) & {by_quota('90000')}", [Room(10_000 * 1024, 990, "your quota")]),
        ("exit 1", []),
        ("kill -9 $$", []),
    ],
    ids=["below", "above", "none", "of another form", "endless", "hanging", "leaving a process", "failing", "killed"],
)
def test_elsewhere_quota_is_asked_for_a_file_system(
    script: str, left: list[Room], asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "_LIMIT", 0.3)
    install(asked, "quota", script)
    assert list(quotas(asked)) == left
    (asked.parent / "lustre dir 2").mkdir()  # which is not on Lustre
    assert list(quotas(asked.parent / "lustre dir 2")) == left
    assert calls(asked) == ["quota -w -p -u -g -f /"]


def test_where_no_program_is_installed_or_nothing_tells_what_is_mounted_no_quota_is_known(
    asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(asked, "quota", by_quota("0"))
    monkeypatch.setattr(rooms, "_MOUNTS", asked / "nowhere")
    assert quotas(asked) == ()
    assert calls(asked) == []
    (asked / "quota").write_bytes(b"\0\0")  # not a program
    monkeypatch.setattr(rooms, "_MOUNTS", asked.parent / "mounts")
    assert quotas(asked) == ()
    rooms._quotas.cache_clear()
    monkeypatch.setenv("PATH", str(asked.parent))
    monkeypatch.delattr("subprocess.Popen")
    assert quotas(asked) == ()


def test_what_does_not_fit_into_the_quota_is_refused_unless_forced(site: Site, vault: str, tmp_path: Path) -> None:
    """A run asks once, if it is about to write, and none of a `sync` that has nothing to do asks."""
    site.begin("listed", vault)
    site.list_tiles(TILES[0])
    programs = tmp_path / "bin"
    site.environment["PATH"] = install(programs, "quota", by_quota("99990"))
    result = site.make("download")
    assert result.returncode == 2
    said = re.fullmatch(
        r"not enough space in 'archives': \S+ kB are needed and 10.2 kB are free by your quota; make room, give "
        r"ARCHIVES another directory, or FORCE=yes",
        result.stderr.splitlines()[0],
    )
    assert said, result.stderr
    assert result.stderr.count("\n") == 2, "one line, and that of make"
    assert site.files("archives") == {}
    assert len(calls(programs)) == 1

    install(programs, "quota", by_quota("0", files="999"))
    site.done("download", "FORCE=yes")
    assert calls(programs) == []
    refused = site.make("untar")
    assert refused.returncode == 2
    assert re.search(r"not enough inodes in 'output': about \d+ are needed and 1 are free by your", refused.stderr)
    assert len(calls(programs)) == 1
    install(programs, "quota", by_quota("0"))
    site.done("untar")
    assert len(calls(programs)) == 1
    site.done("sync", "BUDGET=1G")
    assert calls(programs) == []


def test_doctor_tells_the_quota(site: Site, container: Path, tmp_path: Path) -> None:
    site.environment["PATH"] = install(tmp_path / "bin", "quota", by_quota("90000"))
    line = re.search(r"!! +ARCHIVES +(.*)", site.make("doctor", f"INPUT_PATH={container}").stdout)
    assert line
    assert re.fullmatch(
        r"'archives': \S+ [GT]B.* free, 10\.2 MB and 990 inodes free by your quota; make room, or give ARCHIVES "
        "another directory",
        line[1],
    )


def test_of_budget_and_quota_the_smaller_one_counts(site: Site, vault: str, tmp_path: Path) -> None:
    site.begin("listed", vault)
    programs = tmp_path / "bin"
    site.environment["PATH"] = install(programs, "quota", by_quota("99900"))
    for budget, named in ("1G", "your quota"), ("60k", "BUDGET"):
        assert f"{named} leaves 9 tiles for later\n" in site.done("download", f"BUDGET={budget}", "DRYRUN=yes")
        assert len(calls(programs)) == 1
    install(programs, "quota", by_quota("99999"))
    result = site.make("download", "BUDGET=1G")
    assert result.returncode == 2
    assert re.match(
        r"not enough space in 'archives': \S+ kB are needed and 1.0 kB are free by your quota", result.stderr
    )
    assert "BUDGET leaves 9" in site.done("download", "BUDGET=1G", "FORCE=yes", "DRYRUN=yes")
    # What is here stays, and of what could not be unpacked nothing is passed over in silence.
    site.begin("downloaded", vault)
    result = site.make("untar", "BUDGET=1G")
    assert result.returncode == 2
    assert re.match(r"not enough space in 'output': about \S+ kB are needed and 1.0 kB are free by your", result.stderr)
    assert Choice(limit="your quota").remedy == "make room in it"
