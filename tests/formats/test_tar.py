"""The reader of tar streams: what it gives of each member, whether its content is asked for or not."""

from __future__ import annotations

import pytest

from retrieve.formats.header import DIRECTORY, REGULAR, TarError
from retrieve.formats.tar import WHOLE, TarStream
from support.tar_making import END, header, member, padded, pax

GOOD = member("output/good.txt")


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 1024])
@pytest.mark.parametrize("cut", [1 << 20, 512, 7])
def test_a_member_is_passed_over_when_nobody_asks_for_its_content(size: int, cut: int) -> None:
    stream = member("output/a", bytes(size)) + member("output/list", b"Ygood.txt\0\0", b"D") + GOOD + END
    pieces = [stream[at : at + cut] for at in range(0, len(stream), cut)]
    assert [one.name for one in TarStream(pieces)] == ["output/a", "output/list", "output/good.txt"]
    tar = TarStream(pieces)
    contents = [b"".join(piece for _, piece in tar.content()) for one in tar if one.kind == REGULAR]
    assert contents == [bytes(size), b"content"]
    tar = TarStream(pieces)
    assert [tar.whole() for one in tar if one.kind == REGULAR] == [bytes(size), b"content"]


@pytest.mark.parametrize(("size", "whole"), [(WHOLE, True), (WHOLE + 1, False)])
def test_a_small_member_comes_in_one_piece(size: int, whole: bool) -> None:
    tar = TarStream([member("output/a", bytes(size)), END])
    (content,) = [tar.whole() for _ in tar]
    assert content == (bytes(size) if whole else None)


@pytest.mark.parametrize(
    "before", [member("L", b"output/x\0", b"L"), member("K", b"output/x\0", b"K"), pax({"path": "output/x"})]
)
def test_what_is_said_of_a_member_that_does_not_come_is_an_error(before: bytes) -> None:
    with pytest.raises(TarError, match="an extended header without a member"):
        list(TarStream([before + END]))


def test_what_is_said_of_one_member_is_not_said_of_the_next() -> None:
    tar = TarStream([pax({"path": "output/a"}), GOOD, member("L", b"output/b\0", b"L"), GOOD, GOOD, END])
    assert [one.name for one in tar] == ["output/a", "output/b", "output/good.txt"]


def test_a_name_with_a_slash_at_its_end_is_a_directory_as_before_there_was_a_type_for_it() -> None:
    kinds = [one.kind for one in TarStream([header("output/old/"), header("output/new", kind=b"5"), GOOD, END])]
    assert kinds == [DIRECTORY, DIRECTORY, REGULAR]


def test_a_stream_that_ends_within_a_member_is_an_error_however_its_content_is_read() -> None:
    for take in (TarStream.whole, lambda tar: list(tar.content()), lambda tar: None):
        tar = TarStream([header("output/a", WHOLE + 1), bytes(100)])
        with pytest.raises(TarError, match="it ends within a member"):
            for _ in tar:
                take(tar)


def test_how_a_content_begins_is_told_without_reading_more_than_that() -> None:
    start = b"\0\x05\x16\x07"
    pieces = iter([member("output/a", start + b"x")[:514], start[2:], b"x", bytes(507), END])
    tar = TarStream(pieces)
    for _ in tar:
        assert tar.begins_with(start)
        assert next(pieces) == b"x"
        break
    for content, begins in ((start, True), (start[:3], False), (b"\0\x05\x16\x08", False), (b"", False)):
        assert [tar.begins_with(start) for tar in [TarStream([member("output/a", content), END])] for _ in tar] == [
            begins
        ]
    tar = TarStream([header("output/a", 4), start[:3]])
    with pytest.raises(TarError, match="it ends within"):
        for _ in tar:
            assert not tar.begins_with(start)
    tar = TarStream([header("output/a", 0), start + bytes(508)])
    assert next(iter(tar)).name == "output/a"
    assert not tar.begins_with(start), "that is not its content any more"


def old_sparse(blocks: int) -> list[bytes]:
    """A header of GNU's old format, and so many blocks of its map, after each of which another one is to come."""
    head = bytearray(header("output/x", kind=b"S"))
    head[482] = 1
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return [bytes(head), *[bytes(504) + b"\1" + bytes(7)] * blocks]


NEW = pax({"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x", "GNU.sparse.realsize": "99"})


@pytest.mark.parametrize(
    ("pieces", "problem"),
    [
        ([pax({"GNU.sparse.size": "20", "GNU.sparse.map": "0,4,9"}), member("output/x", b"abcd")], "not as long as it"),
        (old_sparse(12_482), "it ends without an end mark"),
        (old_sparse(12_483), "a sparse file of too many pieces"),
        ([NEW, member("output/x", b"1\n0\n4\n")], "a sparse file whose map is malformed"),
        ([NEW, member("output/x", b"1" * 600 + b"\n" + bytes(423))], "a sparse file whose map is malformed"),
        ([NEW, member("output/x", b"1\n" + b"0" * 510)], "a sparse file whose map is malformed"),
    ],
    ids=["half a piece", "a map that is cut", "a map without end", "a short map", "a long number", "no second number"],
)
def test_a_map_of_a_sparse_file_that_is_none_is_an_error(pieces: list[bytes], problem: str) -> None:
    with pytest.raises(TarError, match=problem):
        list(TarStream(pieces))


def test_a_number_of_a_map_may_be_as_long_as_it_can_be_and_cross_a_block() -> None:
    # 122 pieces of nothing, and one of which the place has 20 digits, the last of the first block.
    text = b"123\n" + b"0\n" * 244 + b"0" * 20 + b"\n4\n"
    tar = TarStream([NEW, member("output/x", padded(text) + b"abcd"), END])
    for one in tar:
        assert (one.bytes, [piece for _, piece in tar.content()]) == (99, [b"abcd"])


def test_a_long_name_may_be_padded_as_far_as_an_honest_one_is_long() -> None:
    longest = 1 << 20
    (one,) = TarStream([member("L", b"output/x" + bytes(longest - 8), b"L"), GOOD, END])
    assert one.name == "output/x"
    with pytest.raises(TarError, match=f"an extended header of {longest + 1} bytes"):
        list(TarStream([member("L", b"output/x" + bytes(longest - 7), b"L"), GOOD, END]))
