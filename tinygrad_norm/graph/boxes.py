"""The labels of boxes, as lines of text."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Sequence

from .formulas import SIGNS
from .model import Vertex
from .naming import UNNAMED
from .scopes import Name, title
from .text import LONGEST_NAME, in_words, shortened

LONGEST_FORMULA = 36
MOST_LINES = 4
UNDOES = "undoes broadcast"
_BREAKS = re.compile(r"(?: [^\w\s(.]|,) ")


def whole_label(vertex: Vertex) -> list[str]:
    """Return the lines of a box: its name, the formula of its operation, the shape of its result, its values."""
    if vertex.holds:
        return [_named(vertex, title_of(vertex) + _each(vertex)), holding(vertex), vertex.detail]
    if vertex.refused:
        return [shortened(f"{vertex.symbol} {vertex.detail}"), shortened(vertex.refused)]
    name, formula, shapes = _parts(vertex)
    lines = [name] if name else []
    lines += wrapped(formula) if vertex.operation != "step" else [formula]
    if vertex.unbroadcast:
        lines.append(UNDOES)
    dtype = f" {vertex.dtype}" if vertex.values is not None else ""
    lines += [shape + dtype for shape in shapes]
    lines += vertex.values.split("\n") if vertex.values else []
    if vertex.gradient_norm is not None:
        lines.append(f"gradient norm {vertex.gradient_norm}")
    return [line for line in lines if line]


def short_label(vertex: Vertex, letters: int, terse: bool = False) -> list[str]:
    """Return a label with few, short lines: ``"x̂ = • × • (8×3)"``.

    ``terse`` omits "undoes broadcast" and the number of operations in a box.
    """
    if vertex.values:
        return whole_label(vertex)
    if vertex.holds:
        held = [] if terse and vertex.times == 1 else [_unbroken(holding(vertex))]
        led = vertex.detail.replace(" →", _unbroken(" →"))
        return broken([_named(vertex, _short_title(vertex) + _each(vertex)), *held, led], letters)
    if vertex.refused:
        return broken(whole_label(vertex), letters)
    name, formula, shapes = _parts(vertex, _short_title)
    shape = ", ".join(map(_unbroken, shapes))
    undoes = [UNDOES] if vertex.unbroadcast and not terse else []
    if name == formula.replace(" ", ""):
        name = ""  # "x−μ = x − μ" is redundant
    # A bare operator needs operands on both sides, a formula that begins with one needs a left operand.
    said = f"{UNNAMED} {formula} {UNNAMED}" if formula in SIGNS else formula
    said = f"{UNNAMED} {said}" if said[:1] in SIGNS else said
    # "n = tanh" would mean that n is the function.
    said = f"{said}({UNNAMED})" if said.isidentifier() and vertex.operation != "step" else said
    if not name or not formula:
        pieces = [[f"{name or said} ({shape})"]] if not undoes else []
        pieces += [[name or formula, *undoes, shape]]
    else:
        whole = f"{name} = {said}"
        pieces = [[f"{whole} ({shape})"]] if not undoes else []
        pieces += [[whole, *undoes, shape], [name, formula, *undoes, shape]]
    fitting = (lines for lines in pieces if max(map(len, lines)) <= letters)
    if short := next(fitting, None):
        return short
    # A long formula gets longer lines rather than many short ones.
    letters = max(letters, len(formula) // MOST_LINES)
    return broken([line for part in pieces[-1] for line in wrapped(_held_together(part), letters)], letters)


def _held_together(formula: str) -> str:
    """Return a formula with no-break spaces inside an index and between "axis" and its number."""
    return re.sub(r"\[[^\[\]]*\]|\bax[ei]s \d+(?:, \d+)*", lambda found: _unbroken(found[0]), formula)


def _unbroken(text: str) -> str:
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def _named(vertex: Vertex, title: str) -> str:
    return f"{vertex.called} = {title}" if vertex.called else title


def _each(vertex: Vertex) -> str:
    return f" × {vertex.times}" if vertex.times > 1 else ""


def _parts(vertex: Vertex, titled: Callable[[Vertex], str] | None = None) -> tuple[str, str, tuple[str, ...]]:
    """Return the name, the formula or the title of a step, and the shapes of the results."""
    step = f"{(titled or title_of)(vertex)} {vertex.detail}".rstrip() if vertex.operation == "step" else vertex.text
    return shortened(vertex.called), step, vertex.results or (in_words(vertex.shape),)


def caption_lines(caption: str, letters: int = LONGEST_NAME) -> list[str]:
    """Return the lines of a caption."""
    return broken(caption.split("\n"), letters) if caption else []


def mark_lines(marks: Sequence[str], letters: int) -> list[str]:
    """Return the label of an edge, in lines. An operation and its numbers stay on one line."""
    said = (" ".join((name, _unbroken(" ".join(numbers)))).strip() for name, *numbers in map(str.split, marks))
    return broken([", ".join(said)], letters)


def broken(lines: list[str], letters: int) -> list[str]:
    """Break long lines at spaces."""
    return [
        piece
        for line in lines
        for piece in textwrap.wrap(line, letters, break_long_words=False, break_on_hyphens=False) or [line]
    ]


def wrapped(formula: str, width: int = LONGEST_FORMULA) -> list[str]:
    """Break a long formula into lines, after operators and commas, so that it visibly continues.

    Examples
    --------
    >>> wrapped("(weight + bias) × dL/dy − another", 20)
    ['(weight + bias) ×', 'dL/dy − another']
    """
    lines, rest = [], formula
    while len(rest) > width and (ends := [m.end() for m in _BREAKS.finditer(rest) if m.end() < len(rest)]):
        end = max((end for end in ends if end <= width + 1), default=ends[0])
        lines.append(rest[:end].rstrip())
        rest = rest[end:]
    return [*lines, rest]


def title_of(vertex: Vertex) -> str:
    """Return the title of a box for a scope or a step: ``block1.act: ReLU · gradient``."""
    return shortened(title(Name(vertex.symbol or "scope", vertex.place))) + half(vertex.order)


def _short_title(vertex: Vertex) -> str:
    """Return the title. For a module's gradient it is the path alone: the box of the forward pass has the rest."""
    title = shortened(vertex.place) + half(vertex.order) if vertex.order and vertex.place else title_of(vertex)
    return title.replace(" ·", _unbroken(" ·"))


def half(order: int) -> str:
    return "" if order == 0 else " · gradient" if order == 1 else f" · gradient {order}"


def holding(vertex: Vertex) -> str:
    """Return the number of operations in a box, in words: ``12 operations``."""
    return f"{vertex.holds} operation{'' if vertex.holds == 1 else 's'}{' each' if vertex.times > 1 else ''}"
