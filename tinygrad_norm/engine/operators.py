"""What a Tensor is to NumPy and to Python's operators, and the table in which it looks up what they do.

`FUNCTIONS` maps NumPy's functions to their implementations. The modules in `engine/ops` fill it, so nothing here
imports upward, and the methods keep their signatures and types.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from .tensor import Tensor

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Axis: TypeAlias = int | Sequence[int] | None

FUNCTIONS: dict[Any, Callable[..., Tensor]] = {}
"""What stands for each NumPy function on Tensors."""
PLAIN_FUNCTIONS: set[Any] = set()
"""Predicates and index functions: on Tensors they return plain arrays, as NumPy gives them."""
ADVICE: dict[str, str] = {}
"""What works instead of a NumPy function that has no counterpart."""


class Operators:
    """ndarray's operators and methods, for Tensor."""

    __slots__ = ("_data", "_requires_grad", "name", "node")

    _data: Array
    _requires_grad: bool
    name: str | None
    node: Any

    def _label(self) -> str:
        return f"Tensor {self.name!r}" if self.name else f"a Tensor of shape {self._data.shape}"

    # --- NumPy's protocols

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "reduce":
            kwargs.setdefault("axis", 0)
            return _dispatch(ufunc.reduce, f"{ufunc.__name__}.reduce", inputs, kwargs)
        if method != "__call__":
            raise TypeError(f"np.{ufunc.__name__}.{method} does not work on Tensors; use .data or .detach().data")
        return _dispatch(ufunc, ufunc.__name__, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return _dispatch(function, function.__name__, args, kwargs)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        raise TypeError(
            f"{self._label()} does not turn into an array by itself, because the gradient would be lost in silence; "
            "use .data or .detach()"
        )

    # --- operators

    def __add__(self, other: Any) -> Tensor:
        return FUNCTIONS[np.add](self, other)

    def __radd__(self, other: Any) -> Tensor:
        return FUNCTIONS[np.add](other, self)

    def __sub__(self, other: Any) -> Tensor:
        return FUNCTIONS[np.subtract](self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return FUNCTIONS[np.subtract](other, self)

    def __mul__(self, other: Any) -> Tensor:
        return FUNCTIONS[np.multiply](self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return FUNCTIONS[np.multiply](other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return FUNCTIONS[np.divide](self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return FUNCTIONS[np.divide](other, self)

    def __pow__(self, other: Any) -> Tensor:
        return FUNCTIONS[np.power](self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return FUNCTIONS[np.power](other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return FUNCTIONS[np.matmul](self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return FUNCTIONS[np.matmul](other, self)

    def __neg__(self) -> Tensor:
        return FUNCTIONS[np.negative](self)

    def __pos__(self) -> Tensor:
        return self  # type: ignore[return-value]

    def __abs__(self) -> Tensor:
        return FUNCTIONS[np.absolute](self)

    def _in_place(self, operator: str, ufunc: np.ufunc, other: Any) -> Tensor:
        if self.node is None and self._requires_grad:
            raise RuntimeError(
                f"`{operator}` would lose {self._label()}, a leaf that requires a gradient; write "
                f"`y = x {operator[:-1]} ...` for a new Tensor, or `x.data = x.data {operator[:-1]} ...` to update it"
            )
        return FUNCTIONS[ufunc](self, other)

    def __iadd__(self, other: Any) -> Tensor:
        return self._in_place("+=", np.add, other)

    def __isub__(self, other: Any) -> Tensor:
        return self._in_place("-=", np.subtract, other)

    def __imul__(self, other: Any) -> Tensor:
        return self._in_place("*=", np.multiply, other)

    def __itruediv__(self, other: Any) -> Tensor:
        return self._in_place("/=", np.divide, other)

    # Comparisons are data, not part of the graph.
    def __eq__(self, other: Any) -> Any:
        return self._data == plain(other)

    def __ne__(self, other: Any) -> Any:
        return self._data != plain(other)

    def __lt__(self, other: Any) -> Any:
        return self._data < plain(other)

    def __le__(self, other: Any) -> Any:
        return self._data <= plain(other)

    def __gt__(self, other: Any) -> Any:
        return self._data > plain(other)

    def __ge__(self, other: Any) -> Any:
        return self._data >= plain(other)

    __hash__ = object.__hash__

    def __getitem__(self, index: Any) -> Tensor:
        return FUNCTIONS["getitem"](self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError(
            "a Tensor's values cannot be changed in place; use np.where(condition, new, x) or np.concatenate for a new "
            "Tensor, or rebind a leaf's .data"
        )

    # --- methods, with ndarray's signatures

    def sum(self, axis: Axis = None, dtype: Any = None, out: None = None, keepdims: bool = False) -> Tensor:
        return FUNCTIONS[np.sum](self, axis=axis, dtype=dtype, out=out, keepdims=keepdims)

    def mean(self, axis: Axis = None, dtype: Any = None, out: None = None, keepdims: bool = False) -> Tensor:
        return FUNCTIONS[np.mean](self, axis=axis, dtype=dtype, out=out, keepdims=keepdims)

    def var(
        self, axis: Axis = None, dtype: Any = None, out: None = None, ddof: int = 0, keepdims: bool = False
    ) -> Tensor:
        return FUNCTIONS[np.var](self, axis=axis, dtype=dtype, out=out, ddof=ddof, keepdims=keepdims)

    def std(
        self, axis: Axis = None, dtype: Any = None, out: None = None, ddof: int = 0, keepdims: bool = False
    ) -> Tensor:
        return FUNCTIONS[np.std](self, axis=axis, dtype=dtype, out=out, ddof=ddof, keepdims=keepdims)

    def max(self, axis: Axis = None, out: None = None, keepdims: bool = False) -> Tensor:
        return FUNCTIONS[np.max](self, axis=axis, out=out, keepdims=keepdims)

    def min(self, axis: Axis = None, out: None = None, keepdims: bool = False) -> Tensor:
        return FUNCTIONS[np.min](self, axis=axis, out=out, keepdims=keepdims)

    def cumsum(self, axis: int | None = None, dtype: Any = None, out: None = None) -> Tensor:
        return FUNCTIONS[np.cumsum](self, axis=axis, dtype=dtype, out=out)

    def clip(self, min: Any = None, max: Any = None, out: None = None) -> Tensor:
        return FUNCTIONS[np.clip](self, min, max, out=out)

    def dot(self, b: Any, out: None = None) -> Tensor:
        return FUNCTIONS[np.dot](self, b, out=out)

    def reshape(self, *shape: Any) -> Tensor:
        return FUNCTIONS[np.reshape](self, shape[0] if len(shape) == 1 else shape)

    def ravel(self) -> Tensor:
        return self.reshape(-1)

    def flatten(self) -> Tensor:
        return self.reshape(-1)

    def transpose(self, *axes: Any) -> Tensor:
        return FUNCTIONS[np.transpose](self, (axes[0] if len(axes) == 1 else axes) if axes else None)

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        return FUNCTIONS[np.swapaxes](self, axis1, axis2)

    def squeeze(self, axis: Axis = None) -> Tensor:
        return FUNCTIONS[np.squeeze](self, axis)

    def astype(self, dtype: Any) -> Tensor:
        return FUNCTIONS["astype"](self, dtype)

    def argmax(self, axis: int | None = None) -> Any:
        return self._data.argmax(axis)

    def argmin(self, axis: int | None = None) -> Any:
        return self._data.argmin(axis)


def plain(x: Any) -> Any:
    """Return the values of a Tensor, of Tensors inside lists, tuples and dicts; anything else as it is."""
    if isinstance(x, Operators):
        return x._data
    if type(x) in (list, tuple):
        return type(x)(plain(item) for item in x)
    if type(x) is dict:
        return {key: plain(item) for key, item in x.items()}
    return x


def _dispatch(function: Any, name: str, args: Any, kwargs: Any) -> Any:
    """Run what stands for a NumPy function on Tensors, or say what does not work and what might."""
    if kwargs.get("out") is not None:
        raise TypeError(f"np.{name}(..., out=) would write into an array behind the graph's back; use its result")
    if function in PLAIN_FUNCTIONS:
        return function(*plain(args), **plain(kwargs))
    implementation = FUNCTIONS.get(function)
    if implementation is None and name.endswith(".reduce"):
        implementation = FUNCTIONS.get(name)
    if implementation is None:
        known = [f.__name__ for f in (*FUNCTIONS, *PLAIN_FUNCTIONS) if not isinstance(f, str)]
        near = difflib.get_close_matches(name, known, n=3)
        advice = ADVICE.get(name) or (f"perhaps {' or '.join('np.' + n for n in near)}" if near else "use .data")
        raise TypeError(f"np.{name} does not work on Tensors; {advice}")
    try:
        return implementation(*args, **kwargs)
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise TypeError(f"np.{name} on Tensors: {error}") from None
