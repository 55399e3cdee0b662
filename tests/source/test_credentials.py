"""Credentials: which of them is used, where they are sent, and what is said of those that are of no use."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support.site import HERE, RESULTS, TILES, Site, names
from vospace_demo.faults import Fault
from vospace_demo.server import VOSpace

Run = Callable[..., tuple[int, str, str]]
SECRET = "s3cr3t.of/the-user+="
COMPLETE = "10/10 (100.0%) complete"
#: For what is decided before a service is asked: one of them is enough.
ONE_SERVICE = pytest.mark.parametrize("at", ["vos"], indirect=True)


@pytest.fixture
def run(site: Site, at: str) -> Run:
    """Run a verb of `bin/retrieve` on the container; returns its status, and what it says on stdout and stderr."""
    site.list_tiles(*TILES)

    def run(*words: str) -> tuple[int, str, str]:
        done = site.run(str(HERE / "bin/retrieve"), *words, f"INPUT_PATH={at}", "INSECURE=yes")
        assert SECRET not in done.stdout + done.stderr
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def token(site: Site, space: VOSpace) -> Path:
    """File with the token of a user who may read the container, which is not for everyone."""
    space.tree.private = frozenset([RESULTS])
    space.authorizations = {f"Bearer {SECRET}"}
    path = site.directory / "token"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o600)
    return path


def check_secret(site: Site) -> None:
    """Nothing but its file holds the token."""
    assert [path for path, content in site.files(".").items() if SECRET.encode() in content] == ["token"]


def test_a_token_opens_the_container_and_goes_to_no_host_that_stores_files(
    site: Site, at: str, space: VOSpace, container: Path, token: Path, run: Run
) -> None:
    status, out, err = run("avail", "TOKEN=token")
    assert (status, COMPLETE in out) == (0, True), err
    # The hosts that are negotiated refuse whoever tells them a token, as that of the redirect does.
    space.fault(Fault("status", node=names(TILES[0])[0], route="storage", status=503, retry_after=0))
    status, out, err = run("download", "TOKEN=token", "V=1")
    assert (status, err.count("cannot")) == (0, 0), err
    assert site.files("archives") == {name: (container / name).read_bytes() for tile in TILES for name in names(tile)}
    assert run("doctor", "TOKEN=token")[1].count("!!") == 0
    site.environment["CANFAR_TOKEN"] = SECRET
    assert run("avail")[0] == 0
    assert "none, but the token of CANFAR_TOKEN" in run("doctor")[1]
    # Given to Make by name, it is remembered by name.
    assert COMPLETE in site.done("avail", f"INPUT_PATH={at}", "TOKEN=token", "INSECURE=yes")
    del site.environment["CANFAR_TOKEN"]
    assert COMPLETE in site.done("avail")
    # In the environment of others it is the token itself.
    site.environment["TOKEN"] = SECRET
    assert SECRET not in repr([site.make("help"), site.make("-n", "avail")])
    site.environment["CANFAR_TOKEN"] = SECRET
    assert SECRET not in repr(site.make("submit", "DRYRUN=yes"))
    del site.environment["CANFAR_TOKEN"]
    assert SECRET not in repr(site.make("avail", f"INPUT_PATH={at}", "INSECURE=yes"))
    check_secret(site)


@ONE_SERVICE
def test_a_token_that_is_of_no_use_is_told_as_that(site: Site, at: str, space: VOSpace, token: Path, run: Run) -> None:
    space.authorizations = set()
    status, _, err = run("avail", "TOKEN=token")
    advice = "get a new one if it has expired, or ask the owner for access"
    assert (status, err) == (2, f"cannot list '{at}': access refused with the token of 'token'; {advice}\n")
    no_word = "cannot use the token of 'token': it is empty, or more than one word; get a new one"
    for text, problem in (
        ("", no_word),
        (f"{SECRET}\nX-Other: header", no_word),
        (f"{SECRET}é", "cannot read the token of 'token' (it holds other characters); write a new one into it"),
    ):  # fmt: skip
        token.write_text(text)
        assert run("avail", "TOKEN=token") == (2, "", f"cannot list '{at}': {problem}\n")
        assert re.search(f"(?m)^!!  certificate +{re.escape(problem)}$", run("doctor", "TOKEN=token")[1])
    problem = "TOKEN does not name a file; write the token into one, and give TOKEN its name\n"
    assert run("avail", f"TOKEN={SECRET}") == (2, "", problem)
    token.chmod(0o644)
    token.write_text(SECRET)
    assert "others may use 'token', which holds your key; run 'chmod 600 token'" in run("doctor", "TOKEN=token")[1]
    check_secret(site)


@ONE_SERVICE
def test_a_certificate_counts_before_a_token_and_a_token_before_the_usual_certificate(
    site: Site, at: str, space: VOSpace, token: Path, run: Run, tmp_path: Path
) -> None:
    usual = space.client_certificate(Path(site.environment["HOME"]) / ".ssl/cadcproxy.pem")
    assert run("avail")[0] == 0
    token.write_text("of-no-use")
    assert "with the token of 'token'" in run("avail", "TOKEN=token")[2]
    given = space.client_certificate(tmp_path / "given.pem")
    assert run("avail", "TOKEN=token", f"CERTFILE={given}")[0] == 0
    site.environment["VOSPACE_CERTFILE"] = str(given)
    assert run("avail", "TOKEN=token")[0] == 0
    assert f"'{given}' is good for 9 days" in run("doctor", "TOKEN=token")[1]
    assert usual.exists()


@ONE_SERVICE
def test_a_password_is_taken_from_netrc_and_a_netrc_that_is_of_no_use_is_told_as_that(
    site: Site, at: str, space: VOSpace, run: Run
) -> None:
    netrc = Path(site.environment["HOME"]) / ".netrc"
    netrc.write_text(f"machine localhost login user password {SECRET}\n")
    netrc.chmod(0o600)
    space.tree.private = frozenset([RESULTS])
    space.authorizations = {"Basic dXNlcjpzM2NyM3Qub2YvdGhlLXVzZXIrPQ=="}
    assert run("download")[0] == 0
    space.authorizations = set()
    assert f"access refused with the password in '{netrc}'; ask the owner" in run("avail")[2]
    netrc.write_text("machine elsewhere login user password other\n")
    assert "you may not read it without a certificate; make one with" in run("avail")[2]

    for mode, text, problem in (
        (
            0o644,
            "machine elsewhere login user password other\n",
            f", since others may read it; run 'chmod 600 {netrc}'",
        ),
        (0o600, f"machine localhost login user passwort {SECRET}\n", ": line 1 is not understood; mend or remove it"),
    ):
        netrc.write_text(text)
        netrc.chmod(mode)
        problem = f"'{netrc}' is not used{problem}"
        space.tree.private = frozenset([RESULTS])
        assert run("avail") == (2, "", f"cannot list '{at}': {problem}\n")
        space.tree.private = frozenset()
        status, out, err = run("avail")
        assert (status, err) == (0, f"'{at}' is read without credentials, as everyone may: {problem}\n")
        assert COMPLETE in out
        assert f"!!  certificate  {problem}\n" in run("doctor")[1]


def test_a_certificate_that_is_of_no_use_is_told_as_what_it_is_at_once(
    site: Site, at: str, space: VOSpace, run: Run, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    path = space.client_certificate(tmp_path / "user.pem")
    words = [f"CERTFILE={path}"]
    whole = path.read_text()

    def told(problem: str, name: str = "certificate") -> None:
        status, _, err = run("avail", *words)
        assert (status, len(err.splitlines())) == (2, 1), err
        assert re.match(f"cannot list '{at}': {problem}$", err), err
        assert re.search(f"(?m)^!!  {name} +(cannot read '{at}': )?{problem}$", run("doctor", *words)[1])

    path.write_text(whole.partition("-----END EC PRIVATE KEY-----\n")[2])
    told(rf"cannot use certificate '{path}' with its key \(which is not in the file\); run 'cadc-get-cert -u USER'")
    space.client_certificate(path, begins=now + timedelta(hours=1), expires=now + timedelta(days=10))
    told(
        f"certificate '{path}' is not valid before [-0-9]* [:0-9]* UTC; "
        "set the clock of this machine, or run 'cadc-get-cert -u USER'"
    )
    with VOSpace(tmp_path) as other:
        other.client_certificate(path)
    space.forget()
    told(
        rf"the server does not accept the certificate '{path}' \(unknown ca\); run 'cadc-get-cert -u USER', or give "
        "CERTFILE another",
        "container",
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_everyone_may_read_can_be_had_with_an_expired_certificate(
    site: Site, at: str, space: VOSpace, run: Run
) -> None:
    path = Path(site.environment["HOME"]) / ".ssl/cadcproxy.pem"
    space.client_certificate(path, datetime(2020, 11, 20, tzinfo=UTC))
    problem = "certificate expired on 2020-11-20; run 'cadc-get-cert -u USER'"
    told = f"'{at}' is read without credentials, as everyone may: {problem}\n"
    status, out, err = run("avail")
    assert (status, err) == (0, told)
    assert COMPLETE in out
    status, _, err = run("download")
    assert (status, len(site.files("archives"))) == (0, 70)
    assert err.startswith(told)
    assert f"!!  certificate  {problem}\n" in run("doctor")[1]
    space.tree.private = frozenset([RESULTS])
    assert run("avail") == (2, "", f"cannot list '{at}': {problem}\n")
