"""The routes of the two services and of the storage host behind Vault."""

import email.utils
import json
import os
import re
import stat
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qsl, quote, urlsplit
from xml.etree import ElementTree

from vospace_demo import discovery, nodes
from vospace_demo.connection import TEXT, XML, Answered, Connection, Request
from vospace_demo.faults import ANSWER, BODY, CONTENT, Fault
from vospace_demo.space import Job
from vospace_demo.tree import Refused, relative

BLOCK = 1 << 20
"""Bytes of a file read and sent at once."""
CHUNK = 1 << 18
"""Bytes of a listing sent at once, at least."""
TRANSFER = "{http://www.ivoa.net/xml/VOSpace/v2.0}"


class Routes(Connection):
    """What is answered on each route."""

    def do_GET(self) -> None:  # noqa: N802 - http.server's name
        """Answer a request of any method."""
        self.asked = Request(self.space.services[discovery.VAULT], "none", "")
        self.fault = None
        try:
            parts = urlsplit(self.path)
            if parts.path.startswith("/control/"):
                return self.control(parts.path.removeprefix("/control/"))
            self.asked = self.parse(parts.path, parts.query)
            with self.serving:
                self.serving.enter_context(self.space.record.request(self.asked.route, self.asked.name))
                too_many = self.serving.enter_context(self.space.faults.crowd(self.asked.route, self.asked.name))
                if too_many is None:
                    return self.serve(self.asked)
            self.turn_away(too_many)
        except Refused as error:
            self.refuse(error)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            # Of the disk, before the answer began: changed or forbidden since the node was looked up.
            self.refuse(Refused(500, self.asked.path))
        except Answered:
            pass

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - http.server's names

    def parse(self, path: str, query: str) -> Request:
        """Return what a URL asks for."""
        head, _, rest = path.strip("/").partition("/")
        service = self.space.services.get(head)
        if service is None:
            if (head, rest) == ("reg", "resource-caps"):
                return Request(self.asked.service, "registry", rest)
            if head == "minoc" and (found := re.fullmatch(r"files/([^/]+)/(.+)", rest)):
                return Request(self.asked.service, "storage", relative(found[2]), found[1])
            raise Refused(404, path)
        what, _, rest = rest.partition("/")
        if what in ("nodes", "files"):
            return Request(service, what, relative(rest), query=dict(parse_qsl(query, keep_blank_values=True)))
        if what in ("capabilities", "availability"):
            return Request(service, "capabilities", what)
        if what in ("synctrans", "xfer", "transfers"):
            return Request(service, "negotiation", what, rest)
        raise Refused(404, path)

    def serve(self, asked: Request) -> None:
        """Wait as long as the server is slow, meet the fault that is due, and answer."""
        body = self.read_body()
        slow = self.space.faults.state("latency", asked.route, asked.name)
        self.space.stopping.wait(self.space.latency + (slow.seconds if slow else 0))
        if self.command not in ("GET", "HEAD") and asked.route != "negotiation":
            raise Refused(403, asked.path)
        login = self.headers.get("Authorization", self.headers.get("X-CADC-DelegationToken"))
        # Others, and the hosts of the storage, are not to be told any token or password.
        if login and (login not in self.space.authorizations or asked.route not in ("nodes", "files", "negotiation")):
            raise Refused(401, asked.path)
        if asked.route == "registry":
            self.meet(ANSWER | BODY)
            self.reply(200, discovery.registry(self.space.url).encode(), TEXT)
        elif asked.route == "capabilities":
            self.meet(ANSWER | BODY)
            available = asked.path == "availability"
            text = discovery.AVAILABILITY if available else discovery.capabilities(self.space.url, asked.service)
            self.reply(200, text.encode(), XML)
        elif asked.route == "nodes":
            self.nodes(asked)
        elif asked.route == "files":
            self.files(asked)
        elif asked.route == "storage":
            self.storage(asked)
        else:
            self.negotiation(asked, body)

    def turn_away(self, crowded: Fault) -> None:
        """Refuse a request as one too many, no sooner than it would be answered."""
        self.space.record.refuse()
        self.read_body()
        self.space.stopping.wait(self.space.latency)
        if crowded.status:
            raise Refused(crowded.status, self.asked.path)
        self.reset()

    def read_body(self) -> bytes:
        """Return the body of a request; an unread one would be taken for the next request."""
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def meet(self, kinds: frozenset[str]) -> None:
        """Meet the fault that is due, among those that an answer like this can show."""
        self.admit(self.space.faults.take(kinds, self.asked.route, self.asked.name))

    def control(self, what: str) -> None:
        """Be told to misbehave, and say what was asked: for tests in another process."""
        body = self.read_body()
        if (self.command, what) == ("POST", "faults"):
            try:
                self.space.faults.replace([Fault(**fault) for fault in json.loads(body)])
            except (TypeError, ValueError) as error:
                return self.reply(400, f"cannot read the faults: {error}\n".encode())
            return self.reply(204)
        if (self.command, what) == ("GET", "requests"):
            return self.reply(200, json.dumps(self.space.requests().as_json()).encode(), "application/json")
        if (self.command, what) == ("DELETE", "requests"):
            self.space.forget()
            return self.reply(204)
        raise Refused(404, what)

    def nodes(self, asked: Request) -> None:
        """Answer with a node, and unless `limit=0` with the children of a container."""
        if self.command == "HEAD":
            raise Refused(405, asked.path)
        tree, query = self.space.tree, asked.query
        detail, limit = query.get("detail", "properties"), query.get("limit", "")
        is_container = tree.is_container(asked.path)
        is_listing = is_container and limit != "0"
        if is_listing:
            key = (asked.service.name, asked.path)
            self.admit(self.space.faults.take_listing(ANSWER | BODY, asked.name, key, "uri" not in query))
        else:
            self.meet(ANSWER)
        if "sort" in query or query.get("order", "asc") != "asc":
            raise Refused(400, asked.path, "InvalidArgument: sorting options not supported")
        if detail not in ("min", "properties", "max") or not re.fullmatch(r"\d*", limit):
            raise Refused(400, asked.path, "InvalidArgument")
        if "uri" in query and not asked.service.pages and limit != "0":
            raise Refused(400, asked.path, "OptionNotSupported")
        real = self.visible(asked.path, follow=False)
        tree.stat(real, asked.path)
        readable = self.is_known or not tree.is_private(real)
        if is_container and self.space.faults.state("unreadable", "nodes", asked.name):
            readable = False
        head, tail = self.space.nodes.node(asked.service, asked.path, detail, readable)
        if not is_listing:
            self.space.stopping.wait(self.space.per_node)
            return self.reply(200, head + tail, XML)
        names = self.page(real, query) if readable else []
        pieces = [head, *self.space.nodes.children(asked.service, asked.path, names, detail), tail]
        self.start(200, {"Content-Type": XML}, None)
        self.send(self.chunks(pieces), sum(map(len, pieces)), chunked=True)

    def chunks(self, pieces: Sequence[bytes]) -> Iterator[bytes]:
        """Join pieces of a listing into chunks that are worth a write, each when its nodes have been found."""
        size = sum(map(len, pieces))
        step = CHUNK * len(pieces) // max(size, 1) + 1
        for start in range(0, len(pieces), step):
            chunk = pieces[start : start + step]
            self.space.stopping.wait(self.space.per_node * len(chunk))
            yield b"".join(chunk)

    def page(self, real: str, query: Mapping[str, str]) -> list[str]:
        """Return the names on one page: Vault's by name from the cursor, Cavern's all, as the disk has them."""
        names = self.space.tree.names(real, in_order=self.asked.service.pages)
        kind, most = (self.fault.kind, self.fault.at) if self.fault else ("", 0)
        if kind == "swallow":
            names = names[:most]
        if self.asked.service.pages:
            if "uri" in query and kind != "repeat":
                parent, _, name = relative(urlsplit(query["uri"]).path).rpartition("/")
                if parent != self.asked.path:
                    raise Refused(400, self.asked.path, "InvalidURI")
                names = names[bisect_left(names, name) :]
            if query.get("limit"):
                names = names[: int(query["limit"])]
        if kind in ("cap", "repeat", "backwards") and most > 0:
            names = names[:most]
        return names[::-1] if kind == "backwards" else names

    def visible(self, path: str, follow: bool) -> str:
        """Return where a node is on disk.

        Raises
        ------
        Refused
            500 for a name that Cavern fails at; 403 that names the private container above it, if the caller may not.
        """
        if not self.asked.service.pages and re.search("[ %]", path):
            raise Refused(500, path)
        real = self.space.tree.resolve(path, follow)
        if not self.is_known and (container := self.space.tree.private_above(real)):
            raise Refused(403, container)
        return real

    def files(self, asked: Request) -> None:
        """Answer with the bytes of a file (Cavern), or where they are to be had (Vault)."""
        has_bytes = self.command == "GET" and not asked.service.pages
        self.meet(ANSWER | BODY | CONTENT if has_bytes else ANSWER)
        real = self.visible(asked.path, follow=True)
        if self.command == "GET":
            self.may_read(real, asked.path)
        if has_bytes or self.command == "HEAD":
            return self.file(real, asked, ranges=False)
        self.space.tree.stat(real, asked.path)
        url = self.space.storage_url("127.0.0.1", asked.path)
        return self.reply(303, headers={"Location": url})

    def may_read(self, real: str, path: str) -> None:
        """Refuse the bytes of a private file to who has no certificate."""
        if not self.is_known and self.space.tree.is_private(real):
            raise Refused(403, path)

    def storage(self, asked: Request) -> None:
        """Answer with the bytes of a file, to whom the URL was given."""
        has_range = self.command == "GET" and "Range" in self.headers
        kinds = ANSWER | BODY | CONTENT if self.command == "GET" else ANSWER
        self.meet(kinds if has_range else kinds - {"refuse-range"})
        if not self.space.is_authorised(asked.token, asked.path):
            raise Refused(403, asked.path)
        self.file(self.space.tree.resolve(asked.path, follow=True), asked, ranges=True)

    def file(self, real: str, asked: Request, ranges: bool) -> None:
        """Send a file, by the conventions of Vault's storage host (`ranges`) or of Cavern."""
        if not stat.S_ISREG(self.space.tree.stat(real, asked.path).st_mode):
            raise Refused(400, asked.path, "InvalidArgument: not a DataNode")
        with Path(real).open("rb", buffering=0) as stream:
            status = os.fstat(stream.fileno())
            size, modified = status.st_size, email.utils.formatdate(status.st_mtime, usegmt=True)
            headers = {
                "Content-Disposition": f"inline; filename*=UTF-8''{quote(os.fsencode(asked.name))}",
                "Last-Modified": modified,
            }
            if asked.service.pages:
                headers["Content-Type"] = nodes.content_type(real)
            is_stale = bool(self.space.faults.state("stale-md5", asked.route, asked.name))
            if md5 := self.space.nodes.md5(asked.service, real, status, is_stale):
                headers["Digest"] = nodes.digest(md5)
            if self.space.faults.state("encoding", asked.route, asked.name):
                headers["Content-Encoding"] = "gzip"
            code, first, end = 200, 0, size
            if ranges:
                headers["Accept-Ranges"] = "bytes"
                if self.headers.get("If-Range", modified) == modified and not self.is_met("refuse-range"):
                    code, first, end = requested(self.headers.get("Range", ""), size)
            if code == 416:
                headers["Content-Range"] = f"bytes */{size}"
                return self.reply(416, headers=headers)
            if code == 206:
                headers["Content-Range"] = f"bytes {first}-{end - 1}/{size}"
            if self.is_met("short"):
                end = first + self.fault.offset(end - first)
            if not ranges and not size and self.command == "GET":
                code = 204
            self.start(code, headers, end - first)
            self.send(blocks(stream, first, end), end - first, counted=True)

    def is_met(self, kind: str) -> bool:
        """Whether the fault of this answer is of that kind."""
        return self.fault is not None and self.fault.kind == kind

    def negotiation(self, asked: Request, body: bytes) -> None:
        """Negotiate a transfer as cadcutils.net.Transfer does: POST, 303 to the document, phase, error."""
        self.meet(ANSWER | BODY)
        identifier, _, what = asked.token.partition("/")
        if asked.path == "synctrans" and self.command == "POST":
            name = self.space.add_job(self.negotiated(body))
            return self.reply(303, headers={"Location": f"{self.space.url}/{asked.service.name}/xfer/{name}"})
        job = self.space.job(identifier)
        if job is None or self.command != "GET":
            raise Refused(404, asked.token)
        if asked.path == "xfer":
            return self.reply(200, job.document.encode(), XML)
        if what == "phase":
            return self.reply(200, b"ERROR" if job.error else b"COMPLETED")
        return self.reply(200, job.error.encode())

    def negotiated(self, body: bytes) -> Job:
        """Return the job that a transfer document asks for; what is wrong with it is told by the job."""
        service = self.asked.service
        try:
            asked = ElementTree.fromstring(body)  # noqa: S314 - sent from this machine
        except ElementTree.ParseError:
            raise Refused(400, self.asked.path, "InvalidArgument") from None
        target = asked.findtext(f"{TRANSFER}target", "")
        path = relative(urlsplit(target).path)
        error, urls = "", []
        try:
            if asked.findtext(f"{TRANSFER}direction") != "pullFromVoSpace":
                raise Refused(403, path)
            real = self.visible(path, follow=True)
            self.may_read(real, path)
            self.space.tree.stat(real, path)
            for host in ("localhost", "127.0.0.1"):
                plain = f"https://{host}:{self.space.port}/{service.name}/files/{quote(os.fsencode(path))}"
                urls.append(self.space.storage_url(host, path) if service.pages else plain)
        except Refused as refused:
            error = self.message(refused)
        return Job(error, nodes.transfer(nodes.uri(service, path), urls))


def requested(header: str, size: int) -> tuple[int, int, int]:
    """Return status, first byte and end of what a Range header asks of a file of `size` bytes.

    ============== =====================
    `bytes=N-`     206, from byte N on
    `bytes=N-M`    206, bytes N to M
    `bytes=-N`     206, the last N bytes
    N beyond size  416
    anything else  200, the whole file
    ============== =====================
    """
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", header.strip())
    if not found or found[0] == "bytes=-":
        return 200, 0, size
    if not found[1]:
        first, end = max(size - int(found[2]), 0), size
    else:
        first, end = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
    return (416, 0, 0) if first >= size or first >= end else (206, first, end)


def blocks(stream: BinaryIO, first: int, end: int) -> Iterator[memoryview]:
    """Yield a part of a file; each block is overwritten by the next.

    Raises
    ------
    ConnectionAbortedError
        Where the file became shorter meanwhile: its length was promised.
    """
    block = memoryview(bytearray(min(BLOCK, max(end - first, 1))))
    stream.seek(first)
    while first < end:
        number = stream.readinto(block[: end - first])
        if not number:
            raise ConnectionAbortedError
        yield block[:number]
        first += number
