"""Documents of nodes: what two parsers read of them, and that it is the same."""

from __future__ import annotations

from itertools import repeat

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from retrieve.errors import ListingError, SourceError
from retrieve.source.listing import gather
from retrieve.source.pages import Page, parse_page

# A document is read by two parsers; see `retrieve.source.pages`. With a comment in front lxml reads all of it.
HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<vos:node xmlns:vos="http://www.ivoa.net/xml/VOSpace/v2.0" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:old="http://www.ivoa.net/xml/VOSpace/v2.0" '
    'uri="vos://cadc.nrc.ca~vault/c" xsi:type="vos:ContainerNode">{}<vos:properties></vos:properties>\n<vos:nodes>'
)
TAIL = "\n</vos:nodes>\n</vos:node>\n"
CORE = "ivo://ivoa.net/vospace/core#"
REGULAR = (
    '\n<vos:node uri="vos://cadc.nrc.ca~vault/c/a.tgz" xsi:type="vos:DataNode" busy="false">\n<vos:properties>\n'
    f'<vos:property uri="{CORE}length" readOnly="true">12</vos:property>'
    f'<vos:property uri="{CORE}MD5" readOnly="true">md5:{"0aF" * 10}00</vos:property>'
    f'<vos:property uri="{CORE}date">2021-08-05T11:25:32.123</vos:property>'
    f'<vos:property uri="{CORE}creator">A &amp; B</vos:property><vos:property uri="{CORE}description" />'
    "</vos:properties>\n<vos:accepts />\n<vos:provides></vos:provides>\n</vos:node>"
)
LINK = (
    '<vos:node uri="vos://cadc.nrc.ca~vault/c/b%20b.tgz" xsi:type="vos:LinkNode"><vos:properties></vos:properties>'
    "<vos:target>vos://cadc.nrc.ca~vault/d/e.tgz</vos:target></vos:node>"
)
NESTED = (
    '<vos:node uri="vos://cadc.nrc.ca~vault/c/sub" xsi:type="vos:ContainerNode"><vos:properties></vos:properties>'
    f"<vos:nodes>{REGULAR}</vos:nodes></vos:node>"
)
IRREGULAR = [
    NESTED,
    f"<!-- {REGULAR} -->",
    f"<![CDATA[{REGULAR}]]>",
    f"<?skip {REGULAR}?>",
    REGULAR.replace("vos:", "old:").replace("old:DataNode", "vos:DataNode").replace("old://", "vos://"),
    REGULAR.replace('uri="vos://cadc.nrc.ca~vault/c/a.tgz" xsi:type="vos:DataNode"', "xsi:type='vos:DataNode' uri='vos://cadc.nrc.ca~vault/c/f.tgz'"),
    REGULAR.replace("a.tgz", "a&amp;b.tgz"),
    REGULAR.replace(">12<", "> 12\n<"),
    REGULAR.replace(">12<", "><!-- 1 -->12<"),
    REGULAR.replace(">12<", ">twelve<"),
    REGULAR.replace("2021-08-05", "yesterday"),
    REGULAR.replace("md5:", "MD5 "),
    REGULAR.replace("A &amp; B", "<![CDATA[</vos:node>]]>"),
    REGULAR.replace("A &amp; B", "<vos:value>a</vos:value><vos:value>b</vos:value>"),
    REGULAR.replace("a.tgz", "é.tgz"),
    REGULAR.replace("&amp;", "&"),
    REGULAR.replace("</vos:properties>", ""),
    REGULAR.replace("vos:DataNode", "vos:StrangeNode"),
    LINK.replace("<vos:target>", "<vos:accepts /><vos:target>"),
]  # fmt: skip


def parsed(document: bytes, size: int) -> Page | None:
    """What is read of a document that comes in pieces; None if it is refused."""
    pieces = (document[start : start + size] for start in range(0, len(document), size))
    try:
        return parse_page(pieces, lambda name: name.endswith(".tgz"), lambda count: None)
    except SourceError:
        return None


