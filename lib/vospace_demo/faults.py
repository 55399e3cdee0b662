"""Ways for the server to misbehave, each seen on a real VOSpace or on the way to one."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase

ROUTES = frozenset({"registry", "capabilities", "nodes", "files", "storage", "negotiation"})

ANSWER = frozenset({"status", "html", "reset"})
"""Kinds that take the place of any answer (`reset` with `at=0`)."""
BODY = frozenset({"cut", "reset", "stall", "flip"})
"""Kinds that strike at a byte of a body."""
CONTENT = frozenset({"short", "refuse-range"})
"""Kinds that change how the content of a file is sent."""
LISTING = frozenset({"cap", "swallow", "repeat", "backwards"})
"""Kinds that change which children a container lists."""
STATES = frozenset({"latency", "encoding", "stale-md5", "unreadable", "crowded"})
"""Kinds that describe a node and hold until the faults are cleared; they are not counted down."""

STATUS_TEXT = {
    400: "InvalidArgument",
    401: "NotAuthenticated",
    403: "PermissionDenied",
    404: "NodeNotFound",
    405: "MethodNotAllowed",
    409: "DuplicateNode",
    416: "RangeNotSatisfiable",
    423: "NodeLocked",
    429: "TooManyRequests",
    500: "InternalFault",
    502: "BadGateway",
    503: "ServiceBusy",
    504: "GatewayTimeout",
}


@dataclass(frozen=True)
class Fault:
    """One way to misbehave, and where.

    ============ ==========================================================================================
    status       answer `status`, with `Retry-After: retry_after` where given
    html         answer 200 with a login page (nodes, files, storage)
    reset        TCP reset before the answer (`at=0`) or at byte `at` of its body
    cut          close the connection at byte `at`, though the whole length was promised
    stall        say nothing for `seconds` at byte `at`, then go on
    flip         change the byte `at`
    short        a consistent answer that ends at byte `at` (files)
    refuse-range 200 and the whole file where a Range was asked for
    cap          pages hold `at` children, whatever the limit
    swallow      the listing ends after `at` children, on every page, as if there were no more
    repeat       every page is the first page (of `at` children, unless 0)
    backwards    the children of a page come in reversed order (`at` to a page, unless 0)
    latency      wait `seconds` before answering (a state)
    encoding     `Content-Encoding: gzip` around nothing, and the property `#encoding` (a state)
    stale-md5    property and Digest are those of other bytes, also where there would be none (a state)
    unreadable   a container that lists nothing and is not `#readable` (a state)
    crowded      answer `status`, or reset if that is 0, while `at` requests are being served; each of these waits
                 until one more is turned away, at most `seconds` (a state)
    ============ ==========================================================================================

    `at` counts the bytes of that answer's body (of the remainder, when a Range was asked for); from the
    end if negative; and strikes at the last byte if there are fewer. On the route nodes the kinds that
    work on bodies or pages strike listings only: `limit=0`, or the node of a file, does not use them up.
    """

    kind: str
    node: str = "*"
    """Pattern (fnmatch) for the last component of the path."""
    route: str = "*"
    count: int = 1
    """How often it strikes; -1: always. The pages of one listing are one."""
    at: int = 0
    status: int = 500
    retry_after: int | None = None
    """Seconds."""
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ANSWER | BODY | CONTENT | LISTING | STATES:
            raise ValueError(f"no fault of kind '{self.kind}'")
        if self.route != "*" and self.route not in ROUTES:
            raise ValueError(f"no route '{self.route}'; routes are {', '.join(sorted(ROUTES))}")
        if self.kind == "status" and self.status not in STATUS_TEXT:
            raise ValueError(f"cannot answer status '{self.status}'; known are {', '.join(map(str, STATUS_TEXT))}")

    def matches(self, route: str, name: str) -> bool:
        """Whether the fault is meant for this route and node."""
        return self.route in ("*", route) and fnmatchcase(name, self.node)

    def fits(self, kinds: Iterable[str], route: str) -> bool:
        """Whether an answer open to `kinds` of faults can show this one."""
        if self.kind == "reset":
            return self.at == 0 or bool(BODY.intersection(kinds) - {"reset"})
        if self.kind == "html":
            return route in ("nodes", "files", "storage")
        return self.kind in kinds

    def offset(self, length: int) -> int:
        """Byte of a body of `length` bytes at which the fault strikes."""
        return min(self.at, length - 1) if self.at >= 0 else max(self.at + length, 0)


class Faults:
    """The faults in force, shared by all connections."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._crowd, self._inside, self._turned_away = threading.Condition(), 0, 0
        self.replace(())

    def replace(self, faults: Iterable[Fault]) -> None:
        """Let these faults be the only ones."""
        with self._lock:
            self._left = [[fault, fault.count] for fault in faults]
            self._paging: dict[tuple[str, str], Fault] = {}

    def add(self, fault: Fault) -> None:
        """Put a fault behind those in force."""
        with self._lock:
            self._left.append([fault, fault.count])

    def take(self, kinds: frozenset[str], route: str, name: str) -> Fault | None:
        """Return the first fault for this answer that is not used up, and count it down."""
        with self._lock:
            for entry in self._left:
                fault, left = entry
                if left and fault.kind not in STATES and fault.matches(route, name) and fault.fits(kinds, route):
                    entry[1] = left - 1 if left > 0 else left
                    return fault
        return None

    def take_listing(self, kinds: frozenset[str], name: str, listing: tuple[str, str], first: bool) -> Fault | None:
        """As `take`, for a page: what befell the `first` page of a listing befalls the later ones too.

        Parameters
        ----------
        listing
            What tells this listing from others: service and path.
        """
        fault = self.take(kinds | LISTING if first else kinds, "nodes", name)
        with self._lock:
            if first:
                self._paging.pop(listing, None)
                if fault and fault.kind in LISTING:
                    self._paging[listing] = fault
            return fault or self._paging.get(listing)

    def state(self, kind: str, route: str, name: str) -> Fault | None:
        """Return the fault of this kind that describes the node, if any."""
        for fault, _ in tuple(self._left):
            if fault.kind == kind and fault.matches(route, name):
                return fault
        return None

    @contextmanager
    def crowd(self, route: str, name: str) -> Iterator[Fault | None]:
        """Be one of those who are being served; give the fault if that is one too many."""
        fault = self.state("crowded", route, name)
        if fault is None:
            yield None
            return
        with self._crowd:
            self._inside += 1
            is_too_many, before = self._inside > fault.at, self._turned_away
            if is_too_many:
                self._turned_away += 1
                self._crowd.notify_all()
            else:
                self._crowd.wait_for(lambda: self._turned_away > before, fault.seconds)
        try:
            yield fault if is_too_many else None
        finally:
            with self._crowd:
                self._inside -= 1

    def marks(self, name: str) -> tuple[bool, bool]:
        """Whether a listed node has the states encoding and stale-md5."""
        return bool(self.state("encoding", "nodes", name)), bool(self.state("stale-md5", "nodes", name))

    def any_marks(self) -> bool:
        """Whether any node may have such a state: spares a large listing the question per child."""
        return any(fault.kind in ("encoding", "stale-md5") for fault, _ in tuple(self._left))
