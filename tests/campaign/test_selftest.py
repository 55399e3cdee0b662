"""`make selftest`: what a service does is told, what it does not keep is found, and the report holds no secrets."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from retrieve.campaign import selftest as limits
from retrieve.commands import selftest
from retrieve.settings import Settings
from retrieve.wording import size
from support.listing import lead
from support.site import HERE, RESULTS, TILES, Site
from vospace_demo.faults import Fault
from vospace_demo.server import VOSpace

pytestmark = pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")

NODE = RESULTS.rpartition("/")[2]
#: What is asked about a service, in turn; names only where it has pages.
READ = ("MD5", "ranges", "resume", "at once")
ASKED = ("toolkit", "service", "paging", "names", "look-up", "links", "way", "files", *READ)
ONCE = sum(limits.AT_ONCE)


def first(container: Path) -> list[str]:
    """Names on the first page."""
    return sorted(path.name for path in container.iterdir())[: limits.PAGE]


@pytest.fixture(scope="module")
def served(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VOSpace]:
    """One space for all of these tests: what they add to it are containers of their own."""
    root = tmp_path_factory.mktemp("served")
    shutil.copytree(made, root, dirs_exist_ok=True)
    with VOSpace(root) as space:
        yield space


@pytest.fixture
def space(served: VOSpace) -> VOSpace:
    """That space, as if it were new."""
    served.clear_faults()
    served.forget()
    served.tree.private = frozenset()
    return served


@pytest.fixture
def container(space: VOSpace) -> Path:
    """The container in it."""
    return Path(space.tree.root) / RESULTS


@pytest.fixture
def here(site: Site, space: VOSpace, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The run directory of a user with a list of tiles, where this process is led."""
    site.environment |= space.environment()
    site.list_tiles(*TILES)
    lead(site, monkeypatch)
    # No more connections than tell something; `make` makes all of them.
    monkeypatch.setattr(limits, "AT_ONCE", limits.AT_ONCE[:1])
    return site


