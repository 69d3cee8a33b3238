"""Single faults that operators plant in source text: what could stand on a line in place of what does.

faults_in(name, source) -> faults      Python by its syntax tree, C by its lines
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
SUMS = {ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "+"), ast.FloorDiv: ("//", "*"), ast.Mod: ("%", "//")}
C_OPERATORS = (
    (re.compile(r" < "), " <= "),
    (re.compile(r" <= "), " < "),
    (re.compile(r" > "), " >= "),
    (re.compile(r" \+ "), " - "),
    (re.compile(r" - "), " + "),
    (re.compile(r" \+= "), " -= "),
    (re.compile(r" == "), " != "),
    (re.compile(r" && "), " || "),
    (re.compile(r"(?<![\w.])0(?![\w.])"), "1"),
    (re.compile(r"(?<![\w.])1(?![\w.])"), "2"),
)


@dataclass(frozen=True)
class Fault:
    """One change of a file: the bytes of `start` to `end` become `new`. tests: arguments of pytest for those that are
    to notice it, where that is known."""

    file: str
    line: int
    start: int
    end: int
    new: str
    words: str
    tests: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What a report and the list of equivalent faults call it; moves with the line."""
        return f"{self.file}:{self.line}: {self.words}"

    def applied(self, source: bytes) -> bytes:
        """Return the source with the fault in it."""
        return source[: self.start] + self.new.encode() + source[self.end :]


def faults_in(file: str, source: bytes) -> list[Fault]:
    """List the faults that operators can plant in a file."""
    if file.endswith(".c"):
        return list(_in_c(file, source))
    planter = _Planter(file, source)
    planter.visit(ast.parse(source))
    return planter.faults


def _in_c(file: str, source: bytes) -> Iterator[Fault]:
    at = 0
    for number, line in enumerate(source.decode().splitlines(keepends=True), 1):
        code = line.partition("//")[0]
        if not code.lstrip().startswith(("#", "*", "/*")):
            for pattern, new in C_OPERATORS:
                for found in pattern.finditer(code):
                    words = f"{found[0].strip()} becomes {new.strip()} in `{line.strip()}`"
                    yield Fault(file, number, at + found.start(), at + found.end(), new, words)
        at += len(line.encode())


class _Planter(ast.NodeVisitor):
    """Collects the faults of a syntax tree, annotations and f-strings left out."""

    def __init__(self, file: str, source: bytes) -> None:
        self.file = file
        self.source = source
        self.faults: list[Fault] = []
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self.starts[node.lineno - 1] + node.col_offset
        return start, self.starts[node.end_lineno - 1] + node.end_col_offset

    def _text(self, node: ast.expr | ast.stmt) -> str:
        start, end = self._span(node)
        return self.source[start:end].decode()

    def _add(self, node: ast.expr | ast.stmt, span: tuple[int, int], new: str, words: str) -> None:
        self.faults.append(Fault(self.file, node.lineno, *span, new, words))

    def _replace_between(self, left: ast.expr, right: ast.expr, old: str, new: str) -> None:
        """Replace the operator that stands between two expressions."""
        first, last = self._span(left)[1], self._span(right)[0]
        found = re.search(rb"(?<![\w<>=!])" + re.escape(old.encode()) + rb"(?![\w<>=])", self.source[first:last])
        if found:
            span = first + found.start(), first + found.end()
            self._add(right, span, new, f"{old} becomes {new} before `{self._text(right)[:40]}`")

    def visit_Compare(self, node: ast.Compare) -> None:
        sides = [node.left, *node.comparators]
        for left, operator, right in zip(sides, node.ops, sides[1:], strict=False):
            self._replace_between(left, right, *COMPARISONS[type(operator)])
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if type(node.op) in SUMS and not isinstance(node.left, ast.Constant | ast.JoinedStr):
            self._replace_between(node.left, node.right, *SUMS[type(node.op)])
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        self._replace_between(node.values[0], node.values[1], old, new)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self._add(
                node, self._span(node), f"({self._text(node.operand)})", f"`{self._text(node)[:60]}` loses its not"
            )
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        if "TYPE_CHECKING" not in self._text(node.test):
            self._add(node.test, self._span(node.test), f"not ({self._text(node.test)})", "the condition is reversed")
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self._add(node, self._span(node), str(not node.value), f"{node.value} becomes {not node.value}")
        elif isinstance(node.value, int):
            self._add(node, self._span(node), str(node.value + 1), f"{node.value} becomes {node.value + 1}")
        elif isinstance(node.value, float):
            self._add(node, self._span(node), repr(node.value * 2 + 1), f"{node.value} becomes {node.value * 2 + 1}")

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call):
            self._add(node, self._span(node), "pass", f"the call `{self._text(node)[:60]}` is dropped")
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if len(node.args) > 1 and not any(isinstance(each, ast.Starred) for each in node.args[:2]):
            first, second = node.args[:2]
            (start, end), (later, last) = self._span(first), self._span(second)
            between = self.source[end:later].decode()
            swapped = f"{self._text(second)}{between}{self._text(first)}"
            if self._text(first) != self._text(second):
                self._add(node, (start, last), swapped, f"arguments are swapped: `{swapped[:60]}`")
        if isinstance(node.func, ast.Name) and node.func.id in ("min", "max"):
            other = "max" if node.func.id == "min" else "min"
            self._add(node, self._span(node.func), other, f"{node.func.id} becomes {other}")
        self.generic_visit(node)

    def visit_Try(self, node: ast.Try) -> None:
        if node.finalbody:
            span = self._span(node.finalbody[0])[0], self._span(node.finalbody[-1])[1]
            self._add(node.finalbody[0], span, "pass", "what stands under finally is dropped")
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for each in (*node.args.defaults, *filter(None, node.args.kw_defaults), *node.body):
            self.visit(each)

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value:
            self.visit(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Leave it out: before Python 3.12 the places inside are wrong."""
