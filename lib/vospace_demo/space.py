"""The space that is served: what is kept of it between two requests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """A negotiated transfer, as the client asks for it after the negotiation."""

    error: str
    document: str
