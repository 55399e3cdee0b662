"""The way to the source: the registry, proxies, authorities, and a home that is of no use."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.proxy import Proxy
from support.site import HERE, RESULTS, TILES, Site, names
from vospace_demo.faults import Fault
from vospace_demo.server import VOSpace

RETRIEVE, OLD = str(HERE / "bin/retrieve"), str(HERE / "bin/canfar_avail_results")
Run = Callable[..., tuple[int, str, str]]
COMPLETE = "10/10 (100.0%) complete"


@pytest.fixture
def run(site: Site) -> Run:
    """Run a verb of `bin/retrieve`; returns its status, and what it says on stdout and stderr."""
    site.list_tiles(*TILES)

    def run(*words: str) -> tuple[int, str, str]:
        done = site.run(RETRIEVE, *words, f"INSECURE={site.environment.get('INSECURE', 'no')}")
        return done.returncode, done.stdout, done.stderr

    return run


def ill(text: str, name: str = "container") -> str:
    """What the doctor finds not well about something."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"!!  {name} ")]
    return line.removeprefix(f"!!  {name} ").lstrip()


def test_a_registry_that_never_answers_is_given_up_after_timeout(
    site: Site, vault: str, space: VOSpace, run: Run
) -> None:
    problem = f"cannot get '{space.url}/reg/resource-caps': nothing came for too long"
    space.fault(Fault("latency", route="registry", seconds=3600))
    words = [f"INPUT_PATH={vault}", "TIMEOUT=0.5"]
    assert run("avail", *words, "RETRIES=1") == (2, "", f"cannot list '{vault}': {problem}, 2 times; try again later\n")
    begin = time.monotonic()
    status, out, _ = run("doctor", *words)
    assert (status, ill(out)) == (1, f"cannot read '{vault}': {problem}; try again later")
    assert time.monotonic() - begin < 60
    site.environment |= {"TIMEOUT": "0.5", "RETRIES": "0"}
    done = site.run(OLD, "--input_path", vault)
    assert (done.returncode, done.stderr) == (2, f"cannot list '{vault}': {problem}; try again later\n")


def test_each_request_for_the_service_is_made_again_where_its_fault_may_pass(at: str, space: VOSpace, run: Run) -> None:
    for route in ("registry", "capabilities"):
        for fault in (Fault("reset", route=route), Fault("status", route=route, status=503, retry_after=0)):
            space.fault(fault)
    status, out, err = run("avail", f"INPUT_PATH={at}")
    assert (status, err) == (0, "")
    assert COMPLETE in out
    assert (space.requests().routes["registry"], space.requests().routes["capabilities"]) == (3, 3)


def test_a_registry_that_answers_something_else_makes_nothing_absent(vault: str, space: VOSpace, run: Run) -> None:
    reasons = {
        Fault("status", route="registry", status=404): "the server answered 404 Not Found; if it stays, ask the",
        Fault("status", route="capabilities", status=403): "the server answered 403 Forbidden; if it stays, ask the",
        Fault("flip", route="capabilities", at=0): "the capabilities of 'ivo://cadc.nrc.ca/.*' are not understood; try",
    }
    for fault, reason in reasons.items():
        space.fault(fault)
        status, _, err = run("avail", f"INPUT_PATH={vault}", "RETRIES=0")
        assert status == 2
        assert re.match(f"cannot list '{vault}': cannot get '{space.url}/.*': {reason}", err), err


def test_a_registry_that_is_away_is_not_needed_by_who_was_told_before(
    site: Site, vault: str, space: VOSpace, run: Run
) -> None:
    assert run("avail", f"INPUT_PATH={vault}")[0] == 0
    space.forget()
    assert run("avail", f"INPUT_PATH={vault}")[0] == 0
    assert not space.requests().routes["registry"]
    kept = [path for path in Path(site.environment["HOME"]).rglob("*") if path.is_file()]
    assert len(kept) == 2
    for path in kept:
        os.utime(path, (0, 0))
    for route in ("registry", "capabilities"):
        space.fault(Fault("status", route=route, status=503, count=-1))
    assert run("avail", f"INPUT_PATH={vault}")[0] == 0
    assert (space.requests().routes["registry"], space.requests().routes["capabilities"]) == (1, 1)
    # What was kept and is none of the registry's is of no use.
    kept[0].write_text("<html></html>")
    kept[1].write_text("")
    space.clear_faults()
    assert run("avail", f"INPUT_PATH={vault}")[0] == 0


