"""Shards: several machines on one directory of stamps do together what one would have done alone, and no more."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import zlib
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from retrieve.errors import SettingError
from retrieve.shards import Shard, parse_shard, shard_of
from retrieve.stamps.members import read_members
from retrieve.stamps.stamps import DOWNLOADED, EXTRACTED, Stamps
from support.site import HERE, TILES, Site, names
from support.tar_making import MTIME, downloaded, member, packed
from vospace_demo.server import VOSpace


def copy(site: Site, name: str) -> Site:
    """Copy a run directory."""
    directory = Path(shutil.copytree(site.directory, site.directory.with_name(name)))
    return replace(site, directory=directory, environment=dict(site.environment))


def dates(site: Site, below: str) -> dict[str, int]:
    """Mtimes of all files below a directory, in nanoseconds."""
    root = site.directory / below
    return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def state(site: Site) -> dict[tuple[str, str], object]:
    """Everything that runs leave behind, but for their records and lists: bytes and mtimes."""
    stamps = Stamps(site.directory / "stamps", "mccd")
    parts = {
        "archive": site.files("archives"),
        "archive's mtime": dates(site, "archives"),
        "file": site.files("output"),
        "file's mtime": dates(site, "output"),
        "stamp": site.stamps(),
        "list": {tile: read_members(stamps, tile) for tile in stamps.tiles(EXTRACTED)},
        "top": {path.name: "" for path in site.directory.iterdir()},
    }
    return {(part, name): value for part, values in parts.items() for name, value in values.items()}


def shards_at_once(site: Site, count: int, *words: str, chance: random.Random) -> list[str]:
    """Run all shards at the same time, begun in any order; return what each says."""
    order = chance.sample(range(1, count + 1), count)
    running = {number: site.start(*words, f"SHARD={number}/{count}") for number in order}
    said = {number: process.communicate(timeout=100) for number, process in running.items()}
    assert not any(process.returncode for process in running.values()), said
    return [said[number][0] for number in range(1, count + 1)]


def test_shards_at_once_make_what_one_process_makes_and_fetch_nothing_twice(
    site: Site, vault: str, space: VOSpace, container: Path
) -> None:
    one = copy(site, "one")
    one.begin("unpacked", vault)
    site.begin("listed", vault)
    space.forget()
    said = shards_at_once(site, 3, "download", "untar", chance=random.Random(3))
    assert space.requests().bytes == {name: (container / name).stat().st_size for tile in TILES for name in names(tile)}
    assert state(site) == state(one)
    share = [[tile for tile in TILES if Shard(number, 3).owns(tile)] for number in (1, 2, 3)]
    for tiles, text in zip(share, said, strict=True):
        assert f"; {len(tiles)} tiles brought up to date" in text
        assert f"; {len(tiles)} tiles with " in text
    # Each has a collected list and a record of its own, and leaves no lock.
    left = {path.name for path in (site.directory / "stamps/mccd").iterdir() if path.is_file()}
    assert {f"stale-{verb}.{number}-of-3" for verb in ("download", "untar") for number in (1, 2, 3)} <= left
    assert not [name for name in left if name.startswith(("lock", "turn", ".stale"))]

    # They verify together what one verifies; a share of a share is at least a tile.
    (site.directory / "archives" / names(share[1][0])[0]).write_bytes(b"bad")
    found = [site.json("verify", f"SHARD={number}/3") for number in (1, 2, 3)]
    assert [one["tiles"] for one in found] == list(map(len, share))
    assert sum(one["archives"] for one in found) == 70
    assert [one["bad"] for one in found] == [[], [share[1][0]], []]
    # The task of a job array knows its share; an explicit one outdoes it.
    site.environment |= {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "0"}
    assert site.json("download", "SHARD=1/3", "DRYRUN=yes")["tiles"] == []
    assert site.json("download", "DRYRUN=yes")["tiles"] == share[1][:1]
    assert "10/10 (100.0%) complete" in site.done("avail")


def versions(rng: random.Random, tiles: list[str], version: int) -> dict[str, bytes]:
    """Archives of which every other one, another half in each version, brings paths that others bring, too."""
    archives = {}
    for place, tile in enumerate(tiles):
        mtime = b"%011o\0" % (MTIME + version * 1000 + rng.randrange(1000))
        blocks = [member(f"output/run_{version}_{tile}/{i}.txt", rng.randbytes(100)) for i in range(5)]
        blocks.append(member("output/all/same.txt", b"same", mtime=mtime))
        if (place + version) % 2:
            text = f"{tile} {version}".encode() * rng.randrange(1, 4)
            blocks += [member(f"output/all/{i}/shared.txt", text, mtime=mtime) for i in range(3)]
        archives[f"logs_{tile}.tgz"] = packed(*blocks)
    return archives


def untar(site: Site, shard: str, again: bool) -> subprocess.Popen[str] | None:
    """Start `untar` of a shard, or of all tiles, as Make does; None if nothing of it is stale, unless it is `again`."""
    stamps = Stamps(site.directory / "stamps", "mccd")
    extracted = stamps.tiles(EXTRACTED)
    owns = parse_shard(shard).owns if shard else bool
    stale = [tile for tile, ns in stamps.tiles(DOWNLOADED).items() if extracted.get(tile, -1) < ns and owns(tile)]
    suffix = parse_shard(shard).suffix if shard else ""
    (stamps.directory / f"stale-untar{suffix}").write_text("\n".join(stale))
    words = [str(HERE / "bin/retrieve"), "untar", f"SHARD={shard}", "CHECK=none"]
    if not stale and not again:
        return None
    return subprocess.Popen(
        words,
        cwd=site.directory,
        env=site.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def until_done(site: Site, shards: list[str], chance: random.Random, kills: int) -> None:
    """Unpack shards at the same time, again and again until all is unpacked; kill some at any moment."""
    killed: set[str] = set()
    for _ in range(kills + 20):
        running = {shard: process for shard in shards if (process := untar(site, shard, shard in killed))}
        if not running:
            return
        killed = set(chance.sample(sorted(running), min(kills, len(running) // 2)))
        kills -= len(killed)
        for shard, process in running.items():
            if shard in killed:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(chance.uniform(0.1, 0.6))
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        for process in running.values():
            stderr = process.communicate(timeout=100)[1]
            assert process.returncode in (0, -signal.SIGKILL), stderr
    raise AssertionError("it is never done")


@pytest.mark.parametrize(
    ("rounds", "columns", "count", "kills"),
    # With more tiles, each shard places some of them several times.
    [
        pytest.param(1, 2, 3, 2, marks=[pytest.mark.soak, pytest.mark.short]),
        pytest.param(20, 4, 4, 4, marks=pytest.mark.soak),
        pytest.param(1, 40, 2, 2, marks=pytest.mark.soak),
    ],
)
def test_shards_that_share_paths_and_are_killed_make_what_one_process_makes(
    rounds: int, columns: int, count: int, kills: int, site: Site
) -> None:
    """Files of several tiles have the same path; then tiles come again without it, and others' files come back."""
    chance = random.Random(rounds)
    tiles = [f"{column}.{row}" for column in range(240, 240 + columns) for row in range(290, 294)]
    shards = [f"{number}/{count}" for number in range(1, count + 1)]
    (site.directory / "output").mkdir()
    one = copy(site, "one")
    for version in range(2 * rounds):
        archives = versions(chance, tiles, version)
        for each, among, killed in ((one, [""], 0), (site, shards, kills)):
            downloaded(each, archives, {name: MTIME + version * 100 + place for place, name in enumerate(archives)})
            until_done(each, among, chance, killed)
        assert state(site) == state(one)
    assert ", 0 of " in site.done("verify")


