"""The source code beside the graph: the functions that ran, and the place in them where each box was computed."""

from __future__ import annotations

import ast
import linecache
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from types import CodeType
from typing import Any, TypeAlias

from .lines import Call, name_of

MOST_LINES, AROUND = 40, 2
"""A longer function is reduced to the lines that computed something, with so many lines around them."""
LONGEST_STATEMENT, WIDEST_LINE = 12, 300
"""In a longer statement only the lines of the expression are highlighted. Wider lines are cut."""

_NOWHERE = None, None, None, None
_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_Position = tuple[int, int]
"""A line and a column in bytes, as in Python's positions."""
_Range = tuple[str, int, int]
"""A file, and the first and last line of a function in it."""


@dataclass(frozen=True)
class _Spot:
    """The place of a call: its function, the lines of its statement, and the start and end of its expression."""

    function: _Range
    lines: range
    start: _Position
    end: _Position


def source_of(calls: Sequence[tuple[Call, ...]]) -> dict[str, Any] | None:
    """Return the code that computed the boxes, for the page's script, or None if there is no source.

    Parameters
    ----------
    calls : sequence of tuples of Calls
        The calls in which each box was computed, outermost first. Empty for inputs.

    Returns
    -------
    dict
        ``lines``, each with its ``text`` and its number ``n``, or None for headings and gaps; ``marks``, which have the
        lines ``at`` of a statement, the ``parts`` of an expression in it as ``[line, from, to]``, and the lines ``via``
        which its function was called; and ``of``, the mark of each box or None.
    """
    file_of = cache(_File)
    spot_of = cache(lambda code, instruction: file_of(code.co_filename).spot(code, instruction))
    chains = [[spot for call in each if (spot := spot_of(*call))] for each in calls]
    spots = [spot for chain in chains for spot in chain]
    listing = _Listing()
    for name, first, last in _outermost(dict.fromkeys(spot.function for spot in spots)):
        listing.add(file_of(name), first, last, {n for spot in spots if spot.function[0] == name for n in spot.lines})
    marks: list[dict[str, Any]] = []
    of: list[int | None] = []
    for chain in chains:
        if chain and (mark := listing.mark(chain)) not in marks:
            marks.append(mark)
        of.append(marks.index(mark) if chain else None)
    return {"lines": listing.lines, "marks": marks, "of": of} if marks else None


def _outermost(functions: Iterable[_Range]) -> list[_Range]:
    """Omit functions that are inside others."""
    within = [(f, g) for f in functions for g in functions if f != g and f[0] == g[0] and g[1] <= f[1] and f[2] <= g[2]]
    return [f for f in functions if f not in dict(within)]


