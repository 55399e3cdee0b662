"""VOSpace 2.1 documents: one node, its kind and its properties."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from retrieve.archives import Archive, nanoseconds
from retrieve.errors import ListingError, Transient

if TYPE_CHECKING:
    from lxml import etree

VOSPACE, SCHEMA = "http://www.ivoa.net/xml/VOSpace/v2.0", "http://www.w3.org/2001/XMLSchema-instance"
NODE, NODES, _PROPERTIES, _TARGET = (f"{{{VOSPACE}}}{name}" for name in ("node", "nodes", "properties", "target"))
_TYPE = f"{{{SCHEMA}}}type"
CORE = "ivo://ivoa.net/vospace/core#"
_LENGTH, _MD5, _DATE, _CONTENT_DATE = (f"{CORE}{name}" for name in ("length", "MD5", "date", "content-date"))
_READABLE = "ivo://cadc.nrc.ca/vospace/core#readable"


def parse_node(document: bytes) -> etree._Element:
    """Parse the document of one node.

    Raises
    ------
    Transient
        If it is not XML.
    """
    from lxml import etree

    try:
        return etree.fromstring(document)
    except etree.XMLSyntaxError as error:
        raise Transient(f"the answer is not XML ({error.msg})") from error


def is_container(element: etree._Element) -> bool:
    """Whether a node is a container."""
    return _kind(element) == "Container"


def is_readable(element: etree._Element) -> bool:
    """Whether the caller may read a node that was asked for with ``detail=max``; true if it does not say."""
    return _properties(element).get(_READABLE, "true") == "true"


def archive_of(element: etree._Element) -> Archive | None:
    """Archive that a node stands for; None for what is not a file.

    Raises
    ------
    ListingError
        If its length or date cannot be read.
    """
    kind, *values, _ = described(element)
    return make_archive(name_of(element.get("uri", "")), *values) if kind == "Data" else None


def target_of(element: etree._Element) -> str | None:
    """URI that a link leads to; None for what is not a link."""
    return (element.findtext(_TARGET) or "").strip() if _kind(element) == "Link" else None


def name_of(uri: str) -> str:
    """File name in a node's URI, which is percent-encoded."""
    name = uri.rpartition("/")[2]
    return unquote(name) if "%" in name else name


def make_archive(name: str, length: str | None, md5: str | None, date: str | None, content_date: str | None) -> Archive:
    """Make the archive of a node out of what the node says of itself."""
    # Vault's `date` is that of the node, which a change of its permissions makes newer.
    return Archive(name, int(length or 0), md5.lower() if md5 else None, content_date or date or "1970-01-01T00:00:00")


def described(element: etree._Element) -> tuple[str, str | None, str | None, str | None, str | None, str | None]:
    """Kind, length, MD5, date, content date and target of a node, checked as `pages._regular` does."""
    properties = _properties(element)
    length, date, content_date = (properties.get(one) or None for one in (_LENGTH, _DATE, _CONTENT_DATE))
    try:
        int(length or 0)
        for one in filter(None, (date, content_date)):
            nanoseconds(one)
    except ValueError as error:
        raise ListingError(f"it says of '{name_of(element.get('uri', ''))}' what cannot be ({error})") from error
    # Vault and Cavern spell it as bare digits or with a prefix; Cavern often has none.
    md5 = re.fullmatch("(?:md5:)?([0-9a-fA-F]{32})", properties.get(_MD5, ""))
    return _kind(element), length, md5[1] if md5 else None, date, content_date, target_of(element)


def _kind(element: etree._Element) -> str:
    """Return ``Data``, ``Link`` or ``Container``; empty for any other kind of node."""
    found = re.search("(Data|Link|Container)Node$", element.get(_TYPE, ""))
    return found[1] if found else ""


def _properties(element: etree._Element) -> dict[str, str]:
    """Values of a node's own properties by URI; its children have others."""
    return {one.get("uri", ""): (one.text or "").strip() for one in element.iterfind(f"{_PROPERTIES}/*")}
