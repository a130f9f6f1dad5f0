"""NumPy functions without a gradient, such as predicates and index functions: they return plain results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..context import STATE
from ..operators import FUNCTIONS, holds_tensors, plain
from ..origins import Data, remember
from ..primitive import Primitive
from ..tensor import Tensor
from .core import operand, where

_PLAIN: list[Any] = [
    # Predicates and properties.
    np.isnan, np.isinf, np.isfinite, np.isreal, np.iscomplex, np.iscomplexobj, np.isrealobj, np.isposinf, np.isneginf,
    np.isin, np.any, np.all, np.allclose, np.isclose, np.array_equal, np.array_equiv, np.shape, np.ndim, np.size,
    np.result_type, np.can_cast, np.shares_memory, np.may_share_memory, np.array2string, np.array_repr, np.array_str,
    np.einsum_path, np.linalg.matrix_rank,
    # Comparisons and logic.
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal, np.logical_and, np.logical_or,
    np.logical_not, np.logical_xor, np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert, np.signbit,
    # Indices and counts.
    np.argmax, np.argmin, np.nanargmax, np.nanargmin, np.argsort, np.argpartition, np.argwhere, np.lexsort, np.nonzero,
    np.flatnonzero, np.count_nonzero, np.searchsorted, np.digitize, np.histogram, np.unique,
    np.unique_all, np.unique_counts, np.unique_inverse, np.unique_values, np.ix_, np.tril_indices_from,
    np.triu_indices_from, np.diag_indices_from,
    # Piecewise constant functions.
    np.floor, np.ceil, np.rint, np.round, np.around, np.trunc, np.fix, np.floor_divide,
]  # fmt: skip


def on_values(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a NumPy function take Tensors: it runs on their values and returns a plain result, or Data."""
    primitive = Primitive(function.__name__, _SIGNS.get(function.__name__, function.__name__), function)

    def data(*args: Any, **kwargs: Any) -> Any:
        state = STATE.get()
        if isinstance(kwargs.get("weights"), Tensor):
            raise TypeError(
                f"np.{function.__name__} returns plain counts: the gradient of weights= would be lost; pass its .data"
            )
        values, options = plain(args), {key: plain(value) for key, value in kwargs.items()}
        if state.analytic:
            # Piecewise constant functions branch on the real part.
            values = tuple(np.real(x) if np.iscomplexobj(x) else x for x in values)
        output = function(*values, **options)
        if not (state.origins and holds_tensors(args) and isinstance(output, np.ndarray | np.generic)):
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
    """Return a function that applies ``part`` to complex values and returns a real Tensor unchanged."""
    return lambda x: x if x.dtype.kind != "c" else Tensor(part(x.data))


FUNCTIONS.update({function: on_values(function) for function in _PLAIN})
FUNCTIONS[np.where] = lambda condition, *choices: (where if choices else np.nonzero)(condition, *choices)
FUNCTIONS |= {np.real: _part(np.real), np.conjugate: _part(np.conjugate)}
FUNCTIONS |= {np.imag: lambda x: Tensor(np.imag(x.data))}
