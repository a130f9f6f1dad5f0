"""Reductions with NumPy's ``where=`` and ``initial=``."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from ..operators import FUNCTIONS, Axis
from .composite import masked, mean_of_some
from .core import add, operand
from .core import mean as mean_of_all
from .core import sum as sum_of_all
from .elementwise import maximum, minimum
from .reductions import max as max_of_all
from .reductions import min as min_of_all


def of_some(reduce: Callable[..., Any], neutral: float, join: Callable[..., Any]) -> Callable[..., Any]:
    """Add the arguments ``where`` and ``initial`` to a reduction."""

    @wraps(reduce)
    def reduced(x: Any, *args: Any, where: Any = True, initial: Any = None, **kwargs: Any) -> Any:
        y = reduce(x if where is True else masked(operand(x), where, neutral), *args, **kwargs)
        return y if initial is None else join(y, initial)

    return reduced


def _extreme_of_some(reduce: Callable[..., Any], join: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(reduce)
    def reduced(
        x: Any, axis: Axis = None, out: None = None, keepdims: bool = False, initial: Any = None, where: Any = True
    ) -> Any:
        if initial is None and where is True:
            return reduce(x, axis, out, keepdims)
        if initial is None:
            raise ValueError(f"{reduce.__name__} with where= requires initial=, the result if no element is selected")
        x = masked(operand(x), where, initial)
        # A sum over no elements is a zero of the right shape.
        return join(reduce(x, axis, out, keepdims) if x.size else sum_of_all(x, axis, keepdims=keepdims), initial)

    return reduced


def mean(
    x: Any, axis: Axis = None, dtype: Any = None, out: None = None, keepdims: bool = False, *, where: Any = True
) -> Any:
    """Average the elements selected by ``where=`` over one or several axes, like ``np.mean``."""
    if where is True:
        return mean_of_all(x, axis, dtype, out, keepdims)
    return mean_of_some(x, axis, dtype, keepdims, where)


sum = of_some(sum_of_all, 0, add)
max, min = _extreme_of_some(max_of_all, maximum), _extreme_of_some(min_of_all, minimum)

FUNCTIONS |= {np.sum: sum, np.add.reduce: sum, np.mean: mean}
FUNCTIONS |= {np.max: max, np.amax: max, np.maximum.reduce: max, np.min: min, np.amin: min, np.minimum.reduce: min}

__all__ = ["max", "mean", "min", "sum"]
