"""Error messages for unsupported NumPy functions: they name an alternative, or say that there is no gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..operators import FUNCTIONS

# Each expression computes what the function computes, with a gradient. A test evaluates all of them.
ADVICE = {
    "np.add.at": "x + tn.ops.scatter(y, index, x.shape)",
    "np.add.reduceat": "np.stack([part.sum(0) for part in np.split(x, index[1:])]), if index starts at 0 and increases",
    "np.apply_along_axis": "np.stack([f(row) for row in x]), for the last axis of a matrix",
    "np.block": "np.vstack([np.hstack(row) for row in rows])",
    "np.copysign": "np.where(np.signbit(y), -abs(x), abs(x))",
    "np.corrcoef": "(z := (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)) @ z.T / z.shape[1]",
    "np.cov": "(d := x - x.mean(1, keepdims=True)) @ d.T / (d.shape[1] - 1)",
    "np.fft.fftshift": "np.roll(x, [n // 2 for n in x.shape], range(x.ndim)), for all axes",
    "np.fft.ifftshift": "np.roll(x, [-(n // 2) for n in x.shape], range(x.ndim)), for all axes",
    "np.geomspace": "np.exp(np.linspace(np.log(x), np.log(y), 50)), for positive endpoints",
    "np.insert": "np.concatenate((x[:index], np.atleast_1d(y), x[index:])), for one index into a vector",
    "np.ldexp": "x * 2.0**n",
    "np.logspace": "10 ** np.linspace(x, y, 50)",
    "np.meshgrid": "np.broadcast_arrays(x, y[:, None])",
    "np.piecewise": "np.where(condition, f(x), g(x))",
    "np.polyval": "np.vander(x, len(p)) @ p",
    "np.subtract.at": "x - tn.ops.scatter(y, index, x.shape)",
    "np.lib.stride_tricks.sliding_window_view": "tn.ops.sliding_windows(x, window_shape)",
    "np.linalg.lstsq": "np.linalg.solve(x.mT @ x, x.mT @ y), if the columns of x are independent",
    "np.linalg.pinv": "np.linalg.solve(x.mT @ x, x.mT), if the columns of x are independent",
    "np.linalg.tensorsolve": "np.linalg.solve(x.reshape(y.size, -1), y.ravel()).reshape(x.shape[y.ndim :])",
}
# Tensors cannot be changed in place, so these expressions make a new one.
ADVICE |= dict.fromkeys(("np.copyto", "np.place", "np.putmask"), "np.where(condition, y, x), for a new Tensor")
ADVICE["np.fill_diagonal"] = "np.where(np.eye(*x.shape, dtype=bool), y, x), for a new Tensor"

# Methods of ufuncs that are also NumPy functions.
_METHODS = {"np.add.accumulate": np.cumsum, "np.multiply.reduce": np.prod, "np.multiply.accumulate": np.cumprod}

_KEYWORDS = {
    "out": "use the return value",
    "dtype": "convert with .astype",
    "casting": "convert with .astype",
    "where": "select elements with np.where or an index first",
}


def qualified(function: Any) -> str:
    """Return the name of a NumPy function as users write it: ``np.linalg.inv``, ``np.add.reduce``."""
    owner = getattr(function, "__self__", None)
    if isinstance(owner, np.ufunc):
        return f"{qualified(owner)}.{function.__name__}"
    name: str = function.__name__
    if isinstance(function, np.ufunc):
        return f"np.{name}" if getattr(np, name, None) is function else name
    return f"{function.__module__}.{name}".replace("numpy", "np", 1)


def advice(function: Any) -> str:
    """Return an error message that says why a NumPy function does not take Tensors and what to use instead."""
    name = qualified(function)
    expression = ADVICE.get(name)
    if _METHODS.get(name) in FUNCTIONS:
        expression = f"{qualified(_METHODS[name])}(x, axis=0)"
    elif name.endswith(".outer") and function.__self__ in FUNCTIONS:
        expression = f"{name.removesuffix('.outer')}(x[:, None], y), for vectors"
    if name in ("np.put", "np.put_along_axis"):
        return f"{name} changes an array in place, which Tensors do not support; use np.where, for a new Tensor"
    if expression:
        return f"{name} does not work on Tensors; use {expression}"
    return f"{name} of Tensors has no gradient here; pass .data to compute it without a gradient"


def keyword_advice(function: Any, keyword: str) -> str:
    """Return an error message for a keyword argument that a function does not support for Tensors."""
    return f"{qualified(function)} of Tensors does not support {keyword}=; {_KEYWORDS.get(keyword, 'omit it')}"


FUNCTIONS |= {"advice": advice, "keyword advice": keyword_advice}
