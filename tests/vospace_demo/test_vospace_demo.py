"""The embedded VOSpace, seen from outside: by the vos commands, and byte by byte."""

import base64
import contextlib
import hashlib
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import Message
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest

from vospace_demo.faults import Fault
from vospace_demo.server import VOSpace

TOP = Path(__file__).resolve().parents[2]
NAMES = [f"final_cat_{number}.308.tgz" for number in range(180, 190)]
TARGET = NAMES[3]
CONTENT = {name: bytes([index]) * 1000 + os.urandom(4000) for index, name in enumerate(NAMES)}
FILES = {"vault": "/vault/files/results/", "arc": "/arc/files/results/"}
NODES = {"vault": "/vault/nodes/results", "arc": "/arc/nodes/results"}
READABLE = "ivo://cadc.nrc.ca/vospace/core#readable"
both = pytest.mark.parametrize("service", ["vault", "arc"])


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    body: bytes

    @property
    def md5(self) -> str:
        return base64.b64decode(self.headers["Digest"].removeprefix("md5=")).hex()

    @property
    def children(self) -> list[str]:
        return [node.get("uri").rpartition("/")[2] for node in self.xml.iterfind(".//{*}nodes/{*}node")]

    @property
    def xml(self) -> ElementTree.Element:
        return ElementTree.fromstring(self.body)

    def property(self, name: str, of: str = "") -> str | None:
        nodes = [node for node in self.xml.iter() if node.tag.endswith("}node")]
        node = next(node for node in nodes if node.get("uri").endswith(of))
        found = node.find(f"{{*}}properties/{{*}}property[@uri='{name}']")
        return None if found is None else found.text


def core(name: str) -> str:
    return f"ivo://ivoa.net/vospace/core#{name}"


def connect(space: VOSpace, certificate: Path | None = None) -> http.client.HTTPSConnection:
    context = ssl._create_unverified_context()
    if certificate:
        context.load_cert_chain(certificate)
    return http.client.HTTPSConnection("localhost", space.port, context=context, timeout=120)


def ask(
    space: VOSpace, path: str, method: str = "GET", certificate: Path | None = None, body: str = "", **headers: str
) -> Answer:
    connection = connect(space, certificate)
    connection.request(method, path, body or None, {name.replace("_", "-"): text for name, text in headers.items()})
    response = connection.getresponse()
    answer = Answer(response.status, response.headers, response.read())
    connection.close()
    return answer


def storage(space: VOSpace, name: str = TARGET) -> str:
    """Return the path of a pre-authorised URL."""
    return urlsplit(ask(space, FILES["vault"] + name).headers["Location"]).path


def content_path(space: VOSpace, service: str, name: str = TARGET) -> str:
    return storage(space, name) if service == "vault" else FILES["arc"] + name


@pytest.fixture
def root(tmp_path: Path) -> Path:
    results = tmp_path / "root" / "results"
    results.mkdir(parents=True)
    for index, (name, content) in enumerate(CONTENT.items()):
        (results / name).write_bytes(content)
        os.utime(results / name, ns=(0, (1628162732 + index) * 10**9 + 123_456_789))
    return tmp_path / "root"


@pytest.fixture
def space(root: Path) -> Iterator[VOSpace]:
    with VOSpace(root) as running:
        yield running