def test_the_split_is_complete_disjoint_and_even_in_any_part_of_the_sky() -> None:
    for columns, rows in ((range(100, 150), range(200, 240)), (range(220, 240), range(280, 290)), (range(7), range(9))):
        tiles = [f"{column:03}.{row:03}" for column in columns for row in rows]
        for count in (2, 3, 4, 8, 10, 13, 16, 31, 64):
            owners = [
                (tile, number) for number in range(1, count + 1) for tile in filter(Shard(number, count).owns, tiles)
            ]
            assert sorted(tile for tile, _ in owners) == tiles
            shares = [Counter(number for _, number in owners)[number] for number in range(1, count + 1)]
            assert max(shares) <= len(tiles) / count * 1.15 + 3
            assert min(shares) >= len(tiles) / count * 0.85 - 3


def test_a_tile_stays_in_its_shard() -> None:
    """Whatever else is in the list, in whatever order: another split would have two versions do a tile twice."""
    tiles = [f"{column}.{row}" for column in range(200, 300, 7) for row in range(250, 300, 3)]
    text = "".join(f"{tile} {number}\n" for tile in tiles for number in range(1, 17) if Shard(number, 16).owns(tile))
    assert zlib.crc32(text.encode()) == 3397507993


SLURM = "SLURM_ARRAY_TASK_"


