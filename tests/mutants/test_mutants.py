"""`make mutants`: what is taken out of a module, and what is wrong with the survivors."""

from __future__ import annotations

import ast

import pytest

from mutants.__main__ import Fate, problems
from mutants.kinds import Mutant, mutants

MODULE = '''
def write(path, text):
    """Comments and docstrings are no checks."""
    if not text or len(text) > 9:
        raise ValueError("too long")
    os.fsync(path)  # so is the line of a check
    path.rename(text)
'''


def test_each_check_is_taken_out_or_turned_round_once() -> None:
    made = list(mutants("a.py", MODULE))
    assert [one.name.removeprefix("a.py write: ") for one in made] == [
        "condition: not text or len(text) > 9 -> without not text",
        "condition: not text or len(text) > 9 -> without len(text) > 9",
        "comparison: len(text) > 9 -> len(text) >= 9",
        "comparison: len(text) > 9 -> len(text) <= 9",
        "refusal: raise ValueError('too long')",
        "sync: os.fsync(path)",
        "rename: path.rename(text)",
    ]
    whole = ast.unparse(ast.parse(MODULE)).splitlines()
    assert [[line for line in one.text.splitlines() if line not in whole] for one in made] == [
        ["    if len(text) > 9:"], ["    if not text:"], ["    if not text or len(text) >= 9:"],
        ["    if not text or len(text) <= 9:"], ["        pass"], ["    pass"], ["    pass"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def f(x):\n    return 0 < x <= 9", ["0 <= x <= 9", "0 >= x <= 9", "0 < x < 9", "0 < x > 9"]),
        ("def f(x):\n    while x:\n        digest.update(x)", ["turned round", "digest: digest.update(x)"]),
        ("def f(x):\n    return [y for y in x if not y]", ["turned round"]),
        ("if TYPE_CHECKING:\n    import x", []),
    ],
)
def test_chains_loops_and_digests_have_mutants(source: str, names: list[str]) -> None:
    made = [one.name for one in mutants("a.py", source)]
    assert len(made) == len(names)
    assert all(name.endswith(end) for name, end in zip(made, names, strict=True)), made


def test_a_name_is_the_same_when_lines_move_and_no_two_mutants_have_the_same() -> None:
    twice = MODULE.replace("    os.fsync(path)", "    os.fsync(path)\n    os.fsync(path)")
    names = [one.name for one in mutants("a.py", twice)]
    assert len(set(names)) == len(names)
    assert {one.name for one in mutants("a.py", f"# a line more\n{MODULE}")} < set(names)


def test_a_survivor_needs_a_reason_and_a_reason_a_survivor() -> None:
    made = [Mutant("a.py", 1, f"a.py f: {name}", "") for name in ("killed", "lives", "known", "was", "bare")]
    fates = [Fate(one, "a test" if one.name in ("a.py f: killed", "a.py f: was") else "") for one in made]
    known = dict.fromkeys(("a.py f: known", "a.py f: was", "a.py f: gone", "b.py f: not asked"), "a reason")
    assert problems(fates, known | {"a.py f: bare": ""}, {one.name for one in made}, ["a.py"]) == [
        "lib/retrieve/a.py:1: survived: a.py f: lives",
        "lib/retrieve/a.py:1: survived: a.py f: bare",
        "no survivor any more, killed by a test: a.py f: was",
        "no mutant any more: a.py f: gone",
    ]
