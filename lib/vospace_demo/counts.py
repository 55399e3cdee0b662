"""What the server was asked for: the measure by which "nothing is fetched twice" is tested."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Counts:
    """Requests since the last `forget`; what was never asked for counts 0."""

    routes: Counter[str] = field(default_factory=Counter)
    """Requests by route."""
    nodes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Requests by route and node name."""
    bytes: Counter[str] = field(default_factory=Counter)
    """Bytes of file content sent, by node name."""
    documents: int = 0
    """Bytes of all other answers."""
    peak: int = 0
    """The most requests for file content (routes files and storage) that there were at once."""
    refused: int = 0
    """Requests that were turned away by the fault `crowded`."""

    @property
    def total(self) -> int:
        """All requests."""
        return self.routes.total()

    def as_json(self) -> dict[str, object]:
        """Return the counts as JSON can hold them: `nodes` becomes rows of route, name, requests."""
        nodes = [[route, name, number] for (route, name), number in self.nodes.items()]
        return vars(self) | {"total": self.total, "nodes": nodes}


class Record:
    """The running counts, kept by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._serving = 0
        self.forget()

    def forget(self) -> None:
        """Start again from nothing."""
        with self._lock:
            self._routes: Counter[str] = Counter()
            self._nodes: Counter[tuple[str, str]] = Counter()
            self._bytes: Counter[str] = Counter()
            self._documents = 0
            self._peak = self._serving
            self._refused = 0

    @contextmanager
    def request(self, route: str, name: str) -> Iterator[None]:
        """Count a request, and while it is served, how many of its kind there are."""
        content = int(route in ("files", "storage"))
        with self._lock:
            self._routes[route] += 1
            self._nodes[route, name] += 1
            self._serving += content
            self._peak = max(self._peak, self._serving)
        try:
            yield
        finally:
            with self._lock:
                self._serving -= content

    def refuse(self) -> None:
        """Count a request that is turned away."""
        with self._lock:
            self._refused += 1

    def sent(self, name: str, number: int) -> None:
        """Count `number` bytes of the content of node `name`."""
        with self._lock:
            self._bytes[name] += number

    def told(self, number: int) -> None:
        """Count `number` bytes of an answer that is not content of a file."""
        with self._lock:
            self._documents += number

    def counts(self) -> Counts:
        """Return the counts as they stand."""
        with self._lock:
            counters = (Counter(one) for one in (self._routes, self._nodes, self._bytes))
            return Counts(*counters, self._documents, self._peak, self._refused)
