"""The space that is served: a directory as two services, its faults and its record. Nothing here knows of sockets."""

from __future__ import annotations

import datetime
import os
import secrets
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import trustme

from vospace_demo.certificate import write_client_certificate
from vospace_demo.counts import Counts, Record
from vospace_demo.discovery import CAVERN, VAULT, Service
from vospace_demo.faults import Fault, Faults
from vospace_demo.nodes import Nodes
from vospace_demo.tree import Tree


@dataclass(frozen=True)
class Job:
    """A negotiated transfer, as the client asks for it after the negotiation."""

    error: str
    document: str


class Space:
    """Vault and Cavern over one directory.

    Parameters
    ----------
    root
        The directory: `vos:PATH` and `arc:PATH` are both `root/PATH`.
    latency
        Seconds that every request takes longer.
    per_node
        Seconds that every node of an answer takes longer.
    vault_md5, arc_md5
        How a service spells the MD5 of its nodes: `bare`, `prefixed` or `none`.
    private
        Containers and files below `root` that only a user with a certificate of this space may read.

    Attributes
    ----------
    port
        Where it is served; 0 as long as it is not.
    ahead
        Seconds by which its clock is wrong.
    authorizations
        Values of the header Authorization by which it knows a user, such as ``Bearer secret``.
    authority
        Signs the certificates of the server and of its users.
    stopping
        Set when the space is no longer served, so that no answer is waited for any longer.

    Raises
    ------
    OSError
        The directory cannot be had.
    """

    def __init__(
        self,
        root: str | Path,
        latency: float = 0.0,
        per_node: float = 0.0,
        vault_md5: str = "bare",
        arc_md5: str = "none",
        private: Iterable[str] = (),
    ) -> None:
        if not Path(root).is_dir():
            raise NotADirectoryError(f"no directory '{root}'")
        self.port = 0
        self.latency = latency
        self.per_node = per_node
        self.ahead = 0.0
        self.authorizations: set[str] = set()
        self.services = {
            VAULT: Service(VAULT, "cadc.nrc.ca~vault", vault_md5),
            CAVERN: Service(CAVERN, "cadc.nrc.ca~arc", arc_md5),
        }
        self.tree = Tree(Path(root), private)
        self.faults = Faults()
        self.nodes = Nodes(self.tree, self.faults)
        self.record = Record()
        self.authority = trustme.CA()
        self.stopping = threading.Event()
        self._tokens: dict[str, str] = {}
        self._jobs: dict[str, Job] = {}

    @property
    def host(self) -> str:
        """Host and port, as in VOSPACE_WEBSERVICE."""
        return f"localhost:{self.port}"

    @property
    def url(self) -> str:
        """Where it is served."""
        return f"https://{self.host}"

    def environment(self) -> dict[str, str]:
        """Return the variables that lead a `vos` client here."""
        return {"VOSPACE_WEBSERVICE": self.host}

    def fault(self, fault: Fault) -> None:
        """Misbehave in this way too."""
        self.faults.add(fault)

    def clear_faults(self) -> None:
        """Behave again."""
        self.faults.replace(())

    def requests(self) -> Counts:
        """Return what was asked since the last `forget`."""
        return self.record.counts()

    def forget(self) -> None:
        """Count again from nothing."""
        self.record.forget()

    def client_certificate(
        self, path: str | Path, expires: datetime.datetime | None = None, begins: datetime.datetime | None = None
    ) -> Path:
        """Write a user's certificate and key to `path`, for VOSPACE_CERTFILE; `expires` may be past."""
        return write_client_certificate(self.authority, Path(path), expires, begins)

    def storage_url(self, host: str, path: str) -> str:
        """Return a pre-authorised URL for the content of a file: who has it may read the file."""
        token = self._tokens.setdefault(path, secrets.token_urlsafe(24))
        return f"https://{host}:{self.port}/minoc/files/{token}/{quote(os.fsencode(path))}"

    def is_authorised(self, token: str, path: str) -> bool:
        """Whether the token of a storage URL was given for this path."""
        return secrets.compare_digest(self._tokens.get(path, "").encode(), token.encode())

    def add_job(self, job: Job) -> str:
        """Remember a negotiated transfer; return its name."""
        name = secrets.token_hex(8)
        self._jobs[name] = job
        return name

    def job(self, name: str) -> Job | None:
        """Return a negotiated transfer."""
        return self._jobs.get(name)
