"""What else NumPy does with Tensors: predicates and index functions give plain results."""

from __future__ import annotations

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


def _on_values(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: function(*plain(args), **{key: plain(value) for key, value in kwargs.items()})


FUNCTIONS.update({function: _on_values(function) for function in _PLAIN})
