"""What else NumPy does with Tensors: predicates and index functions give plain results, the rest gives advice."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import numpy as np

from ..context import STATE
from ..operators import FUNCTIONS, holds_tensors, plain
from ..origins import Data, remember
from ..primitive import Primitive
from ..tensor import Tensor
from .core import operand

_PLAIN: list[Any] = [
    np.isnan, np.isinf, np.isfinite, np.isreal, np.iscomplexobj, np.isrealobj, np.signbit, np.floor, np.ceil, np.rint,
    np.round, np.argmax, np.argmin, np.argsort, np.nonzero, np.count_nonzero, np.flatnonzero, np.unique, np.any, np.all,
    np.allclose, np.isclose, np.array_equal, np.shape, np.ndim, np.size, np.result_type, np.shares_memory,
    np.may_share_memory, np.array2string, np.array_repr, np.array_str, np.equal, np.not_equal, np.less, np.less_equal,
    np.greater, np.greater_equal, np.logical_and, np.logical_or, np.logical_not, np.logical_xor, np.searchsorted,
    np.digitize, np.histogram, np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert, np.floor_divide,
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
    """Return a function of Tensors that gives what a NumPy function gives for their values: a plain result, or Data."""
    primitive = Primitive(function.__name__, _SIGNS.get(function.__name__, function.__name__), function)

    def data(*args: Any, **kwargs: Any) -> Any:
        state = STATE.get()
        values, options = plain(args), {key: plain(value) for key, value in kwargs.items()}
        if state.analytic:
            # What is constant in pieces branches by the real part.
            values = tuple(np.real(x) if np.iscomplexobj(x) else x for x in values)
        output = function(*values, **options)
        if not (state.origins and isinstance(output, np.ndarray | np.generic)):
            return output
        return remember(
            output, primitive, tuple(operand(x) if holds_tensors(x) else x for x in args), options, kind=Data
        )

    return data


_SIGNS = {
    "equal": "=", "not_equal": "≠", "less": "<", "less_equal": "≤", "greater": ">", "greater_equal": "≥",
    "bitwise_and": "and", "bitwise_or": "or", "bitwise_xor": "xor", "invert": "not",
    "logical_and": "and", "logical_or": "or", "logical_xor": "xor", "logical_not": "not",
}  # fmt: skip


def _part(part: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return what takes the real part or the conjugate of complex values, and leaves a real Tensor as it is."""
    return lambda x: x if x.dtype.kind != "c" else Tensor(part(x.data))


FUNCTIONS.update({function: _on_values(function) for function in _PLAIN})
FUNCTIONS |= {"advice": advice, np.real: _part(np.real), np.conjugate: _part(np.conjugate)}
FUNCTIONS |= {np.imag: lambda x: Tensor(np.imag(x.data))}
