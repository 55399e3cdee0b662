"""What is read in a stamp: the literal text of every state, as earlier versions wrote it, and what is no stamp."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrieve.archives import Archive, Line, LocalFile, Verified
from retrieve.errors import RetrieveError
from retrieve.stamps.inventory import held_or_freed, is_here
from retrieve.stamps.lines import read_stamp
from retrieve.stamps.stamps import AVAILABLE, DONE, DOWNLOADED, EXTRACTED, INCOMPLETE, Record, Stamp, Stamps, newest
from support.disks import of_whole_seconds

DATE, DATE_NS = "2021-08-05T11:25:32.123", 1_628_162_732_123_000_000
LATER, LATER_NS = "2021-08-06T09:00:01.5", 1_628_240_401_500_000_000
A, B = "a" * 32, "b" * 32
SOURCE = "vos:cfis/cosmostat/kilbinger/results"
ONE, TWO, THREE = "final_cat_182.308.tgz", "setools_mask_182.308.tgz", "pipeline_flag_182.308.tgz"

#: Files of this text are on people's disks: it must stay as it is.
AVAILABLE_TEXT = f"# {SOURCE}\n{ONE}\t1234\t{A}\t{DATE}\n{TWO}\t5\t-\t{LATER}\n"
INCOMPLETE_TEXT = f"# {SOURCE}\n{ONE}\t1234\t{A}\t{DATE}\n{TWO}\t-\t-\t-\n{THREE}\t0\t-\t-\n"
DOWNLOADED_TEXT = (
    f"# {SOURCE}\n{ONE}\t1234\t{A}\t{DATE}\t{DATE_NS}\n{TWO}\t5\t-\t{LATER}\t{LATER_NS}\t{B}\n"
    f"{THREE}\t7\t{A}\t{DATE}\t{DATE_NS}\t{B}\n"
)
EXTRACTED_TEXT = f"# {SOURCE}\n{ONE}\t1234\t{A}\t{DATE}\t0\n{TWO}\t5\t-\t{LATER}\t0\t{B}\n"

FIRST, SECOND, THIRD = Archive(ONE, 1234, A, DATE), Archive(TWO, 5, None, LATER), Archive(THREE, 7, A, DATE)


@pytest.mark.parametrize(
    ("text", "stamp"),
    [
        (AVAILABLE_TEXT, Stamp(SOURCE, (FIRST, SECOND))),
        (INCOMPLETE_TEXT, Stamp(SOURCE, (FIRST,), (TWO, THREE), (THREE,))),
        (INCOMPLETE_TEXT.replace("\t0\t", "\t-\t"), Stamp(SOURCE, (FIRST,), (TWO, THREE))),
        ("# /mnt/results\n", Stamp("/mnt/results", ())),
    ],
)
def test_the_stamp_of_a_source_is_understood_and_written_byte_for_byte(text: str, stamp: Stamp) -> None:
    assert Stamp.parse(text) == stamp
    assert stamp.text() == text
    assert stamp.state == (INCOMPLETE if text.endswith("-\n") else AVAILABLE)


@pytest.mark.parametrize(
    ("text", "verified"),
    [
        (DOWNLOADED_TEXT, [Verified(FIRST, A, DATE_NS), Verified(SECOND, B, LATER_NS), Verified(THIRD, B, DATE_NS)]),
        (EXTRACTED_TEXT, [Verified(FIRST, A, 0), Verified(SECOND, B, 0)]),
    ],
)
def test_a_record_is_understood_and_written_byte_for_byte(text: str, verified: list[Verified]) -> None:
    record = Record(SOURCE, {one.archive.name: one for one in verified})
    assert Record.parse(text) == record
    assert list(Record.parse(text).verified) == list(record.verified), "in the order of the products"
    assert record.text() == text


def test_the_fields_of_a_line_have_names() -> None:
    assert read_stamp(INCOMPLETE_TEXT)[1][TWO] == Line(TWO, None, None, "-", None, None)
    assert read_stamp(DOWNLOADED_TEXT)[1][ONE] == Line(ONE, 1234, A, DATE, DATE_NS, A)
    assert read_stamp(DOWNLOADED_TEXT)[1][THREE] == Line(THREE, 7, A, DATE, DATE_NS, B)
    assert [one.freed for one in read_stamp(EXTRACTED_TEXT)[1].values()] == [True, True]
    more = AVAILABLE_TEXT.replace(LATER, f"{LATER}\t{LATER_NS}\t{B}\tof a later version")
    assert read_stamp(more)[1][TWO] == Line(TWO, 5, None, LATER, LATER_NS, B)
    # So the record of a download is a stamp of the source, too.
    assert Stamp.parse(DOWNLOADED_TEXT).archives == (FIRST, SECOND, THIRD)


@pytest.mark.parametrize(
    "text", ["", DOWNLOADED_TEXT[:-1], DOWNLOADED_TEXT[2:], DOWNLOADED_TEXT.replace("1234", "x"), f"# x\n{ONE}\t1\t-\n"]
)
def test_what_is_cut_or_altered_is_no_stamp_and_counts_as_none(text: str, tmp_path: Path) -> None:
    for parse in (Stamp.parse, Record.parse):
        with pytest.raises(ValueError, match=r"not|invalid"):
            parse(text)
    stamps = Stamps(tmp_path, "mccd")
    for state in (AVAILABLE, DOWNLOADED, EXTRACTED):
        stamps.write(state, "182.308", text, DATE_NS)
    assert (stamps.source("182.308"), stamps.downloaded("182.308")) == (None, Record())
    assert stamps.lines(DOWNLOADED, "182.308") == ("", {})
    assert (stamps.extracted("182.308"), stamps.downloaded_with_mtime("182.308")) == (Record(), None)


@pytest.mark.parametrize("text", [AVAILABLE_TEXT, INCOMPLETE_TEXT, f"# {SOURCE}\n{ONE}\t-\t-\t-\t{DATE_NS}\n"])
def test_the_stamp_of_a_source_is_no_record(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a record|invalid"):
        Record.parse(text)


def test_a_record_is_here_while_each_file_is_as_it_was_verified() -> None:
    record = read_stamp(DOWNLOADED_TEXT)[1]
    files = {ONE: LocalFile(1234, DATE_NS), TWO: LocalFile(5, LATER_NS), THREE: LocalFile(7, DATE_NS)}
    assert is_here(record, files)
    for other in (LocalFile(6, LATER_NS), LocalFile(5, LATER_NS + 1)):
        assert not is_here(record, files | {TWO: other})
    assert not is_here(record, {ONE: files[ONE]})
    assert not is_here({}, files), "nothing was verified"
    assert not is_here(read_stamp(AVAILABLE_TEXT)[1], files), "it is not known how the files looked"


def test_what_was_freed_counts_as_held_while_it_is_the_content_that_was_recorded_last() -> None:
    record, unpacked = read_stamp(DOWNLOADED_TEXT)[1], read_stamp(EXTRACTED_TEXT)[1]
    third = {THREE: LocalFile(7, DATE_NS)}
    lines, here = held_or_freed(record, unpacked, third)
    assert lines == record
    assert dict(here) == third | {ONE: LocalFile(1234, DATE_NS), TWO: LocalFile(5, LATER_NS)}
    assert is_here(lines, here)
    # What is on disk counts as what it is; what was unpacked of another content does not count.
    other = unpacked | {TWO: unpacked[TWO]._replace(own_md5=A)}
    lines, here = held_or_freed(record, other, third | {ONE: LocalFile(1, 1)})
    assert dict(here) == third | {ONE: LocalFile(1, 1)}
    # The record of the download may be gone.
    lines, here = held_or_freed({}, unpacked, third)
    assert (lines, here[ONE], here[THREE]) == (unpacked, LocalFile(1234, 0), third[THREE])


def test_an_older_stamp_does_not_answer_for_a_damaged_one(tmp_path: Path) -> None:
    stamps = Stamps(tmp_path, "mccd")
    stamps.write(INCOMPLETE, "240.290", INCOMPLETE_TEXT, 1)
    assert stamps.source("240.290") is not None
    stamps.write(AVAILABLE, "240.290", "damaged", 2)
    assert stamps.source("240.290") is None


def test_a_stamp_and_its_mtime_are_of_the_same_file(tmp_path: Path) -> None:
    stamps = Stamps(tmp_path, "mccd")
    assert stamps.read(INCOMPLETE, "182.308") is None
    stamps.write(INCOMPLETE, "182.308", INCOMPLETE_TEXT, DATE_NS)
    assert stamps.read(INCOMPLETE, "182.308") == (INCOMPLETE_TEXT, DATE_NS)
    assert stamps.source("182.308") == (Stamp.parse(INCOMPLETE_TEXT), DATE_NS)


def test_a_stamp_that_is_gone_when_it_is_looked_at_takes_no_other_with_it(tmp_path: Path) -> None:
    stamps = Stamps(tmp_path, "mccd")
    directory = stamps.directory / AVAILABLE
    directory.mkdir(parents=True)
    for tile in ("182.308", "182.309"):
        (directory / tile).touch()
    (directory / "182.307").symlink_to("nowhere")  # as one that was replaced by a run on another machine
    assert stamps.tiles(AVAILABLE).keys() == {"182.308", "182.309"}


def test_a_file_where_the_stamps_should_be_is_not_taken_for_no_stamps(tmp_path: Path) -> None:
    stamps = Stamps(tmp_path, "mccd")
    stamps.directory.mkdir()
    (stamps.directory / AVAILABLE).touch()
    with pytest.raises(NotADirectoryError, match=AVAILABLE):
        stamps.tiles(AVAILABLE)


def test_a_stamp_is_as_old_as_the_newest_of_its_archives() -> None:
    assert Stamp(SOURCE, (FIRST, SECOND, THIRD)).date_ns == LATER_NS
    assert Stamp(SOURCE, (), (ONE,)).date_ns == 0
    assert (newest([1, None, 3, 2]), newest([None]), newest([])) == (3, None, None)


def test_what_is_known_of_a_state_is_told_without_the_stamps_that_are_being_written(tmp_path: Path) -> None:
    stamps = Stamps(tmp_path, "mccd")
    with pytest.raises(RetrieveError, match="nothing was listed yet; run 'make avail'"):
        stamps.check_listed()
    assert (stamps.jobs(), stamps.tiles(AVAILABLE), stamps.count(AVAILABLE)) == ([], {}, 0)
    for tile in ("182.308", "182.308_183.308"):
        assert stamps.mtime_ns(AVAILABLE, tile) is None
        stamps.write(AVAILABLE, tile, AVAILABLE_TEXT, LATER_NS)
        assert stamps.mtime_ns(AVAILABLE, tile) == LATER_NS
    (stamps.directory / AVAILABLE / ".184.308_185.308").touch()
    stamps.listing.touch()
    stamps.check_listed()
    assert stamps.jobs() == ["182.308_183.308"]
    assert stamps.tiles(AVAILABLE) == {"182.308": LATER_NS, "182.308_183.308": LATER_NS}
    assert stamps.count(AVAILABLE) == 2


def test_a_stamp_that_was_prepared_is_none_until_it_is_published(tmp_path: Path) -> None:
    stamps = Stamps(tmp_path, "mccd")
    assert stamps.prepare(AVAILABLE, "182.308", AVAILABLE_TEXT, DATE_NS) == DATE_NS
    assert (stamps.read(AVAILABLE, "182.308"), stamps.tiles(AVAILABLE)) == (None, {})
    stamps.publish(AVAILABLE, "182.308")
    assert stamps.read(AVAILABLE, "182.308") == (AVAILABLE_TEXT, DATE_NS)
    stamps.sync(AVAILABLE, DOWNLOADED)  # of which there are none yet


def test_a_changed_stamp_is_newer_however_coarse_the_dates_of_a_disk_are(tmp_path: Path) -> None:
    fine = Stamps(tmp_path, "mccd")
    assert fine.write(AVAILABLE, "182.308", AVAILABLE_TEXT, DATE_NS, above_ns=DATE_NS) > DATE_NS
    assert fine.write(AVAILABLE, "182.308", AVAILABLE_TEXT, LATER_NS, above_ns=DATE_NS) == LATER_NS
    second = DATE_NS // 10**9 * 10**9
    with of_whole_seconds(tmp_path / "disk", tmp_path / "image") as disk:
        coarse = Stamps(disk, "mccd")
        assert coarse.write(AVAILABLE, "182.308", AVAILABLE_TEXT, DATE_NS) == second
        assert coarse.write(AVAILABLE, "182.308", AVAILABLE_TEXT, DATE_NS, above_ns=second) == second + 10**9
        # The last that it can tell.
        with pytest.raises(RetrieveError, match=r"cannot set the date of '.*182\.308': its file system keeps no modif"):
            coarse.write(AVAILABLE, "182.308", AVAILABLE_TEXT, DATE_NS, above_ns=(2**31 - 1) * 10**9)


def test_what_was_unpacked_again_after_it_was_handed_on_is_here(tmp_path: Path) -> None:
    stamps = Stamps(tmp_path, "mccd")
    assert not stamps.handed_on("182.308")
    stamps.write(DONE, "182.308", "", LATER_NS)
    assert stamps.handed_on("182.308")
    for mtime_ns, handed_on in ((DATE_NS, True), (LATER_NS, True), (LATER_NS + 10**9, False)):
        stamps.write(EXTRACTED, "182.308", EXTRACTED_TEXT, mtime_ns)
        assert stamps.handed_on("182.308") is handed_on
