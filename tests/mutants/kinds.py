"""Kinds of mutants: how a check is taken out of a module, or turned round, one at a time.

A module is parsed, and a mutant is its tree with one node replaced. It is named after module, function, kind and the
text of that node, so that its name stays the same when lines move.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

#: What takes the place of a comparison. Of an order the boundary moves, or it is turned round.
_COMPARISONS = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
#: Calls that are taken out where they are a statement, by the last part of their name.
_CALLS = {
    **dict.fromkeys(("fsync", "sync", "sync_file", "sync_directory", "sync_file_system", "_sync"), "sync"),
    **dict.fromkeys(("rename", "replace"), "rename"),
    "update": "digest",
}
_BRANCHES = (ast.If, ast.IfExp, ast.While)


@dataclass(frozen=True)
class Mutant:
    """A module with one check taken out, or turned round.

    Attributes
    ----------
    module
        Path of the module below `lib/retrieve`.
    line
        Where the check is.
    name
        Module and function, kind, what was there and what is there now.
    text
        The module's source with that change.
    """

    module: str
    line: int
    name: str
    text: str


def mutants(module: str, source: str) -> Iterator[Mutant]:
    """All mutants of a module."""
    tree = ast.parse(source)
    seen: Counter[str] = Counter()
    for function, holder, key, node, is_test in list(_nodes(tree, "")):
        for kind, changed, how in _changes(node, is_test):
            holder[key] = changed
            text = ast.unparse(ast.fix_missing_locations(tree)) + "\n"
            holder[key] = node
            name = f"{module} {function}: {kind}: {ast.unparse(node)}{how}"
            seen[name] += 1
            yield Mutant(module, node.lineno, name if seen[name] == 1 else f"{name} ({seen[name]})", text)


def _nodes(node: ast.AST, function: str) -> Iterator[tuple[str, dict | list, str | int, ast.AST, bool]]:
    """What is below a node: its function, what holds it under which key, the node, and whether a branch tests it."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        function = f"{function}.{node.name}".lstrip(".")
    for field, value in ast.iter_fields(node):
        several = isinstance(value, list)
        for key, child in enumerate(value) if several else ((field, value),):
            if isinstance(
                child, ast.stmt | ast.expr | ast.comprehension | ast.ExceptHandler | ast.withitem | ast.keyword
            ):
                is_test = (isinstance(node, _BRANCHES) and field == "test") or field == "ifs"
                yield function, value if several else vars(node), key, child, is_test
                yield from _nodes(child, function)


def _changes(node: ast.AST, is_test: bool) -> Iterator[tuple[str, ast.AST, str]]:
    """What may take the place of a node: the kind of mutant, the new node, and how to say what is new."""
    match node:
        case ast.Compare():
            for at, operator in enumerate(node.ops):
                for other in _COMPARISONS[type(operator)]:
                    changed = ast.Compare(node.left, [*node.ops[:at], other(), *node.ops[at + 1 :]], node.comparators)
                    yield "comparison", changed, f" -> {ast.unparse(changed)}"
        case ast.BoolOp():
            for at, value in enumerate(node.values):
                rest = [*node.values[:at], *node.values[at + 1 :]]
                changed = ast.BoolOp(node.op, rest) if len(rest) > 1 else rest[0]
                yield "condition", changed, f" -> without {ast.unparse(value)}"
        case ast.UnaryOp(op=ast.Not()) if is_test:
            yield "condition", node.operand, " -> turned round"
        case ast.expr() if is_test and ast.unparse(node) != "TYPE_CHECKING":
            yield "condition", ast.UnaryOp(ast.Not(), node), " -> turned round"
        case ast.Raise():
            yield "refusal", ast.Pass(), ""
        case ast.Expr(ast.Call(ast.Name(name) | ast.Attribute(attr=name))) if name in _CALLS:
            yield _CALLS[name], ast.Pass(), ""
