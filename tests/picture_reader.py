"""Reads a drawing back as a person would: by its texts and by the edges that end at a box, nothing else.

It has a parser of its own for the formulas, and NumPy for what they mean. It is given the values of the boxes that have
a name and nothing to compute; those without a name show theirs.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "max": np.maximum, "min": np.minimum, "log|det|": lambda x: np.linalg.slogdet(x)[1], "det": np.linalg.det,
    "Cholesky": np.linalg.cholesky, "solve": np.linalg.solve, "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "finite": lambda x: np.where(np.isfinite(x), x, 0), "detach": lambda x: x, "abs": np.abs, "not": np.logical_not,
    "cast": lambda x: x, "cumulative Σ": np.cumsum, "cumulative Π": np.cumprod,
}  # fmt: skip
OVER: dict[str, Callable[..., Any]] = {
    "Σ": np.sum, "mean": np.mean, "max": np.max, "min": np.min, "cumulative Σ": np.cumsum, "cumulative Π": np.cumprod,
    "Π": np.prod,
}  # fmt: skip
INFIX: list[dict[str, Callable[..., Any]]] = [
    {
        "=": np.equal, "≠": np.not_equal, "<": np.less, "≤": np.less_equal, ">": np.greater, "≥": np.greater_equal,
        "and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor,
    },
    {"+": np.add, "−": np.subtract},
    {"×": np.multiply, "/": np.divide, "@": np.matmul},
]  # fmt: skip
DOT = "•"
RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
NUMBER = re.compile(r"(?:\d+\.?\d*(?:e[-+]?\d+)?|½|∞|nan|True|False)(?!\w)")
PHRASE = re.compile(r"(Σ|mean|max|min|cumulative Σ|cumulative Π|Π)(?: over (ax[ie]s) (none|\d+(?:, \d+)*))?( of |$)")
WORD = re.compile(r"[^\W\d][\w|-]*")
NUMBERS = r"[−\d.½e]+"
STATIC = re.compile(
    rf"along ax[ie]s \d+|stride [\d×]+|with {NUMBERS}(?:\+{NUMBERS})?|{NUMBERS}\+{NUMBERS}|"
    r"(?:scalar|\d+(?:×\d+)+|\d+)(?=[,)])|none(?=\))|\d(?: \d)*(?=\))|[A-Za-z]*(?:,[A-Za-z]*)*→[A-Za-z]*|\w+=\w+|"
    r"float\d+|\[[^\]]*\](?=, )"
)
SHAPE = re.compile(r"(scalar|\d+(?:×\d+)*) ((?:float|int|uint|bool|complex)\d*)")


class UnreadableError(ValueError):
    """The picture does not say what was computed."""


def shape_of(text: str) -> tuple[int, ...]:
    return () if text == "scalar" else tuple(map(int, text.split("×")))


def order(axes: str) -> list[int]:
    return [] if axes == "none" else [int(i) for i in axes.split()]


def pairs(text: str) -> list[tuple[float, ...]] | float:
    """What pads each axis, before and after: "1+2, 0+0"; or one number for all."""
    found = [tuple(float(Formula(x, {}).value()) for x in word.split("+")) for word in text.split(", ")]
    return found[0][0] if len(found[0]) == 1 else found


class Formula:
    """A formula, read from left to right, of values that have names; ``dot`` is the one that has none."""

    def __init__(self, text: str, values: Mapping[str, Any], dot: Any = None, shape: tuple[int, ...] = ()) -> None:
        self.text, self.at, self.values, self.dot, self.shape = text, 0, values, dot, shape
        self.names = sorted(values, key=len, reverse=True)

    def value(self) -> Any:
        found = self.lone() if self.dot is not None else None
        if found is None:
            self.at = 0
            found = self.infix(0)
        if self.at != len(self.text):
            raise UnreadableError(f"{self.text!r} goes on after {self.text[: self.at]!r}")
        return found

    def took(self, text: str) -> bool:
        if self.text.startswith(text, self.at):
            self.at += len(text)
            return True
        return False

    def matched(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found

    def lone(self) -> Any:
        """What a box says of its one operand without naming it: "tanh", "mean over axis 0"."""
        if (found := self.matched(PHRASE)) and self.at == len(self.text):
            return self.reduced(found, self.dot)
        self.at = len(self.text)
        if self.text[:2] in ("+ ", "× "):
            return INFIX[1 + (self.text[0] == "×")][self.text[0]](self.dot, Formula(self.text[2:], {}).value())
        if self.text in ("reshape", "broadcast"):
            return self.dot.reshape(self.shape) if self.text == "reshape" else np.broadcast_to(self.dot, self.shape)
        is_word = self.text in FUNCTIONS or WORD.fullmatch(self.text)
        return self.called(self.text, [self.dot], []) if is_word and self.text not in self.values else None

    def infix(self, level: int) -> Any:
        if level == len(INFIX):
            return self.signed()
        found = self.infix(level + 1)
        while sign := next((s for s in INFIX[level] if self.text.startswith(f" {s} ", self.at)), None):
            self.at += len(sign) + 2
            found = INFIX[level][sign](found, self.infix(level + 1))
        return found

    def signed(self) -> Any:
        if self.took("−"):
            return np.negative(self.signed())
        if self.took("1/√"):
            return 1 / np.sqrt(self.indexed(self.primary()))
        if self.took("√"):
            return np.sqrt(self.indexed(self.primary()))
        if self.took("∛"):
            return np.cbrt(self.indexed(self.primary()))
        return self.raised(self.indexed(self.primary()))

    def raised(self, base: Any) -> Any:
        if found := self.matched(re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+")):
            return np.asarray(base) ** float(found[0].translate(RAISED))
        if self.took("ᵀ"):
            return np.swapaxes(base, -1, -2)
        if self.took("^"):
            return np.power(base, self.signed() if self.text[self.at] == "−" else self.indexed(self.primary()))
        return base

    def indexed(self, base: Any) -> Any:
        while self.took("["):
            base = np.asarray(base)[self.index()]
        return base

    def index(self) -> tuple[Any, ...]:
        if self.took("()]"):
            return ()
        parts = [self.part()]
        while self.took(", "):
            parts.append(self.part())
        if not self.took("]"):
            raise UnreadableError(f"an index without end: {self.text!r}")
        return tuple(parts)

    def part(self) -> Any:
        if self.took("…"):
            return Ellipsis
        if self.took("None"):
            return None
        if found := self.matched(re.compile(r"([−\d]*):([−\d]*)(?::([−\d]+))?")):
            return slice(*(int(x.replace("−", "-")) if x else None for x in found.groups()))
        if found := self.matched(re.compile(r"−?\d+(?=[\],])")):
            return int(found[0].replace("−", "-"))
        return self.infix(0)

    def primary(self) -> Any:  # noqa: PLR0911
        named = next((n for n in self.names if self.text.startswith(n, self.at) and self.ends(n)), None)
        if named is not None:
            self.at += len(named)
            return self.values[named]
        if self.took(DOT):
            if self.dot is None:
                raise UnreadableError(f"{self.text!r}: which operand is the dot?")
            return self.dot
        if self.took("("):
            found = self.infix(0)
            if not self.took(")"):
                raise UnreadableError(f"no end of parentheses in {self.text!r} at {self.at}")
            return found
        if self.took("|"):
            found = self.infix(0)
            if not self.took("|"):
                raise UnreadableError(f"no end of an absolute value in {self.text!r}")
            return np.abs(found)
        if found := self.matched(PHRASE):
            return self.reduced(found, self.infix(3))
        if found := self.matched(NUMBER):
            words = {"½": 0.5, "∞": np.inf, "True": True, "False": False}
            return words[found[0]] if found[0] in words else float(found[0])
        return self.call()

    def ends(self, name: str) -> bool:
        """Whether the name is not the beginning of a longer word."""
        after = self.text[self.at + len(name) :][:1]
        return not (name[-1:].isalnum() and (after.isalnum() or after == "(") and after not in "⁰¹²³⁴⁵⁶⁷⁸⁹ᵀ")

    def reduced(self, found: re.Match[str], x: Any) -> Any:
        axes = None if found[3] is None else () if found[3] == "none" else tuple(map(int, found[3].split(", ")))
        if found[1].startswith("cumulative"):
            return OVER[found[1]](x, axis=axes[0] if axes else None)
        return OVER[found[1]](x, axis=(0,) if found[1] == "Π" else axes, keepdims=True)

    def call(self) -> Any:
        called = next((f for f in FUNCTIONS if self.text.startswith(f"{f}(", self.at)), None)
        if called is None:
            found = WORD.match(self.text, self.at)
            if not found:
                raise UnreadableError(f"{self.text!r} at {self.text[self.at :]!r}")
            called = found[0]
        self.at += len(called)
        if not self.took("("):
            raise UnreadableError(f"{called!r} in {self.text!r} is no name that is seen here")
        operands, words = [], []
        while not self.took(")"):
            self.took(", ")
            if called not in ("where", "clip", "max", "min") and (found := self.matched(STATIC)):
                words.append(found[0])
            else:
                operands.append(self.infix(0))
        return self.called(called, operands, words)

    def called(self, name: str, operands: list[Any], words: list[str]) -> Any:  # noqa: PLR0911
        if name == "transpose":
            return np.transpose(operands[0], order(words[0]))
        if name in ("reshape", "broadcast"):
            (x,), shape = operands, shape_of(words[0])
            return np.reshape(x, shape) if name == "reshape" else np.broadcast_to(x, shape)
        if name in ("concatenate", "stack"):
            return getattr(np, name)(operands, axis=int(words[0].split()[-1]))
        if name == "einsum":
            return np.einsum(words[0].replace("→", "->"), *operands)
        if name == "pad":
            width, _, fill = ", ".join(words).partition(", with ")
            return np.pad(operands[0], np.array(pairs(width), int), constant_values=pairs(fill or "0"))
        if name == "scatter":
            result = np.zeros(shape_of(words[-1]))
            index = Formula(words[0][1:], self.values, self.dot).index()
            np.add.at(result, index, operands[0])
            return result
        if name in ("windows", "overlap-add"):
            return windows(name, operands[0], words)
        if name == "erf":
            return np.vectorize(math.erf, otypes=[float])(operands[0])
        options = {
            key: int(value) for key, value in (word.split("=") for word in words if "=" in word) if value != "None"
        }
        function = FUNCTIONS.get(name) or getattr(np, name, None)
        if function is None:
            raise UnreadableError(f"{name!r} is no function that a reader knows")
        return function(*operands, **options)


def windows(name: str, x: Any, words: list[str]) -> Any:
    if name == "windows":
        size, stride = shape_of(words[0]), shape_of(words[1].split()[1])
        seen = np.lib.stride_tricks.sliding_window_view(x, size, tuple(range(x.ndim - len(size), x.ndim)))
        steps = tuple(slice(None, None, s) for s in stride)
        return seen[(..., *steps, *(slice(None),) * len(size))]
    stride, result = shape_of(words[0].split()[1]), np.zeros(shape_of(words[1]))
    n = len(stride)
    for place in np.ndindex(*x.shape[-2 * n : -n]):
        inside = tuple(slice(p * s, p * s + k) for p, s, k in zip(place, stride, x.shape[-n:], strict=True))
        result[(..., *inside)] += x[(..., *place, *(slice(None),) * n)]
    return result


def marked(x: Any, marks: list[str]) -> Any:
    """What arrives where an edge has marks."""
    for mark in marks:
        word, _, said = mark.strip().partition(" ")
        if word == "reshape":
            x = np.reshape(x, shape_of(said))
        elif word == "broadcast":
            x = np.broadcast_to(x, shape_of(said)) if said else x
        elif word == "transpose":
            x = np.transpose(x, order(said)) if said else np.swapaxes(x, -1, -2)
        elif word != "cast":
            raise UnreadableError(f"the mark {mark!r}")
    return x


class Box:
    """What a box says: its name, the formula of its operation, a shape, and the values that it shows."""

    def __init__(self, lines: list[str], computes: bool) -> None:
        lines = [line for line in lines if line != "undoes broadcast" and not line.startswith("gradient norm")]
        (at, found), *_ = ((i, found) for i, line in enumerate(lines) if (found := SHAPE.fullmatch(line)))
        self.shape, self.dtype, self.shown = shape_of(found[1]), found[2], [line.split() for line in lines[at + 1 :]]
        said = lines[:at]
        # A formula goes on after an operator or a comma; a name stands in one line before it.
        text = said.pop() if computes else ""
        while computes and said and re.search(r"[,×+−/@=≠<≤>≥]$|\b(and|or|xor)$", said[-1]) and len(said[-1]) > 1:
            text = f"{said.pop()} {text}"
        self.formula = text
        if len(said) > 1:
            raise UnreadableError(f"which of these lines is the name, and which the formula? {lines}")
        self.name = said[0] if said else ""

    def read_values(self) -> Any:
        """The values of an array that shows all of its own."""
        if np.prod(self.shape) and (not self.shown or self.shown[0][:1] == ["min"]):
            raise UnreadableError(f"{self.name or 'data'} of {self.shape} does not show its values")
        values = [
            {"True": 1.0, "False": 0.0}.get(x) if x in ("True", "False") else float(x)
            for row in self.shown
            for x in row
        ]
        kind = bool if self.dtype == "bool" else self.dtype if self.dtype.startswith(("int", "uint")) else float
        return np.array(values).astype(kind).reshape(self.shape)


def evaluated(
    boxes: Mapping[Any, Box],
    edges: list[tuple[Any, Any, list[str]]],
    given: Mapping[str, Any],
    data: Callable[[Box], Any] = Box.read_values,
) -> dict[Any, Any]:
    """Return the value of every box, by what the picture says alone; edges are (source, target, marks)."""
    values: dict[Any, Any] = {}
    into: dict[Any, list[tuple[Any, list[str]]]] = {key: [] for key in boxes}
    for source, target, marks in edges:
        into[target].append((source, marks))

    def value(key: Any) -> Any:
        if key not in values:
            box = boxes[key]
            if not into[key]:
                values[key] = np.broadcast_to(given[box.name], box.shape) if box.name in given else data(box)
            else:
                arriving = [(boxes[s].name, marked(value(s), marks), (s, *marks)) for s, marks in into[key]]
                values[key] = fitted(computed(box, arriving), box.shape)
        return values[key]

    with np.errstate(all="ignore"):
        for key in boxes:
            value(key)
    return values


def fitted(x: Any, shape: tuple[int, ...]) -> Any:
    return np.reshape(x, shape) if np.size(x) == np.prod(shape) else np.broadcast_to(x, shape)


def computed(box: Box, arriving: list[tuple[str, Any, Any]]) -> Any:
    # Edges have no order: only where that does not matter can a formula leave its operands out.
    if box.formula in ("+", "×"):
        (_, a, _), (_, b, _) = arriving
        return INFIX[1 if box.formula == "+" else 2][box.formula](a, b)
    spoken = {name: x for name, x, _ in arriving if name}
    if re.fullmatch(rf"(max|min|hypot|logaddexp2?)\({DOT}, {DOT}\)", box.formula):
        return Formula(box.formula, {}).called(box.formula.split("(")[0], [x for _, x, _ in arriving], [])
    unnamed = {source: x for name, x, source in arriving if not name or len({at[0] for *_, at in arriving}) == 1}
    dot = next(iter(unnamed.values())) if len(unnamed) == 1 else None
    return Formula(box.formula, spoken, dot, box.shape).value()