def tried(*words: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """Test a service in this very process; return the exit status, and mark and text by question."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = selftest.main(Settings.parse(["INSECURE=yes", *words]))
    lines = re.findall(r"^(ok|!!|--)  (at once|\S+) +(\S.*)$", out.getvalue(), re.MULTILINE)
    assert len(lines) == len(out.getvalue().splitlines())
    ill = sum(mark == "!!" for mark, *_ in lines)
    count = f"{ill} of {len(lines)} checks not well; the lines with !! say what to do\n"
    assert (status, err.getvalue()) == ((1, count) if ill else (0, ""))
    return status, {name: (mark, text) for mark, name, text in lines}


def broken(*words: str) -> dict[str, str]:
    """Promises that are not kept, and what is said of them."""
    return {name: text for name, (mark, text) in tried(*words)[1].items() if mark == "!!"}


def test_a_service_that_keeps_its_promises_is_asked_exactly_so_often(
    here: Site, at: str, space: VOSpace, container: Path
) -> None:
    paged = at.startswith("vos")
    result = here.make("selftest", f"INPUT_PATH={at}", "INSECURE=yes")
    assert (result.returncode, result.stderr) == (0, "")
    lines = {line[4:16].strip(): (line[:2], line[17:]) for line in result.stdout.splitlines()}
    assert list(lines) == [name for name in ASKED if paged or name != "names"]
    assert {name for name, (mark, _) in lines.items() if mark != "ok"} == {"links"}
    told = {name: text for name, (_, text) in lines.items()}
    assert re.fullmatch(
        rf"ivo://cadc.nrc.ca/{'vault' if paged else 'arc'}, asked as nobody: it answers in \d+ ms", told["service"]
    )
    assert told["paging"].startswith("pages of 20 nodes follow" if paged else "no pages, one document: ")
    assert told["way"] == "the 70 archives of TILES would be listed whole"
    assert told["MD5"].startswith(f"said of {3 if paged else 0} of 3 files")
    assert told["ranges"].startswith(
        "a piece of a file is sent alone" if paged else "100 bytes of a file were asked for"
    )
    assert told["resume"].endswith("goes on where it ended" if paged else "what was cut begins anew")
    assert told["at once"] == "32 requests at once answered, more were not tried: JOBS may be up to 32"
    # The container before each page as well; pages, those that begin at a name and the trial; files, one more name.
    pages = 5 if paged else 2
    files = 3 + 2
    counts = space.requests()
    assert counts.routes == {
        "registry": 1,
        "capabilities": 1,
        "nodes": 1 + limits.REQUESTS + 2 * pages + 5 + 1 + ONCE,
        "files": files,
        **({"storage": files} if paged else {}),
    }
    shown = sorted(
        (path.stat().st_size, path.name) for path in container.iterdir() if not paged or path.name in first(container)
    )
    sizes = [one for one, _ in shown[:3]] if paged else None
    if sizes:
        rest = sizes[0] - sizes[0] // 2
        assert counts.bytes.total() == sum(sizes) + min(rest, limits.PIECE) + rest
        assert told["files"].startswith(
            f"3 files to read, with what is read again at most {size(sum(sizes) + 2 * sizes[0])}; "
        )
    assert list(here.directory.iterdir()) == [here.directory / "tile_numbers.txt"]


def test_a_dry_run_reads_no_file_and_says_how_much_would_be_read(here: Site, at: str, space: VOSpace) -> None:
    status, told = tried(f"INPUT_PATH={at}", "DRYRUN=yes")
    assert status == 0
    assert list(told) == [name for name in ASKED if name not in READ and (name != "names" or at.startswith("vos"))]
    assert re.match(r"3 files to read, with what is read again at most [\d.]+ k?B; ", told["files"][1])
    assert space.requests().routes.keys() == {"registry", "capabilities", "nodes"}


def on(kind: str, **more: object) -> Fault:
    """A fault of the container's listings, always."""
    return Fault(kind, route="nodes", node=NODE, **{"count": -1, **more})


#: A fault, the services that have it, what is not kept then, and what is said of it first.
LISTING = [
    (on("swallow", at=5), "vos arc", {"paging"}, r"the listing ended after 5 nodes without '\S+', which is there; "),
    (on("cut", at=1000), "vos arc", {"paging"}, "cannot list 'INPUT_PATH': the connection was cut"),
    (on("repeat", at=7), "vos", {"paging", "names"}, "the second page does not begin where the first one ended; "),
    (on("backwards", at=7), "vos", {"paging", "names"}, "the second page does not begin where the first one ended; "),
    (on("html"), "vos arc", {"service"}, "cannot read 'INPUT_PATH': a web page was sent in its place"),
    (on("status", status=503), "vos arc", {"service"}, "cannot read 'INPUT_PATH': the server answered 503"),
]


@pytest.mark.parametrize(
    ("at", "fault", "promises", "why"),
    [(service, fault, *rest) for fault, services, *rest in LISTING for service in services.split()],
    indirect=["at"],
)
def test_a_listing_that_cannot_be_trusted_is_found(
    fault: Fault, promises: set[str], why: str, here: Site, at: str, space: VOSpace
) -> None:
    space.fault(fault)
    found = broken(f"INPUT_PATH={at}", "DRYRUN=yes")
    assert found.keys() == promises
    assert re.match(why, next(iter(found.values())))


def test_pages_that_the_server_cuts_short_are_told_and_followed(here: Site, vault: str, space: VOSpace) -> None:
    space.fault(on("cap", at=7))
    _, told = tried(f"INPUT_PATH={vault}", "DRYRUN=yes")
    assert told["paging"] == ("ok", "pages of 7 nodes, though 20 were asked for, follow one another: it can be listed")


def test_of_a_large_container_without_pages_no_more_is_read_than_a_glimpse(here: Site, space: VOSpace) -> None:
    directory = Path(space.tree.root) / "many"
    directory.mkdir()
    for number in range(1000):
        (directory / f"{number}.txt").touch()
    # Where the one document goes on, nothing comes for ten minutes.
    space.fault(Fault("stall", route="nodes", node=directory.name, count=-1, at=300_000, seconds=600))
    words = "INPUT_PATH=arc:many", "TILES=240.290", "DRYRUN=yes", "TIMEOUT=5"
    assert broken(*words) == {}


#: A fault of the files, the service that has it, what is not kept then, and what is said of it first.
FILES = [
    (Fault("flip", route="storage", count=1), "vos", {"MD5"}, r"'\S+' came with another MD5 than the service says; "),
    (Fault("flip", route="files", count=-1), "arc", set(), ""),
    (Fault("stale-md5"), "vos", {"MD5"}, r"'\S+' came with another MD5 than the service says; "),
    (Fault("stale-md5"), "arc", {"MD5"}, r"'\S+' came with another MD5 than the service says; "),
    (Fault("short", route="storage", count=1, at=9), "vos", {"MD5"}, r"'\S+' has \d+ bytes by its node, and 9 came; "),
    (Fault("refuse-range", route="storage", count=-1), "vos", {"ranges", "resume"}, "100 bytes of a file were asked"),
    (Fault("cut", route="storage", count=1, at=9), "vos", {"MD5"}, "the connection was cut"),
    (Fault("encoding"), "vos", set(), ""),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "at", "promises", "why"), FILES, indirect=["at"])