Vos = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def vos(space: VOSpace, tmp_path: Path) -> Vos:
    def run(command: str, *arguments: str, variable: str = "VOSPACE_WEBSERVICE") -> subprocess.CompletedProcess[str]:
        environment = os.environ | {variable: space.environment()["VOSPACE_WEBSERVICE"], "HOME": str(tmp_path / "home")}
        (tmp_path / "home").mkdir(exist_ok=True)
        program = Path(sys.executable).parent / command
        return subprocess.run(
            [program, "-k", *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    return run


# The real client


@pytest.mark.parametrize(("scheme", "variable"), [("vos", "VOSPACE_WEBSERVICE"), ("arc", "LOCAL_VOSPACE_WEBSERVICE")])
def test_vls_lists_names_sizes_dates_and_permissions(vos: Vos, scheme: str, variable: str) -> None:
    lines = vos("vls", "-l", f"{scheme}:results", variable=variable).stdout.splitlines()
    assert sorted(line.split()[-1] for line in lines) == NAMES
    assert all(re.match(r"-rw.*r-- .* 5000 Aug 05  2021 final_cat", line) for line in lines)


def test_vcp_copies_byte_for_byte(vos: Vos, tmp_path: Path) -> None:
    """From Cavern; from Vault below."""
    (tmp_path / "here").mkdir()
    assert vos("vcp", "arc:results/final_cat_18[0-3]*", f"{tmp_path}/here").returncode == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()} == {
        name: CONTENT[name] for name in NAMES[:4]
    }


def test_vls_lists_600_nodes(vos: Vos, root: Path) -> None:
    # It asks for another page where there are more than 500.
    (root / "many").mkdir()
    for number in range(600):
        (root / "many" / f"{number}.tgz").touch()
    assert len(vos("vls", "vos:many").stdout.split()) == 600


def test_vcp_resumes_by_range_after_a_cut_connection(vos: Vos, space: VOSpace, tmp_path: Path) -> None:
    part = tmp_path / f"{TARGET}-{hashlib.md5(CONTENT[TARGET]).hexdigest()}.part"
    part.write_bytes(CONTENT[TARGET][:3000])
    assert vos("vcp", f"vos:results/{TARGET}", f"{tmp_path}/{TARGET}").returncode == 0
    assert (tmp_path / TARGET).read_bytes() == CONTENT[TARGET]


def test_negotiation_offers_a_second_host_when_the_first_fails(vos: Vos, space: VOSpace, tmp_path: Path) -> None:
    space.fault(Fault("status", node=TARGET, route="storage", status=404))
    assert vos("vcp", f"vos:results/{TARGET}", f"{tmp_path}/{TARGET}").returncode == 0
    assert (tmp_path / TARGET).read_bytes() == CONTENT[TARGET]
    assert space.requests().routes["negotiation"] == 3
    assert space.requests().routes["storage"] == 2


# Listings


def test_vault_pages_in_name_order_from_an_inclusive_cursor(space: VOSpace) -> None:
    assert ask(space, f"{NODES['vault']}?limit=4").children == NAMES[:4]
    cursor = f"vos://cadc.nrc.ca~vault/results/{NAMES[3]}"
    assert ask(space, f"{NODES['vault']}?limit=4&uri={cursor}").children == NAMES[3:7]
    assert ask(space, NODES["vault"]).children == NAMES


def test_cavern_ignores_the_limit_and_refuses_the_cursor(space: VOSpace) -> None:
    assert sorted(ask(space, f"{NODES['arc']}?limit=4").children) == NAMES
    cursor = f"uri=vos://cadc.nrc.ca~arc/results/{NAMES[3]}"
    refused = ask(space, f"{NODES['arc']}?{cursor}")
    assert (refused.status, refused.body.split(b":")[0]) == (400, b"OptionNotSupported")
    assert ask(space, f"{NODES['arc']}?limit=0&{cursor}").status == 200


def test_cavern_lists_in_the_order_of_the_disk(space: VOSpace, root: Path) -> None:
    assert ask(space, NODES["arc"]).children == [path.name for path in os.scandir(root / "results")]


@both
def test_limit_0_lists_nothing(space: VOSpace, service: str) -> None:
    assert ask(space, f"{NODES[service]}?limit=0").children == []


@both
def test_detail_min_leaves_the_properties_out(space: VOSpace, service: str) -> None:
    answer = ask(space, f"{NODES[service]}?detail=min")
    assert sorted(answer.children) == NAMES
    assert answer.property(core("length"), TARGET) is None


@both
def test_sorting_and_head_are_refused_on_nodes(space: VOSpace, service: str) -> None:
    assert ask(space, f"{NODES[service]}?sort={core('date')}".replace("#", "%23")).status == 400
    assert ask(space, NODES[service], "HEAD").status == 405


def test_dates_are_mtimes_in_utc_with_milliseconds(space: VOSpace, root: Path) -> None:
    for name, seconds in ((NAMES[0], -86400), (NAMES[1], 4102444800)):
        os.utime(root / "results" / name, ns=(0, seconds * 10**9 + 5_999_999))
    answer = ask(space, NODES["vault"])
    assert answer.property(core("date"), NAMES[0]) == "1969-12-31T00:00:00.005"
    assert answer.property(core("date"), NAMES[1]) == "2100-01-01T00:00:00.005"
    assert answer.property(core("content-date"), NAMES[2]) == "2021-08-05T11:25:34.123"
    assert ask(space, NODES["arc"]).property(core("content-date"), NAMES[2]) is None
    assert ask(space, FILES["arc"] + NAMES[1]).headers["Last-Modified"] == "Fri, 01 Jan 2100 00:00:00 GMT"


@pytest.mark.parametrize("spelling", ["none", "bare", "prefixed"])
def test_md5_is_spelled_as_asked(root: Path, spelling: str) -> None:
    md5 = hashlib.md5(CONTENT[TARGET]).hexdigest()
    expected = {"none": None, "bare": md5, "prefixed": f"md5:{md5}"}[spelling]
    with VOSpace(root, vault_md5=spelling, arc_md5=spelling) as space:
        for service in ("vault", "arc"):
            assert ask(space, NODES[service]).property(core("MD5"), TARGET) == expected
            assert (ask(space, content_path(space, service)).headers["Digest"] is None) == (expected is None)


def test_changed_file_is_listed_anew(space: VOSpace, root: Path) -> None:
    ask(space, NODES["vault"])
    (root / "results" / TARGET).write_bytes(b"other")
    (root / "results" / NAMES[0]).unlink()
    answer = ask(space, NODES["vault"])
    assert answer.children == NAMES[1:]
    assert answer.property(core("length"), TARGET) == "5"
    assert answer.property(core("MD5"), TARGET) == hashlib.md5(b"other").hexdigest()


def test_names_are_percent_encoded(space: VOSpace, root: Path) -> None:
    (root / "results" / "a & b.txt").write_text("text")
    for service in ("vault", "arc"):
        assert "a%20%26%20b.txt" in ask(space, NODES[service]).children
    assert ask(space, storage(space, "a%20%26%20b.txt")).body == b"text"


@pytest.mark.parametrize("name", ["a%20b.tgz", "a%25b.tgz"])
def test_cavern_fails_at_a_space_or_a_percent_sign_in_a_name(space: VOSpace, root: Path, name: str) -> None:
    (root / "results" / unquote(name)).write_text("text")
    for path in (f"{NODES['arc']}/{name}", FILES["arc"] + name):
        answer = ask(space, path)
        assert (answer.status, answer.body.split(b":")[0]) == (500, b"InternalFault")


def make_pipe(directory: Path) -> None:
    os.mkfifo(directory / "pipe")


def make_latin1(directory: Path) -> None:
    (directory / os.fsdecode("r\u00e9sum\u00e9".encode("latin-1"))).touch()


@pytest.mark.parametrize("make", [make_pipe, make_latin1])
def test_cavern_ends_a_listing_at_a_child_that_it_cannot_name(
    space: VOSpace, root: Path, make: Callable[[Path], None]
) -> None:
    before = set(os.listdir(root / "results"))
    make(root / "results")
    order = os.listdir(root / "results")
    (odd,) = set(order) - before
    for _ in range(2):
        answer = ask(space, NODES["arc"])
        assert (answer.status, answer.children) == (200, order[: order.index(odd)])
    assert ask(space, f"{NODES['arc']}/{TARGET}").status == 200
    assert [name for name in ask(space, NODES["vault"]).children if name in before] == sorted(before)
    (root / "results" / odd).unlink()
    assert set(ask(space, NODES["arc"]).children) == before


def test_nodes_look_as_on_their_service(space: VOSpace, root: Path) -> None:
    (root / "results" / "out").symlink_to("../../outside/file")
    for service, creator in (("vault", "CN=demo user,OU=cadc,O=hia,C=CA"), ("arc", "demo_user")):
        answer = ask(space, NODES[service])
        busy = {node.get("uri").rpartition("/")[2]: node.get("busy") for node in answer.xml.iterfind(".//{*}node")}
        assert busy == dict.fromkeys(NAMES, "false") | {"out": None}
        assert answer.property(core("creator"), TARGET) == creator
        assert ask(space, f"{NODES[service]}/out").xml.findtext("{*}target") == f"file://{root.parent}/outside/file"


def test_absent_node_is_404(space: VOSpace) -> None:
    for path in ("/vault/nodes/none", "/arc/nodes/none", "/vault/files/none", "/arc/files/none"):
        answer = ask(space, path)
        assert (answer.status, answer.body.split(b":")[0]) == (404, b"NodeNotFound")


# Files


def test_vault_redirects_to_an_authorised_url_on_a_storage_host(space: VOSpace) -> None:
    answer = ask(space, FILES["vault"] + TARGET)
    path = urlsplit(answer.headers["Location"]).path
    assert answer.status == 303
    assert re.fullmatch(rf"/minoc/files/[^/]{{20,}}/results/{TARGET}", path)
    assert ask(space, path).body == CONTENT[TARGET]
    assert ask(space, path.replace("files/", "files/x")).status == 403
    assert ask(space, path.replace(TARGET, NAMES[0])).status == 403


@both
def test_head_on_files_tells_length_and_date_without_a_redirect(space: VOSpace, service: str) -> None:
    answer = ask(space, FILES[service] + TARGET, "HEAD")
    assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, "5000", b"")
    assert answer.headers["Last-Modified"] == "Thu, 05 Aug 2021 11:25:35 GMT"
    assert (service == "vault") == ("Digest" in answer.headers)


