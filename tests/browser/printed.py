"""Arithmetic as a page prints it: read as a person reads it, and held against its result."""

import math
import re
from typing import Any

import numpy as np

# What the page says of each cell at each step, for each of some edits: pairs of a vertex and its values.
SAID = """edits => {
  const lines = [], { shape } = now.reference;
  edits.forEach((edit, k) => {
    state.changes = new Map(edit.map(([vertex, values]) => [vertex, Float64Array.from(values)]));
    compute();
    for (let flat = 0; flat < product(shape); flat++) {
      state.cell = indexOf(shape, flat);
      now.steps.forEach((step, s) => {
        const cell = chosenIn(now.stage.boxes[step.box]);
        for (const part of cellLines(step)) lines.push([[k, s, flat, cell], part.textContent]);
      });
    }
  });
  return lines;
}"""

_KNOWN = {name: getattr(math, name) for name in ("sqrt", "exp", "log", "tanh", "log1p", "expm1", "erf", "sin", "cos")}
_KNOWN |= {"max": max, "min": min, "abs": abs, "sigmoid": lambda x: 1 / (1 + math.exp(-x))}


def number(text: str) -> float:
    return float(text.replace("−", "-").replace("∞", "inf"))


def evaluated(text: str) -> float | None:
    """The value of arithmetic; None where it holds more than numbers, or what is no number."""
    text = text.replace("−", "-").replace("·", "*").replace("²", "**2").replace("^", "**")
    text = re.sub(r"\|([^|]*)\|", r"abs(\1)", text).replace("√(", "sqrt(")
    text = re.sub(r"√([\d.]+(?:e[-+]\d+)?)", r"sqrt(\1)", text)
    words = set(re.findall(r"[^\W\d]\w*", re.sub(r"\de[-+]?\d", "", text)))
    if words - set(_KNOWN) or re.search("[…∞]", text):
        return None
    return float(eval(text, {"__builtins__": {}}, _KNOWN))


def last_digit(text: str) -> float:
    """What one more in the last printed digit is worth."""
    digits, _, exponent = text.partition("e")
    return float(10.0 ** (int(number(exponent or "0")) - len(digits.partition(".")[2])))


def agrees(text: str, value: float) -> bool:
    """Whether a printed number is this one, to its digits."""
    found = number(text)
    return found == value or bool(abs(found - value) <= 0.5001 * last_digit(text) + 1e-9 * abs(value))


def untrue(lines: list[Any]) -> tuple[list[Any], int]:
    """Printed lines whose arithmetic does not give the printed result, and how many were looked at."""
    found = []
    for line in lines:
        parts = line[-1].split(" = ")
        value = evaluated(parts[-2]) if len(parts) > 1 else None
        if value is not None:
            found.append((line, value, parts[-1]))
    wrong = [line for line, value, end in found if not abs(value - number(end)) <= 0.5001 * last_digit(end)]
    return wrong, len(found)


def operands(text: str) -> list[str]:
    """The numbers of a line between its formula and its result."""
    parts = text.split(" = ")
    return re.findall(r"[\d.]+(?:e[−+]\d+)?", parts[-2]) if len(parts) > 2 else []


def inputs(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of every kind: large, small, beside an offset, tied, zero, equal in a column, and such that cancel."""
    scale = 10.0 ** rng.integers(-3, 5)
    x = rng.normal(size=shape) * scale + rng.choice([0, 1, -3, 100]) * scale
    kind, last = rng.integers(8), rng.integers(shape[-1])
    if kind == 0:
        x = np.round(x / scale) * scale
    elif kind == 1:
        x[rng.random(shape) < 0.5] = 0
    elif kind == 2:
        x[..., last] = x.flat[0]
    elif kind == 3:
        x = 1e4 + rng.normal(size=shape) * 1e-3
    elif kind == 4:
        x = x.round(2)
    elif kind == 5:
        x[..., last] *= 1e4
    return x
