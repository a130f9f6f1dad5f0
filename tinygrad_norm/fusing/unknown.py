"""Arrays with a shape and a dtype but no values, so that a function can be recorded without computing."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, NoReturn

import numpy as np

FILL: ContextVar[float] = ContextVar("fill", default=1.0)
"""The content of an array without values. It differs in a second run, which reveals functions that read it."""


class UnfusableError(BaseException):  # so that a function that catches exceptions does not catch it
    """A function cannot be compiled. The message is the reason; the composition runs instead."""


def unknown(shape: tuple[int, ...], dtype: Any) -> Unknown:
    """Return an array without values: a view that repeats one element."""
    element = np.full(1, FILL.get(), dtype)
    return np.ndarray.__new__(Unknown, shape, element.dtype, element, 0, (0,) * len(shape))


class Unknown(np.ndarray[Any, np.dtype[Any]]):
    """An array without values. So are the results of elementwise functions and reductions; other uses are refused."""

    base = property(lambda self: None)  # not a view of another array

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if ufunc.signature is not None or method not in ("__call__", "reduce") or options.get("out") is not None:
            raise UnfusableError(f"{ufunc.__name__} is neither elementwise nor a reduction")
        if method == "reduce":
            return _reduced(ufunc, inputs[0], **options)
        return _elementwise(ufunc, *inputs, **options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        if function is np.where and len(args) == 3:
            return _elementwise(np.where, *args)
        if function is np.broadcast_to:
            return unknown(tuple(args[1]), self.dtype)
        if function is np.clip:
            return _elementwise(np.clip, *args)
        return _refuse(function.__name__)

    def astype(self, dtype: Any, *args: Any, **options: Any) -> Any:
        return unknown(self.shape, dtype)

    def __getitem__(self, index: Any) -> Any:
        # This index only distinguishes arrays from scalars.
        return super().__getitem__(index) if index == () else _refuse("an index")

    def __bool__(self) -> bool:
        return _refuse("an if")

    def __float__(self) -> float:
        return _refuse("float()")

    def __int__(self) -> int:
        return _refuse("int()")

    __index__ = __complex__ = __int__

    def item(self, *args: Any) -> Any:
        return _refuse("a question about values, such as an if or a float(),")

    flat = property(lambda self: self.item())


for _name in (
    "tolist", "tobytes", "view", "argmax", "argmin", "argsort", "argpartition", "nonzero", "searchsorted", "dot",
    "trace", "take", "compress", "choose", "cumsum", "cumprod", "diagonal", "repeat", "any", "all",
):  # fmt: skip
    setattr(Unknown, _name, Unknown.item)


def _refuse(what: str) -> NoReturn:
    raise UnfusableError(f"{what} needs the values of an array, or is not compiled")


def _sample(x: Any) -> Any:
    return np.ones((1,) * x.ndim, x.dtype) if isinstance(x, np.ndarray) else x


def _elementwise(function: Any, *inputs: Any, **options: Any) -> Unknown:
    with np.errstate(all="ignore"):
        dtype = function(*map(_sample, inputs), **options).dtype
    return unknown(np.broadcast_shapes(*(getattr(x, "shape", ()) for x in inputs)), dtype)


def _reduced(ufunc: np.ufunc, x: Any, axis: Any = 0, keepdims: bool = False, **options: Any) -> Unknown:
    axes = np.lib.array_utils.normalize_axis_tuple(range(x.ndim) if axis is None else axis, x.ndim)
    shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape) if keepdims or i not in axes)
    return unknown(shape, ufunc.reduce(_sample(x), axis=axes, **options).dtype)
