"""Decisions that need no run: what to do about an archive."""

from __future__ import annotations

import pytest

from retrieve.archives import Archive, Line, LocalFile, Verified
from retrieve.decisions import (
    DAMAGED,
    EMPTY,
    NEWER,
    NOT_AT_SOURCE,
    NOT_FETCHED,
    NOT_LISTED,
    Decision,
    Lack,
    decide,
    expected_md5,
    lack_of,
    md5_may_be_old,
)
from retrieve.stamps.lines import read_stamp
from retrieve.stamps.stamps import Record

OLD, NEW = "2021-08-05T11:25:32.123", "2021-08-06T11:25:32.123"
A, B = "a" * 32, "b" * 32
LATER = 1_000_000_000_000


def at_source(md5: str | None, date: str = NEW) -> Archive:
    """An archive of ten bytes as it is listed."""
    return Archive("final_cat_240.290.tgz", 10, md5, date)


def as_verified(md5: str | None, date: str, own: str = A, dated: str | None = None) -> Verified:
    """An archive that was verified, and how it looked then."""
    return Verified(at_source(md5, date), own, at_source(md5, dated or date).date_ns)


def held(date: str, size: int = 10, later_ns: int = 0) -> LocalFile:
    """A file with a date of the source, or changed later."""
    return LocalFile(size, at_source(None, date).date_ns + later_ns)


KEEP, HASH, INSPECT, FETCH = Decision.KEEP, Decision.HASH, Decision.INSPECT, Decision.FETCH


@pytest.mark.parametrize(
    ("wanted", "verified", "here", "vault", "cavern"),
    [
        # Nothing, or another length.
        (at_source(A), None, None, FETCH, FETCH),
        (at_source(A), as_verified(A, NEW), held(NEW, size=9), FETCH, FETCH),
        # As it was recorded.
        (at_source(A), as_verified(A, NEW), held(NEW), KEEP, KEEP),
        (at_source(None), as_verified(None, NEW), held(NEW), KEEP, KEEP),
        # Touched or altered here since.
        (at_source(A), as_verified(A, NEW), held(NEW, later_ns=LATER), HASH, HASH),
        (at_source(None), as_verified(None, NEW), held(NEW, later_ns=LATER), HASH, HASH),
        # Other content at the source.
        (at_source(B), as_verified(A, OLD), held(OLD), FETCH, FETCH),
        (at_source(B, OLD), as_verified(A, OLD), held(OLD), FETCH, FETCH),
        (at_source(None), as_verified(None, OLD), held(OLD), FETCH, FETCH),
        # A newer date with the MD5 that it had: the same bytes, but on Cavern perhaps rewritten ones under an old MD5.
        (at_source(A), as_verified(A, OLD), held(OLD), KEEP, FETCH),
        (at_source(B), as_verified(B, OLD, own=A), held(OLD), KEEP, FETCH),
        # Fetched, but killed before the stamp.
        (at_source(A), as_verified(B, OLD, own=B), held(NEW), HASH, HASH),
        (at_source(None), as_verified(None, OLD), held(NEW), INSPECT, INSPECT),
        # Recorded with the date that is at the source now, but as the content of before.
        (at_source(A), as_verified(A, OLD, dated=NEW), held(NEW), KEEP, HASH),
        (at_source(None), as_verified(A, OLD, dated=NEW), held(NEW), INSPECT, INSPECT),
        # No record.
        (at_source(A), None, held(NEW), HASH, HASH),
        (at_source(A), None, held(OLD), HASH, FETCH),
        (at_source(None), None, held(NEW), INSPECT, INSPECT),
        (at_source(None), None, held(OLD), FETCH, FETCH),
    ],
)
def test_what_is_done_about_an_archive(
    wanted: Archive, verified: Verified | None, here: LocalFile | None, vault: Decision, cavern: Decision
) -> None:
    assert decide(wanted, verified, here) is vault
    assert decide(wanted, verified, here, md5_may_be_old=True) is cavern


