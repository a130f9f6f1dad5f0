"""Faults that people make in backward passes, with the words that a diagnosis may and must not use for each.

The words were fixed before the diagnosis was tried. ``accepted`` are alternatives; a diagnosis that has none of them is
unhelpful, one with a ``forbidden`` word misleads. Functions are written from formulas; the faults are those that public
questions tell of.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
SIZES = ({"n": 5, "c": 4, "k": 3, "h": 6, "w": 7, "t": 4}, {"n": 3, "c": 5, "k": 4, "h": 5, "w": 4, "t": 6})


@dataclass(frozen=True)
class Case:
    """A function, a backward pass with a fault, and what a diagnosis may say.

    Attributes
    ----------
    inputs : dict of str
        Axes by name, behind "+" for positive values, "labels:c", "mask" or "square".
    """

    name: str
    forward: Callable[..., Array]
    backward: Callable[..., Any]
    inputs: dict[str, str]
    accepted: tuple[str, ...]
    forbidden: tuple[str, ...] = ()


def drawn(case: Case, seed: int) -> tuple[Array, ...]:
    """Return inputs of one of two sizes."""
    rng, sizes = np.random.default_rng(seed), SIZES[seed % 2]

    def one(spec: str) -> Array:
        kind, axes = spec.split(" ", 1) if spec.startswith(("+", "mask", "labels")) else ("", spec)
        shape = tuple(int(a) if a.isdigit() else sizes[a] for a in axes.split())
        if kind.startswith("labels:"):
            return rng.integers(0, sizes[kind[7:]], shape)
        if kind == "mask":
            return rng.random(shape) < 0.6
        values = rng.normal(size=shape)
        return np.asarray(np.abs(values) + 0.5 if kind == "+" else values)

    return tuple(map(one, case.inputs.values()))


CASES: list[Case] = []


def case(name: str, forward: Any, inputs: dict[str, str], backward: Any, accepted: str, forbidden: str = "") -> None:
    """Add a case; words are apart by "|"."""
    CASES.append(
        Case(name, forward, backward, inputs, *(tuple(filter(None, w.split("|"))) for w in (accepted, forbidden)))
    )


# Activations.

sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
relu = lambda x: np.maximum(x, 0)  # noqa: E731
X = {"x": "n c"}

case("relu: mask missing", relu, X, lambda g, x: g * 1, "negative|sign of x|mask", "factor|transposed|sum")
case("relu: mask of the gradient", relu, X, lambda g, x: g * (g > 0), "cotangent", "transposed|eps")
case("relu: inverted mask", relu, X, lambda g, x: g * (x < 0), "mask|inverted|sign of x", "factor|sum")
case("relu: multiplied by x", relu, X, lambda g, x: g * relu(x), "x|output", "sum|transposed|batch")
case(
    "leaky: slope forgotten",
    lambda x: np.where(x > 0, x, 0.01 * x),
    X,
    lambda g, x: g * (x > 0),
    "negative|mask",
    "sum|batch|transposed",
)
case(
    "leaky: slope squared",
    lambda x: np.where(x > 0, x, 0.1 * x),
    X,
    lambda g, x: g * np.where(x > 0, 1, 0.01),
    "negative",
    "sum|batch|transposed",
)
case(
    "leaky: slope on both sides",
    lambda x: np.where(x > 0, x, 0.1 * x),
    X,
    lambda g, x: g * 0.1,
    "positive",
    "sum|batch|transposed",
)
case(
    "elu: exp without alpha + y",
    lambda x: np.where(x > 0, x, np.exp(x) - 1),
    X,
    lambda g, x: g * np.where(x > 0, 1, np.exp(x) - 1),
    "negative|term",
    "batch|sum|transposed",
)
case("sigmoid: of x for y", sigmoid, X, lambda g, x: g * x * (1 - x), "derivative|output", "sum|batch|sign")
case("sigmoid: y alone", sigmoid, X, lambda g, x: g * sigmoid(x), "1 - the output|factor|derivative", "sum|batch|sign")
case(
    "sigmoid: 1 + y", sigmoid, X, lambda g, x: g * sigmoid(x) * (1 + sigmoid(x)), "derivative|term|factor", "sum|batch"
)
case(
    "sigmoid: derivative missing",
    sigmoid,
    X,
    lambda g, x: g * 1,
    "derivative is missing|unchanged|derivative",
    "sum|batch",
)
case(
    "sigmoid: twice applied",
    sigmoid,
    X,
    lambda g, x: g * sigmoid(sigmoid(x)) * (1 - sigmoid(sigmoid(x))),
    "output in place|derivative",
    "sum|batch|eps",
)
case("tanh: 1 - y", np.tanh, X, lambda g, x: g * (1 - np.tanh(x)), "1 +|derivative|square", "sum|batch|eps")
case("tanh: 1 - x**2", np.tanh, X, lambda g, x: g * (1 - x**2), "derivative|output", "sum|batch|eps")
case("tanh: 1 + y**2", np.tanh, X, lambda g, x: g * (1 + np.tanh(x) ** 2), "derivative|sign", "sum|batch|eps")
case(
    "softplus: exp missing",
    lambda x: np.log(1 + np.exp(x)),
    X,
    lambda g, x: g / (1 + np.exp(x)),
    "derivative|exp",
    "sum|batch|eps",
)
case("swish: product rule", lambda x: x * sigmoid(x), X, lambda g, x: g * sigmoid(x), "term|derivative", "batch|eps")
case(
    "gelu: x phi missing",
    lambda x: 0.5 * x * (1 + np.tanh(0.79788456 * (x + 0.044715 * x**3))),
    X,
    lambda g, x: g * 0.5 * (1 + np.tanh(0.79788456 * (x + 0.044715 * x**3))),
    "term|derivative",
    "batch|eps",
)
case("square: 2 missing", lambda x: x**2, X, lambda g, x: g * x, "0.5|2|factor", "sum|batch|eps|statistics")
case("exp: x for y", np.exp, X, lambda g, x: g * x, "derivative|output", "sum|batch|eps")
case("log: not inverted", np.log, {"x": "+ n c"}, lambda g, x: g * x, "invert|derivative|divided", "sum|batch")
case("sqrt: half missing", np.sqrt, {"x": "+ n c"}, lambda g, x: g / np.sqrt(x), "2 times|factor", "sum|batch")
case("sqrt: square root missing", np.sqrt, {"x": "+ n c"}, lambda g, x: g / x / 2, "square root|derivative", "batch")
case("reciprocal: sign", lambda x: 1 / x, {"x": "+ n c"}, lambda g, x: g / x**2, "sign", "sum|batch")
case(
    "clip: mask missing", lambda x: np.clip(x, -0.8, 0.8), X, lambda g, x: g * 1, "threshold|mask|clip", "sum|batch|eps"
)
case("abs: sign missing", np.abs, X, lambda g, x: g * 1, "negative|sign", "sum|batch|eps")
case("cos: sign", np.cos, X, lambda g, x: g * np.sin(x), "sign", "sum|batch")


# Linear layers.


def linear(x, w, b):
    return x @ w + b


LINEAR = {"x": "n c", "w": "c k", "b": "k"}
SQUARE = {"x": "n c", "w": "c c", "b": "c"}


def affine(**changed):
    def backward(g, x, w, b):
        right = {"x": g @ w.T, "w": x.T @ g, "b": g.sum(axis=0)}
        return tuple({**right, **{k: f(g, x, w, b) for k, f in changed.items()}}.values())

    return backward


case("linear: dw averaged", linear, LINEAR, affine(w=lambda g, x, w, b: x.T @ g / len(x)), "batch size", "axis 1|sign")
case("linear: db averaged", linear, LINEAR, affine(b=lambda g, x, w, b: g.mean(axis=0)), "batch size", "axis 1|sign")
case("linear: w untransposed", linear, SQUARE, affine(x=lambda g, x, w, b: g @ w), "transposed", "flip|sign|batch")
case("linear: dw transposed", linear, SQUARE, affine(w=lambda g, x, w, b: g.T @ x), "transposed", "flip|sign|batch")
case("linear: db not summed", linear, LINEAR, affine(b=lambda g, x, w, b: g), "sum|broadcast", "transposed|sign")
case(
    "linear: db keepdims", linear, LINEAR, affine(b=lambda g, x, w, b: g.sum(axis=0, keepdims=True)), "keepdims", "sign"
)
case(
    "linear: db over the wrong axis",
    linear,
    {"x": "n n", "w": "n n", "b": "n"},
    affine(b=lambda g, x, w, b: g.sum(axis=1)),
    "axis",
    "sign|batch size",
)
case("linear: db by one sample", linear, LINEAR, affine(b=lambda g, x, w, b: g[0]), "sum|first|once", "transposed|sign")
case("linear: dx zero", linear, LINEAR, affine(x=lambda g, x, w, b: 0 * x), "zero", "transposed|sign")
case("linear: dw doubled", linear, LINEAR, affine(w=lambda g, x, w, b: 2 * x.T @ g), "2 times|factor", "batch|axis")
case(
    "linear: weight decay in dw",
    linear,
    LINEAR,
    affine(w=lambda g, x, w, b: x.T @ g + 0.1 * w),
    "does not depend on the cotangent|regulari|penalty",
    "transposed|sign|batch",
)
case("linear: dw of w", linear, SQUARE, affine(w=lambda g, x, w, b: w.T @ (x.T @ g)), "wrong|w|axis", "sign|batch size")
case(
    "linear: g ignored in dw",
    linear,
    LINEAR,
    affine(w=lambda g, x, w, b: x.T @ np.ones_like(g)),
    "does not depend on the cotangent",
    "transposed|batch size",
)
