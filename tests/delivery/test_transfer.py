"""Transfers of one archive."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from retrieve.archives import Archive
from retrieve.delivery.part import PART, part_path
from retrieve.delivery.pool import Stopped
from retrieve.delivery.transfer import Fetcher
from retrieve.source.patience import RateLimit

CONTENT = b"an archive"


def test_what_is_whole_gets_no_name_after_a_stop_and_one_without_being_fetched_again_later(tmp_path: Path) -> None:
    """The record of what was verified is written then: what would get its name later would miss it."""
    archive = Archive("logs_240.290.tgz", len(CONTENT), hashlib.md5(CONTENT).hexdigest(), "2021-08-05T11:25:32.123")
    part = part_path(tmp_path, archive)
    part.write_bytes(CONTENT)
    stop = threading.Event()
    # Without a container: nothing is to be asked for.
    fetcher = Fetcher(None, tmp_path, 0, lambda _: None, lambda *_: None, stop, RateLimit(0))
    stop.set()
    with pytest.raises(Stopped):
        fetcher.fetch(archive)
    assert [path.suffix for path in tmp_path.iterdir()] == [PART]
    stop.clear()
    assert fetcher.fetch(archive).archive == archive
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]
