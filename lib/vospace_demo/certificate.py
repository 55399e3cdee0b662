"""The throwaway authority behind the server's own certificate and those of its users."""

import datetime
import ssl
from pathlib import Path

import trustme


def server_context(authority: trustme.CA) -> ssl.SSLContext:
    """TLS settings of the server: known as localhost and 127.0.0.1, and asking for the user's certificate.

    Asking, not demanding: an anonymous caller is served, one with an expired certificate gets the TLS
    alert that OpenCADC's own servers give.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def write_client_certificate(authority: trustme.CA, path: Path, expires: datetime.datetime | None) -> Path:
    """Write key and certificate of a user into one PEM file, as `cadc-get-cert` leaves them.

    Parameters
    ----------
    expires
        End of validity, in UTC where it names no zone; may be past. None: in ten days, the default of
        `cadc-get-cert`.
    """
    if expires is None:
        expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=10)
    certificate = authority.issue_cert(common_name="demo_user", not_after=expires)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(certificate.private_key_and_cert_chain_pem.bytes())
    path.chmod(0o600)
    return path