@pytest.mark.parametrize(
    ("asked", "status", "first", "end"),
    [("bytes=4990-", 206, 4990, 5000), ("bytes=10-19", 206, 10, 20), ("bytes=-7", 206, 4993, 5000),
     ("bytes=5000-", 416, 0, 0), ("pages=1-2", 200, 0, 5000)],
)  # fmt: skip
def test_storage_host_serves_ranges(space: VOSpace, asked: str, status: int, first: int, end: int) -> None:
    answer = ask(space, storage(space), Range=asked)
    assert answer.status == status
    assert answer.body == CONTENT[TARGET][first:end]
    if status == 206:
        assert answer.headers["Content-Range"] == f"bytes {first}-{end - 1}/5000"
        assert answer.md5 == hashlib.md5(CONTENT[TARGET]).hexdigest()


def test_storage_host_honours_if_range(space: VOSpace) -> None:
    path = storage(space)
    date = ask(space, path, "HEAD").headers["Last-Modified"]
    assert ask(space, path, Range="bytes=9-", If_Range=date).status == 206
    assert ask(space, path, Range="bytes=9-", If_Range="Thu, 05 Aug 2021 11:25:00 GMT").status == 200


def test_cavern_serves_the_whole_file_whatever_the_range(space: VOSpace) -> None:
    answer = ask(space, FILES["arc"] + TARGET, Range="bytes=10-")
    assert (answer.status, answer.body) == (200, CONTENT[TARGET])
    assert "Accept-Ranges" not in answer.headers