@pytest.mark.parametrize(
    ("wanted", "verified", "here", "vault", "cavern"),
    [
        # Not at the source.
        (None, None, None, NOT_AT_SOURCE, NOT_AT_SOURCE),
        (None, as_verified(A, OLD), None, NOT_AT_SOURCE, NOT_AT_SOURCE),
        (Line("x", None, None, "-", None, None), None, None, NOT_AT_SOURCE, NOT_AT_SOURCE),
        (Archive("x", 0, None, "-"), as_verified(A, OLD), None, EMPTY, EMPTY),
        (Archive("x", 0, None, "-"), None, held(OLD), None, None),
        (None, None, held(OLD), None, None),
        (None, as_verified(A, OLD), held(OLD), None, None),
        # No file, or one of which nothing is known.
        (at_source(A), None, None, NOT_FETCHED, NOT_FETCHED),
        (at_source(A), as_verified(A, NEW), None, NOT_FETCHED, NOT_FETCHED),
        (at_source(A), None, held(NEW), NOT_FETCHED, NOT_FETCHED),
        # As it was verified.
        (at_source(A), as_verified(A, NEW), held(NEW), None, None),
        (at_source(None), as_verified(None, NEW), held(NEW), None, None),
        (at_source(A), as_verified(A, NEW, own=B), held(NEW), None, None),
        # Cut or altered since.
        (at_source(A), as_verified(A, NEW), held(NEW, size=9), DAMAGED, DAMAGED),
        (at_source(A), as_verified(A, NEW), held(NEW, later_ns=1), DAMAGED, DAMAGED),
        (at_source(None), as_verified(None, NEW), held(NEW, later_ns=1), DAMAGED, DAMAGED),
        # Another content at the source, whatever became of the file here.
        (at_source(B), as_verified(A, OLD), held(OLD), NEWER, NEWER),
        (at_source(B, OLD), as_verified(A, OLD), held(OLD), NEWER, NEWER),
        (at_source(None), as_verified(None, OLD), held(OLD), NEWER, NEWER),
        (at_source(A), as_verified(None, OLD), held(OLD), NEWER, NEWER),
        (at_source(B), as_verified(A, OLD), held(OLD, size=9), NEWER, NEWER),
        # A newer date with the MD5 that it had: the same bytes, but on Cavern perhaps rewritten ones under an old MD5.
        (at_source(A), as_verified(A, OLD), held(OLD), None, NEWER),
        (at_source(A), as_verified(A, OLD), held(OLD, size=9), DAMAGED, NEWER),
    ],
)
def test_why_an_archive_lacks_here(
    wanted: Archive | None, verified: Verified | None, here: LocalFile | None, vault: str | None, cavern: str | None
) -> None:
    # As the survey asks: with the line of the record.
    line = verified and next(iter(read_stamp(Record("vos:x", {"x": verified}).text())[1].values()))
    assert lack_of(wanted, line, here) == vault
    assert lack_of(wanted, line, here, md5_may_be_old=True) == cavern
    if wanted is not None and wanted.bytes:
        assert (decide(wanted, verified, here) is KEEP) == (vault is None), "what does not lack is kept"
        assert (decide(wanted, verified, here, md5_may_be_old=True) is KEEP) == (cavern is None)


@pytest.mark.parametrize(
    ("wanted", "verified", "md5"),
    [
        (at_source(A), None, A),
        (at_source(None), None, None),
        # The source knows none, or that of older bytes: what was verified counts.
        (at_source(None), as_verified(None, NEW), A),
        (at_source(B), as_verified(B, NEW, own=A), A),
        # Another content was verified.
        (at_source(B), as_verified(A, OLD), B),
        (at_source(None), as_verified(None, OLD), None),
    ],
)
def test_which_md5_a_file_here_should_have(wanted: Archive, verified: Verified | None, md5: str | None) -> None:
    assert expected_md5(wanted, verified) == md5


def test_a_lack_names_two_archives_and_counts_more() -> None:
    assert str(Lack(NEWER, ("a.tgz", "b.tgz"))) == "newer at the source: a.tgz, b.tgz"
    assert str(Lack(NOT_FETCHED, ("a.tgz", "b.tgz", "c.tgz"))) == "not fetched: 3 archives"
    assert str(Lack(NOT_LISTED, (), "not listed yet; run 'make avail'")) == "not listed yet; run 'make avail'"


@pytest.mark.parametrize(
    ("uri", "may"),
    [
        ("arc:home/x", True),
        ("vos://cadc.nrc.ca~arc/home/x", True),
        ("vos://cadc.nrc.ca!arc/home/x", True),
        ("vos:cfis/x", False),
        ("vos:cfis/x~arc/y", False),
        ("vault:cfis/x", False),
        ("vos://cadc.nrc.ca~vault/cfis/x", False),
        ("/mnt/arc:x", False),
        ("/mnt/x~arc/y", False),
    ],
)
def test_md5s_of_cavern_may_be_old(uri: str, may: bool) -> None:
    assert md5_may_be_old(uri) is may


@pytest.mark.parametrize("grain", [1, 100, 1_000, 1_000_000, 10_000_000, 10**9, 2 * 10**9])
def test_a_date_counts_as_finely_as_the_disk_keeps_it(grain: int) -> None:
    wanted = at_source(None, "2021-08-06T11:25:33.123456789")
    cut = wanted.date_ns // grain * grain
    assert decide(wanted, None, LocalFile(10, cut)) is INSPECT
    for other in (cut - 2 * grain, cut + grain, wanted.date_ns + 1):
        assert decide(wanted, None, LocalFile(10, other)) is FETCH
