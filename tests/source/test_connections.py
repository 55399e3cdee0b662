"""Connections: one TLS context for all threads, complete before the first of them uses it."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from retrieve.errors import AccessError
from retrieve.source.connections import Connections, SealedContext
from support.site import HERE
from vospace_demo.server import VOSpace

#: Eight threads that each open one connection with a certificate, again and again.
ROUNDS = """
import faulthandler, sys, threading, warnings
import requests
from retrieve.source.connections import Connections

faulthandler.enable()
warnings.simplefilter("ignore")
url, certificate, rounds = sys.argv[1:]
wrong = []

def ask(connections, gate):
    session = requests.Session()
    session.trust_env, session.verify, session.cert = False, False, (certificate, certificate)
    session.mount("https://", connections)
    gate.wait()
    answer = session.get(f"{url}/reg/resource-caps", timeout=60)
    if answer.status_code != 200:
        wrong.append(answer.status_code)

for _ in range(int(rounds)):
    connections = Connections(9, insecure=True, certificate=certificate)
    gate = threading.Barrier(8)
    threads = [threading.Thread(target=ask, args=(connections, gate)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    connections.close()
print(wrong)
"""


@pytest.mark.soak
@pytest.mark.short
def test_threads_that_connect_with_a_certificate_at_once_neither_crash_nor_wait(tmp_path: Path) -> None:
    with VOSpace(tmp_path) as space:
        certificate = space.client_certificate(tmp_path / "certificate.pem")
        done = subprocess.run(
            [sys.executable, "-P", "-c", ROUNDS, space.url, str(certificate), "60"],
            env={"PYTHONPATH": str(HERE / "lib")}, text=True, capture_output=True, timeout=300,
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_a_context_that_threads_share_cannot_be_changed(tmp_path: Path) -> None:
    context = SealedContext(ssl.PROTOCOL_TLS_CLIENT).seal()
    # As urllib3 does for each connection.
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["http/1.1"])
    for change in (
        lambda: context.load_cert_chain(tmp_path / "certificate.pem"),
        lambda: context.load_verify_locations(tmp_path / "authority.pem"),
        lambda: context.load_default_certs(),
        lambda: context.set_alpn_protocols(["h2"]),
        lambda: context.set_ciphers("DEFAULT"),
        lambda: setattr(context, "check_hostname", False),
        lambda: setattr(context, "verify_mode", ssl.CERT_NONE),
    ):
        with pytest.raises(RuntimeError, match="cannot be changed"):
            change()


@pytest.mark.filterwarnings("ignore:Unverified HTTPS")
def test_a_certificate_that_is_renewed_on_disk_is_used_from_then_on(tmp_path: Path) -> None:
    path = tmp_path / "certificate.pem"
    with VOSpace(tmp_path) as other, VOSpace(tmp_path) as space, requests.Session() as session:
        other.client_certificate(path)  # of an authority that this server does not know
        connections = Connections(1, insecure=True, certificate=str(path))
        session.trust_env = False
        session.verify = False
        session.mount("https://", connections)
        with pytest.raises(requests.ConnectionError):
            session.get(f"{space.url}/reg/resource-caps", timeout=60)
        path.write_text("while it is being written")
        with pytest.raises(requests.ConnectionError):
            session.get(f"{space.url}/reg/resource-caps", timeout=60)
        shutil.move(space.client_certificate(tmp_path / "renewed.pem"), path)
        assert session.get(f"{space.url}/reg/resource-caps", timeout=60).ok
        path.unlink()
        assert session.get(f"{space.url}/reg/resource-caps", timeout=60).ok


def test_a_certificate_without_its_key_is_told_as_that(tmp_path: Path) -> None:
    with VOSpace(tmp_path) as space:
        path = space.client_certificate(tmp_path / "certificate.pem")
    path.write_text(path.read_text().partition("-----END EC PRIVATE KEY-----\n")[2])
    with pytest.raises(AccessError, match=f"cannot use certificate '{path}' with its key"):
        Connections(1, insecure=True, certificate=str(path))
