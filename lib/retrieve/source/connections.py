"""Connections: kept alive, and shared by the sessions of all threads; over which proxy, and whom to trust.

Imported where it is used, as `requests` is.
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cadcutils.net.ws import RetrySession
from requests.adapters import HTTPAdapter
from requests.certs import where
from requests.utils import get_environ_proxies, select_proxy
from urllib3.util.ssl_ import ALPN_PROTOCOLS

from retrieve.errors import AccessError
from retrieve.source.credentials import load_chain

if TYPE_CHECKING:
    import requests
    from urllib3 import ProxyManager


class Connections(HTTPAdapter):
    """The connections of several sessions to all hosts, with one TLS context for all threads.

    `requests` would have urllib3 load the certificate and the trusted authorities into the context again for each
    connection: 30 ms of processor time, in which no other thread runs, and a crash where another one is in a handshake.
    Here both are loaded before the first connection, and whatever the sessions say of ``verify`` and ``cert`` is not
    looked at. A certificate that is renewed on disk while a run goes on is used for what is connected after that.

    The environment says over which proxy a host is reached (HTTPS_PROXY, NO_PROXY), and which authorities to trust
    (REQUESTS_CA_BUNDLE, SSL_CERT_FILE, CURL_CA_BUNDLE), as it does for `requests` and OpenSSL.

    Parameters
    ----------
    count
        How many may be open to a host.
    insecure
        Do not verify the server.
    certificate
        File with the certificate of the client and its key; None to be anonymous.

    Raises
    ------
    AccessError
        If the certificate cannot be used.
    """

    def __init__(self, count: int, *, insecure: bool, certificate: str | None) -> None:
        self._insecure = insecure
        self._certificate = certificate
        self._guard = threading.Lock()
        self._state = _state(certificate)
        self._context = self._made()
        super().__init__(pool_maxsize=count)

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: object, cert: object = None
    ) -> tuple[dict[str, object], dict[str, object]]:
        """Have a request go over connections that were made with the present context."""
        host, _ = super().build_connection_pool_key_attributes(request, verify)
        return host, {"ssl_context": self._present()}

    def send(self, request: requests.PreparedRequest, **options: object) -> requests.Response:
        """Send a request over the proxy that the environment names for its host, also after a redirect."""
        return super().send(request, **options | {"proxies": get_environ_proxies(request.url)})

    def proxy_manager_for(self, proxy: str, **options: object) -> ProxyManager:
        """Return the connections over a proxy, which the first thread that needs them makes for all."""
        with self._guard:
            return super().proxy_manager_for(proxy, **options)

    def cert_verify(self, conn: object, url: str, verify: object, cert: object) -> None:
        """Leave the pool as it is: all of this is in its context."""

    def _present(self) -> SealedContext:
        with self._guard:
            state = _state(self._certificate)
            if state not in (None, self._state):
                # While it is being written it is of no use yet, and the one of before may still be good.
                with suppress(AccessError):
                    self._context, self._state = self._made(), state
            return self._context

    def _made(self) -> SealedContext:
        context = SealedContext(ssl.PROTOCOL_TLS_CLIENT)
        context.post_handshake_auth = True
        if self._insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            _trust(context)
        if self._certificate:
            load_chain(context, self._certificate)
        return context.seal()


class SealedContext(ssl.SSLContext):
    """A TLS context that is complete, and that nobody changes any more.

    OpenSSL lets threads share a context as long as none of them writes to it: if one does, a handshake of another one
    crashes or never ends. urllib3 writes to the context that it was given for each new connection. What it sets to the
    value that is there already is passed over; all else is an error, at once and always, rather than a rare crash.
    """

    _sealed = False

    def seal(self) -> SealedContext:
        """Allow no further change."""
        self.set_alpn_protocols(ALPN_PROTOCOLS)
        self._sealed = True
        return self

    def __setattr__(self, name: str, value: object) -> None:
        if not self._sealed:
            super().__setattr__(name, value)
        elif getattr(self, name) != value:
            self._refuse(name)

    def __getattribute__(self, name: str) -> object:
        if name.startswith(("load_", "set_")) and self._sealed and name != "set_alpn_protocols":
            self._refuse(name)
        return super().__getattribute__(name)

    def set_alpn_protocols(self, alpn_protocols: list[str]) -> None:
        """Set the protocols to offer, before the context is sealed; urllib3 may set the same ones again."""
        if not self._sealed:
            super().set_alpn_protocols(alpn_protocols)
        elif alpn_protocols != ALPN_PROTOCOLS:
            self._refuse("ALPN protocols")

    @staticmethod
    def _refuse(what: str) -> None:
        raise RuntimeError(f"a TLS context that threads share cannot be changed: {what}")


def _state(certificate: str | None) -> tuple[int, int, int] | None:
    """What tells a certificate on disk from another one under the same name; None if it is not there."""
    if not certificate:
        return None
    with suppress(OSError):
        found = Path(certificate).stat()
        return found.st_ino, found.st_size, found.st_mtime_ns
    return None


def open_session(
    connections: Connections, timeout: tuple[float, float], login: Callable[[str], str] = lambda _: ""
) -> requests.Session:
    """Open a session for one thread.

    Parameters
    ----------
    timeout
        Seconds to wait for a connection, and for the next byte.
    login
        Called with a URL for the value of its header Authorization; empty for none.
    """
    # Its own retries wait at least 30 s, and only for some of the faults that pass.
    session = RetrySession(retry=False)
    # `requests` would send what ~/.netrc has for any host; the rest of the environment is looked at by `Connections`.
    session.trust_env = False
    session.mount("https://", connections)
    session.mount("http://", connections)
    session.auth = partial(_authorize, login)
    session.request = partial(session.request, timeout=timeout)
    return session


def proxy(url: str) -> str:
    """Host and port of the proxy that leads to a URL; empty without one."""
    return urlsplit(select_proxy(url, get_environ_proxies(url)) or "").netloc.rpartition("@")[2]


def _authorize(login: Callable[[str], str], request: requests.PreparedRequest) -> requests.PreparedRequest:
    if value := login(request.url):
        request.headers["Authorization"] = value
    return request


def _trust(context: ssl.SSLContext) -> None:
    """Trust the authorities in the file or directory that the environment names, or if it names none, certifi's."""
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE"):
        if path := os.environ.get(name):
            kind = "capath" if Path(path).is_dir() else "cafile"
            try:
                return context.load_verify_locations(**{kind: path})
            except OSError as error:
                reason = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
                raise AccessError(f"cannot use {name}='{path}' ({reason}); name a file of certificates") from error
    return context.load_verify_locations(where())