def test_cavern_does_not_say_of_which_type_a_file_is(space: VOSpace) -> None:
    for method in ("GET", "HEAD"):
        assert ask(space, FILES["arc"] + TARGET, method).headers["Content-Type"] is None
        assert ask(space, storage(space), method).headers["Content-Type"]


def test_cavern_challenges_an_anonymous_head_of_a_file_in_two_ways(space: VOSpace, tmp_path: Path) -> None:
    answer = ask(space, FILES["arc"] + TARGET, "HEAD")
    assert (answer.status, len(answer.headers.get_all("WWW-Authenticate"))) == (200, 2)
    certificate = space.client_certificate(tmp_path / "proxy.pem")
    known = ask(space, FILES["arc"] + TARGET, "HEAD", certificate)
    for other in (known, ask(space, FILES["arc"] + TARGET), ask(space, FILES["vault"] + TARGET, "HEAD")):
        assert "WWW-Authenticate" not in other.headers


def test_empty_file_is_204_on_cavern_and_200_on_vault(space: VOSpace, root: Path) -> None:
    (root / "results" / "empty.tgz").touch()
    assert ask(space, FILES["arc"] + "empty.tgz").status == 204
    head = ask(space, FILES["arc"] + "empty.tgz", "HEAD")
    assert (head.status, head.headers["Content-Length"]) == (200, "0")
    assert ask(space, storage(space, "empty.tgz")).status == 200


def test_cavern_closes_on_every_100th_request_and_on_errors(space: VOSpace) -> None:
    def closed(connection: http.client.HTTPSConnection, path: str) -> bool:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.getheader("Connection") == "close"

    connection = connect(space)
    answers = [closed(connection, FILES["arc"] + TARGET) for _ in range(101)]
    assert [number for number, was in enumerate(answers, 1) if was] == [100]
    assert closed(connect(space), "/arc/nodes/none")
    assert not closed(connect(space), "/vault/nodes/none")


# Who may read what


