"""Part files: what is written beside the thread that reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrieve.delivery.part import LARGE, Sink


class Spoilt:
    """A digest for which there is no memory."""

    def update(self, _: bytes) -> None:
        raise MemoryError


def test_whatever_stops_the_writing_of_a_large_archive_is_told_and_nobody_waits_for_it(tmp_path: Path) -> None:
    with (tmp_path / "part").open("wb") as file, pytest.raises(MemoryError), Sink(file, Spoilt(), LARGE) as sink:
        for _ in range(100):  # more than are kept in the queue
            sink.take(b"bytes")