def test_a_name_that_is_not_found_and_a_service_that_is_unknown_are_told_as_that(
    site: Site, space: VOSpace, run: Run
) -> None:
    site.environment |= space.environment() | {"INSECURE": "yes"}
    uri = f"vos://cadc.nrc.ca~nowhere/{RESULTS}"
    problem = f"'{space.host}' knows no service 'ivo://cadc.nrc.ca/nowhere'; check INPUT_PATH"
    assert (
        run("avail", f"INPUT_PATH={uri}")[2]
        == f"cannot list '{uri}': cannot get '{space.url}/reg/resource-caps': {problem}\n"
    )
    alone = ["unshare", "--net"]
    if not shutil.which("unshare") or site.run(*alone, "true").returncode:
        pytest.skip("this machine lets nobody do without its network")
    # Nobody can be asked from in there.
    site.environment |= {"PYTHON": os.sys.executable, "VOSPACE_WEBSERVICE": "space.invalid"}
    done = site.run(*alone, RETRIEVE, "avail", "RETRIES=1")
    assert "the server's name cannot be resolved, 2 times; check the network\n" in done.stderr


@pytest.fixture(params=["vos", "arc"])
def behind(request: pytest.FixtureRequest, site: Site, tmp_path: Path, container: Path) -> Iterator[tuple[int, str]]:
    """Port of a VOSpace that can be reached over a proxy alone, and the URI of its container."""
    space = VOSpace(tmp_path / "space")
    port, space.port = space.port, 1  # nobody listens where it says that it is
    site.environment |= space.environment() | {"INSECURE": "yes"}
    with space:
        yield port, f"{request.param}:{RESULTS}"


def test_every_request_goes_over_the_proxy_of_the_environment(site: Site, behind: tuple[int, str], run: Run) -> None:
    port, uri = behind
    with Proxy(port, user="name:pass-word") as proxy:
        site.environment["HTTPS_PROXY"] = f"http://name:pass-word@{proxy.host}"
        told = [run("avail", f"INPUT_PATH={uri}")]
        assert COMPLETE in told[0][1], told
        site.environment["https_proxy"] = site.environment.pop("HTTPS_PROXY")
        told.append(run("download", f"INPUT_PATH={uri}"))
        assert len(site.files("archives")) == 70
        told.append(run("doctor", f"INPUT_PATH={uri}"))
        assert f"over the proxy '{proxy.host}'\n" in told[-1][1]
        assert [status for status, _, _ in told] == [0, 0, 0]
        hosts = {"localhost:1", "127.0.0.1:1"} if uri.startswith("vos") else {"localhost:1"}
        assert set(proxy.asked) == hosts
        # A host may be reached without.
        count = len(proxy.asked)
        for name in ("NO_PROXY", "no_proxy"):
            site.environment[name] = "localhost,127.0.0.1"
            told.append(run("avail", f"INPUT_PATH={uri}", "RETRIES=0"))
            assert "the connection was refused" in told[-1][2]
            del site.environment[name]
        assert len(proxy.asked) == count
    assert "pass-word" not in repr(told)
    assert not [path for path, content in site.files(".").items() if b"pass-word" in content]


PROXY_FAULTS = {
    "407": "the proxy wants a password; give HTTPS_PROXY as http://NAME:PASSWORD@HOST:PORT",
    "403 Forbidden": "the proxy that HTTPS_PROXY names does not let us through; ask who runs it",
    "502 Bad Gateway": "the proxy that HTTPS_PROXY names gives no way to the server; try again later",
    "away": "the proxy that HTTPS_PROXY names cannot be reached; try again later",
    "socks": "HTTPS_PROXY names a SOCKS proxy, which cannot be used; give it as http://HOST:PORT",
    "odd": "HTTPS_PROXY is no address of a proxy; give it as http://HOST:PORT",
}


def test_a_proxy_that_is_of_no_use_is_told_as_that(site: Site, vault: str, space: VOSpace, run: Run) -> None:
    problems = {}
    with Proxy(space.port) as proxy:
        for fault in PROXY_FAULTS:
            proxy.login = "of another" if fault == "407" else ""
            proxy.status = fault if " " in fault else ""
            site.environment["HTTPS_PROXY"] = {
                "away": "http://127.0.0.1:9", "socks": f"socks5://{proxy.host}", "odd": "http:///",
            }.get(fault, f"http://{proxy.host}")  # fmt: skip
            status, out, _ = run("doctor", f"INPUT_PATH={vault}")
            assert status == 1
            problems[fault] = ill(out).removeprefix(
                f"cannot read '{vault}': cannot get '{space.url}/reg/resource-caps': "
            )
    assert problems == PROXY_FAULTS


@pytest.mark.parametrize(
    ("name", "service"), [("REQUESTS_CA_BUNDLE", "vos"), ("SSL_CERT_FILE", "arc"), ("CURL_CA_BUNDLE", "vos")]
)
def test_an_authority_of_ones_own_is_trusted_where_the_environment_names_it(
    name: str, service: str, site: Site, space: VOSpace, run: Run, tmp_path: Path
) -> None:
    site.environment |= space.environment() | {name: str(tmp_path / "authority.pem")}
    space.authority.cert_pem.write_to_path(site.environment[name])
    status, _, err = run("download", f"INPUT_PATH={service}:{RESULTS}")
    assert (status, len(site.files("archives"))) == (0, 70), err


