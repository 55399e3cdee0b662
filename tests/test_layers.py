"""The house: which room of `lib/retrieve` may import which, and that no two modules import each other.

The source is read rather than imported: an import inside a function, or for type hints alone, counts as well.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from support.site import HERE

#: The rooms that a room may import; ``words`` are the modules that stand directly in `lib/retrieve`.
RULE = {
    "words": "",
    "formats": "",
    "host": "words",
    "source": "words host",
    "stamps": "words host",
    "availability": "words host source stamps",
    "delivery": "words formats host source stamps",
    "output": "words formats host stamps",
    "handing": "words host stamps output",
    "standing": "words formats host stamps",
    "report": "words host stamps standing",
    "campaign": "words host source stamps standing",
    "commands": "words formats host source stamps availability delivery output handing standing report campaign",
    "old": "words formats host source stamps availability delivery output handing standing report campaign commands",
}
#: How many modules a room may have, and lines a module; `source` has two stores, `commands` a module for each verb.
MODULES = {"source": 12, "commands": 15}
MOST_MODULES, MOST_LINES = 10, 355


class Import(NamedTuple):
    """An import of one module of ours by another one."""

    importer: str
    imported: str
    where: str

    @property
    def rooms(self) -> tuple[str, str]:
        """Rooms of both."""
        return room(self.importer), room(self.imported)


def modules(lib: Path) -> dict[str, Path]:
    """Paths of all modules below a directory, by their dotted names; a package stands for its ``__init__``."""
    paths = {path: path.relative_to(lib).with_suffix("") for path in sorted(lib.rglob("*.py"))}
    return {".".join(name.parts).removesuffix(".__init__"): path for path, name in paths.items()}


def room(module: str) -> str:
    """Room that a module stands in."""
    package, *rest = module.split(".")
    if package != "retrieve":
        return package
    if module == "retrieve.__main__":
        return "old"  # as the commands of before it begins a program, and may know every room
    return rest[0] if len(rest) > 1 or (rest and rest[0] in RULE) else "words"


def imports(lib: Path) -> Iterator[Import]:
    """Read all imports of our own modules."""
    known = modules(lib)
    for importer, path in known.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path}:{node.lineno} imports by a relative name"
                below = [f"{node.module}.{alias.name}" for alias in node.names]
                names = [name if name in known else str(node.module) for name in below]
            else:
                continue
            where = f"{path.relative_to(lib)}:{node.lineno}"
            yield from (Import(importer, name, where) for name in names if name in known and name != importer)


def breaches(lib: Path) -> list[str]:
    """What breaks the rule: a line each, with file and line number."""
    found = list(imports(lib))
    lines = []
    for one in found:
        importing, imported = one.rooms
        if importing != imported and importing in RULE and imported not in RULE[importing].split():
            lines.append(f"{one.where}: '{importing}' must not know '{imported}' ({one.imported})")
    return lines + [f"in a circle: {' -> '.join(circle)}" for circle in circles(found)]


def circles(found: list[Import]) -> list[list[str]]:
    """Modules that import each other, directly or not: each circle once."""
    leads: dict[str, set[str]] = {}
    for one in found:
        # A package's own text holds no code: to import it is to import nothing.
        leads.setdefault(one.importer, set()).add(one.imported)
    done: set[str] = set()
    result = []

    def follow(module: str, way: list[str]) -> None:
        if module in way:
            result.append([*way[way.index(module) :], module])
        elif module not in done:
            for one in sorted(leads.get(module, ())):
                follow(one, [*way, module])
            done.add(module)

    for module in sorted(leads):
        follow(module, [])
    return result


def test_no_room_knows_more_than_it_should_and_no_modules_import_each_other() -> None:
    assert breaches(HERE / "lib") == []


def test_each_room_can_be_overlooked() -> None:
    rooms: dict[str, list[Path]] = {}
    for module, path in modules(HERE / "lib").items():
        if path.name != "__init__.py" and module.startswith("retrieve."):
            rooms.setdefault(room(module), []).append(path)
    assert rooms.keys() == RULE.keys()
    assert {name: len(paths) for name, paths in rooms.items() if len(paths) > MODULES.get(name, MOST_MODULES)} == {}
    lines = {path.name: path.read_text(encoding="utf-8").count("\n") for paths in rooms.values() for path in paths}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


@pytest.mark.parametrize(
    ("path", "line", "breach"),
    [
        ("standing/new.py", "from retrieve.source.listing import Listing", "'standing' must not know 'source'"),
        ("output/new.py", "import retrieve.delivery.part", "'output' must not know 'delivery'"),
        ("formats/new.py", "def f():\n    from retrieve import errors", "'formats' must not know 'words'"),
        ("host/new.py", "if TYPE_CHECKING:\n    from retrieve.stamps.stamps import Stamps", "must not know 'stamps'"),
    ],
)
def test_a_breach_is_named_with_its_file_and_line(path: str, line: str, breach: str, tmp_path: Path) -> None:
    for name in ("source/listing.py", "delivery/part.py", "errors.py", "stamps/stamps.py"):
        write(tmp_path / "retrieve" / name, "")
    write(tmp_path / "retrieve" / path, f"{line}\n")
    (found,) = breaches(tmp_path)
    assert found.startswith(f"retrieve/{path}:{line.count(chr(10)) + 1}: ")
    assert breach in found


def test_modules_that_import_each_other_are_named(tmp_path: Path) -> None:
    write(tmp_path / "retrieve/host/a.py", "from retrieve.host import b\n")
    write(tmp_path / "retrieve/host/b.py", "from retrieve.host.c import x\n")
    write(tmp_path / "retrieve/host/c.py", "import retrieve.host.a\n")
    (circle,) = breaches(tmp_path)
    assert circle == "in a circle: retrieve.host.a -> retrieve.host.b -> retrieve.host.c -> retrieve.host.a"


def write(path: Path, text: str) -> None:
    """Write a module, and the packages above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
