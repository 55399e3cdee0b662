"""Disks and output trees as people really have them: mounted, linked, shared by a group, with whole seconds."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from retrieve.host.disk import sync_directory
from support.disks import mounted, of_whole_seconds
from support.site import HERE, Site
from support.tar_making import MTIME, downloaded, fits, member, packed
from vospace_demo.results import make_archives, make_many

ACL = "system.posix_acl_default"


MEMORY = ("-t", "tmpfs", "tmpfs")


def passed_on(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Group, mode and default access rights of all that is below a directory."""
    found = {}
    for path in (root, *root.rglob("*")):
        status = path.stat()
        rights = os.getxattr(path, ACL) if path.is_dir() and ACL in os.listxattr(path) else b""
        # `tar` heeds the umask where a directory's default rights take its place.
        mode = status.st_mode & ~0o7 & ~0o20 if rights else status.st_mode
        found[str(path.relative_to(root))] = status.st_gid, mode, rights
    return found


def test_an_output_directory_stays_what_it_is_and_passes_on_what_it_has(site: Site, tmp_path: Path) -> None:
    """Also one that is empty; and what comes is in the group, and has the rights, that `tar` would give it."""
    groups = [4711, 4712] if os.geteuid() == 0 else [os.getgid(), os.getgroups()[-1]]
    trees = [site.directory / "output", tmp_path / "tar/output"]
    for tree in trees:
        # Of the group, which may write what others made: version 2, then tag, rights and no number of each entry.
        entries = ((0x01, 7), (0x04, 7), (0x10, 7), (0x20, 0))
        rights = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *one, 0xFFFFFFFF) for one in entries)
        for directory, group in ((tree, groups[0]), (tree / "other", groups[1]), (tree / "shared", groups[0])):
            directory.mkdir(parents=True)
            os.chown(directory, -1, group)
            directory.chmod(0o2775)
        try:
            os.setxattr(tree / "shared", ACL, rights)
        except OSError as error:
            pytest.skip(f"this file system has no access control lists: {error.strerror}")
    names = ("run/x", "run/deep/y", "other/x", "other/deep/y", "shared/x", "shared/deep/y")
    archive = packed(*(member(f"output/{name}", mode=b"0000666\0") for name in names))
    downloaded(site, {"logs_100.300.tgz": archive})
    inode = trees[0].stat().st_ino
    site.done("untar")
    assert trees[0].stat().st_ino == inode
    subprocess.run(
        ["tar", "xzf", "-", "--no-same-owner", "--no-same-permissions"], cwd=tmp_path / "tar", input=archive, check=True
    )
    assert passed_on(trees[0]) == passed_on(trees[1])
    assert passed_on(trees[0])["run/deep/y"][0] == groups[0]
    assert passed_on(trees[0])["other/deep"][:2] == (groups[1], stat.S_IFDIR | 0o2755)
    assert "0 of 6 files bad" in site.done("verify")


def test_an_empty_output_directory_is_not_replaced(site: Site) -> None:
    output = site.directory / "output"
    output.mkdir()
    output.chmod(0o2770)
    inode = output.stat().st_ino
    downloaded(site, {"logs_100.300.tgz": packed(member("output/x"))})
    site.done("untar")
    assert (output.stat().st_ino, stat.S_IMODE(output.stat().st_mode)) == (inode, 0o2770)


def test_an_output_tree_may_be_a_mount_point_and_span_file_systems(site: Site, tmp_path: Path) -> None:
    with ExitStack() as mounts:
        output = mounts.enter_context(mounted(site.directory / "output", *MEMORY))
        mounts.enter_context(mounted(output / "far", "-o", "size=64k", *MEMORY))
        (tmp_path / "bound/run").mkdir(parents=True)
        mounts.enter_context(mounted(output / "bound", "--bind", str(tmp_path / "bound")))
        names = ("near/x", "far/x", "far/deep/er/y.fits", "bound/run/x", "bound/z")
        for date, text in ((0, b"old"), (1, b"new")):
            blocks = [member(f"output/{name}", fits(date) if name.endswith("fits") else text) for name in names[date:]]
            downloaded(site, {"logs_100.300.tgz": packed(*blocks)}, {"logs_100.300.tgz": MTIME + date})
            site.done("untar")
            assert site.files("output") == {
                name: fits(date) if name.endswith("fits") else text for name in names[date:]
            }
            assert {path.stat().st_mtime for path in output.rglob("*") if path.is_file()} == {MTIME}
            assert ", 0 of " in site.done("verify")
        # What a run that was killed left of a copy is in nobody's way.
        (output / "far/.unpacking.part").write_bytes(b"half")
        (site.directory / "stamps/mccd/extracted/100.300").unlink()
        site.done("untar")
        assert not list(output.rglob(".unpacking*"))
        # A file system that is full is told as any other.
        downloaded(
            site,
            {"logs_101.300.tgz": packed(member("output/far/large", bytes(200_000)))},
        )
        result = site.make("untar")
        assert "no space left on device" in result.stderr
        assert sorted(path.name for path in (output / "far").iterdir()) == ["deep", "x"]