def test_a_server_that_is_not_trusted_is_told_as_that_and_at_once(
    site: Site, vault: str, space: VOSpace, run: Run
) -> None:
    del site.environment["INSECURE"]
    get = f"cannot get '{space.url}/reg/resource-caps': "
    untrusted = (
        f"{get}the server's certificate is not trusted (self-signed certificate in certificate chain); if your "
        "institute has an authority of its own, set REQUESTS_CA_BUNDLE to its file; INSECURE=yes would trust anyone"
    )
    assert run("avail", f"INPUT_PATH={vault}") == (2, "", f"cannot list '{vault}': {untrusted}\n")
    status, out, _ = run("doctor", f"INPUT_PATH={vault}")
    assert (status, ill(out)) == (1, f"cannot read '{vault}': {untrusted}")
    for value, reason in (("absent.pem", "No such file or directory"), ("tile_numbers.txt", "it holds no certificate")):
        site.environment["SSL_CERT_FILE"] = value
        status, out, _ = run("doctor", f"INPUT_PATH={vault}")
        problem = f"cannot use SSL_CERT_FILE='{value}' ({reason}); name a file of certificates"
        assert (status, ill(out)) == (1, f"cannot read '{vault}': {get}{problem}")


#: Homes that are of no use: what is done before.
HOMES = {
    "full": "mount -t tmpfs -o size=4k none {home} && ! dd if=/dev/zero of={home}/file bs=4k count=2 2>/dev/null",
    "without inodes": "mount -t tmpfs -o nr_inodes=1 none {home}",
    "read-only": "mount -t tmpfs -o ro none {home}",
    "not makable": "export HOME=/dev/null/home",
    "unset, of a user that nobody knows": "mount --bind /dev/null /etc/passwd && unset HOME",
}


@pytest.mark.parametrize(("kind", "service"), [*((kind, "vos") for kind in HOMES), ("full", "arc")])
def test_a_home_that_is_of_no_use_is_not_in_the_way(kind: str, service: str, site: Site, space: VOSpace) -> None:
    site.list_tiles(*TILES)
    site.environment |= space.environment()
    act = HOMES[kind].format(home=site.environment["HOME"])
    alone = ["unshare", "--mount", "sh", "-c", f'{act} && exec "$@"', "-"]
    if not shutil.which("unshare") or site.run(*alone, "true").returncode:
        pytest.skip("this machine lets nobody mount anything")
    done = site.run(*alone, RETRIEVE, "download", f"INPUT_PATH={service}:{RESULTS}", "INSECURE=yes")
    assert done.returncode == 0, done.stderr
    assert len(site.files("archives")) == 70
    assert not (site.directory / "~").exists()


def test_what_is_a_name_is_listed_as_one(site: Site, at: str, space: VOSpace, container: Path, run: Run) -> None:
    # Cavern cannot handle a percent sign.
    name = "re%20sults#x?x=1" if at.startswith("vos") else "results#x?x=1"
    uri = f"{at.removesuffix('results')}{name}"
    assert run("avail", f"INPUT_PATH={uri}") == (2, "", f"cannot list '{uri}': it does not exist; check its name\n")
    container.rename(container.with_name(name))
    status, out, _ = run("avail", f"INPUT_PATH={uri}")
    assert (status, COMPLETE in out) == (0, True)
    # The first try of an archive fails, so that on Vault hosts are negotiated.
    space.fault(Fault("status", node=names(TILES[0])[0], route="storage", status=503, retry_after=0))
    assert run("download", f"INPUT_PATH={uri}")[0] == 0
    assert site.stamps()[f"downloaded/{TILES[0]}"][1].startswith(f"# {uri}\n")


def test_a_source_that_is_busy_while_it_is_listed_is_waited_for_and_that_is_told(
    site: Site, at: str, space: VOSpace
) -> None:
    site.list_tiles(*TILES)
    space.fault(Fault("status", route="nodes", status=429, retry_after=3600, count=-1))
    process = site.start("avail", f"INPUT_PATH={at}")
    try:
        assert process.stderr.readline() == "the source is busy; trying again in 60 min\n"
    finally:
        process.terminate()
        process.communicate(timeout=60)
    space.clear_faults()
    space.fault(Fault("status", route="nodes", status=503, retry_after=7300, count=-1))
    space.forget()
    problem = site.make("avail", f"INPUT_PATH={at}").stderr
    assert re.match(
        f"cannot list '{at}': the server answered 503 Service Unavailable and asks to wait for 2 h 2 min; "
        r"try again after \d{4}-\d\d-\d\d \d\d:\d\d UTC\n",
        problem,
    ), problem
    assert space.requests().routes["nodes"] == 1
