"""What boxes say, in lines."""

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
    """Return the same in few lines of few letters: ``"x̂ = • × • (8×3)"``.

    ``terse`` leaves out what broadcasts undo, and how many operations a box holds.
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
        name = ""  # "x − μ" says it all
    # A sign would stand between the name and the shape, or the number.
    said = f"{UNNAMED} {formula} {UNNAMED}" if formula in SIGNS else formula
    said = f"{UNNAMED} {said}" if said[:1] in SIGNS else said
    # "n = tanh" would say that n is the function.
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
    # A long formula is not broken into a tower.
    letters = max(letters, len(formula) // MOST_LINES)
    return broken([line for part in pieces[-1] for line in wrapped(_held_together(part), letters)], letters)


def _held_together(formula: str) -> str:
    """Return a formula that does not break inside an index, nor between "axis" and which."""
    return re.sub(r"\[[^\[\]]*\]|\bax[ei]s \d+(?:, \d+)*", lambda found: _unbroken(found[0]), formula)


def _unbroken(text: str) -> str:
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def _named(vertex: Vertex, title: str) -> str:
    return f"{vertex.called} = {title}" if vertex.called else title


def _each(vertex: Vertex) -> str:
    return f" × {vertex.times}" if vertex.times > 1 else ""


def _parts(vertex: Vertex, titled: Callable[[Vertex], str] | None = None) -> tuple[str, str, tuple[str, ...]]:
    """Return the name, the formula or what stands for it, and the shapes of the results."""
    step = f"{(titled or title_of)(vertex)} {vertex.detail}".rstrip() if vertex.operation == "step" else vertex.text
    return shortened(vertex.called), step, vertex.results or (in_words(vertex.shape),)


def caption_lines(caption: str, letters: int = LONGEST_NAME) -> list[str]:
    """Return the lines of a caption."""
    return broken(caption.split("\n"), letters) if caption else []


def mark_lines(marks: Sequence[str], letters: int) -> list[str]:
    """Return the lines beside an edge: the names of what it does, each with its numbers on one line."""
    said = (" ".join((name, _unbroken(" ".join(numbers)))).strip() for name, *numbers in map(str.split, marks))
    return broken([", ".join(said)], letters)


def broken(lines: list[str], letters: int) -> list[str]:
    """Break lines at spaces where they are long."""
    return [
        piece
        for line in lines
        for piece in textwrap.wrap(line, letters, break_long_words=False, break_on_hyphens=False) or [line]
    ]


def wrapped(formula: str, width: int = LONGEST_FORMULA) -> list[str]:
    """Return the lines of a long formula: it breaks after operators and commas, so that one sees that it goes on.

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
    """Return what a box for a scope or a step is called: ``block1.act: ReLU · gradient``."""
    return shortened(title(Name(vertex.symbol or "scope", vertex.place))) + half(vertex.order)


def _short_title(vertex: Vertex) -> str:
    """Return only the path of a module whose gradient it is: what it does, the box of the forward pass says."""
    title = shortened(vertex.place) + half(vertex.order) if vertex.order and vertex.place else title_of(vertex)
    return title.replace(" ·", _unbroken(" ·"))


def half(order: int) -> str:
    return "" if order == 0 else " · gradient" if order == 1 else f" · gradient {order}"


def holding(vertex: Vertex) -> str:
    """Say how many operations a box holds: ``12 operations``."""
    return f"{vertex.holds} operation{'' if vertex.holds == 1 else 's'}{' each' if vertex.times > 1 else ''}"