@pytest.fixture
def private(root: Path) -> Iterator[VOSpace]:
    (root / "results" / "in" / "deep").mkdir(parents=True)
    (root / "results" / "in" / "deep" / "secret").write_text("secret")
    with VOSpace(root, private=["results/in", f"results/{TARGET}"]) as running:
        yield running


@both
def test_private_container_lists_nothing_to_who_is_anonymous(private: VOSpace, service: str) -> None:
    answer = ask(private, f"{NODES[service]}/in?detail=max")
    assert (answer.status, answer.children, answer.property(READABLE)) == (200, [], "false")
    for path in (f"{NODES[service]}/in/deep", f"{FILES[service]}in/deep/secret", f"{FILES[service]}in/none"):
        answer = ask(private, path)
        assert answer.status == 403
        assert answer.body.strip().endswith(b"/results/in")


@both
def test_private_container_opens_to_a_certificate(private: VOSpace, service: str, tmp_path: Path) -> None:
    certificate = private.client_certificate(tmp_path / "proxy.pem")
    answer = ask(private, f"{NODES[service]}/in?detail=max", certificate=certificate)
    assert (answer.children, answer.property(READABLE)) == (["deep"], "true")
    assert ask(private, f"{FILES[service]}in/deep/secret", certificate=certificate).status in (200, 303)


@both
def test_private_file_in_a_public_container_is_seen_but_not_read(private: VOSpace, service: str) -> None:
    assert ask(private, f"{NODES[service]}/{TARGET}").status == 200
    assert ask(private, FILES[service] + TARGET, "HEAD").status == 200
    assert ask(private, FILES[service] + TARGET).status == 403


def test_expired_certificate_gets_the_tls_alert(space: VOSpace, tmp_path: Path) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    certificate = space.client_certificate(tmp_path / "proxy.pem", expires=yesterday)
    with pytest.raises(ssl.SSLError, match=r"(?i)alert.certificate.expired"):
        ask(space, NODES["vault"], certificate=certificate)


@both
def test_unknown_token_is_401_even_on_public_nodes(space: VOSpace, service: str) -> None:
    assert ask(space, NODES[service], Authorization="Bearer x").status == 401


@both
def test_readable_is_told_only_when_asked(space: VOSpace, service: str) -> None:
    assert ask(space, f"{NODES[service]}?limit=0&detail=max").property(READABLE) == "true"
    assert ask(space, f"{NODES[service]}?limit=0").property(READABLE) is None


@both
def test_no_path_leaves_the_root(space: VOSpace, root: Path, service: str) -> None:
    (root.parent / "outside").mkdir()
    (root.parent / "outside" / "file").write_text("outside")
    (root / "results" / "file").symlink_to(root.parent / "outside" / "file")
    (root / "results" / "dir").symlink_to(root.parent / "outside")
    (root / "results" / "up").symlink_to("../..")
    for link in ("file", "dir", "up"):
        assert ask(space, FILES[service] + link).status == 400
        assert ask(space, f"{NODES[service]}/{link}").children == []
    climbing = ("../../outside/file", "..%2f..%2foutside%2ffile", "%2e%2e/%2e%2e/outside/file", "a%00b")
    for way in ("dir/file", "up/outside/file", f"{root.parent}/outside/file", *climbing):
        assert ask(space, FILES[service] + way).status in (400, 404), way
        assert ask(space, f"{NODES[service]}/{way}").status in (400, 404), way


@both
def test_link_inside_the_tree_is_a_link_node_and_get_follows_it(space: VOSpace, root: Path, service: str) -> None:
    (root / "results" / "link").symlink_to(TARGET)
    (root / "results" / "broken").symlink_to("none")
    node = ask(space, f"{NODES[service]}/link").xml
    assert node.get("{http://www.w3.org/2001/XMLSchema-instance}type") == "vos:LinkNode"
    assert node.findtext("{*}target") == f"vos://cadc.nrc.ca~{service}/results/{TARGET}"
    assert ask(space, content_path(space, service, "link")).body == CONTENT[TARGET]
    assert ask(space, FILES[service] + "broken").status == 404


# Faults


