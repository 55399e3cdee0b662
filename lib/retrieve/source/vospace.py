"""VOSpace: a container of Vault or Cavern, as `service` finds them.

The two services differ: Vault (``vos:``, ``vault:``) pages its listings and redirects to storage hosts that serve
ranges; Cavern (``arc:``) lists a container in one document and sends the bytes itself, from their start.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import quote, unquote, urlparse

from retrieve.archives import Archive
from retrieve.errors import AccessError, Gone, ListingError, SourceError, Transient
from retrieve.host.messages import complain, remark
from retrieve.host.threads import in_threads
from retrieve.settings import STREAMS, Settings
from retrieve.source.container import CHUNK, Body, Listing, Wanted, Way
from retrieve.source.credentials import Credentials
from retrieve.source.faults import naming, naming_container, naming_odd, refuse_html, time_of
from retrieve.source.listing import Lister
from retrieve.source.nodes import archive_of, is_container, is_readable, name_of, parse_node, target_of
from retrieve.source.pages import Page, parse_page
from retrieve.source.patience import Pauses, patiently
from retrieve.source.service import Service, parse_uri

if TYPE_CHECKING:
    import requests
    from cadcutils.exceptions import HttpException
    from lxml import etree

#: Bytes of a listing read at once.
_PIECE = 1 << 18
#: Links that may lead to links.
_LINKS = 10
#: Chunks of a limited rate in a second: of no more than this many at once is the rate exceeded for a moment.
_CHUNKS_PER_SECOND = 8
#: Asks for the bytes of a file as they are stored: nothing on the way should pack them once more.
_AS_STORED = {"Accept-Encoding": "identity"}
_Answer = TypeVar("_Answer")


class Root(NamedTuple):
    """The container itself: its URL, its URI, and the seconds that it took to ask for it."""

    url: str
    uri: str
    seconds: float


class VOSpace:
    """A container of Vault or Cavern.

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
        self.service, path = parse_uri(uri)
        self._path = quote(path)
        self._paged = "vault" in self.service
        self.ways = (Way.WHOLE, Way.NAMES, Way.RANGES) if self._paged else (Way.WHOLE, Way.NAMES)
        self._service = Service(self.service, settings, Pauses(partial(remark, settings)))

    def list(self, wanted: Wanted, seen: Callable[[int], None]) -> Listing:
        """List what is wanted of the container, the cheapest way; see `Container`."""
        with naming(f"cannot list '{self.uri}'", self._service.who), _advising(ListingError):
            listing = self._listing(wanted, seen)
            self._tell_problem()
            threads = min(self._settings.jobs or STREAMS, len(listing.links))
            with closing(in_threads(lambda link: self._target(link[1]), listing.links.items(), threads)) as targets:
                for (name, (_, target)), found in targets:
                    if isinstance(found, Archive):
                        listing.archives[name] = found._replace(name=name)
                    else:
                        listing.dangling[name] = f"it leads to '{target}', and {found}"
            return listing

    def _listing(self, wanted: Wanted, seen: Callable[[int], None]) -> Listing:
        root = self._open()
        lister = Lister(
            partial(self._page, root.url),
            partial(self._named, root.url),
            root.uri,
            self._settings.page if self._paged else 0,
            self._settings.jobs or STREAMS,
        )
        listing = lister.list(wanted, root.seconds, seen)
        if listing.way is not Way.WHOLE:
            # The archive may seem absent because its container was removed, or closed to us, meanwhile.
            self._open()
        return listing

    def glimpse(self, name: str, limit: int) -> Page:
        """Look at a page of nodes, from that name on where the service has pages, else from the first node on.

        Of an answer with more nodes no more is read than shows that there are.
        """
        with naming(f"cannot list '{self.uri}'", self._service.who), _advising(ListingError):
            root = self._open()
            begin = f"{root.uri}/{quote(name)}" if name and self._paged else ""
            return self._page(root.url, begin, limit, lambda _: True, lambda _: None, "", limit)

    def look_up(self, name: str) -> Archive | None:
        """Ask for one node; see `Container`."""
        with naming(f"cannot look up '{name}'", self._service.who), _advising(ListingError):
            try:
                node = self._follow(f"{self._service.addresses.nodes}/{self._path}/{quote(name)}", {"limit": "0"})
            except Gone:
                return None
            archive = archive_of(node)
            return archive._replace(name=name) if archive else None

    def access_ends(self) -> datetime | None:
        """When the certificate ends; see `Container`."""
        with naming(f"cannot reach '{self.uri}'", self._service.who), _advising(Transient):
            self._service.session()
            self._tell_problem()
            return self._service.who().ends()

    def proxy(self) -> str:
        """Over which proxy the service is asked; see `Container`."""
        with naming(f"cannot reach '{self.uri}'", self._service.who):
            return self._service.proxy()

    def clock(self) -> datetime | None:
        """Read the Date of any answer; see `Container`."""
        with naming(f"cannot reach '{self.uri}'", Credentials):
            return self._service.clock()

    @contextmanager
    def read(self, name: str, start: int, attempt: int, length: int | None = None) -> Iterator[Body]:
        """Open one file; see `Container`."""
        from cadcutils.exceptions import HttpException

        with ExitStack() as stack:
            with naming_container(name), naming("", self._service.who):
                url = self._file_url(name, attempt)
                try:
                    response = stack.enter_context(self._get(url, headers=_AS_STORED | _range(start, length)))
                except HttpException as error:
                    if not start or not _is_past_the_end(error):
                        raise
                    response = stack.enter_context(self._get(url, headers=_AS_STORED))
                body = _body(response, start)
            # What the caller does with the bytes is no concern of `naming`: its disk may be full.
            yield replace(body, chunks=self._chunks(response))

    def _chunks(self, response: requests.Response) -> Iterator[bytes]:
        """Yield the bytes as they are stored: with Content-Encoding gzip they are the .tgz itself."""
        rate = self._settings.rate
        size = min(CHUNK, int(rate / _CHUNKS_PER_SECOND) + 1) if rate else CHUNK
        with naming("", self._service.who):
            yield from response.raw.stream(size, decode_content=False)

    def _file_url(self, name: str, attempt: int) -> str:
        """Where to get a file: on Vault the first try follows a redirect, later ones the negotiated hosts in turn."""
        if attempt and self._paged:
            service = self.service.removeprefix("ivo://").replace("/", "~")
            urls = self._negotiated(f"vos://{service}/{self._path}/{quote(name)}")
            if urls:
                return urls[(attempt - 1) % len(urls)]
        return f"{self._service.addresses.files}/{self._path}/{quote(name)}"

    def _negotiated(self, uri: str) -> list[str]:
        """Pre-authorised URLs of a file on the hosts that have it; none where that cannot be negotiated now."""
        from xml.etree.ElementTree import ParseError

        import requests
        from cadcutils import exceptions as cadc
        from cadcutils.net import Transfer

        # Without a security method, which would bring URLs that are not pre-authorised, too.
        negotiation = Transfer(self._service.session())
        try:
            return negotiation.transfer(self._service.addresses.transfer, uri, Transfer.DIRECTION_PULL_FROM)
        except (cadc.HttpException, requests.RequestException, OSError, RuntimeError, ParseError):
            return []

    def check(self) -> None:
        """Ask whether the caller may read the container; see `Container`."""
        with naming(f"cannot read '{self.uri}'", self._service.who), _advising(Transient):
            self._open()

    def _open(self) -> Root:
        """Find the container, which the caller may read.

        One that the caller may not read is shown as an empty one, with status 200.
        """
        with naming_container(name_of(self._path)):
            self._service.session()
            begin = time.monotonic()
            root = self._follow(f"{self._service.addresses.nodes}/{self._path}", {"limit": "0", "detail": "max"})
            seconds = time.monotonic() - begin
        if not is_container(root):
            raise ListingError("it is not a container; give INPUT_PATH the container that holds the archives")
        if not is_readable(root):
            raise AccessError(self._service.who().refusal("you may not read it"))
        return Root(self._url_of(root.get("uri", "")), root.get("uri", ""), seconds)

    def _follow(self, url: str, query: dict[str, str]) -> etree._Element:
        """Ask for a node, and if it is a link for the one that it leads to.

        Raises
        ------
        Gone
            If the target does not exist, or the link leads out of the service.
        """
        for _ in range(_LINKS):
            node = self._again(lambda _, url=url: self._node(url, query))
            target = target_of(node)
            if target is None:
                return node
            url = self._beside(node.get("uri", ""), target)
        raise Gone("leads in a circle")

    def _target(self, link: tuple[str, str]) -> Archive | str:
        """Archive that a link leads to, or why it leads to none."""
        try:
            return archive_of(self._follow(self._beside(*link), {"limit": "0"})) or "that is no file"
        except AccessError:
            return "you may not read that"
        except Gone as error:
            return str(error).partition(";")[0]

    def _beside(self, uri: str, target: str) -> str:
        """URL of the node that a link leads to, if that is in the same service."""
        if not urlparse(target).netloc or urlparse(target).netloc != urlparse(uri).netloc:
            raise Gone("that is out of reach of this service")
        return self._url_of(target)

    def _url_of(self, uri: str) -> str:
        return f"{self._service.addresses.nodes}/{quote(unquote(urlparse(uri).path.strip('/')))}"

    def _node(self, url: str, query: dict[str, str]) -> etree._Element:
        with self._get(url, params=query) as response:
            return parse_node(response.content)

    def _page(self, url: str, begin: str, limit: int, *reading: object) -> Page:
        """Ask for a page of the container at that URL; see `Lister` and `parse_page`."""
        query = ({"limit": str(limit)} if limit else {}) | ({"uri": begin} if begin else {})

        def page(_: int) -> Page:
            with self._get(url, params=query) as response:
                return parse_page(response.raw.stream(_PIECE, decode_content=True), *reading)

        return self._again(page)

    def _named(self, url: str, name: str) -> Page:
        """Ask for one node of the container at that URL; see `Lister`."""
        try:
            node = self._again(lambda _: self._node(f"{url}/{quote(name)}", {"limit": "0"}))
        except Gone:
            return Page()
        uri, target, archive = node.get("uri", ""), target_of(node), archive_of(node)
        if name_of(uri) != name:
            raise ListingError(f"it was asked for '{name}' and answered about '{name_of(uri)}'; try again later")
        return Page(uri, uri, 1, [archive] if archive else [], {} if target is None else {name: (uri, target)})

    def _again(self, action: Callable[[int], _Answer]) -> _Answer:
        """Make a request of a listing, and again where it fails in a way that may pass."""

        def attempt(number: int) -> _Answer:
            with naming("", self._service.who):
                return action(number)

        return patiently(attempt, self._settings.retries, self._service.pause)

    def _tell_problem(self) -> None:
        if problem := self._service.who().problem:
            complain(f"'{self.uri}' is read without credentials, as everyone may: {problem}")

    @contextmanager
    def _get(self, url: str, **options: object) -> Iterator[requests.Response]:
        with nullcontext() if self._paged else naming_odd(url):
            response = self._service.session().get(url, stream=True, **options)
        with response:
            refuse_html(response)
            yield response


@contextmanager
def _advising(kind: type[SourceError]) -> Iterator[None]:
    """Say what to do about a fault that did not pass, with an error of that kind."""
    try:
        yield
    except Transient as error:
        text = str(error)
        raise kind(text if "; " in text else f"{text}; try again later") from error


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
    return Body(
        start,
        total,
        extract_md5(response.headers),
        time_of(response.headers.get("Last-Modified", "")),
        iter(()),
    )


def _range(start: int, length: int | None) -> dict[str, str]:
    end = "" if length is None else start + length - 1
    return {"Range": f"bytes={start}-{end}"} if start or length else {}


def _is_past_the_end(error: HttpException) -> bool:
    """Whether a range was refused because the file is not that long (any more)."""
    response = getattr(error.orig_exception, "response", None)
    return getattr(response, "status_code", None) == 416
