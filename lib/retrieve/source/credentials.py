"""Credentials: as whom a service is asked, how long that holds, and what is said of it; never a secret.

The first of these that there is counts: the certificate that CERTFILE or VOSPACE_CERTFILE names; the token in the file
that TOKEN names, or in CANFAR_TOKEN, as CANFAR's own client has it; the certificate where `cadc-get-cert` puts it; the
password for the service's host in ~/.netrc. Without any of them the caller is anonymous.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from retrieve.errors import AccessError
from retrieve.settings import Settings

if TYPE_CHECKING:
    from ssl import SSLContext

_RENEW = "run 'cadc-get-cert -u USER'"


class _Expired(AccessError):
    """A certificate was good once; what everyone may read can be read without it."""


@dataclass(frozen=True)
class Credentials:
    """As whom a service is asked; without arguments, as nobody.

    Attributes
    ----------
    method
        ``certificate``, ``token`` or ``basic``, as `cadcutils` calls them; empty for none.
    name
        What they are called in a message.
    certificate
        File with the certificate and its key.
    authorization
        Value of the header that identifies the caller.
    passwords
        The same by host, before the host is known.
    problem
        Why credentials that are there are not used; empty if there is nothing wrong with them.
    """

    method: str = ""
    name: str = ""
    certificate: str | None = None
    authorization: str = field(default="", repr=False)
    passwords: Mapping[str, str] = field(default_factory=dict, repr=False)
    problem: str = ""

    def at(self, host: str) -> Credentials:
        """Those for a service on that host: a password is only for its own."""
        if self.method != "basic":
            return self
        return replace(self, authorization=self.passwords[host]) if host in self.passwords else Credentials()

    def ends(self) -> datetime | None:
        """When they end, if that is known.

        Raises
        ------
        AccessError
            If they have ended.
        """
        return expiry(self.certificate) if self.certificate else None

    def refusal(self, what: str) -> str:
        """Say why a service refuses, such as ``access refused``, and what to do about it."""
        try:
            self.ends()
        except AccessError as error:  # while the run went on
            return f"{what} with {self.name}: {error}"
        advice = {
            "certificate": "ask the owner for access, or give CERTFILE another",
            "token": "get a new one if it has expired, or ask the owner for access",
            "basic": "ask the owner for access, or make a certificate with 'cadc-get-cert -u USER'",
        }
        if self.method:
            return f"{what} with {self.name}; {advice[self.method]}"
        return self.problem or f"{what} without a certificate; make one with 'cadc-get-cert -u USER'"

    def rejection(self, reason: str) -> str:
        """Say that the server rejects the certificate itself, so that no request can succeed."""
        return f"the server does not accept {self.name} ({reason}); {_RENEW}, or give CERTFILE another"


def require_given(settings: Settings) -> None:
    """Make sure that the files are there which the settings name.

    Raises
    ------
    AccessError
        If not. What TOKEN holds is not told: it may be the token itself.
    """
    if settings.certfile and not Path(settings.certfile).is_file():
        raise AccessError(
            f"no certificate '{settings.certfile}'; make it with "
            f"'cadc-get-cert -u USER --cert-filename {settings.certfile}'"
        )
    if settings.token and not Path(settings.token).is_file():
        raise AccessError("TOKEN does not name a file; write the token into one, and give TOKEN its name")


def find(settings: Settings) -> Credentials:
    """Find the credentials, and make sure that they can be used.

    Those that have come to their end, or a ~/.netrc that cannot be read, are left out, and `Credentials.problem` says
    so: what everyone may read can be had without.

    Raises
    ------
    AccessError
        If they can never be used: a certificate without its key, or a file without a token.
    """
    if given := settings.certfile or os.environ.get("VOSPACE_CERTFILE"):
        return _of_certificate(given)
    if settings.token:
        return _of_token(_read_token(settings.token), f"the token of '{settings.token}'")
    if token := os.environ.get("CANFAR_TOKEN"):
        return _of_token(token, "the token of CANFAR_TOKEN")
    try:
        home = Path.home()
    except RuntimeError:  # no home directory
        return Credentials()
    usual, netrc = home / ".ssl/cadcproxy.pem", home / ".netrc"
    if usual.exists():
        return _of_certificate(str(usual))
    return _of_netrc(netrc) if netrc.exists() else Credentials()


def expiry(certificate: str) -> datetime:
    """When a certificate ends, in UTC.

    Raises
    ------
    AccessError
        If it cannot be used now: to be told here is clearer than by a server.
    """
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificate(Path(certificate).read_bytes())
    except (OSError, ValueError) as error:
        raise AccessError(f"cannot use certificate '{certificate}' ({error}); {_RENEW}") from error
    begins, ends, now = found.not_valid_before_utc, found.not_valid_after_utc, datetime.now(UTC)
    if now > ends:
        raise _Expired(f"certificate expired on {ends:%F}; {_RENEW}")
    if now < begins:
        raise AccessError(
            f"certificate '{certificate}' is not valid before {begins:%F %R} UTC; set the clock of this machine, or "
            f"{_RENEW}"
        )
    return ends


def load_chain(context: SSLContext, certificate: str) -> None:
    """Load a certificate and its key into a TLS context.

    Raises
    ------
    AccessError
        If the file does not hold both, or they do not belong together.
    """
    try:
        context.load_cert_chain(certificate, password=_ask_nobody)
    except (OSError, ValueError) as error:
        reason = str(error)
        if "PRIVATE KEY" not in Path(certificate).read_text(encoding="latin-1"):
            reason = "which is not in the file"
        raise AccessError(f"cannot use certificate '{certificate}' with its key ({reason}); {_RENEW}") from error


def _ask_nobody() -> str:
    """Keep OpenSSL from asking at the terminal for the password of a key."""
    raise ValueError("its key has a password")


def _of_certificate(path: str) -> Credentials:
    try:
        expiry(path)
    except _Expired as error:
        return Credentials(problem=str(error))
    from ssl import PROTOCOL_TLS_CLIENT, SSLContext

    load_chain(SSLContext(PROTOCOL_TLS_CLIENT), path)
    return Credentials("certificate", f"the certificate '{path}'", certificate=path)


def _read_token(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it holds other characters"
        raise AccessError(f"cannot read the token of '{path}' ({reason}); write a new one into it") from None


def _of_token(text: str, name: str) -> Credentials:
    token = re.sub("(?i)^bearer +", "", text.strip())
    # Anything else could end the header that it is sent in, or would be told in an error of the library.
    if not re.fullmatch(r"[!-~]+", token):
        raise AccessError(f"cannot use {name}: it is empty, or more than one word; get a new one")
    return Credentials("token", name, authorization=f"Bearer {token}")


def _of_netrc(path: Path) -> Credentials:
    import netrc

    try:
        if path.stat().st_mode & 0o077:
            return Credentials(problem=f"'{path}' is not used, since others may read it; run 'chmod 600 {path}'")
        hosts = netrc.netrc(str(path)).hosts
    except netrc.NetrcParseError as error:
        # Not its text, which may be a part of a password.
        return Credentials(problem=f"'{path}' is not used: line {error.lineno} is not understood; mend or remove it")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        return Credentials(problem=f"'{path}' is not used ({reason}); mend or remove it")
    passwords = {host: _basic(login, password) for host, (login, _, password) in hosts.items()}
    return Credentials("basic", f"the password in '{path}'", passwords=passwords) if passwords else Credentials()


def _basic(login: str, password: str) -> str:
    """Value of the header that tells a password (RFC 7617)."""
    return f"Basic {base64.b64encode(f'{login}:{password}'.encode()).decode()}"