@pytest.mark.parametrize("status", [401, 403, 404, 409, 423, 429, 500, 502, 503, 504])
def test_status_is_answered_once_and_then_no_more(space: VOSpace, status: int) -> None:
    space.fault(Fault("status", node=TARGET, route="files", status=status, retry_after=7))
    assert ask(space, FILES["arc"] + NAMES[0]).status == 200
    answer = ask(space, FILES["arc"] + TARGET)
    assert (answer.status, answer.headers["Retry-After"]) == (status, "7")
    assert answer.body
    assert ask(space, FILES["arc"] + TARGET).status == 200


def test_faults_strike_in_their_order_and_always_if_asked(space: VOSpace) -> None:
    space.fault(Fault("short", route="files", at=9))
    space.fault(Fault("status", route="files", status=503, count=-1))
    answers = [ask(space, FILES["arc"] + TARGET) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 503, 503]
    space.clear_faults()
    assert ask(space, FILES["arc"] + TARGET).status == 200


@pytest.mark.parametrize("path", ["/vault/nodes/results", "/vault/files/results/x", "/arc/files/results/x"])
def test_html_takes_the_place_of_anything(space: VOSpace, path: str) -> None:
    space.fault(Fault("html"))
    answer = ask(space, path)
    assert (answer.status, answer.headers.get_content_type()) == (200, "text/html")
    ElementTree.fromstring(answer.body.partition(b"\n")[2])


@both
@pytest.mark.parametrize(("at", "length"), [(1234, 1234), (-1, 4999), (0, 0)])
def test_cut_ends_a_file_early_though_its_length_was_promised(
    space: VOSpace, service: str, at: int, length: int
) -> None:
    path = content_path(space, service)
    space.fault(Fault("cut", node=TARGET, at=at))
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(space, path)
    assert caught.value.partial == CONTENT[TARGET][:length]
    assert caught.value.expected == 5000 - length
    assert space.requests().bytes[TARGET] == length


@both
def test_cut_ends_a_listing_in_the_middle_of_a_chunk(space: VOSpace, service: str) -> None:
    space.fault(Fault("cut", route="nodes", at=2000))
    assert ask(space, f"{NODES[service]}?limit=0").status == 200
    with pytest.raises((http.client.IncompleteRead, ssl.SSLError)):
        ask(space, NODES[service])


