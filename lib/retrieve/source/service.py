"""Service: one of the VOSpace services: where it is, as whom it is asked, and over which connections.

The only module that imports `vos`, which says what the capabilities are called; the sessions are those of `cadcutils`,
its lower half, which knows the registry. It would find the service as well, but without a limit of time, without a
proxy, with no authority but certifi's, once only, and not at all where its cache cannot be written. So it is done here,
and the cache, which `vos` reads too, is kept where that can be done.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import urlsplit

from retrieve.errors import ListingError, SourceError, Transient
from retrieve.host.disk import write_whole
from retrieve.host.program import sleep
from retrieve.settings import MOST_JOBS, Settings
from retrieve.source.credentials import Credentials, find
from retrieve.source.faults import fault_of, naming, refuse_html, time_of
from retrieve.source.patience import Pauses, patiently

if TYPE_CHECKING:
    import requests

    from retrieve.source.connections import Connections

#: Seconds to wait for a connection to be made, if TIMEOUT is not less.
_CONNECT = 20.0
#: Seconds for which the registry's answer holds, as it does for `vos`.
_HOLDS = 600.0
_Found = TypeVar("_Found")


class Addresses(NamedTuple):
    """Where a service is: its nodes, its files, and where transfers are negotiated."""

    nodes: str
    files: str
    transfer: str


def parse_uri(uri: str) -> tuple[str, str]:
    """Return the resource id of the service and the path that a URI names: ``vos:PATH``, ``vos://AUTHORITY~NAME/PATH``.

    The path is a name as the user wrote it: in it ``#``, ``?`` and ``%`` mean themselves.
    """
    authority, there, scheme, path = re.fullmatch(r"(?s)vos://([^/]+)(.*)|(\w+):(.*)", uri).groups()
    if authority:
        return f"ivo://{re.sub('[~!]', '/', authority.lower())}", there.strip("/")
    owner = "opencadc.org" if os.environ.get("LOCAL_VOSPACE_WEBSERVICE") else "cadc.nrc.ca"
    return f"ivo://{owner}/{'vault' if scheme == 'vos' else scheme}", path.strip("/")


class Service:
    """A service that is looked for when it is first needed; usable from several threads.

    Parameters
    ----------
    resource
        Its id in the registry.
    pauses
        Says that it makes us wait.
    """

    def __init__(self, resource: str, settings: Settings, pauses: Pauses) -> None:
        self._resource = resource
        self._settings = settings
        self._pauses = pauses
        self._timeout = (min(_CONNECT, settings.timeout), settings.timeout)
        self._making = threading.Lock()
        self._threads = threading.local()
        self._found: tuple[Addresses, Credentials, Connections] | None = None

    @property
    def addresses(self) -> Addresses:
        """Where it is."""
        return self._find()[0]

    def who(self) -> Credentials:
        """As whom it is asked; as nobody until it is."""
        return self._found[1] if self._found else Credentials()

    def session(self) -> requests.Session:
        """Return the session of this thread: one must not be shared between threads."""
        if not hasattr(self._threads, "session"):
            from retrieve.source.connections import open_session

            self._threads.session = open_session(self._find()[2], self._timeout, self._login)
        return self._threads.session

    def proxy(self) -> str:
        """Host and port of the proxy between us and the service; empty without one."""
        from retrieve.source.connections import proxy

        return proxy(self.addresses.nodes)

    def clock(self) -> datetime | None:
        """The time by the service's clock: the Date of its answer to an anonymous request."""
        from cadcutils.exceptions import HttpException

        from retrieve.source.connections import open_session

        nodes = (self._found[0] if self._found else self._locate("")).nodes
        with open_session(self._anonymous, self._timeout) as session:
            try:
                answer = session.get(nodes, params={"limit": "0"}, stream=True)
            except HttpException as error:
                answer = getattr(error.orig_exception, "response", None)
                if answer is None:
                    raise
            date = time_of(answer.headers.get("Date", ""))
        return datetime.fromtimestamp(date, UTC) if date is not None else None

    def pause(self, seconds: float, reason: str) -> None:
        """Wait before a request is made again."""
        self._pauses.tell(seconds, reason)
        sleep(seconds)

    def _find(self) -> tuple[Addresses, Credentials, Connections]:
        from retrieve.source.connections import Connections

        with self._making:
            if self._found is None:
                who = find(self._settings)
                addresses = self._locate(who.method)
                who = who.at(urlsplit(addresses.nodes).hostname)
                connections = self._anonymous
                if who.certificate:
                    count, insecure = (self._settings.jobs or MOST_JOBS) + 1, self._settings.insecure
                    connections = Connections(count, insecure=insecure, certificate=who.certificate)
                self._found = addresses, who, connections
            return self._found

    def _login(self, url: str) -> str:
        """Send credentials to the service alone, never to where a file is stored, not even on the same host."""
        bases = {f"{one.rpartition('/')[0]}/" for one in self.addresses if one.startswith("https:")}
        return self.who().authorization if url.startswith(tuple(bases)) else ""

    def _locate(self, method: str) -> Addresses:
        """Ask the registry where it is, as nobody.

        Parameters
        ----------
        method
            How the caller will identify himself; see `Credentials`.
        """
        from cadcutils.net import ws
        from cadcutils.net.auth import SECURITY_METHODS_IDS
        from cadcutils.net.wscapabilities import CapabilitiesReader
        from vos.vos import EndPoints

        registry, cache = urlsplit(ws.DEFAULT_REGISTRY), Path(ws.CACHE_LOCATION)
        if host := os.environ.get("VOSPACE_WEBSERVICE") or os.environ.get("LOCAL_VOSPACE_WEBSERVICE"):
            registry, cache = registry._replace(netloc=host), cache / "alt-domains" / host

        def entry(text: str) -> str:
            entries = dict(re.findall(r"(?m)^\s*([^#\s]\S*)\s*=\s*(\S+)\s*$", text))
            if self._resource not in entries:
                raise ListingError(f"'{registry.netloc}' knows no service '{self._resource}'; check INPUT_PATH")
            return entries[self._resource]

        def addresses(text: str) -> Addresses:
            identifiers = EndPoints.VO_NODES, EndPoints.VO_FILES, EndPoints.VO_TRANSFER
            methods = [SECURITY_METHODS_IDS[method]] if method else []
            try:
                capabilities = CapabilitiesReader().parsexml(text.encode())
                return Addresses(*(capabilities.get_access_url(one, methods) for one in identifiers))
            except (ValueError, LookupError) as error:
                raise Transient(f"the capabilities of '{self._resource}' are not understood") from error

        url = self._told(registry.geturl(), cache / ws.REGISTRY_FILE, entry)
        authority, _, name = self._resource.removeprefix("ivo://").rpartition("/")
        return self._told(url, cache / authority / f".{name}", addresses)

    def _told(self, url: str, cache: Path, understand: Callable[[str], _Found]) -> _Found:
        """Return what a document says: as it was kept if that is not long ago, or cannot be asked for now."""
        kept, age = _kept(cache, understand)
        if kept is not None and age < _HOLDS:
            return kept
        try:
            with naming(f"cannot get '{url}'", Credentials):
                text, found = self._get(url, understand, 0 if kept else self._settings.retries)
        except Transient:
            if kept is None:
                raise
            with suppress(OSError):
                cache.touch()
            return kept
        # Without a home, its name would be that of a directory here.
        if cache.is_absolute():
            with suppress(OSError):
                cache.parent.mkdir(parents=True, exist_ok=True)
                write_whole(cache, text)
        return found

    def _get(self, url: str, understand: Callable[[str], _Found], retries: int) -> tuple[str, _Found]:
        from cadcutils.exceptions import HttpException

        from retrieve.source.connections import open_session

        def attempt(_: int) -> tuple[str, _Found]:
            with naming("", Credentials):
                try:
                    with session.get(url) as answer:
                        refuse_html(answer)
                        return answer.text, understand(answer.text)
                except HttpException as error:
                    # It is for everyone: where it is not found, no archive is absent, and nobody lacks a certificate.
                    raise fault_of(error, Credentials) from error

        with open_session(self._anonymous, self._timeout) as session:
            return patiently(attempt, retries, self.pause)

    @cached_property
    def _anonymous(self) -> Connections:
        """Connections on which no certificate is shown."""
        from retrieve.source.connections import Connections

        count = (self._settings.jobs or MOST_JOBS) + 1
        return Connections(count, insecure=self._settings.insecure, certificate=None)


def _kept(cache: Path, understand: Callable[[str], _Found]) -> tuple[_Found | None, float]:
    """Return what was kept, if it can be read, and its age in seconds."""
    with suppress(OSError, ValueError, SourceError):
        return understand(cache.read_text(encoding="utf-8")), time.time() - cache.stat().st_mtime
    return None, 0.0
