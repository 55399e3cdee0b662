"""Faults of a VOSpace service, of the network and of credentials, told in the words of `retrieve.errors`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from retrieve.errors import AccessError, Closed, Gone, SourceError, Transient
from retrieve.source.credentials import Credentials
from retrieve.source.nodes import name_of

if TYPE_CHECKING:
    import requests
    from cadcutils.exceptions import HttpException

#: Answers that may be others a little later: busy, being written (409 and 423 on Vault), or a server in trouble.
_PASSING = {408, 409, 423, 425, 429, 500, 502, 503, 504}
#: Those of them by which a service, or what stands before it, says that it is asked for too much at once.
_CROWDED = {429, 503}
#: The same of a connection: OpenSSL tells of a reset before the answer as of one that was closed.
_TURNED_AWAY = ("refused", "reset by peer", "closed connection")
#: What the innermost exception says, and what a person would say.
_REASONS = {
    "Tunnel connection failed": "the proxy that HTTPS_PROXY names gives no way to the server",
    "connect to proxy": "the proxy that HTTPS_PROXY names cannot be reached",
    "refused": "the connection was refused",
    "reset by peer": "the connection was cut",
    "IncompleteRead": "the connection was cut",
    "EOF": "the connection was cut",
    "closed connection": "the connection was cut",
    "Broken pipe": "the connection was cut",
    "resolve": "the server's name cannot be resolved; check the network",
    "unreachable": "the network cannot be reached; check it",
    "No route to host": "the network cannot be reached; check it",
    "Too many open files": "too many files are open; raise the limit with 'ulimit -n 1024', or lower JOBS",
}
#: The same of what no further try would mend.
_FOR_GOOD = {
    "Tunnel connection failed: 407": "the proxy wants a password; give HTTPS_PROXY as http://NAME:PASSWORD@HOST:PORT",
    "Tunnel connection failed: 4": "the proxy that HTTPS_PROXY names does not let us through; ask who runs it",
    "SOCKS": "HTTPS_PROXY names a SOCKS proxy, which cannot be used; give it as http://HOST:PORT",
    "proxy URL": "HTTPS_PROXY is no address of a proxy; give it as http://HOST:PORT",
}


@contextmanager
def naming(what: str, who: Callable[[], Credentials]) -> Iterator[None]:
    """Turn what the client and its libraries raise into our errors, with the operation that failed in front.

    Parameters
    ----------
    what
        The operation and its subject: ``cannot list 'vos:…'``; empty to leave it to a `naming` further out.
    who
        As whom the service is asked.
    """
    import requests
    import urllib3
    from cadcutils import exceptions as cadc

    prefix = f"{what}: " if what else ""
    try:
        yield
    except Transient as error:
        raise Transient(f"{prefix}{error}", error.retry_after, crowded=error.crowded) from error
    except SourceError as error:
        raise type(error)(f"{prefix}{error}") from error
    except (cadc.UnauthorizedException, cadc.ForbiddenException) as error:
        raise AccessError(f"{prefix}{who().refusal('access refused')}") from error
    except cadc.NotFoundException as error:
        raise Gone(f"{prefix}it does not exist; check its name") from error
    except cadc.HttpException as error:
        raise fault_of(error, who, prefix) from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise _without_answer(prefix, error, who) from error


@contextmanager
def naming_container(name: str) -> Iterator[None]:
    """Name the container for which a service refuses what is in it: Cavern's answer tells which one it is.

    Parameters
    ----------
    name
        File name of the node that was asked for.
    """
    try:
        yield
    except AccessError as error:
        refused = re.search(r"vos://\S+", str(error.__cause__))
        if refused is None or name_of(refused[0]) == name:
            raise
        raise Closed(f"cannot read '{refused[0]}': {error}") from error


@contextmanager
def naming_odd(url: str) -> Iterator[None]:
    """Say what no further try would mend: Cavern answers 500 to a space or a percent sign in a name."""
    from cadcutils.exceptions import InternalServerException

    try:
        yield
    except InternalServerException as error:
        if not re.search("%2[05]", url):
            raise
        raise SourceError(
            "the server answered 500, as Cavern does to a space or '%' in a name; ask its owner to rename it"
        ) from error


def refuse_html(response: requests.Response) -> None:
    """Refuse a web page, which a proxy or a login may send with status 200 in place of anything."""
    if "html" in response.headers.get("Content-Type", ""):
        raise Transient("a web page was sent in its place; is there a proxy or a login page in between?")


def fault_of(error: HttpException, who: Callable[[], Credentials], prefix: str = "") -> SourceError:
    """Tell apart what the client raises for an answer that is an error, and for none at all."""
    origin = getattr(error, "orig_exception", None)
    response = getattr(origin, "response", None)
    if response is None:
        return _without_answer(prefix, origin or error, who)
    reason = f"the server answered {response.status_code} {response.reason}"
    if response.status_code in _PASSING:
        wait = seconds_to_wait(response.headers.get("Retry-After", ""))
        return Transient(f"{prefix}{reason}", wait, crowded=response.status_code in _CROWDED)
    return SourceError(f"{prefix}{reason}; if it stays, ask the service's help desk")


def seconds_to_wait(retry_after: str) -> float | None:
    """Seconds that a Retry-After header asks for, which it tells as a number or as a date (RFC 9110, 10.2.3)."""
    if retry_after.strip().isdecimal():
        return float(retry_after)
    until = time_of(retry_after)
    return max(until - time.time(), 0.0) if until is not None else None


def time_of(date: str) -> float | None:
    """Seconds since 1970 of a date in a header (RFC 9110, 5.6.7); None if the header is not a date."""
    from email.utils import mktime_tz, parsedate_tz

    parts = parsedate_tz(date)
    return mktime_tz(parts) if parts else None


def _without_answer(prefix: str, error: BaseException, who: Callable[[], Credentials]) -> SourceError:
    """Say what broke in a few words, out of the innermost of the exceptions that the libraries wrap in each other."""
    import requests
    import urllib3

    text = str(error)
    if found := re.search(r"certificate verify failed: ([^(]*[^(. ])", text):
        return AccessError(
            f"{prefix}the server's certificate is not trusted ({found[1]}); if your institute has an authority of its "
            "own, set REQUESTS_CA_BUNDLE to its file; INSECURE=yes would trust anyone"
        )
    # An alert of the server's that is about our certificate.
    if found := re.search(r"alert ((?:[a-z]+ )*(?:certificate|ca)(?: [a-z]+)*)", text):
        return AccessError(f"{prefix}{who().rejection(found[1])}")
    for sign, reason in _FOR_GOOD.items():
        if sign in text:
            return AccessError(f"{prefix}{reason}")
    if isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError)) or "timed out" in text:
        return Transient(f"{prefix}nothing came for too long")
    reasons = (reason for sign, reason in _REASONS.items() if sign in text)
    reason = next(reasons, f"the connection failed ({type(error).__name__})")
    return Transient(prefix + reason, crowded=any(sign in text for sign in _TURNED_AWAY))
