"""`make doctor`: what is not well is found and told with its remedy, and the rest is looked at all the same."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support.making import read_only
from support.pages import documented_keys, keys
from support.site import HERE, RESULTS, TILES, Site
from vospace_demo.server import VOSpace

NAMES = ["make", "python", "packages", "tiles", "certificate", "container", "clock", "STAMPS", "ARCHIVES", "DEST"]


def doctor(site: Site, *words: str, unasked: str = "") -> tuple[dict[str, str], dict[str, str]]:
    """Ask the doctor; return the findings that are well and those that are not, by what they are about."""
    names = [name for name in NAMES if name != unasked]
    result = site.run(str(HERE / "bin/retrieve"), "doctor", "INSECURE=yes", *words)
    lines = re.findall(r"^(ok|!!)  (\S+) +(\S.*)$", result.stdout, re.MULTILINE)
    assert [name for _, name, _ in lines] == names, result.stdout + result.stderr
    assert len(lines) == len(result.stdout.splitlines())
    well, ill = ({name: text for mark, name, text in lines if mark == one} for one in ("ok", "!!"))
    count = f"{len(ill)} of {len(names)} checks not well; the lines with !! say what to do\n"
    assert (result.returncode, result.stderr) == ((1, count) if ill else (0, ""))
    assert "PRIVATE KEY" not in result.stdout
    return well, ill


@pytest.fixture
def certificate(site: Site, space: VOSpace) -> Path:
    """The certificate of a user who has a list of tiles and wants to read a private container."""
    site.environment |= space.environment()
    site.list_tiles(*TILES)
    space.tree.private = frozenset([RESULTS])
    return space.client_certificate(Path(site.environment["HOME"]) / ".ssl/cadcproxy.pem")


def test_doctor_finds_what_is_wrong_and_looks_at_the_rest_all_the_same(
    site: Site, space: VOSpace, certificate: Path
) -> None:
    uri = f"vos:{RESULTS}"
    well, ill = doctor(site, f"INPUT_PATH={uri}")
    assert not ill
    assert re.fullmatch(r"GNU Make \d\.\d\S*", well["make"])
    assert re.fullmatch(r"'\S+' is good for 9 days, until \S+ \S+ UTC", well["certificate"])
    assert re.fullmatch(rf"'{uri}' can be read; it answers in \d+ ms", well["container"])
    assert re.fullmatch(rf"[01] s (ahead of|behind) that of '{uri}'", well["clock"])
    assert well["tiles"] == f"'tile_numbers.txt': {len(TILES)} tiles"
    assert re.fullmatch(r"'archives': \S+ [GT]B.* free", well["ARCHIVES"])
    assert list(site.directory.iterdir()) == [site.directory / "tile_numbers.txt"]

    space.client_certificate(certificate, datetime.now(UTC) - timedelta(days=1))
    space.ahead = -300
    (site.directory / "file").touch()
    well, ill = doctor(site, f"INPUT_PATH={uri}", "TILES=nowhere.txt", "DEST=file/below")
    assert ill.keys() == {"tiles", "certificate", "container", "clock", "DEST"}
    assert re.fullmatch(r"certificate expired on \S+; run 'cadc-get-cert -u USER'", ill["certificate"])
    assert ill["container"] == f"cannot read '{uri}': {ill['certificate']}"
    assert ill["clock"] == f"5 min ahead of that of '{uri}'; set it: certificates are judged by it"
    assert ill["tiles"].startswith("cannot read tile list 'nowhere.txt'")
    assert ill["DEST"].startswith("cannot write in 'file/below': not a directory; ")

    space.client_certificate(certificate).chmod(0o644)
    space.ahead = 0
    well, ill = doctor(site, "INPUT_PATH=vos:cfis/nowhere")
    assert ill.keys() == {"certificate", "container"}
    assert ill["certificate"].endswith(f"; run 'chmod 600 {certificate}'")
    assert ill["container"] == "cannot read 'vos:cfis/nowhere': it does not exist; check its name"

    certificate.unlink()
    well, ill = doctor(site, f"INPUT_PATH=arc:{RESULTS}")
    assert ill.keys() == {"container"}
    assert "you may not read it without a certificate; make one with 'cadc-get-cert -u USER'" in ill["container"]
    assert well["certificate"].startswith("none, ")


def test_doctor_needs_no_network(site: Site) -> None:
    site.list_tiles(*TILES)
    site.environment["VOSPACE_WEBSERVICE"] = "localhost:9"
    _, ill = doctor(site, unasked="clock")
    assert ill.keys() == {"container"}
    assert ill["container"].endswith(
        "cannot get 'https://localhost:9/reg/resource-caps': the connection was refused; try again later"
    )


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace: apt-get install strace")
def test_nobody_is_asked_but_the_service(site: Site, vault: str) -> None:
    """The client would ask PyPI for newer versions of itself."""
    site.list_tiles(*TILES)
    traced = ["strace", "-f", "-qq", "-o", "trace", "-e", "trace=connect,sendto,sendmmsg"]
    result = site.run(*traced, str(HERE / "bin/retrieve"), "doctor", "INSECURE=yes", f"INPUT_PATH={vault}")
    assert result.returncode == 0, result.stdout
    trace = (site.directory / "trace").read_text()
    assert "127.0.0.1" in trace
    assert set(re.findall(r'inet_addr\("(\S+?)"\)', trace)) == {"127.0.0.1"}


def test_doctor_names_a_directory_that_is_read_only(site: Site, container: Path) -> None:
    site.list_tiles(*TILES)
    words = [f"INPUT_PATH={container}", *read_only(site, "ARCHIVES")]
    _, ill = doctor(site, *words, unasked="clock")
    assert ill == {
        "ARCHIVES": "cannot write in 'read-only': read-only file system; name a directory that you may write in"
    }


def test_doctor_tells_programs_and_compares_the_packages_with_the_lock_file(
    site: Site, container: Path, tmp_path: Path
) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(HERE / "lib", checkout / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(HERE / "bin", checkout / "bin")
    shutil.copy(HERE / "Makefile", checkout)
    lock = (HERE / "requirements.txt").read_text()
    (checkout / "requirements.txt").write_text(re.sub(r"(?m)^tqdm==\S+", "tqdm==1.0", lock) + "no-such-package==1\n")
    site.list_tiles(*TILES)
    result = site.run("make", "-f", str(checkout / "Makefile"), "doctor", f"INPUT_PATH={container}", "FORMAT=json")
    assert result.returncode == 2
    told = json.loads(result.stdout)
    assert keys(told) == documented_keys("doctor")
    assert told["well"] is False
    assert [one["name"] for one in told["checks"]] == [name for name in NAMES if name != "clock"]
    (ill,) = [one for one in told["checks"] if not one["ok"]]
    assert re.match(
        r"2 packages of \d+ not as in 'requirements.txt': tqdm \S+, no-such-package missing; run ", ill["text"]
    )