def test_files_that_do_not_come_as_promised_are_found(
    fault: Fault, promises: set[str], why: str, here: Site, at: str, space: VOSpace
) -> None:
    space.fault(fault)
    found = broken(f"INPUT_PATH={at}")
    assert found.keys() == promises
    assert re.match(why, next(iter(found.values()), ""))


def test_a_second_half_of_another_file_is_found(here: Site, vault: str, space: VOSpace) -> None:
    # The three files and the piece come first.
    for count, at in ((4, None), (1, 0)):
        space.fault(Fault("stall" if at is None else "flip", route="storage", count=count))
    found = broken(f"INPUT_PATH={vault}")
    assert found.keys() == {"resume"}
    assert re.match(r"the second half of '\S+' does not fit the first; ", found["resume"])


def test_more_requests_at_once_than_it_answers_are_told(
    here: Site, vault: str, space: VOSpace, container: Path
) -> None:
    last = first(container)[-1]
    space.fault(Fault("crowded", node=last, route="nodes", status=503, at=1, seconds=10))
    space.forget()
    reason = f"cannot look up '{last}': the server answered 503 Service Unavailable"
    text = f"1 request at once answered, and of 2 1 not ({reason}); give JOBS=1"
    assert broken(f"INPUT_PATH={vault}", "JOBS=2") == {"at once": text}
    assert space.requests().nodes["nodes", last] == 2
    for jobs in "1", "auto":
        assert tried(f"INPUT_PATH={vault}", f"JOBS={jobs}")[0] == 0