def test_an_output_tree_behind_a_link_is_followed_and_no_link_in_it(site: Site, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "outside").mkdir()
    output = site.directory / "output"
    output.symlink_to(tmp_path / "scratch")
    (tmp_path / "scratch/linked").symlink_to(tmp_path / "outside")
    archives = {path.name: path.read_bytes() for path in make_archives(tmp_path, "240.290", "mccd")}
    downloaded(site, archives | {"logs_100.300.tgz": packed(member("output/linked/x"))})
    result = site.make("untar")
    assert "'output/linked' is no directory here; move it away" in result.stderr
    assert "1 of 2 tiles failed" in result.stderr
    assert output.is_symlink()
    assert list((tmp_path / "outside").iterdir()) == []
    site.list_tiles("240.290")
    assert ", 0 of " in site.done("verify")
    site.done("link")
    found = tmp_path / "scratch/run_sp_combined/make_catalog_runner/output/final_cat-240-290.fits"
    assert found.read_bytes()[:6] == b"SIMPLE"
    # A link to nothing is not filled, and is not made to lead anywhere.
    output.unlink()
    output.symlink_to("nowhere")
    shutil.rmtree(site.directory / "stamps/mccd/extracted")
    result = site.make("untar")
    assert "'output' is a link to 'nowhere', which is not there; make that directory" in result.stderr


def test_a_disk_that_cannot_sync_is_not_one_that_failed(site: Site, tmp_path: Path) -> None:
    """Some network file systems answer `fsync` of a directory with EINVAL, as /proc does."""
    sync_directory(Path("/proc/self"))
    if not shutil.which("strace"):
        pytest.skip("'strace' is not here; install Debian's package 'strace'")
    make_archives(tmp_path, "240.290", "mccd")
    site.list_tiles("240.290")
    inject = "fsync,syncfs:error=EINVAL"
    trace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,syncfs", "-e", f"inject={inject}"]
    result = site.run(*trace, "make", "-f", str(HERE / "Makefile"), "sync", f"INPUT_PATH={tmp_path}")
    assert result.returncode == 0, result.stderr
    assert "1 tile with" in result.stdout


def test_what_cannot_be_removed_is_named(site: Site) -> None:
    place = site.directory / "output/.unpacking/mccd/100.300/0/stuck"
    downloaded(site, {"logs_100.300.tgz": packed(member("output/x")), "logs_101.300.tgz": packed(member("output/y"))})
    with mounted(place, *MEMORY):
        result = site.make("untar")
        assert "cannot remove 'output/.unpacking/mccd/100.300/0/stuck', which an earlier run left" in result.stderr
        assert "resource busy" in result.stderr
        assert "1 of 2 tiles failed" in result.stderr
    site.done("untar")
    assert not (site.directory / "output/.unpacking").exists()
    (site.directory / "output/.unpacking").write_text("in the way")
    downloaded(site, {"logs_100.300.tgz": packed(member("output/z"))}, {"logs_100.300.tgz": MTIME + 1})
    assert "'output/.unpacking/mccd/100.300" in site.make("untar").stderr


def test_where_a_disk_keeps_whole_seconds_nothing_is_fetched_again(site: Site, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for model in ("mccd", "psfex"):
        make_many(source, ["240.290"], model)
    for path in source.iterdir():
        os.utime(path, ns=(0, MTIME * 10**9 + 987_654_321))
    site.list_tiles("240.290")
    with of_whole_seconds(site.directory / "archives", tmp_path / "image"):
        site.done("sync", f"INPUT_PATH={source}")
        shutil.rmtree(site.directory / "stamps")
        site.done("avail", f"INPUT_PATH={source}")
        assert "0 archives fetched" in site.done("download")
        site.done("avail", "PSF=psfex")
        assert "1 archive fetched" in site.done("download")
        # One that was altered is still told from what is at the source.
        os.utime(site.directory / "archives/logs_240.290.tgz", ns=(0, (MTIME + 1) * 10**9))
        shutil.rmtree(site.directory / "stamps")
        site.done("avail", f"INPUT_PATH={source}", "PSF=psfex")
        assert "1 archive fetched" in site.done("download")
