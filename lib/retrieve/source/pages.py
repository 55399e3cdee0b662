"""Pages: VOSpace 2.1 listings of thousands of nodes, parsed while they arrive.

A listing is read by two parsers. Those nodes that are written exactly as both services write them are taken out by a
regular expression, without lxml's cost of 20 Python objects per node; lxml gets the rest of the document as if they had
never been in it. What is taken out is one well-formed node after the other, from the first child on, so that what is
left is well-formed, whole and a VOSpace node if and only if the document is. At the first child that is written in any
other way (another prefix, a comment, CDATA, an entity, nodes in nodes) lxml takes over to the end of the document.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from retrieve.archives import Archive
from retrieve.errors import Transient
from retrieve.source.nodes import CORE, NODE, NODES, SCHEMA, VOSPACE, described, make_archive, name_of

if TYPE_CHECKING:
    from lxml import etree

#: Where the children of a container begin, and where each of them ends, if it is written as usual.
_CHILDREN, _END = b"<vos:nodes>", b"</vos:node>"
#: If the children have not begun after this many bytes, the document is not in the usual form.
_HEAD = 1 << 16


@cache
def _regular() -> re.Pattern[str]:
    """Compile the grammar of a child as both services write it.

    It matches one whole well-formed node, and knows no nesting, comment, CDATA or foreign entity. Nothing in it can
    match in two ways (``*+``, ``++``): it takes time in proportion to the text. The groups are the arguments of
    `_Reader._take`.
    """
    space, control = r"[ \t\r\n]*+", r"\x00-\x08\x0b-\x1f\ufffe\uffff"
    # XML makes blanks of tabs and line ends in a value, and one character of CR LF everywhere.
    char, valued = f"[^<>&{control}]", f'[^"<>&{control}\\t\\n]'
    # First what both services write: an expression tries one way after the other.
    attributes = f'(?> readOnly="true"(?=[>/])|(?: [A-Za-z:]++="{valued}*+")*+ ?+)'
    text = f"{char}*+(?:&(?:amp|lt|gt|quot|apos);{char}*+)*+"
    date = r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d++)?+)"
    wanted = {"length": r"(\d++)", "MD5": "(?:md5:)?+([0-9a-fA-F]{32})", "date": date, "content-date": date}
    values = "|".join(f'{name}"{attributes}>{value}</vos:property>' for name, value in wanted.items())
    other = f'{valued}*+"{attributes}(?:/>|>{text}</vos:property>)'
    of_core = f'{values}|(?!(?:{"|".join(wanted)})"){other}'
    return re.compile(
        f'{space}<vos:node uri="({valued}++)" xsi:type="vos:(Data|Link|Container)Node"{attributes}>'
        f"{space}<vos:properties>"
        f'(?:{space}<vos:property uri="(?:{CORE}(?:{of_core})|(?!{CORE}){other}))*+'
        f"{space}</vos:properties>"
        f"(?:{space}<vos:target>({char}*+)</vos:target>)?+"
        rf"(?:{space}<vos:(?!node\b|properties|target)(\w++){attributes}(?:/>|>{text}</vos:\8>))*+"
        f"{space}</vos:node>"
    )


@dataclass
class Page:
    """What one answer to a listing holds; of its nodes only those that are wanted are kept.

    Attributes
    ----------
    first, last
        URIs of the first and the last node; empty without any.
    count
        Number of nodes.
    archives
        The wanted files.
    links
        URI and target, as a URI, of each wanted link by name.
    containers
        Names of the containers.
    others
        Number of the files and links that are not wanted.
    """

    first: str = ""
    last: str = ""
    count: int = 0
    archives: list[Archive] = field(default_factory=list)
    links: dict[str, tuple[str, str]] = field(default_factory=dict)
    containers: list[str] = field(default_factory=list)
    others: int = 0


def parse_page(
    chunks: Iterable[bytes],
    wanted: Callable[[str], object],
    seen: Callable[[int], None],
    after: str = "",
    most: int = 0,
) -> Page:
    """Parse a listing while it arrives; see the module's text.

    Parameters
    ----------
    wanted
        Called with each file name; what is false is not kept.
    seen
        Called now and then with the number of nodes that came.
    after
        URI of a node that came with the page before this one and is passed over.
    most
        Once more nodes than these have come, no more is read, and nothing is known of the rest; 0 to read all.

    Raises
    ------
    Transient
        If the document does not end, or is another than a node.
    ListingError
        If a wanted node says of itself what cannot be.
    """
    from lxml import etree

    reader = _Reader(wanted, after)
    try:
        for chunk in chunks:
            reader.feed(chunk)
            seen(reader.page.count)
            if most and reader.page.count > most:
                return reader.page
        return reader.close()
    except etree.XMLSyntaxError as error:
        raise Transient(f"the listing broke off, or is not XML ({error.msg})") from error


class _Reader:
    """Reads a document into a page."""

    def __init__(self, wanted: Callable[[str], object], after: str) -> None:
        from lxml import etree

        self.page = Page()
        self._wanted = wanted
        self._after = after
        self._parser = etree.XMLPullParser(("start", "end"), tag=(NODE, NODES), huge_tree=True)
        # What came and was not looked at yet, and what is done with what comes.
        self._rest = b""
        self._next: Callable[[bytes], bytes] = self._find_children
        # The last element of children that lxml saw begin.
        self._begun: etree._Element | None = None

    def feed(self, data: bytes) -> None:
        """Go on with some more of the document."""
        self._rest = self._next(self._rest + data)

    def close(self) -> Page:
        """Return what the document held, now that it ended."""
        self._parse(self._rest)
        if self._parser.close().tag != NODE:
            raise Transient("the listing is no VOSpace node; is there a proxy or a login page in between?")
        return self.page

    def _find_children(self, data: bytes) -> bytes:
        """Give lxml what is before the children: only then it is known what the prefixes stand for."""
        before, tag, after = data.partition(_CHILDREN)
        if not tag and len(data) < _HEAD:
            return data
        self._parse(before + tag)
        # Without a comment or the like before it the tag is one, and what follows it are the children.
        regular = tag and b"<!" not in before and before.rfind(b"<?") <= 0 and self._has_usual_names()
        self._next = self._scan if regular else self._parse
        return self._next(after)

    def _has_usual_names(self) -> bool:
        """Whether the children that begin here are the root's, in the prefixes and the encoding of `_regular`."""
        if self._begun is None or self._begun.getparent().getparent() is not None:
            return False
        usual = {"vos": VOSPACE, "xsi": SCHEMA}
        return usual.items() <= self._begun.nsmap.items() and self._begun.getroottree().docinfo.encoding in (
            None,
            "UTF-8",
        )

    def _scan(self, data: bytes) -> bytes:
        """Take regular nodes, as many as there are; return what is not a whole node yet."""
        cut = data.rfind(_END) + len(_END)
        if cut < len(_END):
            return data
        try:
            text = data[:cut].decode()
        except UnicodeDecodeError:
            return self._give_up(data)
        match, end = _regular().match, 0
        while found := match(text, end):
            end = found.end()
            self._take(*found.groups())
        return data[cut:] if end == len(text) else self._give_up(text[end:].encode() + data[cut:])

    def _give_up(self, data: bytes) -> bytes:
        """Leave the rest of the document to lxml: at the latest its last line, where the container ends."""
        self._next = self._parse
        return self._parse(data)

    def _parse(self, data: bytes) -> bytes:
        """Give lxml a part of the document, and take the nodes that ended in it; nothing is left."""
        self._parser.feed(data)
        for event, element in self._parser.read_events():
            if event == "start":
                self._begun = element if element.tag == NODES else self._begun
            elif element.tag == NODE and _is_child(element):
                self._take(element.get("uri", ""), *described(element))
                # Nodes before this one are done with; this one still belongs to the parser.
                element.clear()
                while element.getprevious() is not None:
                    del element.getparent()[0]
        return b""

    def _take(
        self,
        uri: str,
        kind: str,
        length: str | None,
        md5: str | None,
        date: str | None,
        content_date: str | None,
        target: str | None,
        _other: str | None = None,
    ) -> None:
        """Count a node, and keep it if it is wanted."""
        page = self.page
        page.first = page.first or uri
        page.last = uri
        page.count += 1
        if uri == self._after:
            return
        name = name_of(uri)
        if kind == "Data" and self._wanted(name):
            page.archives.append(make_archive(name, length, md5, date, content_date))
        elif kind == "Link" and self._wanted(name):
            page.links[name] = uri, target or ""
        elif kind == "Container":
            page.containers.append(name)
        else:
            page.others += 1


def _is_child(element: etree._Element) -> bool:
    """Whether a node is a child of the container that is listed, and not that itself or a child's child."""
    parent = element.getparent()
    return parent is not None and parent.getparent() is not None and parent.getparent().getparent() is None