def test_no_more_is_read_than_there_is_leave_for(here: Site, vault: str, space: VOSpace, container: Path) -> None:
    length = limits.LEAVE // 3 + 1
    directory = container.parent / "large"
    directory.mkdir()
    with (directory / f"final_cat_{TILES[0]}.tgz").open("wb") as file:
        file.truncate(length)
    status, told = tried(f"INPUT_PATH={vault.removesuffix(NODE)}large")
    assert status == 0
    assert {name: text for name, (mark, text) in told.items() if mark == "--" and name in READ} == {
        "MD5": "not tried: no file is read",
        "ranges": "not tried: no file was read",
        "resume": "not tried: no file was read",
    }
    text = (
        "not tried: even the smallest has 3.3 MB, and is read up to three times; FORCE=yes gives leave for more than "
    )
    assert told["files"] == ("--", f"{text}10.0 MB")
    assert space.requests().bytes.total() == 0
    tried(f"INPUT_PATH={vault.removesuffix(NODE)}large", "FORCE=yes")
    assert space.requests().bytes.total() == length + (length - length // 2) + limits.PIECE


def test_links_are_followed_and_read(here: Site, at: str, space: VOSpace, container: Path) -> None:
    directory = container.parent / at.partition(":")[0]
    directory.mkdir()
    (directory / "a.tgz").write_bytes(b"a file")
    (directory / "b.tgz").symlink_to("a.tgz")
    (directory / "c.tgz").symlink_to("nowhere.tgz")
    _, told = tried(f"INPUT_PATH={at.removesuffix(NODE)}{directory.name}", "TILES=240.290")
    assert told["links"] == ("ok", "1 of 2 links followed to a file: links count as the files that they lead to")
    assert told["paging"] == ("ok", "3 nodes in all, and no more pages: it is listed whole")
    assert told["files"][1].startswith("2 files to read, ")
    assert space.requests().bytes["b.tgz"] == 6


def test_without_a_list_the_rest_is_tried(here: Site, vault: str) -> None:
    status, told = tried(f"INPUT_PATH={vault}", "DRYRUN=yes", "TILES=none.txt")
    assert status == 0
    assert told["way"] == ("--", "not chosen: TILES names no tiles, so the container would be listed whole")


def test_a_directory_is_no_service(here: Site, container: Path) -> None:
    result = here.run(str(HERE / "bin/retrieve"), "selftest", f"INPUT_PATH={container}")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        f"'{container}' is a directory here; give INPUT_PATH a container of a service: vos:… or arc:…\n"
    )


def test_the_report_can_be_sent_to_others(
    site: Site, space: VOSpace, container: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, token = "astrid", "s3cr3t-t0k3n"
    home = Path(site.environment["HOME"]).rename(site.directory.parent / user)
    shutil.copytree(container, Path(space.tree.root) / user)
    space.tree.private = frozenset([user])
    site.environment |= space.environment() | {"HOME": str(home)}
    lead(site, monkeypatch)
    monkeypatch.setenv("USER", user)
    monkeypatch.setattr(limits, "AT_ONCE", limits.AT_ONCE[:1])
    good = space.client_certificate(home / "my.pem")
    old = space.client_certificate(home / "old.pem", datetime.now(UTC) - timedelta(days=1))
    (home / "token").write_text(token)
    where = f"INPUT_PATH=arc:{user}", "TILES=240.290", "INSECURE=yes"
    space.fault(Fault("cut", route="files", count=1, at=9))
    reports = []
    for words, environment in (
        ([f"CERTFILE={good}"], {}),
        (["FORMAT=json", "DRYRUN=yes"], {"VOSPACE_CERTFILE": str(good)}),
        (["FORMAT=json"], {"VOSPACE_CERTFILE": str(old)}),
        ([f"TOKEN={home}/token"], {}),
        ([], {"CANFAR_TOKEN": token}),
        ([], {}),
    ):
        out, err = io.StringIO(), io.StringIO()
        with monkeypatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            for name, value in environment.items():
                patch.setenv(name, value)
            selftest.main(Settings.parse([*where, *words]))
        reports.append(out.getvalue())
        if "FORMAT=json" in words:
            assert json.loads(out.getvalue())["checks"][0]["name"] == "toolkit"
    text = "".join(reports)
    for reason in (
        "asked with a certificate: it answers",
        "!!  MD5          the connection was cut",
        "cannot read 'INPUT_PATH': certificate expired on ",
        "cannot read 'INPUT_PATH': access refused with the token of 'TOKEN'; ",
        "cannot read 'INPUT_PATH': access refused with the token of CANFAR_TOKEN; ",
        "cannot read 'INPUT_PATH': you may not read it without a certificate; ",
    ):
        assert reason in text, text
    for secret in (user, token, str(home), good.name, old.name, str(site.directory.parent)):
        assert secret not in text, text
