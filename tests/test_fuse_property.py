"""Random compositions: compiled, they are what they were. Kernels run as the Python that they are, in float64.

So each takes milliseconds, and hundreds are tried. A few are compiled, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

import tinygrad_norm as tn
from tests.fused_cases import interpreted
from tinygrad_norm.fusing import kernels
from tinygrad_norm.fusing.run import Fused

pytest.importorskip("numba", reason="fuse compiles with numba, which the extra `compile` installs")

Function = Callable[..., Any]
UNARY: dict[str, Function] = {
    "negative": lambda a: -a,
    "square": lambda a: a * a,
    "power": lambda a: a**3 / 4,
    "root": lambda a: (a * a + 0.5) ** 0.25,
    "tanh": np.tanh,
    "exp": lambda a: np.exp(-abs(a)),
    "log": lambda a: np.log(1 + a * a),
    "sqrt": lambda a: np.sqrt(a * a + 0.5),
    "sigmoid": tn.ops.sigmoid,
    "relu": tn.ops.relu,
    "silu": tn.ops.silu,
    "clip": lambda a: np.clip(a, -0.7, 0.9),
    "where": lambda a: np.where(a > 0.2, a, 0.3 * a),
    "halved": lambda a: 0.5 * a - 1.25,
    "sine": np.sin,
}
BINARY: dict[str, Function] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / (1 + b * b),
    "maximum": np.maximum,
    "minimum": np.minimum,
    "where": lambda a, b: np.where(a < b, a, 2 * b),
}
REDUCED: dict[str, Function] = {
    "mean": lambda a, axis: a.mean(axis, keepdims=True),
    "sum": lambda a, axis: 0.3 * a.sum(axis, keepdims=True),
    "max": lambda a, axis: a.max(axis, keepdims=True),
    "var": lambda a, axis: a.var(axis, keepdims=True),
    "std": lambda a, axis: np.sqrt(((a - a.mean(axis, keepdims=True)) ** 2).mean(axis, keepdims=True) + 0.1),
    "rms": lambda a, axis: ((a * a).mean(axis, keepdims=True) + 1e-3) ** 0.5,
}


@st.composite
def programs(draw: st.DrawFn) -> tuple[Function, list[tuple[int, ...]], str]:
    """Draw a function of arrays, the shapes that it takes, and what it is, as text."""
    ndim = draw(st.integers(1, 4))
    full = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 4]), min_size=ndim, max_size=ndim)))
    partial = st.lists(st.booleans(), min_size=ndim, max_size=ndim)
    shapes = [full]
    for _ in range(draw(st.integers(0, 2))):
        keep = draw(partial)
        shapes.append(tuple(n if kept else 1 for n, kept in zip(full, keep, strict=True)))
    axis = tuple(i for i, reduced in enumerate(draw(partial)) if reduced) or (ndim - 1,)
    steps: list[tuple[Any, ...]] = []
    count = len(shapes)
    for _ in range(draw(st.integers(2, 8))):
        kind = draw(st.sampled_from(["unary", "binary", "binary", "reduced", "normalized"]))
        a, b = (draw(st.integers(0, count - 1)) for _ in range(2))
        if kind == "unary":
            steps.append((draw(st.sampled_from(sorted(UNARY))), UNARY, a))
        elif kind == "binary":
            steps.append((draw(st.sampled_from(sorted(BINARY))), BINARY, a, b))
        elif kind == "reduced":
            steps.append((draw(st.sampled_from(sorted(REDUCED))), REDUCED, a, axis))
        else:
            steps.append(("normalized", {"normalized": _normalized}, a, axis))
        count += 1
    ending = draw(st.sampled_from(["whole", "whole", "sum", "mean", "reshape", "moved"]))

    def function(*inputs: Any) -> Any:
        values = [*inputs]
        for name, table, a, *rest in steps:
            other = [values[rest[0]]] if table is BINARY else rest
            values.append(table[name](values[a], *other))
        y = values[-1] + 0 * values[0]
        if ending in ("sum", "mean"):
            return getattr(y, ending)(axis)
        return y.reshape(-1) * 2 if ending == "reshape" else np.moveaxis(y, 0, -1) if ending == "moved" else y

    text = f"{shapes} {axis} {[(name, *rest) for name, _, *rest in steps]} {ending}"
    return function, shapes, text


def _normalized(a: Any, axis: tuple[int, ...]) -> Any:
    centred = a - a.mean(axis, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(axis, keepdims=True) + 1e-3)


def difference(function: Function, shapes: list[tuple[int, ...]], seed: int = 0) -> tuple[str | None, Counter[str]]:
    """Return where the compiled function differs from the composition, and why it fell back."""
    rng = np.random.default_rng(seed)
    leaves = [tn.tensor(rng.standard_normal(shape), requires_grad=True) for shape in shapes]
    fused = Fused(function, closed=True)  # all that the function reads from elsewhere are its own steps
    with np.errstate(all="ignore"):
        y, z = fused(*leaves), function(*leaves)
        g = rng.standard_normal(z.shape)
        ours, theirs = ([out, *tn.grad(out, leaves, g)] for out in (y, z))
    for name, a, b in zip(["y", *map(str, range(len(leaves)))], ours, theirs, strict=True):
        if a.shape != b.shape or not np.allclose(a.data, b.data, rtol=1e-9, atol=1e-9, equal_nan=True):
            return f"{name}: {a.data.ravel()[:5]} for {b.data.ravel()[:5]}", fused.fallbacks
    return None, fused.fallbacks


EXPECTED = (
    "statistics over different axes", "a sum runs over only a part", "the argument of a sum over kept axes",
    "is used again", "unchanged", "is combined with the loops", "keeps some that are not",
    "combines two axes of one array", "a reshape cuts", "of computed values",
)  # fmt: skip
"""What the loops cannot hold; any other reason would be a gap."""


@given(programs())
def test_random_compositions_are_what_they_were(program: tuple[Function, list[tuple[int, ...]], str]) -> None:
    function, shapes, text = program
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "compiled", interpreted)
        found, reasons = difference(function, shapes)
    assert found is None, f"{found} in {text}"
    assert all(any(known in reason for known in EXPECTED) for reason in reasons), (reasons, text)
    event("fell back" if reasons else "compiled")
