"""The output tree: how a file gets its place, and what is in its way."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from retrieve.formats.header import DIRECTORY, REGULAR, Member
from retrieve.output.tree import LONGEST, Refused, Tree, safe_path
from support.site import HERE


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A destination with an output tree, and in `staged` what is to get its place in it."""
    (tmp_path / "output").mkdir()
    (tmp_path / "staged/output/run").mkdir(parents=True)
    (tmp_path / "staged/output/run/x").write_bytes(b"new")
    return tmp_path


def never(path: str, *_: os.stat_result) -> bool:
    pytest.fail(f"it is asked which file has the place '{path}'")


def test_what_is_not_there_yet_is_moved_not_copied(place: Path) -> None:
    paths = "run", "run/x"
    before = [(place / "staged/output" / path).stat().st_ino for path in paths]
    Tree(place).adopt(place / "staged", never)
    assert [(place / "output" / path).stat().st_ino for path in paths] == before
    (place / "staged/output/run").mkdir()
    (place / "staged/output/run/y").write_bytes(b"more")
    inode = (place / "staged/output/run/y").stat().st_ino
    Tree(place).adopt(place / "staged", never)
    assert (place / "output/run/y").stat().st_ino == inode
    assert not list((place / "staged/output/run").iterdir())


def test_a_file_has_its_place_if_it_is_decided_so(place: Path) -> None:
    (place / "output/run").mkdir()
    for wins, content in ((False, b"old, and longer"), (True, b"new")):
        (place / "output/run/x").write_bytes(b"old, and longer")
        asked = []

        def decide(path: str, staged: os.stat_result, there: os.stat_result, wins: bool = wins) -> bool:
            asked.append((path, staged.st_size, there.st_size))  # noqa: B023
            return wins

        Tree(place).adopt(place / "staged", decide)
        assert asked == [("output/run/x", 3, 15)]
        assert (place / "output/run/x").read_bytes() == content


def test_a_link_that_came_in_the_way_meanwhile_is_neither_followed_nor_replaced(place: Path) -> None:
    """After what was in the way was looked for."""
    (place / "outside").mkdir()
    for link, problem in (("run/x", "'output/run/x' is no regular file here"), ("run", "reached through 'run'")):
        tree = Tree(place)
        assert tree.obstacle(place / "staged") is None
        path = place / "output" / link
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(place / "outside")
        with pytest.raises(Refused, match=f"{problem}.*; move it away"):
            tree.adopt(place / "staged", never)
        assert path.is_symlink()
        assert not list((place / "outside").iterdir())
        path.unlink()
        if path.parent.name == "run":
            path.parent.rmdir()


def test_a_directory_is_reached_without_following_a_link_in_the_tree(place: Path) -> None:
    tree = Tree(place)
    (place / "output/a/b").mkdir(parents=True)
    (place / "output/linked").symlink_to("a")
    with tree.directory("output/a") as descriptor:
        assert os.listdir(descriptor) == ["b"]
    through = "'output/linked/b' is reached through 'linked', which is no directory"
    with pytest.raises(Refused, match=through), tree.directory("output/linked/b"):
        pass
    with pytest.raises(FileNotFoundError), tree.directory("output/none"):
        pass
    (place / "output").rename(place / "aside")
    (place / "output").write_bytes(b"")
    with pytest.raises(Refused, match="/output' is no directory; move it away"), tree.directory("output"):
        pass


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("/".join(["output"] + ["é" * 127 + "x"] * 15 + ["x" * (LONGEST - 6 - 15 * 256 - 1)]), id="long"),
        pytest.param("/".join(["output"] + ["d"] * 63), id="deep"),
    ],
)
def test_a_name_at_the_very_limit_is_allowed(name: str) -> None:
    assert safe_path(Member(name, "", REGULAR, 0, 0)) == name
    with pytest.raises(Refused, match=r"too long a name|more than 64 directories deep"):
        safe_path(Member(f"{name}/x", "", REGULAR, 0, 0))


@pytest.mark.parametrize(("name", "path"), [("./", ""), ("./output/", "output"), ("output//run/.", "output/run")])
def test_the_directories_above_all_files_may_be_in_an_archive(name: str, path: str) -> None:
    assert safe_path(Member(name, "", DIRECTORY, 0, 0)) == path


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace: apt-get install strace")
def test_what_comes_from_another_file_system_is_on_disk_before_it_gets_its_name(place: Path, memory_disk: Path) -> None:
    if memory_disk.stat().st_dev == place.stat().st_dev:
        pytest.skip("needs a file system in memory")
    (memory_disk / "output/run").mkdir(parents=True)
    code = (
        "import sys; from pathlib import Path; from retrieve.output.tree import Tree; "
        "Tree(Path(sys.argv[1])).adopt(Path(sys.argv[2]), None)"
    )
    trace = ["strace", "-qq", "-y", "-o", str(place / "trace"), "-e", "trace=/rename.*,fsync"]
    words = [sys.executable, "-BP", "-c", code, str(memory_disk), str(place / "staged")]
    subprocess.run([*trace, *words], env={"PYTHONPATH": str(HERE / "lib")}, check=True)
    lines = (place / "trace").read_text().splitlines()
    calls = [(re.match(r"\w+?(?=at|\d|\()", line)[0], line.rpartition(" = ")[2][:2]) for line in lines]
    assert calls == [("rename", "-1"), ("fsync", "0"), ("rename", "0")]
    assert "/output/run/.unpacking.part>" in lines[1]
    assert (memory_disk / "output/run/x").read_bytes() == b"new"
