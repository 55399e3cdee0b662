"""Certificates of users, as `cadc-get-cert` leaves them."""

import datetime
from pathlib import Path

import trustme


def write_client_certificate(
    authority: trustme.CA, path: Path, expires: datetime.datetime | None, begins: datetime.datetime | None
) -> Path:
    """Write key and certificate of a user into one PEM file.

    Parameters
    ----------
    expires
        End of validity, in UTC where it names no zone; may be past. None: in ten days, the default of
        `cadc-get-cert`.
    begins
        Begin of validity; may be to come. None: always.
    """
    if expires is None:
        expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=10)
    certificate = authority.issue_cert(common_name="demo_user", not_before=begins, not_after=expires)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(certificate.private_key_and_cert_chain_pem.bytes())
    path.chmod(0o600)
    return path
