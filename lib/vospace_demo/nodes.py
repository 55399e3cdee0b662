"""VOSpace 2.1 documents: nodes, containers with their children, transfers."""

import hashlib
import mimetypes
import os
import stat
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from vospace_demo.discovery import Service
from vospace_demo.faults import Faults
from vospace_demo.tree import Refused, Tree, is_node

CORE = "ivo://ivoa.net/vospace/core#"
READABLE = "ivo://cadc.nrc.ca/vospace/core#readable"
NAMESPACES = ' xmlns:vos="http://www.ivoa.net/xml/VOSpace/v2.0" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
EPOCH = datetime(1970, 1, 1)


def uri(service: Service, path: str) -> str:
    """Return the URI of a node, percent-encoded."""
    return f"vos://{service.authority}/{quote(os.fsencode(path))}"


def date(mtime_ns: int) -> str:
    """Return nanoseconds since 1970 as VOSpace writes a date: UTC, milliseconds, no zone."""
    return (EPOCH + timedelta(milliseconds=mtime_ns // 1_000_000)).isoformat(timespec="milliseconds")


def content_type(name: str) -> str:
    """Return the MIME type by which a file of this name is known to VOSpace."""
    if name.endswith((".fits", ".fits.fz")):
        return "application/fits"
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def stale(md5: str) -> str:
    """Return an MD5 that is well-formed and not that of the file."""
    return hashlib.md5(md5.encode(), usedforsecurity=False).hexdigest()


def digest(md5: str) -> str:
    """Return an MD5 in hex as the value of the header Digest: base64 of the 16 bytes."""
    return f"md5={b64encode(bytes.fromhex(md5)).decode()}"


def is_utf8(name: str) -> bool:
    """Whether a file name, as the system gives it, is UTF-8."""
    return os.fsencode(name).decode(errors="replace") == name


def element(identifier: str, text: str) -> str:
    """Return a property."""
    return f'<vos:property uri="{identifier}" readOnly="true">{text}</vos:property>\n'


class Nodes:
    """The documents about the nodes of a tree.

    Children are kept as pieces of XML: a container of 88,347 nodes is then served at the cost of one
    `stat` and one look-up per child.
    """

    def __init__(self, tree: Tree, faults: Faults) -> None:
        self._tree = tree
        self._faults = faults
        self._pieces: dict[tuple[str, str, bool], dict[str, tuple[tuple[object, ...], bytes]]] = {}

    def md5(self, service: Service, real: str, status: os.stat_result, is_stale: bool) -> str:
        """Return the MD5 that the service knows for a file, in hex; the empty string for none."""
        if is_stale:
            return stale(self._tree.md5(real, status))
        return "" if service.md5 == "none" else self._tree.md5(real, status)

    def node(self, service: Service, path: str, detail: str, readable: bool) -> tuple[bytes, bytes]:
        """Return the document of a single node in two parts, between which a container's children belong.

        Parameters
        ----------
        detail
            `min`, `properties` or `max`: without properties, with them, with `#readable` too.
        readable
            Whether the caller may read it.
        """
        real = self._tree.resolve(path, follow=False)
        status = self._tree.stat(real, path)
        marks = self._faults.marks(path.rpartition("/")[2])
        extra = element(READABLE, str(readable).lower()) if detail == "max" else ""
        text = self._describe(service, path, real, status, marks, detail != "min", NAMESPACES, extra)
        head, tail = text.removesuffix("</vos:node>\n"), "</vos:node>\n"
        if stat.S_ISDIR(status.st_mode):
            head, tail = f"{head}<vos:nodes>\n", f"</vos:nodes>\n{tail}"
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}'.encode(), tail.encode()

    def children(self, service: Service, path: str, names: Sequence[str], detail: str) -> list[bytes]:
        """Return a piece of XML per child, in the order of `names`.

        Vault leaves out what it has no node for, and what vanished meanwhile. Cavern ends the listing there, and at a
        name that is not UTF-8, as if that were all.
        """
        real = self._tree.resolve(path, follow=False)
        full = detail != "min"
        known = self._pieces.setdefault((service.name, path, full), {})
        marked = self._faults.any_marks()
        marks = (False, False)
        pieces = []
        directory = os.open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            for name in names:
                try:
                    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                except FileNotFoundError:
                    if service.pages:
                        continue
                    break
                if marked:
                    marks = self._faults.marks(name)
                version = (status.st_mtime_ns, status.st_size, status.st_ino, marks)
                piece = known.get(name)
                if piece is None or piece[0] != version:
                    if not service.pages and not (is_node(status) and is_utf8(name)):
                        break
                    if not is_node(status):
                        continue
                    child = f"{path}/{name}" if path else name
                    text = self._describe(service, child, f"{real}/{name}", status, marks, full)
                    known[name] = piece = (version, text.encode())
                pieces.append(piece[1])
        finally:
            os.close(directory)
        return pieces

    def _describe(
        self,
        service: Service,
        path: str,
        real: str,
        status: os.stat_result,
        marks: tuple[bool, bool],
        full: bool,
        namespaces: str = "",
        extra: str = "",
    ) -> str:
        """Return the element of a node; `marks` are the states encoding and stale-md5."""
        kind = {stat.S_IFDIR: "Container", stat.S_IFLNK: "Link"}.get(stat.S_IFMT(status.st_mode), "Data")
        properties = "".join(self._properties(service, real, status, marks, kind)) + extra if full else ""
        target = f"<vos:target>{self._target(service, real)}</vos:target>\n" if kind == "Link" else ""
        busy = ' busy="false"' if kind == "Data" else ""
        return (
            f'<vos:node{namespaces} uri="{uri(service, path)}" xsi:type="vos:{kind}Node"{busy}>\n'
            f"<vos:properties>\n{properties}</vos:properties>\n{target}</vos:node>\n"
        )

    def _properties(
        self, service: Service, real: str, status: os.stat_result, marks: tuple[bool, bool], kind: str
    ) -> Iterator[str]:
        """Yield the properties of a node, by the conventions of its service."""
        encoded, is_stale = marks
        if kind == "Data":
            yield element(f"{CORE}length", str(status.st_size))
            yield element(f"{CORE}type", content_type(real))
            if md5 := self.md5(service, real, status, is_stale):
                yield element(f"{CORE}MD5", f"md5:{md5}" if service.md5 == "prefixed" else md5)
            if encoded:
                yield element(f"{CORE}encoding", "gzip")
        yield element(f"{CORE}date", date(status.st_mtime_ns))
        if service.pages:
            if kind == "Data":
                yield element(f"{CORE}content-date", date(status.st_mtime_ns))
            yield element(f"{CORE}groupread", "ivo://cadc.nrc.ca/gms?demo")
        yield element(f"{CORE}creator", "CN=demo user,OU=cadc,O=hia,C=CA" if service.pages else "demo_user")
        public = not self._tree.is_private(real) and not self._tree.private_above(real)
        yield element(f"{CORE}ispublic", str(public).lower())

    def _target(self, service: Service, real: str) -> str:
        """Return where a link leads: a node of the service, or where it leaves the tree a path of the machine."""
        try:
            below = self._tree.below(self._tree.resolve(self._tree.below(real), follow=True))
        except Refused:
            outside = os.path.normpath(Path(real).parent / Path(real).readlink())
            return f"file://{quote(os.fsencode(outside))}"
        return uri(service, below)


def transfer(target: str, endpoints: Iterable[str]) -> str:
    """Return the answer to a negotiation: URLs on several hosts, of which the first that works serves."""
    protocols = "".join(
        f'<vos:protocol uri="{CORE}httpsget"><vos:endpoint>{endpoint}</vos:endpoint></vos:protocol>\n'
        for endpoint in endpoints
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<vos:transfer{NAMESPACES} version="2.1">\n'
        f"<vos:target>{target}</vos:target>\n<vos:direction>pullFromVoSpace</vos:direction>\n"
        f"{protocols}</vos:transfer>\n"
    )
