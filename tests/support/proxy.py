"""A proxy on loopback that opens ways to servers (CONNECT, RFC 9110, 9.3.6), and notes to which."""

from __future__ import annotations

import re
import select
import socket
import socketserver
import threading
from base64 import b64encode
from types import TracebackType
from typing import Self


class Proxy:
    """A proxy behind which there is one server, under whatever name it is asked for.

    Parameters
    ----------
    port
        That of the server.
    user
        ``NAME:PASSWORD`` that it wants; empty to let everyone through.

    Attributes
    ----------
    asked
        Hosts and ports to which ways were opened, in order.
    status
        What it answers rather than open one; empty to do so.
    """

    def __init__(self, port: int, user: str = "") -> None:
        self.server_port = port
        self.login = f"Basic {b64encode(user.encode()).decode()}" if user else ""
        self.asked: list[str] = []
        self.status = ""
        self._server = _Server(("127.0.0.1", 0), _Way)
        self._server.proxy = self
        self.host = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    proxy: Proxy


class _Way(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        proxy = self.server.proxy
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.rfile.readline()
            if not line:
                return
            head += line
        target = re.match(rb"CONNECT (\S+) HTTP/1\.[01]\r\n", head)
        login = re.search(rb"(?im)^Proxy-Authorization: (.*)\r$", head)
        if proxy.login and (login is None or login[1].decode() != proxy.login):
            return self.answer("407 Proxy Authentication Required")
        if target is None or proxy.status:
            return self.answer(proxy.status or "405 Method Not Allowed")
        proxy.asked.append(target[1].decode())
        with socket.create_connection(("127.0.0.1", proxy.server_port)) as server:
            self.answer("200 Connection established")
            self.carry(server)

    def answer(self, status: str) -> None:
        """Answer with a status alone."""
        self.wfile.write(f"HTTP/1.1 {status}\r\n\r\n".encode())

    def carry(self, server: socket.socket) -> None:
        """Carry bytes to and fro until one of both ends."""
        other = {self.request: server, server: self.request}
        while True:
            for one in select.select(other, [], [])[0]:
                try:
                    data = one.recv(1 << 16)
                    other[one].sendall(data)
                except OSError:
                    return
                if not data:
                    return
