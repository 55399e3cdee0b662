"""One connection: how an answer is sent, and how that goes wrong on demand."""

import os
import socket
import struct
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from vospace_demo.discovery import Service
from vospace_demo.faults import STATUS_TEXT, Fault
from vospace_demo.nodes import uri
from vospace_demo.space import Space
from vospace_demo.tree import Refused

Buffer = bytes | bytearray | memoryview

XML, TEXT, HTML = "text/xml;charset=UTF-8", "text/plain;charset=UTF-8", "text/html;charset=UTF-8"
LOGIN_PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body><form>Sign in</form></body></html>\n"

CHALLENGES = 'ivoa_bearer standard_id="ivo://ivoa.net/sso#OpenID"', 'ivoa_x509 standard_id="ivo://ivoa.net/std/CDP"'
"""What Cavern invites an anonymous caller to, when asked for the head of a file."""
CAVERN_REQUESTS = 100
"""Cavern closes a connection on every 100th request."""


class Answered(Exception):
    """A fault took the place of the answer; nothing is left to do."""


@dataclass(frozen=True)
class Request:
    """What is asked for: of which service, on which route, about which path below the root."""

    service: Service
    route: str
    path: str
    token: str = ""
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the node."""
        return self.path.rpartition("/")[2]


class Connection(BaseHTTPRequestHandler):
    """A kept-alive HTTP/1.1 connection."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "vospace-demo", ""
    disable_nagle_algorithm = True
    asked: Request
    fault: Fault | None = None
    counted = False

    @property
    def space(self) -> Space:
        """The space that is served."""
        return self.server.space

    def setup(self) -> None:
        """Note who calls, as known from the TLS handshake."""
        super().setup()
        self.answered = 0
        #: What is to be ended when the caller has his answer.
        self.serving = ExitStack()
        self.has_certificate = bool(self.connection.getpeercert())

    @property
    def is_known(self) -> bool:
        """Whether the caller has a certificate, or says who he is by a token or a password."""
        return self.has_certificate or self.headers.get("Authorization") in self.space.authorizations

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the Date of an answer, by the server's clock."""
        return super().date_time_string((time.time() if timestamp is None else timestamp) + self.space.ahead)

    def log_message(self, *_: object) -> None:
        """Stay quiet: requests are counted instead."""

    def admit(self, fault: Fault | None) -> None:
        """Let a fault take the place of the answer if it is of that kind; else keep it for the answer."""
        self.fault = fault
        if fault is None:
            return
        if fault.kind == "status":
            wait = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            self.refuse(Refused(fault.status, self.asked.path), wait)
            raise Answered
        if fault.kind == "html":
            self.reply(200, LOGIN_PAGE, HTML)
            raise Answered
        if fault.kind == "reset" and fault.at == 0:
            self.reset()

    def refuse(self, error: Refused, headers: Mapping[str, str] | None = None) -> None:
        """Answer with an error."""
        self.fault = None
        self.reply(error.status, f"{self.message(error)}\n".encode(), TEXT, headers)

    def message(self, error: Refused) -> str:
        """Return an error in the words of VOSpace: the fault and what it is about."""
        return f"{error.fault or STATUS_TEXT[error.status]}: {uri(self.asked.service, error.path)}"

    def reply(
        self, status: int, body: bytes = b"", content_type: str = TEXT, headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer with a short document."""
        self.start(status, {"Content-Type": content_type, **(headers or {})}, len(body))
        self.send([body], len(body))

    def start(self, status: int, headers: Mapping[str, str], length: int | None) -> None:
        """Send the head of an answer; without a `length` in bytes its body is chunked."""
        self.answered += 1
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is None:
            self.send_header("Transfer-Encoding", "chunked")
        elif status != 204:
            self.send_header("Content-Length", str(length))
        is_cavern = not self.asked.service.pages
        if is_cavern and (self.command, self.asked.route, self.is_known) == ("HEAD", "files", False):
            for challenge in CHALLENGES:
                self.send_header("WWW-Authenticate", challenge)
        if is_cavern and (status >= 400 or self.answered % CAVERN_REQUESTS == 0):
            self.send_header("Connection", "close")  # http.server then closes it too
        if length == 0 or self.command == "HEAD":
            self.serving.close()
        self.end_headers()

    def send(self, chunks: Iterable[Buffer], length: int, chunked: bool = False, counted: bool = False) -> None:
        """Send a body of `length` bytes, to the fault in it if there is one.

        Parameters
        ----------
        chunked
            Frame each chunk, as `start` without a length announced.
        counted
            The body is content of a file, which is counted apart.
        """
        self.counted = counted
        if self.command == "HEAD":
            return
        strikes = self.fault.offset(length) if self.fault else -1
        sent = 0
        for chunk in chunks:
            size = len(chunk)
            if chunked:
                self.wfile.write(b"%x\r\n" % size)
            if sent <= strikes < sent + size:
                chunk = self.strike(memoryview(chunk), strikes - sent)
            sent += size
            if sent >= length:
                # Who has the last byte may ask again before this thread goes on, and would be one more at once.
                self.serving.close()
            self.content(chunk)
            if chunked:
                self.wfile.write(b"\r\n")
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def strike(self, chunk: memoryview, offset: int) -> Buffer:
        """Let the fault happen at a byte of a chunk; return what of the chunk is still to be sent."""
        if self.fault.kind == "flip":
            flipped = bytearray(chunk)
            flipped[offset] ^= 0xFF
            return flipped
        if self.fault.kind not in ("cut", "reset", "stall"):
            return chunk
        self.content(chunk[:offset])
        if self.fault.kind == "cut":
            self.hang_up()
        if self.fault.kind == "reset":
            self.reset()
        self.space.stopping.wait(self.fault.seconds)
        return chunk[offset:]

    def content(self, data: Buffer) -> None:
        """Send bytes of a body; they are counted before they can be seen to have arrived."""
        if self.counted:
            self.space.record.sent(self.asked.name, len(data))
        else:
            self.space.record.told(len(data))
        self.wfile.write(data)

    def hang_up(self) -> None:
        """Close the connection without another byte."""
        raise ConnectionAbortedError

    def reset(self) -> None:
        """Close the connection with a TCP RST: what lingers for no time is thrown away."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # The files that http.server made of the socket would keep it open: close it below them.
        os.close(self.connection.detach())
        self.hang_up()