@pytest.mark.parametrize(
    ("environment", "shard"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "7"}, None),
        ({f"{SLURM}ID": "0", f"{SLURM}COUNT": "4", f"{SLURM}MIN": "0", f"{SLURM}MAX": "3"}, "1/4"),
        ({f"{SLURM}ID": "3", f"{SLURM}COUNT": "4", f"{SLURM}MIN": "0", f"{SLURM}MAX": "3"}, "4/4"),
        ({f"{SLURM}ID": "1", f"{SLURM}COUNT": "4", f"{SLURM}MIN": "1", f"{SLURM}MAX": "4"}, "1/4"),
        ({f"{SLURM}ID": "4", f"{SLURM}COUNT": "4", f"{SLURM}MIN": "1", f"{SLURM}MAX": "4"}, "4/4"),
        ({f"{SLURM}ID": "1", f"{SLURM}COUNT": "1", f"{SLURM}MIN": "1", f"{SLURM}MAX": "1"}, "1/1"),
        ({f"{SLURM}ID": "3", f"{SLURM}COUNT": "4"}, "3/4"),
        ({f"{SLURM}ID": "4", f"{SLURM}COUNT": "4"}, "4/4"),
        ({"REPLICA_ID": "2", "REPLICA_COUNT": "5"}, "2/5"),
        ({"REPLICA_ID": "2", "REPLICA_COUNT": "5", f"{SLURM}ID": "1", f"{SLURM}COUNT": "2"}, "1/2"),
        # Of how many shares is the third one, or the tasks 1, 3 and 7?
        ({f"{SLURM}ID": "3", f"{SLURM}COUNT": "1", f"{SLURM}MIN": "3", f"{SLURM}MAX": "3"}, "bad job array"),
        ({f"{SLURM}ID": "3", f"{SLURM}COUNT": "3", f"{SLURM}MIN": "1", f"{SLURM}MAX": "7"}, "bad job array"),
        ({f"{SLURM}ID": "2", f"{SLURM}COUNT": "4", f"{SLURM}MIN": "0", f"{SLURM}MAX": "6"}, "bad job array"),
        ({f"{SLURM}ID": "5", f"{SLURM}COUNT": "4"}, "bad job array"),
        ({f"{SLURM}ID": "5"}, "bad job array"),
        ({f"{SLURM}ID": "x", f"{SLURM}COUNT": "4"}, "bad job array"),
        ({f"{SLURM}ID": "1", f"{SLURM}COUNT": "0"}, "bad job array"),
        ({"REPLICA_ID": "0", "REPLICA_COUNT": "5"}, "bad replica"),
        ({"REPLICA_ID": "6", "REPLICA_COUNT": "5"}, "bad replica"),
        ({"REPLICA_ID": "1"}, "bad replica"),
        ({"REPLICA_COUNT": "5"}, "bad replica"),
        ({"REPLICA_ID": "", "REPLICA_COUNT": ""}, "bad replica"),
    ],
)
def test_a_batch_systems_task_works_on_its_share(environment: dict[str, str], shard: str | None) -> None:
    for verb in ("avail", "missing", "status", "link", "submit"):
        assert shard_of(verb, None, environment) is None
        with pytest.raises(SettingError, match=f"^'{verb}' is for all tiles at once; leave out SHARD=1/2$"):
            shard_of(verb, Shard(1, 2), environment)
    for verb in ("download", "untar", "verify"):
        assert shard_of(verb, Shard(1, 2), environment) == Shard(1, 2)
        if shard and shard.startswith("bad"):
            with pytest.raises(SettingError, match=rf"^{shard} '.*'; .*, or give SHARD=3/16$"):
                shard_of(verb, None, environment)
        else:
            assert str(shard_of(verb, None, environment)) == str(shard)


