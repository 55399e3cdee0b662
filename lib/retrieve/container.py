"""Containers: where the archives of the tiles are, in VOSpace or in a local directory.

The only module that imports `vos`, which provides the registry, the capabilities, the credentials and the sessions. The
two services behind it differ: Vault (``vos:``, ``vault:``) pages its listings and redirects to storage hosts that
serve ranges; Cavern (``arc:``) lists a container in one document and sends the bytes itself, from their start.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import mktime_tz, parsedate_tz
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeVar
from urllib.parse import quote, urlparse

from retrieve.archives import Archive, date_of
from retrieve.errors import AccessError, Gone, ListingError, SettingError, Transient
from retrieve.faults import expiry, naming, refuse_html
from retrieve.nodes import Page, archive_of, is_container, is_readable, name_of, parse_node, parse_page
from retrieve.patience import patiently
from retrieve.settings import Settings

if TYPE_CHECKING:
    import requests
    from lxml import etree
    from vos.vos import EndPoints

#: Nodes asked for at once where the service pages (Vault).
PAGE = 10_000
#: Bytes read at once from a body.
CHUNK = 1 << 20


#: Seconds to wait for a connection to be made.
_CONNECT = 20
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Body:
    """The bytes of an archive on their way.

    Attributes
    ----------
    start
        Offset of the first byte that will come.
    length
        Length of the whole archive as the sender says now, in bytes; None if it does not say.
    md5
        MD5 of the whole archive as the sender says now, or None.
    modified
        When it was modified as the sender says now, in whole seconds since 1970, or None.
    chunks
        The bytes, as they are stored, whatever `Content-Encoding` says.
    """

    start: int
    length: int | None
    md5: str | None
    modified: int | None
    chunks: Iterator[bytes]


class Container(Protocol):
    """Somewhere that archives can be listed in and read from; usable from several threads.

    Attributes
    ----------
    uri
        As the user named it.
    md5_may_be_old
        Whether the MD5 of an archive may be that of bytes that were replaced since: Cavern keeps it when a file is
        rewritten on the mounted file system.
    """

    uri: str
    md5_may_be_old: bool

    def list(self, matches: Callable[[str], object], seen: Callable[[int], None]) -> list[Archive]:
        """List the archives whose names match.

        Parameters
        ----------
        matches
            Called with each file name; what is false is not kept.
        seen
            Called now and then with the number of nodes that came.

        Raises
        ------
        ListingError
            If the listing is not known to be complete: nothing may be concluded from it.
        AccessError
            If the caller may not read the container.
        """

    def look_up(self, name: str) -> Archive | None:
        """Ask for one archive by name; None if it is not there."""

    def check(self) -> None:
        """Make sure that the container is there and that the caller may read it.

        Raises
        ------
        ListingError, AccessError
            If not.
        """

    def access_ends(self) -> datetime | None:
        """When the caller's credentials end, if they do; makes sure that the service can be reached.

        Raises
        ------
        AccessError, Transient
            If the credentials cannot be used, or the service does not answer.
        """

    def read(self, name: str, start: int, attempt: int) -> AbstractContextManager[Body]:
        """Open an archive, from the byte `start` where the source can; see `Body.start`.

        Parameters
        ----------
        attempt
            Counted from 0; later ones may use another of the hosts that hold the archive.

        Raises
        ------
        Gone, Transient, AccessError
            See there; also while the chunks are read.
        """


def open_container(input_path: str, settings: Settings) -> Container:
    """Open a VOSpace container by its URI, or a local directory.

    Parameters
    ----------
    input_path
        Such as ``INPUT_PATH``.
    settings
        For `certfile` (empty for the default of `vos`), `insecure`, `timeout` (seconds without a byte after which a
        request is given up) and `retries` (how often a request of a listing is made again).

    Raises
    ------
    SettingError
        If it is neither.
    AccessError
        If the certificate cannot be used.
    """
    if re.match("(vos|vault|arc):", input_path):
        if settings.certfile and not Path(settings.certfile).is_file():
            raise AccessError(
                f"no certificate '{settings.certfile}'; make it with "
                f"'cadc-get-cert -u USER --cert-filename {settings.certfile}'"
            )
        return VOSpace(input_path.rstrip("/"), settings)
    if re.match("[a-z]+:", input_path):
        raise SettingError(
            f"unknown kind of container '{input_path}'; give INPUT_PATH vos:, vault:, arc: or a directory"
        )
    if not Path(input_path).is_dir():
        raise SettingError(f"no directory '{input_path}'; give INPUT_PATH vos:…, arc:… or a directory that exists")
    return Directory(Path(input_path))


class Directory:
    """A local directory, such as a container that is mounted or was copied."""

    md5_may_be_old = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.uri = str(path)

    def list(self, matches: Callable[[str], object], seen: Callable[[int], None]) -> list[Archive]:
        """List the directory; see `Container`."""
        archives = []
        try:
            with os.scandir(self.path) as entries:
                for count, entry in enumerate(entries, start=1):
                    if count % PAGE == 0:
                        seen(count)
                    if matches(entry.name) and entry.is_file():
                        status = entry.stat()
                        archives.append(Archive(entry.name, status.st_size, None, date_of(status.st_mtime_ns)))
        except OSError as error:
            raise ListingError(f"cannot list '{self.path}': {error.strerror}") from error
        return archives

    def look_up(self, name: str) -> Archive | None:
        """Look at one file; see `Container`."""
        try:
            status = (self.path / name).stat()
        except FileNotFoundError:
            return None
        return Archive(name, status.st_size, None, date_of(status.st_mtime_ns))

    def check(self) -> None:
        """Make sure that the directory can be read; see `Container`."""
        if not os.access(self.path, os.R_OK | os.X_OK):
            raise AccessError(f"cannot read '{self.path}'; ask its owner for access")

    def access_ends(self) -> None:
        """Never; see `Container`."""

    @contextmanager
    def read(self, name: str, start: int, attempt: int) -> Iterator[Body]:
        """Open one file; see `Container`."""
        try:
            file = (self.path / name).open("rb")
        except FileNotFoundError as error:
            raise Gone("it does not exist") from error
        except OSError as error:
            raise AccessError(f"{error.strerror}; ask its owner for access") from error
        with file:
            file.seek(start)
            status = os.fstat(file.fileno())
            yield Body(start, status.st_size, None, int(status.st_mtime), self._chunks(file))

    @staticmethod
    def _chunks(file: BinaryIO) -> Iterator[bytes]:
        try:
            while chunk := file.read(CHUNK):
                yield chunk
        except OSError as error:
            raise Transient(str(error.strerror)) from error


class VOSpace:
    """A container of Vault or Cavern, through the `vos` client.

    Parameters
    ----------
    uri
        ``vos:PATH``, ``vault:PATH``, ``arc:PATH``, or the long form ``vos://cadc.nrc.ca~vault/PATH``.
    settings
        See `open_container`.
    """

    def __init__(self, uri: str, settings: Settings) -> None:
        self.uri = uri
        self._settings = settings
        self._timeout = (_CONNECT, settings.timeout)
        self._path = quote(urlparse(uri).path.strip("/"))
        self._threads = threading.local()
        # The client reads and writes the registry's cache below $HOME, which two threads must not do at once.
        self._making = threading.Lock()
        self._paged = False

    @property
    def md5_may_be_old(self) -> bool:
        """True for Cavern; see `Container`."""
        return not self._paged

    def list(self, matches: Callable[[str], object], seen: Callable[[int], None]) -> list[Archive]:
        """List the container: on Vault page by page until one brings nothing new, on Cavern at once.

        A Vault that caps its pages below our limit is asked for more like any other. See `Container`.
        """
        with naming(f"cannot list '{self.uri}'", self._credentials):
            url = f"{self._endpoints().nodes}/{self._path}"
            self.check()
            archives: dict[str, Archive] = {}
            cursor = None
            while True:
                page = self._again(lambda _, cursor=cursor: self._page(url, cursor, matches, seen))
                if cursor and page.first != cursor:
                    raise ListingError("a page did not begin where the one before it ended; try again later")
                for archive in page.archives:
                    if cursor and archive.name == name_of(cursor):
                        continue
                    if archive.name in archives:
                        raise ListingError(f"'{archive.name}' came twice; try again later")
                    archives[archive.name] = archive
                if not self._paged or page.last == cursor:
                    return list(archives.values())
                cursor = page.last

    def look_up(self, name: str) -> Archive | None:
        """Ask for one node; see `Container`."""
        with naming(f"cannot look up '{name}'", self._credentials):
            url = f"{self._endpoints().nodes}/{self._path}/{quote(name)}"
            try:
                return archive_of(self._again(lambda _: self._node(url, {"limit": "0"})))
            except Gone:
                return None

    def access_ends(self) -> datetime | None:
        """When the certificate ends; see `Container`."""
        with naming(f"cannot reach '{self.uri}'", self._credentials):
            certificate = self._endpoints().conn.subject.certificate
            return expiry(certificate) if certificate else None

    @contextmanager
    def read(self, name: str, start: int, attempt: int) -> Iterator[Body]:
        """Open one file; see `Container`."""
        with ExitStack() as stack:
            with naming("", self._credentials):
                headers = {"Range": f"bytes={start}-"} if start else {}
                response = stack.enter_context(self._get(self._file_url(name, attempt), headers=headers))
                body = _body(response, start)
            # What the caller does with the bytes is no concern of `naming`: its disk may be full.
            yield replace(body, chunks=self._chunks(body.chunks))

    def _chunks(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        with naming("", self._credentials):
            yield from chunks

    def _file_url(self, name: str, attempt: int) -> str:
        """Where to get a file: on Vault the first try follows a redirect, later ones the negotiated hosts in turn."""
        endpoints = self._endpoints()
        if attempt and self._paged:
            urls = self._threads.client.get_node_url(
                f"{self.uri}/{name}", method="GET", view="data", full_negotiation=True
            )
            if urls:
                return urls[(attempt - 1) % len(urls)]
        return f"{endpoints.files}/{self._path}/{quote(name)}"

    def check(self) -> None:
        """Ask whether the caller may read the container; see `Container`.

        One that may not is shown an empty container, with status 200.
        """
        url = f"{self._endpoints().nodes}/{self._path}"
        root = self._again(lambda _: self._node(url, {"limit": "0", "detail": "max"}))
        if not is_container(root):
            raise ListingError("it is not a container; give INPUT_PATH the container that holds the archives")
        if not is_readable(root):
            raise AccessError(f"you may not read it{self._credentials()}")

    def _node(self, url: str, query: dict[str, str]) -> etree._Element:
        with self._get(url, params=query) as response:
            return parse_node(response.content)

    def _page(
        self, url: str, cursor: str | None, matches: Callable[[str], object], seen: Callable[[int], None]
    ) -> Page:
        query = {"limit": str(PAGE)} if self._paged else {}
        if cursor:
            query["uri"] = cursor
        with self._get(url, params=query) as response:
            response.raw.decode_content = True
            return parse_page(response.raw, matches, seen)

    def _again(self, action: Callable[[int], _Answer]) -> _Answer:
        """Make a request of a listing, and again where it fails in a way that may pass."""

        def attempt(number: int) -> _Answer:
            with naming("", self._credentials):
                return action(number)

        return patiently(attempt, self._settings.retries, time.sleep)

    def _endpoints(self) -> EndPoints:
        """URLs, credentials and session for this thread: a session must not be shared between threads."""
        if not hasattr(self._threads, "endpoints"):
            import vos

            with self._making:
                self._threads.client = vos.Client(
                    vospace_certfile=self._settings.certfile or None, insecure=self._settings.insecure
                )
                try:
                    endpoints = self._threads.client.get_endpoints(self.uri)
                except AttributeError as error:  # what vos makes of any fault there
                    raise Transient(
                        "the service's registry does not answer; check the network, and give INSECURE=yes if the "
                        "server has a certificate of its own making"
                    ) from error
            if endpoints.conn.subject.certificate:
                expiry(endpoints.conn.subject.certificate)
            # Its own retries wait at least 30 s, and only for some of the faults that pass.
            endpoints.session.retry = False
            self._paged = "vault" in endpoints.uri
            self._threads.endpoints = endpoints
        return self._threads.endpoints

    @contextmanager
    def _get(self, url: str, **options: object) -> Iterator[requests.Response]:
        session = self._endpoints().session
        with session.get(url, stream=True, timeout=self._timeout, **options) as response:
            refuse_html(response)
            yield response

    def _credentials(self) -> str:
        """Say whom the service takes the caller for and what to do about it; never a secret."""
        certificate = self._endpoints().conn.subject.certificate
        if certificate is None:
            return " without a certificate; make one with 'cadc-get-cert -u USER'"
        return f" with the certificate '{certificate}'; ask the owner for access, or give CERTFILE another"


def _body(response: requests.Response, start: int) -> Body:
    from cadcutils.net import extract_md5

    length = response.headers.get("Content-Length", "")
    total = int(length) if length.isdigit() else None
    if response.status_code == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if not match or int(match[1]) != start:
            raise Transient("another range was sent than was asked for")
        total = int(match[2])
    else:
        start = 0
        if response.status_code == 204:
            total = 0
    modified = parsedate_tz(response.headers.get("Last-Modified", ""))
    return Body(
        start,
        total,
        extract_md5(response.headers),
        mktime_tz(modified) if modified else None,
        # The bytes as they are stored: with Content-Encoding gzip they are the .tgz itself.
        response.raw.stream(CHUNK, decode_content=False),
    )
