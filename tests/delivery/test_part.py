"""Part files: how they are named and gone on with, and what is written beside the thread that reads."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from retrieve.archives import Archive
from retrieve.delivery.part import LARGE, PART, Part, Sink, part_path, remove_outdated_parts

MD5 = hashlib.md5(b"an archive").hexdigest()
ARCHIVE = Archive("logs_240.290.tgz", 10, MD5, "2021-08-05T11:25:32.123")


class Spoilt:
    """A digest for which there is no memory."""

    def update(self, _: bytes) -> None:
        raise MemoryError


@pytest.mark.parametrize(
    ("came", "md5", "start"),
    [
        (None, MD5, 0),
        (b"", MD5, 0),
        (b"an ar", MD5, 5),
        (b"an ar", None, 0),
        (b"an archive", MD5, 0),
        (b"x" * 11, MD5, 0),
    ],
)
def test_what_came_of_an_archive_with_an_md5_is_gone_on_with(
    came: bytes | None, md5: str | None, start: int, tmp_path: Path
) -> None:
    part = Part(ARCHIVE._replace(md5=md5), tmp_path / "part")
    if came is not None:
        part.path.write_bytes(came)
    digest, at = part.usable()
    assert (digest.hexdigest(), at) == (hashlib.md5((came or b"")[:start]).hexdigest(), start)


def test_a_part_is_named_after_its_content_and_removed_when_another_is_wanted(tmp_path: Path) -> None:
    unknown = ARCHIVE._replace(md5=None)
    wanted, outdated = part_path(tmp_path, ARCHIVE), part_path(tmp_path, unknown)
    assert wanted.name == f"logs_240.290.tgz.{MD5}{PART}"
    assert outdated.name == f"logs_240.290.tgz.10-{ARCHIVE.date_ns}{PART}"
    of_another = part_path(tmp_path, ARCHIVE._replace(name="logs_240.291.tgz"))
    whole = tmp_path / ARCHIVE.name
    for path in wanted, outdated, of_another, whole:
        path.write_bytes(b"an ar")
    remove_outdated_parts(tmp_path, [ARCHIVE])
    assert set(tmp_path.iterdir()) == {wanted, of_another, whole}


@pytest.mark.parametrize(("size", "threads"), [(LARGE - 1, 0), (LARGE, 1)])
def test_a_large_archive_is_written_beside_the_thread_that_reads(size: int, threads: int, tmp_path: Path) -> None:
    digest, before = hashlib.md5(), threading.active_count()
    with (tmp_path / "part").open("wb") as file, Sink(file, digest, size) as sink:
        assert threading.active_count() - before == threads
        sink.take(b"an ")
        sink.take(b"archive")
    assert ((tmp_path / "part").read_bytes(), digest.hexdigest()) == (b"an archive", MD5)


def test_whatever_stops_the_writing_of_a_large_archive_is_told_and_nobody_waits_for_it(tmp_path: Path) -> None:
    with (tmp_path / "part").open("wb") as file, pytest.raises(MemoryError), Sink(file, Spoilt(), LARGE) as sink:
        taken = 0
        while taken < 100:  # more than are kept in the queue
            sink.take(b"bytes")
            taken += 1
    assert taken < 100, "it is told to who writes on"


def test_what_stops_the_writing_of_the_last_bytes_is_told_unless_something_stopped_the_reading(tmp_path: Path) -> None:
    with (tmp_path / "part").open("wb") as file, pytest.raises(MemoryError), Sink(file, Spoilt(), LARGE) as sink:
        sink.take(b"bytes")
    with (tmp_path / "part").open("wb") as file, pytest.raises(KeyError), Sink(file, Spoilt(), LARGE) as sink:
        sink.take(b"bytes")
        raise KeyError
