"""Connections: kept alive, and shared by the sessions of all threads. Imported where it is used, as `requests` is."""

from __future__ import annotations

import ssl

from requests.adapters import HTTPAdapter
from urllib3.util.ssl_ import create_urllib3_context


class Connections(HTTPAdapter):
    """The connections of several sessions to all hosts, with one TLS context.

    Without it each connection would read the system's certificates anew: 30 ms of processor time, in which no other
    thread runs, and which a connection that does not verify has no use for.

    Parameters
    ----------
    count
        How many may be open to a host.
    insecure
        Not to verify the server.
    """

    def __init__(self, count: int, insecure: bool) -> None:
        self._context = create_urllib3_context(cert_reqs=ssl.CERT_NONE if insecure else ssl.CERT_REQUIRED)
        super().__init__(pool_maxsize=count)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: object) -> None:
        """Make the pool of connections, with our context."""
        super().init_poolmanager(connections, maxsize, block, ssl_context=self._context, **options)