class _Listing:
    """The lines that are shown, and the position of each line of a file among them."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self._place: dict[tuple[str, int], int] = {}
        self._whole: dict[int, tuple[str, int]] = {}
        self._heading: str | None = None

    def add(self, file: _File, first: int, last: int, lit: set[int]) -> None:
        """Add a function, without its indentation."""
        if self.lines:
            self._add_words("")
        heading = name_of(file.name)
        if heading and heading != self._heading:
            self._add_words(heading)
        self._heading = heading
        shown = file.shown(first, last, lit)
        texts = [file.lines[n - 1] for n in shown if n]
        indent = min(len(text) - len(text.lstrip()) for text in texts if text.strip())
        for n in shown:
            if n is None:
                self._add_words("…")
                continue
            text = file.lines[n - 1]
            self._place[file.name, n] = len(self.lines)
            self._whole[len(self.lines)] = text, indent
            cut = text[indent:] if len(text) <= WIDEST_LINE else f"{text[indent:WIDEST_LINE]}…"
            self.lines.append({"n": n, "text": cut})

    def _add_words(self, text: str) -> None:
        self.lines.append({"n": None, "text": text})

    def mark(self, chain: Sequence[_Spot]) -> dict[str, Any]:
        spot = chain[-1]
        at = self._places(spot, spot.lines)
        via = [i for each in chain[:-1] for i in self._places(each, each.lines) if i not in at]
        return {"at": at, "parts": [self._part(spot, i) for i in self._expression(spot)], "via": sorted({*via})}

    def _places(self, spot: _Spot, lines: range) -> list[int]:
        name, _, last = spot.function
        return [self._place[name, n] for n in lines if (name, n) in self._place and n <= last]

    def _expression(self, spot: _Spot) -> list[int]:
        return self._places(spot, range(spot.start[0], spot.end[0] + 1))

    def _part(self, spot: _Spot, i: int) -> list[int]:
        """Return the part of a line that belongs to an expression, as a range of characters."""
        text, indent = self._whole[i]
        n, size = self.lines[i]["n"], len(self.lines[i]["text"])
        start = _characters(text, spot.start[1]) if n == spot.start[0] else len(text) - len(text.lstrip())
        end = _characters(text, spot.end[1]) if n == spot.end[0] else len(text)
        return [i, min(start - indent, size), min(end - indent, size)]


def _characters(text: str, column: int) -> int:
    return len(text.encode()[:column].decode(errors="ignore"))


class _File:
    """The lines of a file, with its functions and statements."""

    def __init__(self, name: str) -> None:
        self.name = name
        linecache.checkcache(name)
        self.lines = [line.rstrip("\r\n") for line in linecache.getlines(name)]
        nodes = [*ast.walk(_parsed("\n".join(self.lines)))]
        self._functions = [node for node in nodes if isinstance(node, _Function)]
        self._statements = [node for node in nodes if isinstance(node, ast.stmt)]
        self._left_out: dict[int, bool] = {}
        for node in self._functions:
            if not isinstance(node, ast.Lambda):
                self._leave_out(node)

    def _leave_out(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Mark the lines of a docstring as hidden, and most of a long signature as a visible gap."""
        parameters = [each.end_lineno or 0 for each in ast.walk(node.args) if isinstance(each, ast.expr | ast.arg)]
        inside = range(node.lineno + 1, max(parameters, default=0) + 1)
        if len(inside) > 2:
            self._left_out |= dict.fromkeys(inside, True)
        first = node.body[0]
        if len(node.body) > 1 and ast.get_docstring(node, clean=False) is not None and first.lineno > node.lineno:
            end = first.end_lineno or first.lineno
            while end < len(self.lines) and not self.lines[end].strip():
                end += 1
            self._left_out |= dict.fromkeys(range(first.lineno, min(end + 1, node.body[1].lineno)), False)

    def shown(self, first: int, last: int, lit: set[int]) -> list[int | None]:
        """Return the lines of a function that are shown, and None for each gap."""
        numbers = range(first, last + 1)
        is_long = len(numbers) - len(self._left_out.keys() & numbers) > MOST_LINES
        near = {first} | {n + d for n in lit for d in range(-AROUND, AROUND + 1)}
        found: list[int | None] = []
        for n in numbers:
            is_gap = self._left_out.get(n, True if is_long and n not in near else None)
            if is_gap is None:
                found.append(n)
            elif is_gap and found[-1] is not None:
                found.append(None)
        return found

    def spot(self, code: CodeType, instruction: int) -> _Spot | None:
        """Return the place of a call, or None if the source does not have it."""
        line, end_line, column, end_column = next(islice(code.co_positions(), instruction // 2, None), _NOWHERE)
        if line is None or line > len(self.lines):
            return None
        start = line, column or 0
        end = (end_line, end_column) if end_line and end_column else (line, len(self.lines[line - 1].encode()))
        function = _innermost(start, (node for node in self._functions if _is_code_of(node, code)))
        if function is None:
            return None
        statement = _innermost(start, self._statements)  # None for a decorator
        lines = _own_lines(statement) if statement else range(line, end[0] + 1)
        within = range(max(lines.start, function.lineno), min(lines.stop, _end(function)[0] + 1))
        if len(within) > LONGEST_STATEMENT or line not in within:
            within = range(line, end[0] + 1)
        return _Spot((self.name, function.lineno, _end(function)[0]), within, start, end)


def _parsed(text: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the file was changed, or is not Python
        return ast.Module([], [])


def _end(node: ast.stmt | ast.expr) -> _Position:
    assert node.end_lineno is not None  # the parser sets it
    assert node.end_col_offset is not None
    return node.end_lineno, node.end_col_offset


def _innermost(start: _Position, nodes: Iterable[Any]) -> Any:
    """Return the innermost node around a position."""
    around = [node for node in nodes if (node.lineno, node.col_offset) <= start < _end(node)]
    return max(around, key=lambda node: (node.lineno, node.col_offset), default=None)


def _own_lines(statement: ast.stmt) -> range:
    """Return the lines of a statement, or the lines of the head of a compound statement such as a loop."""
    body = getattr(statement, "body", getattr(statement, "cases", None))
    last = max(statement.lineno, _first_line(body[0]) - 1) if body else _end(statement)[0]
    return range(statement.lineno, last + 1)


def _first_line(node: Any) -> int:
    """Return the first line of a statement, including decorators, or the line of a case's pattern."""
    decorators: list[Any] = getattr(node, "decorator_list", [])
    lines: list[int] = [each.lineno for each in (getattr(node, "pattern", node), *decorators)]
    return min(lines)


def _is_code_of(function: _Function, code: CodeType) -> bool:
    """Return whether a function in the source is, or contains, the code that ran."""
    if code.co_name.startswith("<") and code.co_name != "<lambda>":
        return function.lineno <= code.co_firstlineno <= _end(function)[0]  # a comprehension in the function
    return (_first_line(function), getattr(function, "name", "<lambda>")) == (code.co_firstlineno, code.co_name)
