"""The promises of DESIGN.md, each with a test of that name; the first and the fourth are in files of their own."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import signal
import socket
from datetime import UTC, datetime
from pathlib import Path

from support.endings import DEADLINE, STALLED, halt, stalled_download
from support.making import make_newer, ours
from support.site import HERE, RESULTS, TILES, Site, names
from vospace_demo.faults import Fault
from vospace_demo.server import VOSpace

#: Ways in which a listing fails or comes short, at the node itself or in the middle of the document.
BROKEN = [
    Fault("cut", route="nodes", at=2000, count=-1),
    Fault("html", route="nodes", count=-1),
    Fault("status", route="nodes", status=500, count=-1),
    Fault("unreadable", route="nodes"),
]


def test_a_listing_that_failed_or_was_cut_short_changes_no_stamp(
    site: Site, vault: str, space: VOSpace, container: Path
) -> None:
    """More of both services are in test_listing."""
    site.begin("listed", vault)
    before = site.files("stamps"), site.stamps()
    for name in names(TILES[0]):
        (container / name).unlink()
    make_newer(container, TILES[1])
    for fault in BROKEN:
        space.fault(fault)
        result = site.make("avail", "RETRIES=0")
        space.clear_faults()
        assert (result.returncode, result.stdout) == (2, ""), fault
        (line,) = ours(result)
        assert line.startswith(f"cannot list '{vault}': "), fault
        # But for the record of runs, which tells of this one.
        after = {path: content for path, content in site.files("stamps").items() if not path.endswith("/runs.jsonl")}
        assert after == {path: content for path, content in before[0].items() if not path.endswith("/runs.jsonl")}, (
            fault
        )
        assert site.stamps() == before[1], fault
    assert "9/10 (90.0%) complete" in site.done("avail")
    assert site.stamps() != before[1]


def damage_delete(path: Path) -> None:
    path.unlink()


def damage_truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def damage_empty(path: Path) -> None:
    os.truncate(path, 0)


def damage_alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def damage_replace_by_html(path: Path) -> None:
    path.write_text("<html>log in</html>")


DAMAGES = (damage_delete, damage_truncate, damage_empty, damage_alter, damage_replace_by_html)


def test_nothing_is_fetched_twice_and_nothing_newer_or_damaged_is_left(
    site: Site, at: str, space: VOSpace, container: Path
) -> None:
    site.begin("downloaded", at)
    archives = site.directory / "archives"
    damaged = {tile: names(tile)[5] for tile in TILES[: len(DAMAGES)]}
    for damage, name in zip(DAMAGES, damaged.values(), strict=True):
        damage(archives / name)
    site.done("missing")
    assert (site.directory / "missing.txt").read_text().split() == sorted(damaged)
    os.utime(archives / names(TILES[7])[0])
    make_newer(container, TILES[9])
    site.done("avail")
    space.forget()
    assert site.done("download").startswith("6 archives fetched (")
    sent = {name: (container / name).stat().st_size for name in (names(TILES[9])[0], *damaged.values())}
    assert space.requests().bytes == sent  # to the byte: each once
    assert {path.name: path.read_bytes() for path in archives.iterdir()} == {
        name: (container / name).read_bytes() for tile in TILES for name in names(tile)
    }
    space.forget()
    assert site.done("download") == "nothing to fetch\n"
    assert space.requests().total == 0


def test_one_bad_tile_never_stops_the_others_and_is_never_silent(site: Site, vault: str, space: VOSpace) -> None:
    lost, broken = names(TILES[2])[0], names(TILES[6])[4]
    site.begin("listed", vault)
    for route in ("files", "storage", "negotiation"):
        space.fault(Fault("status", node=lost, route=route, status=404, count=-1))
    for route in ("files", "storage"):
        space.fault(Fault("flip", node=broken, route=route, at=40, count=-1))
    settings = ["INSECURE=yes", f"INPUT_PATH={vault}", "RETRIES=1"]
    result = site.make("download", *settings)
    assert result.returncode == 2
    for name in (lost, broken):
        (line,) = [line for line in result.stderr.splitlines() if f"'{name}'" in line]
        assert line.startswith(f"cannot fetch '{name}': ")
    assert "2 of 10 tiles failed; run 'make download' again" in result.stderr
    assert "68 archives fetched" in result.stdout
    assert {path.partition("/")[2] for path in site.stamps() if path.startswith("downloaded/2")} == (
        set(TILES) - {TILES[2], TILES[6]}
    )
    assert not {lost, broken} & site.files("archives").keys()
    # Nor is it silent the next time, nor for the command itself, whose status tells some from none.
    result = site.run(str(HERE / "bin/retrieve"), "download", *settings)
    assert result.returncode == 1
    assert lost in result.stderr
    assert broken in result.stderr
    assert (TILES[2] in site.done("missing")) and TILES[6] in (site.directory / "missing.txt").read_text()
    space.clear_faults()
    assert site.done("download").startswith("2 archives fetched")


def test_two_runs_on_the_same_stamps_cannot_harm_each_other(
    site: Site, vault: str, space: VOSpace, container: Path
) -> None:
    site.begin("listed", vault)
    # What stalls is asked for again: after the faults, with success.
    with stalled_download(site, space, "TIMEOUT=3") as first:
        halt(first)  # what changes now is not its doing
        before = site.stamps(), site.files("archives")
        for verb in ("download", "avail", "untar", "missing"):
            second = site.make(verb)
            assert (second.returncode, second.stdout) == (2, "")
            (line,) = ours(second)
            holder = re.fullmatch(
                r"'stamps/mccd' is in use by process (\d+) on (\S+) since \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ; "
                r"wait for it, or stop it",
                line,
            )
            assert holder
            assert os.getpgid(int(holder[1])) == first.pid
            assert holder[2] == socket.gethostname()
        # Looking is allowed meanwhile.
        assert " to fetch, " in site.done("download", "DRYRUN=yes")
        assert (site.stamps(), site.files("archives")) == before
        # Stamps of another model are no concern of it.
        site.done("avail", "PSF=psfex")

        space.clear_faults()
        os.killpg(first.pid, signal.SIGCONT)
        stdout, stderr = first.communicate(timeout=DEADLINE)
    assert first.returncode == 0, stderr
    assert stdout.startswith("70 archives fetched")
    assert f"downloaded/{STALLED}" in site.stamps()
    assert site.files("archives") == {name: (container / name).read_bytes() for tile in TILES for name in names(tile)}


def credentials_of(certificate: Path, space: VOSpace) -> list[str]:
    """What must not be seen: lines of key and certificate, and the tokens of pre-authorised URLs."""
    lines = [line for line in certificate.read_text().splitlines() if len(line) > 20 and "-----" not in line]
    urls = [space.storage_url("localhost", f"{RESULTS}/{name}") for tile in TILES for name in names(tile)]
    return lines + [url.split("/")[5] for url in urls]


def test_credentials_never_appear_in_a_log_a_stamp_or_a_message(site: Site, tmp_path: Path, container: Path) -> None:
    """A container that only a certificate opens; with transfers that go well and that fail in various ways."""
    site.list_tiles(*TILES)
    outputs = []
    with VOSpace(tmp_path / "space", private=(RESULTS,)) as space:
        certificate = space.client_certificate(tmp_path / "user.pem")
        site.environment |= space.environment()
        words = ["INSECURE=yes", f"CERTFILE={certificate}", "RETRIES=1", "V=1"]
        outputs.append(site.make("avail", f"INPUT_PATH=vos:{RESULTS}", *words))
        for place, fault in enumerate(("status", "html", "cut", "flip", "reset")):
            node = names(TILES[place])[0]
            space.fault(Fault(fault, node=node, route="storage", at=50, status=503, count=-1, retry_after=0))
        space.fault(Fault("status", node=names(TILES[5])[0], route="storage", status=403, count=1))
        outputs.append(site.make("download", *words))
        space.clear_faults()
        outputs += [site.make(step, *words) for step in ("download", "help")]
        outputs.append(site.make("sync", *words, f"INPUT_PATH=arc:{RESULTS}"))
        secrets = credentials_of(certificate, space)
    assert [result.returncode for result in outputs] == [0, 2, 0, 0, 0]
    assert site.files("archives") == {name: (container / name).read_bytes() for tile in TILES for name in names(tile)}
    seen = "".join(result.stdout + result.stderr for result in outputs)
    for content in site.files("stamps").values():
        seen += (gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content).decode()
    assert str(certificate) in seen  # the name of the file is no secret
    assert len(secrets) > 80
    assert not [secret for secret in secrets if secret in seen]


def test_a_private_container_says_which_certificate_it_wants(site: Site, tmp_path: Path, container: Path) -> None:
    site.list_tiles(TILES[0])
    vault, cavern = (f"{service}:{RESULTS}" for service in ("vos", "arc"))
    with VOSpace(tmp_path / "space", private=(RESULTS,)) as space:
        site.environment |= space.environment() | {"INSECURE": "yes"}

        def problem(*words: str, uri: str = vault) -> str:
            result = site.make("avail", f"INPUT_PATH={uri}", *words)
            assert (result.returncode, result.stdout) == (2, "")
            assert not (site.directory / "stamps/settings.mk").exists()
            (line,) = ours(result)
            return line

        # A Vault shows a caller without access the container, and nothing in it.
        for uri in (vault, cavern):
            line = problem(uri=uri)
            assert line.startswith(f"cannot list '{uri}': ")
            assert line.endswith(" without a certificate; make one with 'cadc-get-cert -u USER'")

        expired = space.client_certificate(tmp_path / "old.pem", expires=datetime(2020, 11, 20, tzinfo=UTC))
        why = "certificate expired on 2020-11-20; run 'cadc-get-cert -u USER'"
        assert problem(f"CERTFILE={expired}") == f"cannot list '{vault}': {why}"
        # As vos itself finds it: in the HOME.
        home = tmp_path / "home/.ssl/cadcproxy.pem"
        home.parent.mkdir()
        shutil.copy(expired, home)
        assert problem(uri=cavern) == f"cannot list '{cavern}': {why}"

        assert problem("CERTFILE=absent.pem") == (
            "no certificate 'absent.pem'; make it with 'cadc-get-cert -u USER --cert-filename absent.pem'"
        )
        (site.directory / "empty.pem").write_text("no certificate\n")
        line = problem("CERTFILE=empty.pem")
        assert line.startswith(f"cannot list '{vault}': cannot use certificate 'empty.pem' (")
        assert line.endswith("; run 'cadc-get-cert -u USER'")

        shutil.copy(space.client_certificate(tmp_path / "new.pem"), home)
        for uri in (vault, cavern):
            assert "1/1 (100.0%) complete" in site.done("avail", f"INPUT_PATH={uri}")
        assert site.done("download").startswith("7 archives fetched")
