"""Power cuts: what may be on disk when the power goes at any moment of a run, by what POSIX promises and no more.

A run is recorded with strace: each call that changes a file or a directory, and each that has some of it on disk. The
record is played back. At any moment, what was synced is on disk. Of all that came later, any part may be: each name of
a directory as it was at any time since, in any order, and each file whole, cut short, or with zeros for its bytes. Real
file systems lose less: a journal keeps the order of names, and `fsync` of one file may bring more to disk.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from support.promises import Files

_CHANGES = (
    "openat,write,pwrite64,writev,pwritev,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,link,linkat,"
    "symlink,symlinkat,utimensat,ftruncate,truncate,fallocate,copy_file_range,sendfile"
)
_SYNCS = "fsync,fdatasync,syncfs,sync"
#: Before a command: write down what it does to files, whole calls in the order in which they ended, all texts in full.
STRACE = ["strace", "-f", "-y", "-qq", "-z", "-xx", "--seccomp-bpf", "-e", "signal=none"]
_CALL = re.compile(r"\d+ +(\w+)\((.*)\) += (\d+)")
_WORD = re.compile(
    r'(?:(AT_FDCWD|\d+)<([^>]*)>(?:\(deleted\))?|"((?:\\x..)*)"(?:\.\.\.)?|(\[.*?\])|([^,\s][^,]*))(?:, |$)'
)
_TIME = re.compile(r"tv_sec=(\d+), tv_nsec=(\d+)")
#: The mtime of what was not given one.
NOW = 0


def recorded(log: Path) -> list[str]:
    """What to put before a command, to have it recorded in a file."""
    return [*STRACE, "-s", str(1 << 24), "-e", f"trace={_CHANGES},{_SYNCS}", "-o", str(log)]


@dataclass(eq=False)
class Node:
    """A file, a link or a directory, as a run sees it and as it is on disk for certain.

    Attributes
    ----------
    names
        What is in a directory; None for others.
    content, mtime_ns
        Of a file, or where a link leads to.
    safe
        Content and mtime of a file on disk.
    history
        Of each name that changed in a directory since it was synced: what it led to then, and ever since.
    """

    names: dict[str, Node] | None = None
    content: bytes = b""
    mtime_ns: int = NOW
    safe: tuple[bytes, int] = (b"", NOW)
    history: dict[str, list[Node | None]] = field(default_factory=dict)

    def put(self, name: str, node: Node | None) -> None:
        """Change a name in a directory."""
        assert self.names is not None
        self.history.setdefault(name, [self.names.get(name)]).append(node)
        if node is None:
            del self.names[name]
        else:
            self.names[name] = node

    def sync(self) -> None:
        """Have it on disk."""
        self.history.clear()
        self.safe = self.content, self.mtime_ns

    @property
    def dirty(self) -> bool:
        """Whether a file is not on disk as it is."""
        return self.names is None and self.safe != (self.content, self.mtime_ns)

    def all(self) -> Iterator[Node]:
        """This and all that is, or was since it was synced, below it."""
        yield self
        for name in (self.names or {}).keys() | self.history.keys():
            for node in {*self.history.get(name, ()), (self.names or {}).get(name)} - {None}:
                yield from node.all()


class Disk:
    """The files below a directory while a record of a run is played back.

    Attributes
    ----------
    named
        Contents of each file that got its name by a rename, by path: all that may ever be found under that name.
    """

    def __init__(self, root: Path) -> None:
        self._place = str(root)
        self.root = self._read(root)
        self.named: dict[str, set[bytes]] = {}

    def _read(self, path: Path) -> Node:
        if path.is_dir():
            return Node({one.name: self._read(one) for one in path.iterdir()})
        safe = path.read_bytes(), path.stat().st_mtime_ns
        return Node(None, *safe, safe)

    def play(self, log: Path) -> Iterator[str]:
        """Play a record back; stop before each call that has something on disk, and at the end, and say where it is."""
        for number, line in enumerate(log.read_text().splitlines(), 1):
            found = _CALL.match(line)
            if not found:
                continue
            call, words = found[1], [self._word(one) for one in _WORD.finditer(found[2])]
            if call in _SYNCS.split(","):
                node = None if call == "sync" else self._node(words[0])
                if call in ("sync", "syncfs") or node:
                    yield f"line {number}, before {call} of {words[0] if words else ''}"
                for one in self.root.all() if call in ("sync", "syncfs") else [node] if node else []:
                    one.sync()
            else:
                getattr(self, f"_{call.removesuffix('at').removesuffix('at2')}", self._unknown)(
                    call, words, int(found[3])
                )
        yield "the end"

    def _word(self, found: re.Match[str]) -> str | bytes:
        _, path, text, times, other = found.groups()
        if text is not None:
            return bytes.fromhex(text.replace("\\x", ""))
        return bytes.fromhex(path.replace("\\x", "")).decode() + "/" if path is not None else times or other

    def _path(self, words: list[str | bytes]) -> str:
        """Take a path from the words of a call: below a directory, or the one in which the run is."""
        base = words.pop(0) if isinstance(words[0], str) and words[0].endswith("/") else f"{self._place}/"
        text = words.pop(0).decode() if words and isinstance(words[0], bytes) else ""
        return text if text.startswith("/") else f"{base}{text}".rstrip("/")

    def _find(self, path: str) -> tuple[Node, str] | None:
        """The directory that holds a path, and its name there; None if it is not below ours."""
        words = [one for one in path.removeprefix(f"{self._place}/").split("/") if one not in ("", ".")]
        if not path.startswith(f"{self._place}/") or not words:
            return None
        *parents, name = words
        node: Node | None = self.root
        for one in parents:
            node = node.names.get(one) if node and node.names is not None else None
        return (node, name) if node and node.names is not None else None

    def _node(self, path: str | bytes) -> Node | None:
        path = str(path).rstrip("/")
        if path == self._place:
            return self.root
        found = self._find(path)
        return found[0].names.get(found[1]) if found else None

    def _open(self, call: str, words: list[str | bytes], _: int) -> None:
        found = self._find(self._path(words))
        if not found or ("O_CREAT" not in words[0] and "O_TRUNC" not in words[0]):
            return
        directory, name = found
        if name not in directory.names:
            directory.put(name, Node())
        elif "O_TRUNC" in words[0]:
            directory.names[name].content, directory.names[name].mtime_ns = b"", NOW

    def _write(self, call: str, words: list[str | bytes], count: int) -> None:
        node = self._node(words[0])
        if node:
            # All that the toolkit writes in place, it writes at the end.
            node.content, node.mtime_ns = node.content + words[1][:count], NOW

    def _truncate(self, call: str, words: list[str | bytes], _: int) -> None:
        node = self._node(self._path(words))
        if node:
            size = int(words[0])
            node.content, node.mtime_ns = node.content[:size].ljust(size, b"\0"), NOW

    _ftruncate = _truncate

    def _rename(self, call: str, words: list[str | bytes], _: int) -> None:
        source, target = self._find(self._path(words)), self._path(words)
        place = self._find(target)
        if source and place:
            node, path = source[0].names[source[1]], target.removeprefix(f"{self._place}/")
            for each in filter(None, (place[0].names.get(place[1]), node)):
                for below, file, _ in _files(each, path, _current):
                    self.named.setdefault(below, set()).add(file.content)
            place[0].put(place[1], node)
            source[0].put(source[1], None)

    def _unlink(self, call: str, words: list[str | bytes], _: int) -> None:
        found = self._find(self._path(words))
        if found:
            found[0].put(found[1], None)

    _rmdir = _unlink

    def _mkdir(self, call: str, words: list[str | bytes], _: int) -> None:
        self._make(self._path(words))

    def _make(self, path: str) -> None:
        # Of two processes, the one that made the directory above may be recorded later.
        if path.startswith(f"{self._place}/") and not self._node(path):
            self._make(path.rpartition("/")[0])
            directory, name = self._find(path)
            directory.put(name, Node({}))

    def _utimens(self, call: str, words: list[str | bytes], _: int) -> None:
        node = self._node(self._path(words))
        times = _TIME.findall(str(words[1] if words[0] == "NULL" and len(words) > 2 else words[0]))
        if node:
            node.mtime_ns = int(times[1][0]) * 10**9 + int(times[1][1]) if times else NOW

    def _unknown(self, call: str, words: list[str | bytes], _: int) -> None:
        assert not any(self._node(one) for one in words), f"it is not known what {call} does"

    def now(self) -> Files:
        """All files as the run sees them."""
        return self._cut(_current, _whole)

    def cuts(self, chance: random.Random, most: int) -> Iterator[tuple[str, Files]]:
        """What may be on disk if the power goes now, and how that comes about.

        Parameters
        ----------
        most
            Number of names that are lost, or kept, alone; and of states in which chance decides.
        """
        nodes = set(self.root.all())
        above = {below: (one, name) for one in nodes for name, below in (one.names or {}).items()}
        changed = sorted(((name, node) for node in nodes for name in node.history), key=lambda pair: pair[0])
        if not changed and not any(node.dirty for node in nodes):
            return
        yield "no name and no byte", self._cut(_first, _lost)
        yield "all names and no byte", self._cut(_current, _lost)
        yield "all names, and zeros", self._cut(_current, _zeros)
        directories = {node: {(node, name) for name in node.history} for _, node in changed}
        parts = [(f"those in '{above[node][1] if node in above else '.'}'", some) for node, some in directories.items()]
        parts = chance.sample(parts, min(10 * most, len(parts)))
        parts += [(f"that of '{name}'", {(one, name)}) for name, one in chance.sample(changed, min(most, len(changed)))]
        for what, some in parts:
            ((node, _), *_), alone = some, set(some)
            while node in above:  # to be of any use, a name needs the directories that lead to it
                alone.add(above[node])
                node = above[node][0]
            yield f"of all changes only {what}", self._cut(_chosen(alone, _current, _first), _whole)
            yield f"all changes but {what}", self._cut(_chosen(some, _first, _current), _whole)
        for _ in range(most):
            yield (
                "by chance",
                self._cut(
                    lambda one, called: chance.choice(one.history.get(called) or [_current(one, called)]),
                    lambda one: chance.choice((_lost, _zeros, _half, _whole))(one),
                ),
            )

    def _cut(self, entry: Entry, data: Data) -> Files:
        found: dict[Node, str] = {}
        for path, node, is_current in _files(self.root, "", entry):
            # Of a rename, one name at the most is left.
            if is_current or node not in found:
                found[node] = path
        return {path: data(node) for node, path in found.items()}


Entry = Callable[[Node, str], "Node | None"]
Data = Callable[[Node], "tuple[bytes, int]"]


def _files(node: Node, path: str, entry: Entry, is_current: bool = True) -> Iterator[tuple[str, Node, bool]]:
    """All files below a directory by the names that `entry` gives, and whether these are those that they have now."""
    if node.names is None:
        yield path, node, is_current
        return
    for name in sorted(node.names.keys() | node.history.keys()):
        below = entry(node, name)
        if below:
            still = is_current and node.names.get(name) is below
            yield from _files(below, f"{path}/{name}" if path else name, entry, still)


def _current(node: Node, name: str) -> Node | None:
    return (node.names or {}).get(name)


def _first(node: Node, name: str) -> Node | None:
    return node.history[name][0] if name in node.history else _current(node, name)


def _chosen(some: set[tuple[Node, str]], these: Entry, others: Entry) -> Entry:
    return lambda node, name: (these if (node, name) in some else others)(node, name)


def _whole(node: Node) -> tuple[bytes, int]:
    return node.content, node.mtime_ns


def _lost(node: Node) -> tuple[bytes, int]:
    return node.safe[0], node.mtime_ns


def _half(node: Node) -> tuple[bytes, int]:
    return (node.content[: len(node.content) // 2] if node.safe[0] != node.content else node.content), node.mtime_ns


def _zeros(node: Node) -> tuple[bytes, int]:
    return (bytes(len(node.content)) if node.safe[0] != node.content else node.content), node.mtime_ns
