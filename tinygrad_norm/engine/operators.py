"""Tensor's operators and methods, its NumPy protocols, and the table of implementations that they use.

`FUNCTIONS` maps NumPy functions to their implementations for Tensors. The modules in `engine/ops` fill it, so this
module does not import them, and type checkers see all operators and methods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from .tensor import Tensor

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Axis: TypeAlias = int | Sequence[int] | None
Method: TypeAlias = "Callable[..., Tensor]"

FUNCTIONS: dict[Any, Callable[..., Any]] = {}


def _method(function: Any) -> Method:
    """Return a method or binary operator that calls the implementation of a NumPy function."""
    # Look it up at call time, because the table is filled later.
    return lambda self, *args, **kwargs: FUNCTIONS[function](self, *args, **kwargs)  # noqa: PLW0108


def _operator(ufunc: np.ufunc) -> tuple[Method, Method]:
    """Return a binary operator and its reflected form."""
    return (lambda a, b: FUNCTIONS[ufunc](a, b)), (lambda b, a: FUNCTIONS[ufunc](a, b))  # noqa: PLW0108 (as above)


def _comparison(ufunc: np.ufunc) -> Callable[[Any, Any], Any]:
    """Return an operator whose result is a plain boolean array."""
    return _method(ufunc)


def _in_place(ufunc: np.ufunc, sign: str) -> Method:
    def operator(self: Tensor, other: Any) -> Tensor:
        if self.node is None and self._requires_grad:
            advice = f"write `y = x {sign} ...` for a new Tensor, or `x.data = x.data {sign} ...` to update it"
            raise RuntimeError(f"`{sign}=` cannot change {self._label()}, a leaf that requires a gradient; {advice}")
        return FUNCTIONS[ufunc](self, other)  # type: ignore[no-any-return]

    return operator


class Operators:
    """ndarray's operators and methods, for Tensor."""

    __slots__ = ("_array", "_requires_grad", "name", "node")

    _array: Array
    _requires_grad: bool
    name: str | None
    node: Any

    def _label(self) -> str:
        return f"Tensor {self.name!r}" if self.name else f"a Tensor of shape {self._array.shape}"

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "reduce":
            return _dispatch(ufunc.reduce, inputs, {"axis": 0, **kwargs})
        return _dispatch(ufunc if method == "__call__" else getattr(ufunc, method), inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return _dispatch(function, args, kwargs)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        reason = "cannot be converted to an array implicitly, because the gradient would be lost"
        raise TypeError(f"{self._label()} {reason}; join Tensors with np.stack, or use .data for the values")

    __add__, __radd__ = _operator(np.add)
    __sub__, __rsub__ = _operator(np.subtract)
    __mul__, __rmul__ = _operator(np.multiply)
    __truediv__, __rtruediv__ = _operator(np.divide)
    __pow__, __rpow__ = _operator(np.power)
    __matmul__, __rmatmul__ = _operator(np.matmul)
    __mod__, __rmod__ = _operator(np.remainder)
    __floordiv__, __rfloordiv__ = _operator(np.floor_divide)
    __neg__, __abs__ = _method(np.negative), _method(np.absolute)
    __pos__: Callable[[Any], Tensor] = lambda self: self
    __iadd__, __isub__ = _in_place(np.add, "+"), _in_place(np.subtract, "-")
    __imul__, __itruediv__ = _in_place(np.multiply, "*"), _in_place(np.divide, "/")
    __ipow__, __imatmul__ = _in_place(np.power, "**"), _in_place(np.matmul, "@")
    __eq__, __ne__ = _comparison(np.equal), _comparison(np.not_equal)
    __lt__, __le__ = _comparison(np.less), _comparison(np.less_equal)
    __gt__, __ge__ = _comparison(np.greater), _comparison(np.greater_equal)
    __hash__ = object.__hash__

    # ndarray's methods have the signatures of NumPy's functions without the first argument.
    sum, mean, var, std, max, min = map(_method, (np.sum, np.mean, np.var, np.std, np.max, np.min))
    prod, cumsum, cumprod, dot, trace = map(_method, (np.prod, np.cumsum, np.cumprod, np.dot, np.trace))
    any, all, nonzero, round = map(_method, (np.any, np.all, np.nonzero, np.round))
    argmax, argmin, argsort, clip, conj = map(_method, (np.argmax, np.argmin, np.argsort, np.clip, np.conj))
    swapaxes, squeeze, ravel, flatten = map(_method, (np.swapaxes, np.squeeze, np.ravel, np.ravel))
    repeat, take, diagonal, copy = map(_method, (np.repeat, np.take, np.diagonal, np.copy))
    real, imag = property(_method(np.real)), property(_method(np.imag))
    astype, __getitem__ = _method("astype"), _method("getitem")

    def reshape(self, *shape: Any) -> Tensor:
        """Return the elements in a new shape."""
        return FUNCTIONS[np.reshape](self, shape[0] if len(shape) == 1 else shape)  # type: ignore[no-any-return]

    def transpose(self, *axes: Any) -> Tensor:
        """Permute the axes, or reverse them."""
        order = axes[0] if len(axes) == 1 else axes or None
        return FUNCTIONS[np.transpose](self, order)  # type: ignore[no-any-return]

    def __setitem__(self, index: Any, value: Any) -> None:
        advice = "use np.where(condition, new, x) or np.concatenate for a new Tensor, or assign to a leaf's .data"
        raise TypeError(f"a Tensor cannot be changed in place; {advice}")

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))


def plain(x: Any) -> Any:
    """Replace Tensors by their values, also inside lists and tuples; return anything else unchanged."""
    if isinstance(x, Operators):
        return x._array
    return type(x)(map(plain, x)) if type(x) in (list, tuple) else x


def holds_tensors(x: Any) -> bool:
    """Return whether a list or tuple contains a Tensor, at any depth."""
    return type(x) in (list, tuple) and any(isinstance(part, Operators) or holds_tensors(part) for part in x)


def _dispatch(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run the implementation of a NumPy function for Tensors, or raise a TypeError that names an alternative."""
    if kwargs.get("out") is not None:
        raise TypeError(FUNCTIONS["keyword advice"](function, "out"))
    if function not in FUNCTIONS:
        raise TypeError(FUNCTIONS["advice"](function))
    try:
        return FUNCTIONS[function](*args, **kwargs)
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
        raise TypeError(FUNCTIONS["keyword advice"](function, str(error).split("'")[-2])) from None
