"""The embedded VOSpace: for tests in-process, for the demo behind a command."""

import datetime
import os
import secrets
import socket
import ssl
import threading
from collections.abc import Iterable
from contextlib import suppress
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import trustme

from vospace_demo.certificate import server_context, write_client_certificate
from vospace_demo.counts import Counts, Record
from vospace_demo.discovery import CAVERN, VAULT, Service
from vospace_demo.faults import Fault, Faults
from vospace_demo.nodes import Nodes
from vospace_demo.routes import Routes
from vospace_demo.space import Job
from vospace_demo.tree import Tree

HANDSHAKE = 10
"""Seconds in which a client must have finished the TLS handshake."""


class VOSpace:
    """Vault and Cavern over one directory, on 127.0.0.1.

    Parameters
    ----------
    root
        The directory: `vos:PATH` and `arc:PATH` are both `root/PATH`.
    port
        0: any free port.
    latency
        Seconds that every request takes longer.
    vault_md5, arc_md5
        How a service spells the MD5 of its nodes: `bare`, `prefixed` or `none`.
    private
        Containers and files below `root` that only a user with a certificate of this server may read.

    Attributes
    ----------
    ahead
        Seconds by which its clock is wrong.

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
        vault_md5: str = "bare",
        arc_md5: str = "none",
        private: Iterable[str] = (),
    ) -> None:
        if not Path(root).is_dir():
            raise NotADirectoryError(f"no directory '{root}'")
        self.latency = latency
        self.ahead = 0.0
        self.services = {
            VAULT: Service(VAULT, "cadc.nrc.ca~vault", vault_md5),
            CAVERN: Service(CAVERN, "cadc.nrc.ca~arc", arc_md5),
        }
        self.tree = Tree(Path(root), private)
        self.faults = Faults()
        self.nodes = Nodes(self.tree, self.faults)
        self.record = Record()
        self.stopping = threading.Event()
        self._authority = trustme.CA()
        self._tokens: dict[str, str] = {}
        self._jobs: dict[str, Job] = {}
        self._server = Server(self, port, server_context(self._authority))
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def host(self) -> str:
        """Host and port, as in VOSPACE_WEBSERVICE."""
        return f"localhost:{self.port}"

    @property
    def url(self) -> str:
        """Where it is served."""
        return f"https://{self.host}"

    def environment(self) -> dict[str, str]:
        """Return the variables that lead a `vos` client here."""
        return {"VOSPACE_WEBSERVICE": self.host}

    def fault(self, fault: Fault) -> None:
        """Misbehave in this way too."""
        self.faults.add(fault)

    def clear_faults(self) -> None:
        """Behave again."""
        self.faults.replace(())

    def requests(self) -> Counts:
        """Return what was asked since the last `forget`."""
        return self.record.counts()

    def forget(self) -> None:
        """Count again from nothing."""
        self.record.forget()

    def client_certificate(self, path: str | Path, expires: datetime.datetime | None = None) -> Path:
        """Write a user's certificate and key to `path`, for VOSPACE_CERTFILE; `expires` may be past."""
        return write_client_certificate(self._authority, Path(path), expires)

    def storage_url(self, host: str, path: str) -> str:
        """Return a pre-authorised URL for the content of a file: who has it may read the file."""
        token = self._tokens.setdefault(path, secrets.token_urlsafe(24))
        return f"https://{host}:{self.port}/minoc/files/{token}/{quote(os.fsencode(path))}"

    def is_authorised(self, token: str, path: str) -> bool:
        """Whether the token of a storage URL was given for this path."""
        return secrets.compare_digest(self._tokens.get(path, "").encode(), token.encode())

    def add_job(self, job: Job) -> str:
        """Remember a negotiated transfer; return its name."""
        name = secrets.token_hex(8)
        self._jobs[name] = job
        return name

    def job(self, name: str) -> Job | None:
        """Return a negotiated transfer."""
        return self._jobs.get(name)


class Server(ThreadingHTTPServer):
    """The listening socket and the connections it accepted."""

    request_queue_size = 512
    daemon_threads = True

    def __init__(self, space: VOSpace, port: int, context: ssl.SSLContext) -> None:
        self.space = space
        self._context = context
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
