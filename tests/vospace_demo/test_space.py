"""The space without a server: what is served stands apart from sockets."""

from __future__ import annotations

import ast
import socket
from pathlib import Path

import pytest

from support.site import HERE
from vospace_demo.discovery import CAVERN
from vospace_demo.faults import Fault
from vospace_demo.space import Job, Space


def test_a_space_is_made_and_asked_without_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", lambda *_: pytest.fail("it opened a socket"))
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "a.tgz").write_bytes(b"content")
    space = Space(tmp_path, private=["results"])
    space.fault(Fault("cap", at=1))
    assert space.faults.take(frozenset({"cap"}), "nodes", "results") == Fault("cap", at=1)
    token = space.storage_url("localhost", "results/a.tgz").split("/")[5]
    assert space.is_authorised(token, "results/a.tgz")
    assert not space.is_authorised(token, "results/b.tgz")
    assert space.job(space.add_job(Job("", "document"))) == Job("", "document")
    assert b"a.tgz" in space.nodes.children(space.services[CAVERN], "results", ["a.tgz"], "min")[0]
    assert space.tree.is_private(f"{space.tree.root}/results")
    assert b"PRIVATE KEY" in space.client_certificate(tmp_path / "proxy.pem").read_bytes()
    assert space.requests().total == 0


def test_only_the_server_and_its_connections_know_of_sockets() -> None:
    knowing = set()
    for path in (HERE / "lib/vospace_demo").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            if {"socket", "ssl", "http.server"}.intersection(names):
                knowing.add(path.name)
    assert knowing == {"connection.py", "server.py"}
