"""Decisions that need no run: what to do about an archive."""

from __future__ import annotations

import pytest

from retrieve.archives import Archive, Held, Verified
from retrieve.decisions import Decision, decide, md5_may_be_old

OLD, NEW = "2021-08-05T11:25:32.123", "2021-08-06T11:25:32.123"
A, B = "a" * 32, "b" * 32
LATER = 1_000_000_000_000


def at_source(md5: str | None, date: str = NEW) -> Archive:
    """An archive of ten bytes as it is listed."""
    return Archive("final_cat_240.290.tgz", 10, md5, date)


def as_verified(md5: str | None, date: str, own: str = A) -> Verified:
    """An archive that was verified, and how it looked then."""
    archive = at_source(md5, date)
    return Verified(archive, own, archive.date_ns)


def held(date: str, size: int = 10, later_ns: int = 0) -> Held:
    """A file with a date of the source, or changed later."""
    return Held(size, at_source(None, date).date_ns + later_ns)


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
        # No record.
        (at_source(A), None, held(NEW), HASH, HASH),
        (at_source(A), None, held(OLD), HASH, FETCH),
        (at_source(None), None, held(NEW), INSPECT, INSPECT),
        (at_source(None), None, held(OLD), FETCH, FETCH),
    ],
)
def test_what_is_done_about_an_archive(
    wanted: Archive, verified: Verified | None, here: Held | None, vault: Decision, cavern: Decision
) -> None:
    assert decide(wanted, verified, here) is vault
    assert decide(wanted, verified, here, md5_may_be_old=True) is cavern


@pytest.mark.parametrize(
    ("uri", "may"),
    [
        ("arc:home/x", True),
        ("vos://cadc.nrc.ca~arc/home/x", True),
        ("vos:cfis/x", False),
        ("vault:cfis/x", False),
        ("vos://cadc.nrc.ca~vault/cfis/x", False),
        ("/mnt/arc:x", False),
    ],
)
def test_md5s_of_cavern_may_be_old(uri: str, may: bool) -> None:
    assert md5_may_be_old(uri) is may


@pytest.mark.parametrize("grain", [1, 100, 1_000, 1_000_000, 10_000_000, 10**9, 2 * 10**9])
def test_a_date_counts_as_finely_as_the_disk_keeps_it(grain: int) -> None:
    wanted = at_source(None, "2021-08-06T11:25:33.123456789")
    cut = wanted.date_ns // grain * grain
    assert decide(wanted, None, Held(10, cut)) is INSPECT
    for other in (cut - 2 * grain, cut + grain, wanted.date_ns + 1):
        assert decide(wanted, None, Held(10, other)) is FETCH