def test_with_only_its_number_and_count_each_task_of_an_array_has_another_share() -> None:
    for first in (0, 1):
        tasks = [{f"{SLURM}ID": str(first + i), f"{SLURM}COUNT": "5"} for i in range(5)]
        assert {str(shard_of("untar", None, task)) for task in tasks} == {f"{number}/5" for number in range(1, 6)}


def test_nonsense_is_refused_in_one_line(site: Site) -> None:
    for value in ("0/4", "5/4", "1/0", "-1/4", "3", "3/", "/4", "a/b", "1/4/2", "1 / 4", "1.0/4", "٣/٤"):
        with pytest.raises(ValueError, match=r"^a share such as 3/16: its number, from 1, and how many there are$"):
            parse_shard(value)
    share = "give a share such as 3/16: its number, from 1, and how many there are"
    lines = {
        ("untar", "SHARD=5/4"): f"bad value SHARD='5/4'; {share}",
        ("missing", "SHARD=1/4"): "'missing' is for all tiles at once; leave out SHARD=1/4",
        ("download",): "bad replica 'REPLICA_ID=0 REPLICA_COUNT=4'; number the replicas from 1, or give SHARD=3/16",
    }
    site.environment |= {"REPLICA_ID": "0", "REPLICA_COUNT": "4"}
    for words, line in lines.items():
        result = site.run(str(HERE / "bin/retrieve"), *words)
        assert (result.returncode, result.stdout, result.stderr) == (2, "", f"{line}\n")


def test_each_make_reads_the_list_that_it_collected(site: Site) -> None:
    """One whose Python begins late, after another Make found something else; with -n and -q, nothing is written."""
    tiles = downloaded(site, {f"logs_{tile}.tgz": packed(member(f"output/{tile}/x.txt")) for tile in TILES[:2]})
    site.done("untar")
    stamp = site.directory / "stamps/mccd/extracted" / tiles[0]
    aside = stamp.rename(site.directory / "aside")
    late = site.directory / "late"
    late.write_text(f'#!/bin/sh\nuntil [ -e go ]; do sleep 0.01; done\nexec "{site.environment["PYTHON"]}" "$@"\n')
    late.chmod(0o755)
    before = set((site.directory / "stamps/mccd").iterdir())
    for flag in ("-n", "-q", "-kn"):
        site.make(flag, "untar")
    assert set((site.directory / "stamps/mccd").iterdir()) == before
    process = site.start("untar", f"PYTHON={late}")
    while not list((site.directory / "stamps/mccd").glob(".stale-*-untar")):
        assert process.poll() is None
    aside.rename(stamp)
    assert site.done("untar") == "nothing to unpack\n"
    stamp.unlink()
    (site.directory / "go").touch()
    assert process.communicate(timeout=60)[0].startswith("1 archive unpacked; 1 tile ")
    assert not list((site.directory / "stamps/mccd").glob(".stale-*"))
    # One that nobody came to read is removed in time.
    left = site.directory / "stamps/mccd/.stale-elsewhere-7-untar"
    left.touch()
    site.done("untar")
    assert left.exists()
    os.utime(left, (0, 0))
    site.done("untar")
    assert not left.exists()
