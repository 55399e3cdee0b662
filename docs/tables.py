"""The tables that the code knows: `make settings` writes them anew, into the pages that have them."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from retrieve import commands
from retrieve.decisions import decide
from retrieve.settings import TABLE

HERE = Path(__file__).resolve().parent
SCHEMA = HERE.parent / "lib/retrieve/standing/status.schema.json"
#: Where a table is in its page, between two comments, the first of which has its name.
PLACE = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def settings() -> Iterator[tuple[str, ...]]:
    """Give each setting as `lib/retrieve/settings.py` has it."""
    yield "setting", "default", "meaning"
    for name, one in TABLE.items():
        yield f"`{name}`", one["default"] and f"`{one['default']}`", one["meaning"]


def targets() -> Iterator[tuple[str, ...]]:
    """Give each target with the text behind its ``##`` in the Makefile, and whether it has a dry run."""
    yield "target", "what it does", "`DRYRUN=yes`"
    for name, text in [*_targets("Makefile"), *_targets("lib/make/mechanics.mk")]:
        command = Path(commands.__path__[0], f"{name}.py")
        # Read rather than imported: some commands draw, and take a second.
        code = command.read_text(encoding="utf-8") if command.exists() else ""
        dry = name == "sync" or re.search(r"(?m)^(def )?foretell\b", code)
        yield f"`{name}`", text, "yes" if dry else ""


def development() -> Iterator[tuple[str, ...]]:
    """Give each target for who works on the toolkit."""
    yield "target", "what it does"
    for name, text in _targets("lib/make/develop.mk"):
        yield f"`{name}`", text


def statuses() -> Iterator[tuple[str, ...]]:
    """Give what each command says of its exit status: it is in the first line of its `main`."""
    yield "command", "exit status, where it could start"
    for name, module in _commands().items():
        said = re.search(r"exit status (.*?)\.(\s|$)", module.main.__doc__)
        yield f"`{name}`", said[1] if said else "0"


def decisions() -> Iterator[tuple[str, ...]]:
    """Give the truth table of `decide`."""
    rule = r" {4}=+  =+  =+\n"
    heading, truth = re.search(f"{rule}(.*?){rule}(.*?){rule}", decide.__doc__, re.DOTALL).groups()
    for row in (heading + truth).splitlines():
        yield tuple(re.split(" {2,}", row.strip()))


def status() -> Iterator[tuple[str, ...]]:
    """Give each key of `make status FORMAT=json`, as its schema has it."""
    yield from _keys("overview")


def story() -> Iterator[tuple[str, ...]]:
    """Give each key of `make status TILES=182.308 FORMAT=json`, as its schema has it."""
    yield from _keys("story")


def _commands() -> dict[str, Any]:
    names = [one.name for one in pkgutil.iter_modules(commands.__path__)]
    return {name: importlib.import_module(f"retrieve.commands.{name}") for name in names}


def _targets(makefile: str) -> list[tuple[str, str]]:
    text = (HERE.parent / makefile).read_text(encoding="utf-8")
    return re.findall(r"^([a-z-]+):.*?## *(.*)$", text, re.MULTILINE)


def _keys(kind: str) -> Iterator[tuple[str, ...]]:
    """Give each key of the schema that has a description, with those that lead to it."""
    definitions = json.loads(SCHEMA.read_text(encoding="utf-8"))["$defs"]

    def meant(part: dict[str, Any]) -> dict[str, Any]:
        """Put a definition in place of a reference to it, and in place of a choice what is not null."""
        part = part.get("oneOf", [{}])[-1] | part
        return definitions.get(part.get("$ref", "").rpartition("/")[2], {}) | part

    def keys(part: dict[str, Any], above: str) -> Iterator[tuple[str, ...]]:
        for name, one in meant(part).get("properties", {}).items():
            found = meant(one)
            path = f"{above}{name}" + ("[]" if "items" in found else "")
            if "description" in found:
                yield f"`{path}`", found["description"]
            yield from keys(found.get("items", found), f"{path}.")

    yield "key", "meaning"
    yield from keys(definitions[kind], "")


def rows(table: Iterable[tuple[str, ...]]) -> str:
    """Write a table in Markdown; the first row is its heading."""
    lines = [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in table]
    return "\n".join([lines[0], re.sub(r"[^|]+", " --- ", lines[0]), *lines[1:], ""])


def filled(page: str) -> str:
    """Give a page with its tables as the code has them."""
    return PLACE.sub(lambda place: place[1] + rows(globals()[place[2]]()) + place[4], page)


if __name__ == "__main__":
    for path in HERE.glob("*/*.md"):
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