def test_a_regular_document_is_read_as_it_is_written() -> None:
    page = parsed((HEAD.format("") + REGULAR + LINK + TAIL).encode(), 7)
    assert page is not None
    assert (page.count, page.containers, page.others) == (2, [], 0)
    archive = page.archives[0]
    assert (archive.name, archive.bytes, archive.md5) == ("a.tgz", 12, f"{'0af' * 10}00")
    assert archive.date == "2021-08-05T11:25:32.123"
    assert page.links == {"b b.tgz": ("vos://cadc.nrc.ca~vault/c/b%20b.tgz", "vos://cadc.nrc.ca~vault/d/e.tgz")}


@pytest.mark.parametrize(
    ("document", "counts"),
    [
        (HEAD.format("") + NESTED + LINK + TAIL, (2, 0, 1, 1, 0)),
        (HEAD.format("") + f"<!--{REGULAR}-->" + LINK + TAIL, (1, 0, 1, 0, 0)),
        (HEAD.format("<!-- <vos:nodes> -->") + REGULAR + TAIL, (1, 1, 0, 0, 0)),
        (HEAD.format("").replace("<vos:nodes>", "<vos:nodes ><!-- <vos:nodes>") + f"{REGULAR}-->" + TAIL, (0,) * 5),
        (HEAD.format("").replace("xmlns:xsi", "xmlns:xs") .replace("xmlns:old", 'xmlns:xsi="urn:x" xmlns:old')
         + REGULAR + TAIL, (1, 0, 0, 0, 1)),
        (HEAD.format("").replace("UTF-8", "ISO-8859-1") + REGULAR.replace("a.t", "\u00e9.t") + TAIL, (1, 1, 0, 0, 0)),
        (HEAD.format("").replace("<vos:nodes>", "<vos:nodes/></vos:node>"), (0,) * 5),
    ],
)  # fmt: skip
def test_what_is_written_in_another_way_is_read_as_xml(document: str, counts: tuple[int, ...]) -> None:
    for size in (1, 100, 100_000):
        page = parsed(document.encode("latin-1"), size)
        assert page is not None
        assert (page.count, len(page.archives), len(page.links), len(page.containers), page.others) == counts


def test_an_archive_that_is_named_twice_is_refused() -> None:
    once, twice = (parsed((HEAD.format("") + REGULAR * count + TAIL).encode(), 1000) for count in (1, 2))
    assert gather(lambda *_: once, repeat(1)).nodes == 1
    for paged in (False, True):
        with pytest.raises(ListingError, match="it names archives twice; try again later"):
            gather(lambda *_: twice, repeat(1), paged=paged)


@settings(deadline=None, max_examples=200)
@given(
    nodes=st.lists(st.sampled_from([REGULAR, REGULAR, LINK, *IRREGULAR]), max_size=6),
    size=st.sampled_from([1, 50, 333, 100_000]),
    cut=st.none() | st.integers(0, 5000),
    change=st.none() | st.tuples(st.integers(0, 5000), st.sampled_from(list(b"<>&\"'/ x\0\xff"))),
)
@example(nodes=[], size=1, cut=None, change=None)
@example(nodes=IRREGULAR[:4], size=100_000, cut=None, change=None)
@example(nodes=[REGULAR], size=1, cut=None, change=(16, 0))
@example(nodes=[LINK], size=1, cut=None, change=(LINK.index("<vos:target>") + 12, 0))
def test_whatever_the_document_both_parsers_read_the_same(
    nodes: list[str], size: int, cut: int | None, change: tuple[int, int] | None
) -> None:
    def document(head: str) -> bytes:
        content = bytearray("".join(nodes).encode() + TAIL.encode())
        if change and change[0] < len(content):
            content[change[0]] = change[1]
        return head.encode() + bytes(content[:cut])

    assert parsed(document(HEAD.format("")), size) == parsed(document(HEAD.format("<!-- -->")), 1000)