@pytest.mark.parametrize("at", [0, 1000])
def test_reset_is_a_tcp_reset_and_cut_is_not(space: VOSpace, at: int) -> None:
    # Asked below TLS: Python's ssl reports both as the end of the file.
    def end(kind: str) -> None:
        space.fault(Fault(kind, node=TARGET, at=at))
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = ssl._create_unverified_context().wrap_bio(incoming, outgoing)
        with socket.create_connection(("127.0.0.1", space.port), timeout=120) as plain:
            while not tls.version():
                with contextlib.suppress(ssl.SSLWantReadError):
                    tls.do_handshake()
                plain.sendall(outgoing.read())
                if not tls.version():
                    incoming.write(plain.recv(65536))
            tls.write(f"GET {FILES['arc']}{TARGET} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            plain.sendall(outgoing.read())
            while plain.recv(65536):
                pass

    with pytest.raises(ConnectionResetError):
        end("reset")
    end("cut")


def test_stall_pauses_in_the_body_and_latency_before_it(space: VOSpace) -> None:
    space.fault(Fault("stall", node=TARGET, at=100, seconds=0.3))
    connection = connect(space)
    connection.request("GET", FILES["arc"] + TARGET)
    response = connection.getresponse()
    begun = response.read(100)
    start = time.monotonic()
    assert begun + response.read() == CONTENT[TARGET]
    assert time.monotonic() - start > 0.2
    space.fault(Fault("latency", node=TARGET, seconds=0.3))
    for _ in range(2):
        start = time.monotonic()
        connection.request("HEAD", FILES["arc"] + TARGET)
        connection.getresponse().read()
        assert time.monotonic() - start >= 0.3


@both
def test_flip_changes_one_byte(space: VOSpace, service: str) -> None:
    path = content_path(space, service)
    space.fault(Fault("flip", node=TARGET, at=-10))
    body = ask(space, path).body
    assert [at for at in range(5000) if body[at] != CONTENT[TARGET][at]] == [4990]


@both
def test_short_is_consistent_and_incomplete(space: VOSpace, service: str) -> None:
    path = content_path(space, service)
    space.fault(Fault("short", node=TARGET, at=-1000))
    answer = ask(space, path)
    assert (answer.headers["Content-Length"], answer.body) == ("4000", CONTENT[TARGET][:4000])


def test_refused_range_gets_the_whole_file(space: VOSpace) -> None:
    path = storage(space)
    space.fault(Fault("refuse-range"))
    assert ask(space, path).status == 200
    answer = ask(space, path, Range="bytes=100-")
    assert (answer.status, answer.body) == (200, CONTENT[TARGET])
    assert ask(space, path, Range="bytes=100-").status == 206


@both
def test_encoding_is_told_around_nothing(space: VOSpace, service: str) -> None:
    space.fault(Fault("encoding", node=TARGET))
    answer = ask(space, content_path(space, service))
    assert (answer.headers["Content-Encoding"], answer.body) == ("gzip", CONTENT[TARGET])
    listing = ask(space, NODES[service])
    assert listing.property(core("encoding"), TARGET) == "gzip"
    assert listing.property(core("encoding"), NAMES[0]) is None


@both
def test_stale_md5_is_that_of_other_bytes(space: VOSpace, service: str) -> None:
    space.fault(Fault("stale-md5", node=TARGET))
    answer = ask(space, content_path(space, service))
    assert answer.md5 != hashlib.md5(CONTENT[TARGET]).hexdigest()
    assert ask(space, NODES[service]).property(core("MD5"), TARGET) == answer.md5
    assert ask(space, f"{NODES[service]}/{TARGET}").property(core("MD5")) == answer.md5


@both
def test_cap_shortens_every_page_and_leaves_the_cursor(space: VOSpace, service: str) -> None:
    space.fault(Fault("cap", at=3))
    first = ask(space, f"{NODES[service]}?limit=9").children
    assert len(first) == 3
    if service == "vault":
        cursor = f"uri=vos://cadc.nrc.ca~vault/results/{first[-1]}"
        assert ask(space, f"{NODES['vault']}?limit=9&{cursor}").children == NAMES[2:5]
    assert len(ask(space, NODES[service]).children) == len(NAMES)


@both
def test_swallowed_children_are_never_listed_but_there(space: VOSpace, service: str) -> None:
    space.fault(Fault("swallow", at=4))
    assert len(ask(space, NODES[service]).children) == 4
    if service == "vault":
        cursor = f"uri=vos://cadc.nrc.ca~vault/results/{NAMES[3]}"
        assert ask(space, f"{NODES['vault']}?{cursor}").children == [NAMES[3]]
    assert ask(space, f"{NODES[service]}/{NAMES[9]}").status == 200


def test_repeated_page_ignores_the_cursor(space: VOSpace) -> None:
    space.fault(Fault("repeat"))
    assert ask(space, f"{NODES['vault']}?limit=3").children == NAMES[:3]
    cursor = f"uri=vos://cadc.nrc.ca~vault/results/{NAMES[2]}"
    assert ask(space, f"{NODES['vault']}?limit=3&{cursor}").children == NAMES[:3]


def test_backwards_page_is_reversed(space: VOSpace) -> None:
    space.fault(Fault("backwards"))
    assert ask(space, f"{NODES['vault']}?limit=3").children == NAMES[2::-1]


@both
def test_unreadable_container_answers_200_with_no_children(space: VOSpace, service: str) -> None:
    space.fault(Fault("unreadable", node="results"))
    answer = ask(space, f"{NODES[service]}?detail=max")
    assert (answer.status, answer.children, answer.property(READABLE)) == (200, [], "false")
    assert ask(space, f"{NODES[service]}?limit=0&detail=max").property(READABLE) == "false"


def test_fault_that_makes_no_sense_is_refused_at_once() -> None:
    for wrong in ({"kind": "loop"}, {"kind": "cut", "route": "reg"}, {"kind": "status", "status": 299}):
        with pytest.raises(ValueError, match=r"no fault|no route|cannot answer"):
            Fault(**wrong)


# The server itself


def test_requests_and_bytes_are_counted(space: VOSpace) -> None:
    ask(space, FILES["arc"] + TARGET)
    ask(space, storage(space))
    ask(space, "/arc/files/results/none")
    counts = space.requests()
    assert (counts.routes["files"], counts.routes["storage"], counts.total) == (3, 1, 4)
    assert (counts.nodes["files", TARGET], counts.nodes["nodes", TARGET]) == (2, 0)
    assert counts.bytes == {TARGET: 10_000}
    space.forget()
    assert space.requests().total == 0


def test_what_nodes_take_is_waited_for_and_the_bytes_of_documents_are_counted(root: Path) -> None:
    with VOSpace(root, per_node=0.02) as space:
        began = time.monotonic()
        listing = ask(space, NODES["arc"])
        assert time.monotonic() - began >= 0.02 * len(NAMES)
        began = time.monotonic()
        one = ask(space, f"{NODES['arc']}/{TARGET}")
        assert time.monotonic() - began >= 0.02
        assert space.requests().documents == len(listing.body) + len(one.body)
        ask(space, FILES["arc"] + TARGET)
        assert space.requests().documents == len(listing.body) + len(one.body)


def test_peak_counts_files_served_at_once(space: VOSpace) -> None:
    space.fault(Fault("latency", route="files", seconds=120))
    threads = [threading.Thread(target=ask, args=(space, FILES["arc"] + name)) for name in NAMES[:5]]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 120
    while space.requests().peak < 5 and time.monotonic() < end:
        time.sleep(0.01)
    space.stopping.set()
    for thread in threads:
        thread.join()
    assert space.requests().peak == 5


@pytest.mark.parametrize("path", [FILES["arc"] + TARGET, FILES["vault"] + TARGET, FILES["arc"] + "none"])
def test_who_asks_for_one_file_after_the_other_is_never_two_at_once(path: str, space: VOSpace) -> None:
    space.fault(Fault("crowded", at=1, status=503))
    connections = [connect(space) for _ in range(2)]
    for number in range(200):
        connections[number % 2].request("GET", path)
        connections[number % 2].getresponse().read()
    assert (space.requests().peak, space.requests().refused) == (1, 0)


def test_slow_handshake_stops_nobody(space: VOSpace) -> None:
    with socket.create_connection(("127.0.0.1", space.port)):
        assert ask(space, NODES["vault"]).status == 200


def test_closing_does_not_wait_for_open_connections(root: Path) -> None:
    with VOSpace(root) as space:
        idle, stalled = connect(space), connect(space)
        idle.request("GET", NODES["vault"])
        idle.getresponse().read()
        space.fault(Fault("stall", at=10, seconds=600))
        stalled.request("GET", FILES["arc"] + TARGET)
        stalled.getresponse()
        start = time.monotonic()
    assert time.monotonic() - start < 300
    with pytest.raises((OSError, http.client.HTTPException)):
        idle.request("GET", NODES["vault"])
        idle.getresponse()


@contextlib.contextmanager
def vospace_demo(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [TOP / "bin" / "vospace-demo", *arguments],
        env=os.environ | {"PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_serves_until_it_is_told_to_stop(root: Path, number: int) -> None:
    with vospace_demo(str(root), "--private", "results/in") as process:
        first = process.stdout.readline()
        assert re.fullmatch(r"export VOSPACE_WEBSERVICE=localhost:\d+\n", first)
        assert process.stdout.readline().startswith("# ")
        process.send_signal(number)
        assert process.wait(120) == 0
        assert process.stderr.read() == ""


def test_another_process_sets_faults_and_reads_counts(space: VOSpace) -> None:
    faults = json.dumps([{"kind": "status", "route": "nodes", "status": 503, "retry_after": 1}])
    assert ask(space, "/control/faults", "POST", body=faults).status == 204
    assert ask(space, NODES["vault"]).status == 503
    counts = json.loads(ask(space, "/control/requests").body)
    assert counts["total"] == 1
    assert counts["nodes"] == [["nodes", "results", 1]]
    assert ask(space, "/control/requests", "DELETE").status == 204
    assert json.loads(ask(space, "/control/requests").body)["total"] == 0
    assert ask(space, "/control/faults", "POST", body='[{"kind": "none"}]').status == 400


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["/none"], "cannot serve '/none': no such directory"),
        ([".", "--port", "70000"], "cannot listen on port '70000'"),
        ([".", "--private", "../x"], "cannot keep '../x' private"),
    ],
)
def test_command_says_in_one_line_what_is_wrong(arguments: list[str], complaint: str) -> None:
    with vospace_demo(*arguments) as process:
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err.count("\n")) == (2, "", 1)
    assert complaint in err


def test_command_without_its_python_names_make_env(root: Path) -> None:
    done = subprocess.run(
        [TOP / "bin" / "vospace-demo", str(root)],
        env=os.environ | {"PYTHON": "/none/python"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"make -C {TOP} env" in done.stderr
