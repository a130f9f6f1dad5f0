"""What else NumPy does with Tensors: predicates and index functions give plain results, the rest gives advice."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import numpy as np

from ..operators import FUNCTIONS, plain

_PLAIN: list[Any] = [
    np.isnan, np.isinf, np.isfinite, np.isreal, np.iscomplexobj, np.isrealobj, np.signbit, np.floor, np.ceil, np.rint,
    np.round, np.argmax, np.argmin, np.argsort, np.nonzero, np.count_nonzero, np.flatnonzero, np.unique, np.any, np.all,
    np.allclose, np.isclose, np.array_equal, np.shape, np.ndim, np.size, np.result_type, np.shares_memory,
    np.may_share_memory, np.array2string, np.array_repr, np.array_str, np.equal, np.not_equal, np.less, np.less_equal,
    np.greater, np.greater_equal, np.logical_and, np.logical_or, np.logical_not, np.logical_xor, np.searchsorted,
    np.digitize, np.histogram,
]  # fmt: skip

_ADVICE = {
    "prod": "multiply the elements, or use np.exp(np.log(x).sum()) for positive ones",
    "sort": "use x[np.argsort(x)] along one axis",
    "median": "use x[np.argsort(x)] and the middle element",
    "norm": "use np.sqrt((x * x).sum())",
    "cbrt": "use x ** (1 / 3)",
    "log2": "use np.log(x) * (1 / math.log(2))",
    "log10": "use np.log(x) * (1 / math.log(10))",
    "exp2": "use 2 ** x",
    "float_power": "use x ** p",
    "reciprocal": "use 1 / x",
    "tan": "use np.sin(x) / np.cos(x)",
    "hypot": "use np.sqrt(a * a + b * b)",
    "inner": "use np.einsum with an explicit '->'",
    "tensordot": "use np.einsum with an explicit '->'",
    "outer": "use a[:, None] * b",
    "flip": "use x[::-1]",
    "tile": "use np.broadcast_to and reshape, or np.concatenate",
    "repeat": "use x[indices]",
    "average": "use (x * weights).sum() / weights.sum()",
    "vstack": "use np.concatenate",
    "hstack": "use np.concatenate(..., axis=1)",
    "copyto": "a Tensor's values cannot be changed; rebind a leaf's .data",
}


def advice(name: str) -> str:
    """Return what works instead of a NumPy function that Tensors do not know."""
    known = [f.__name__ for f in FUNCTIONS if not isinstance(f, str)]
    near = " or ".join(f"np.{close}" for close in difflib.get_close_matches(name, known, n=3))
    return _ADVICE.get(name) or (f"perhaps {near}" if near else "use .data")


def _on_values(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: function(*plain(args), **{key: plain(value) for key, value in kwargs.items()})


FUNCTIONS.update({function: _on_values(function) for function in _PLAIN})
FUNCTIONS["advice"] = advice
