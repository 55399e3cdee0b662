"""The embedded VOSpace: a space that is served on a port, for tests in-process, for the demo behind a command."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterable
from contextlib import suppress
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

import trustme

from vospace_demo.routes import Routes
from vospace_demo.space import Space

HANDSHAKE = 10
"""Seconds in which a client must have finished the TLS handshake."""


class VOSpace(Space):
    """A space that is served on 127.0.0.1, from `__enter__` to `__exit__`.

    Parameters
    ----------
    port
        0: any free port.
    root, latency, per_node, vault_md5, arc_md5, private
        See `Space`.

    Raises
    ------
    OSError
        The directory or the port cannot be had.
    """

    def __init__(
        self,
        root: str | Path,
        port: int = 0,
        latency: float = 0.0,
        per_node: float = 0.0,
        vault_md5: str = "bare",
        arc_md5: str = "none",
        private: Iterable[str] = (),
    ) -> None:
        super().__init__(root, latency, per_node, vault_md5, arc_md5, private)
        self._server = Server(self, port)
        self.port = self._server.server_port

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()


def tls_context(authority: trustme.CA) -> ssl.SSLContext:
    """TLS settings of the server: known as localhost and 127.0.0.1, and asking for the user's certificate.

    Asking, not demanding: an anonymous caller is served, one with an expired certificate gets the TLS
    alert that OpenCADC's own servers give.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


class Server(ThreadingHTTPServer):
    """The listening socket and the connections it accepted."""

    request_queue_size = 512
    daemon_threads = True

    def __init__(self, space: Space, port: int) -> None:
        self.space = space
        self._context = tls_context(space.authority)
        self._lock = threading.Lock()
        self._open: set[ssl.SSLSocket] = set()
        super().__init__(("127.0.0.1", port), Routes)

    def finish_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:
        """Shake hands in the connection's own thread, so that nobody waits for a slow client, and serve."""
        # Errors of a connection, a client's going away and a fault's hanging up are no errors of the server.
        with suppress(OSError):
            request.settimeout(HANDSHAKE)
            connection = self._context.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
            with self._lock:
                self._open.add(connection)
            try:
                connection.do_handshake()
                connection.settimeout(None)
                self.RequestHandlerClass(connection, client_address, self)
            except ssl.SSLCertVerificationError:
                self._linger(connection)
            finally:
                with self._lock:
                    self._open.discard(connection)
                connection.close()

    @staticmethod
    def _linger(connection: ssl.SSLSocket) -> None:
        """Wait until the client closed: closing first would reset the connection and lose the TLS alert."""
        with suppress(OSError):
            socket.socket.shutdown(connection, socket.SHUT_WR)
            connection.settimeout(1)
            while socket.socket.recv(connection, 4096):
                pass

    def server_close(self) -> None:
        """Close the port and every connection, also those kept alive."""
        super().server_close()
        with self._lock:
            for connection in self._open:
                # Not SSLSocket.shutdown: it would drop the TLS layer under the thread that is using it.
                with suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
