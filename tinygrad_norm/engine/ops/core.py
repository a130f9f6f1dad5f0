"""The sixteen primitives that the classic norms and a small network need, each with its rules.

A rule is a pair ``(formula, lambda g, y, *inputs, **static: contribution)``. The lambda is a NumPy expression: it runs
on arrays in an ordinary backward pass, and on Tensors, recorded, if the gradient is to be differentiated again.

No rule handles broadcasting or casting: if shapes or dtypes differ, `aligned` records a ``broadcast_to`` or an
``astype``, whose own rules are a sum and a cast back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..context import STATE
from ..operators import FUNCTIONS, Array, Axis, holds_tensors
from ..primitive import Primitive
from ..tensor import Tensor, frozen, record

Rule = tuple[str, Callable[..., Any]]


def unary(name: str, symbol: str, forward: Callable[..., Any], rule: Rule) -> Callable[[Any], Any]:
    """Declare an elementwise primitive with one operand, and return the function that runs it."""
    primitive = Primitive(name, symbol, forward, rule)
    return _published(lambda x: record(primitive, (x,)), name, forward)


def binary(name: str, symbol: str, forward: Callable[..., Any], *rules: Rule) -> Callable[[Any, Any], Any]:
    """Declare an elementwise primitive with two operands, which are first brought to a common shape and dtype."""
    primitive = Primitive(name, symbol, forward, *rules)

    def function(a: Any, b: Any) -> Any:
        # A fast path for the most common operands.
        if isinstance(a, Tensor) and isinstance(b, Tensor) and a._array.dtype is b._array.dtype:
            if a._array.shape != b._array.shape:
                shape = _joint_shape(a._array.shape, b._array.shape)
                a, b = broadcast_to(a, shape), broadcast_to(b, shape)
        elif not (isinstance(a, Tensor) and type(b) is float):
            a, b = aligned(a, b)
        return record(primitive, (a, b))

    return _published(function, name, forward)


def _published(function: Callable[..., Any], name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Compute ``{name}`` element-wise. Operations on Tensors are recorded; arrays return an array."
    FUNCTIONS[forward] = function
    return function


def operand(x: Any) -> Any:
    """Convert to an array, or stack a list or tuple that contains Tensors; return Tensors and arrays unchanged."""
    if isinstance(x, Tensor) or type(x) is np.ndarray:
        return x
    return FUNCTIONS[np.stack](x) if holds_tensors(x) else np.asanyarray(x)


# Broadcasting and casting.


def aligned(*operands: Any, shape: tuple[int, ...] = ()) -> tuple[Any, ...]:
    """Bring operands to a common shape and dtype. Python scalars, NumPy scalars and 0-d arrays remain constants."""
    tensors = [x for x in operands if isinstance(x, Tensor)]
    if all(x.is_data for x in tensors) and not any(map(holds_tensors, operands)):
        return operands  # arrays, even if their origin is recorded: NumPy aligns them
    if len(tensors) < len(operands):
        operands = tuple([x if type(x) is float or type(x) is int else beside_tensors(x) for x in operands])
        tensors = [x for x in operands if isinstance(x, Tensor)]
        if complex in map(type, operands):
            keep_real(*tensors)
    dtype = joint_dtype(tensors)
    for x in tensors:
        if x._array.shape != shape:
            shape = _joint_shape(shape, x._array.shape)
    return tuple([_fitted(x, dtype, shape) if isinstance(x, Tensor) else x for x in operands])


def joint_dtype(operands: Sequence[Any]) -> np.dtype[Any]:
    """Return the common dtype of Tensors and Python numbers; 0-d Data count as numbers."""
    numbers = [x.item() if isinstance(x, Tensor) and x.is_data and not x.ndim else x for x in operands]
    return np.result_type(*(x._array.dtype if isinstance(x, Tensor) else x for x in numbers))


def _fitted(x: Tensor, dtype: Any, shape: tuple[int, ...]) -> Any:
    if x._array.dtype is not dtype:
        x = astype(x, dtype)
    return x if x._array.shape == shape else broadcast_to(x, shape)


def beside_tensors(x: Any) -> Any:
    """Convert an operand combined with a Tensor to a Tensor, or to a Python number if it has no axes."""
    x = operand(x)
    if isinstance(x, Tensor) or x.ndim:
        return x if isinstance(x, Tensor) else Tensor(x)
    if x.dtype.kind not in "biufcO" or not hasattr(x.item(), "__abs__"):
        raise TypeError(f"operands must be numbers, not {x.item()!r}")
    number = frozen(x).item()
    # Fractions, Decimals and long doubles would carry their own type into the arrays.
    return number if isinstance(number, int | float | complex) else (complex if x.dtype.kind == "c" else float)(number)


def keep_real(*tensors: Tensor) -> None:
    """Raise a TypeError if a recorded Tensor that requires a gradient is combined with complex numbers."""
    for x in tensors:
        if x._requires_grad and STATE.get().recording:
            raise TypeError(f"{x._label()} requires a gradient, so complex operands are not supported; use .detach()")


@lru_cache(maxsize=4096)
def _joint_shape(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        raise ValueError(f"operands of shapes {a} and {b} cannot be broadcast together") from None


def _broadcast_view(x: Array, shape: tuple[int, ...]) -> Array:
    # np.broadcast_to costs as much as several small operations, so the view of a contiguous array is built directly.
    if type(x) is np.ndarray and x.flags.c_contiguous and (strides := _broadcast_strides(x.shape, x.strides, shape)):
        return np.ndarray(shape, x.dtype, x, 0, strides)
    return np.broadcast_to(x, shape)


@lru_cache(maxsize=4096)
def _broadcast_strides(old: tuple[int, ...], strides: tuple[int, ...], new: tuple[int, ...]) -> tuple[int, ...]:
    if 0 in new or _joint_shape(old, new) != new:
        return ()
    kept = tuple(0 if size == 1 else stride for size, stride in zip(old, strides, strict=True))
    return (0,) * (len(new) - len(old)) + kept


def _sum_to(g: Any, shape: tuple[int, ...]) -> Any:
    """Sum over the axes along which an array of the given shape was repeated."""
    total = record(_sum, (g,), _repetition(shape, g.shape))
    return total if total.shape == shape else total.reshape(shape)


@lru_cache(maxsize=4096)
def _repetition(old: tuple[int, ...], new: tuple[int, ...]) -> dict[str, Any]:
    """Return the arguments of the sum that reverses a broadcast."""
    lead = len(new) - len(old)
    axes = tuple(i for i in range(len(new)) if i < lead or (old[i - lead] == 1 and new[i] != 1))
    return {"axis": axes, "keepdims": lead == 0}


_broadcast_rule = ("sum of g over the repeated axes", lambda g, y, x, *, shape: _sum_to(g, x.shape))
_broadcast_to = Primitive("broadcast_to", "broadcast", _broadcast_view, _broadcast_rule)


def broadcast_to(x: Any, shape: Any) -> Any:
    """Repeat along new or size-1 axes, like ``np.broadcast_to``. The rule is a sum over the repeated axes."""
    x, shape = operand(x), shape if type(shape) is tuple else as_shape(shape)
    return x if x.shape == shape else _refitted(_broadcast_to, x, {"shape": shape})


def _refitted(primitive: Primitive, x: Any, static: Mapping[str, Any]) -> Any:
    """Record a change of shape or dtype. For data, only the result is kept, with the same name."""
    y = record(primitive, (x,), static)
    if isinstance(y, Tensor) and y.node is None:
        y.name = x.name
    return y


_astype_rule = ("g.astype(x.dtype)", lambda g, y, x, *, dtype: g.astype(x.dtype))
_astype = Primitive("astype", "cast", lambda x, *, dtype: x.astype(dtype), _astype_rule)


def astype(x: Any, dtype: Any) -> Any:
    """Convert to a dtype. Casts between floating dtypes are recorded; integer and boolean results have no gradient.

    During a complex step, complex values stay complex: a real floating dtype sets only their precision.
    """
    x = operand(x)
    if x.dtype is dtype:
        return x
    dtype = np.dtype(dtype)
    if x.dtype.kind == "c" and dtype.kind == "f" and STATE.get().analytic:
        dtype = np.result_type(dtype, np.complex64)
    if x.dtype == dtype:
        return x
    if dtype.kind not in "biufc":
        raise TypeError(f"a Tensor must hold numbers, not {dtype}")
    if isinstance(x, Tensor) and x._requires_grad and dtype.kind != "f":
        if dtype.kind == "c":
            keep_real(x)
        x = x.detach()
    return _refitted(_astype, x, {"dtype": dtype})


# Arithmetic.

add = binary("add", "+", np.add, ("g", lambda g, y, a, b: g), ("g", lambda g, y, a, b: g))
subtract = binary("subtract", "−", np.subtract, ("g", lambda g, y, a, b: g), ("-g", lambda g, y, a, b: -g))
multiply = binary(
    "multiply", "×", np.multiply, ("g * b", lambda g, y, a, b: g * b), ("g * a", lambda g, y, a, b: g * a)
)
_by_a, _by_b = ("g / b", lambda g, y, a, b: g / b), ("-g * y / b", lambda g, y, a, b: -g * y / b)
divide = binary("divide", "÷", np.divide, _by_a, _by_b)
negative = unary("negative", "−", np.negative, ("-g", lambda g, y, x: -g))
square = unary("square", "( )²", np.square, ("g * 2 * x", lambda g, y, x: g * (2 * x)))
rsqrt = unary("rsqrt", "1/√", lambda x: 1 / np.sqrt(x), ("-g * y**3 / 2", lambda g, y, x: g * (-0.5 * y * y * y)))
tanh = unary("tanh", "tanh", np.tanh, ("g * (1 - y**2)", lambda g, y, x: g * (1 - y * y)))

_where = Primitive(
    "where",
    "where",
    np.where,
    ("0", lambda g, y, condition, a, b: np.zeros_like(condition)),
    ("where(condition, g, 0)", lambda g, y, condition, a, b: np.where(condition, g, 0)),
    ("where(condition, 0, g)", lambda g, y, condition, a, b: np.where(condition, 0, g)),
)


def where(condition: Any, a: Any, b: Any) -> Any:
    """Choose elements from ``a`` where the condition holds, else from ``b``. The condition is copied.

    The branch that is not taken receives a zero cotangent. If a derivative in that branch is NaN or inf, its product
    with zero is NaN. Guard the argument in that case: ``where(x > 0, log(where(x > 0, x, 1)), 0)``.
    """
    condition = operand(condition)
    if not isinstance(condition, Tensor):
        condition = frozen(condition)
    return record(_where, (condition, *aligned(a, b, shape=condition.shape)))


# Reductions. For small arrays, np.sum and np.mean spend most of their time on their arguments.

_add_up: Any = np.add.reduce


def axes_of(axis: Axis, ndim: int) -> tuple[int, ...]:
    """Return an axis argument as a sorted tuple of non-negative axes."""
    return _sorted_axes(tuple(np.ravel(axis).tolist()) if isinstance(axis, list | np.ndarray) else axis, ndim)


@lru_cache
def _sorted_axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    return tuple(range(ndim)) if axis is None else tuple(sorted(np.lib.array_utils.normalize_axis_tuple(axis, ndim)))


def kept(x: Any, shape: tuple[int, ...], axis: tuple[int, ...], keepdims: bool) -> Any:
    """Restore the reduced axes, with size 1, in a reduction's result or its cotangent."""
    if keepdims or not axis:
        return x
    return _refitted(_reshape, x, {"shape": tuple([1 if i in axis else n for i, n in enumerate(shape)])})


@lru_cache(maxsize=4096)
def count_over(shape: tuple[int, ...], axis: tuple[int, ...], what: str) -> int:
    """Return the number of elements that a reduction combines. Zero raises a ValueError."""
    if n := math.prod([shape[i] for i in axis]):
        return n
    raise ValueError(f"{what} over zero elements: shape {shape}, axis {axis}")


def reduction(primitive: Primitive, x: Any, axis: Axis, dtype: Any, out: None, keepdims: bool) -> Any:
    """Run a primitive that combines elements over axes."""
    if out is not None:
        raise TypeError(f"{primitive.name} of Tensors does not support out=; use the return value")
    x = operand(x) if dtype is None else astype(x, dtype)
    axes = axes_of(None if x.ndim == 0 and type(axis) is int and axis in (0, -1) else axis, x.ndim)  # as NumPy
    return record(primitive, (x,), {"axis": axes, "keepdims": keepdims})


def added_widely(total: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function sum float16 ("e") in float32 ("f"): in float16, a sum of ones does not exceed 2048."""
    return lambda x, *places, **static: (
        total(x.astype("f"), *places, **static).astype("e") if x.dtype.char == "e" else total(x, *places, **static)
    )


def in_float32(g: Any, rule: Callable[[Any], Any]) -> Any:
    """Apply a rule to a float16 cotangent in float32: in float16, counts overflow and quotients underflow."""
    return astype(rule(astype(g, np.float32)), g.dtype) if g.dtype.char == "e" else rule(g)


_sum = Primitive(
    "sum",
    "Σ",
    added_widely(_add_up),
    ("g repeated", lambda g, y, x, *, axis, keepdims: broadcast_to(kept(g, x.shape, axis, keepdims), x.shape)),
)


def sum(x: Any, axis: Axis = None, dtype: Any = None, out: None = None, keepdims: bool = False) -> Any:
    """Sum the elements over one or several axes, like ``np.sum``; float16 is summed in float32."""
    return reduction(_sum, x, axis, dtype, out, keepdims)


_WIDER = {"e": "f", "f": "d", "F": "D"}


def _mean_forward(x: Array, *, axis: tuple[int, ...], keepdims: bool) -> Any:
    """Compute the mean so accurately that the mean of equal values is that value and their deviations are 0."""
    n = count_over(x.shape, axis, "mean")
    y = _add_up(x, axis=axis, keepdims=True, dtype=_WIDER.get(x.dtype.char)) / n
    if x.dtype.char in _WIDER:
        y = y.astype(x.dtype)
    elif x.dtype.kind in "fc":
        # There is no wider dtype, so the mean of the deviations corrects the first mean.
        with np.errstate(all="ignore"):
            rest = _add_up(x - y, axis=axis, keepdims=True) / n
        y = y + np.where(np.isfinite(rest), rest, 0)
    return y if keepdims else y.squeeze(axis)


def _mean_rule(g: Any, y: Any, x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
    share = 1 / count_over(x.shape, axis, "mean")
    return broadcast_to(in_float32(kept(g, x.shape, axis, keepdims), lambda g: g * share), x.shape)


_mean = Primitive("mean", "mean", _mean_forward, ("g / n, repeated", _mean_rule))


def mean(x: Any, axis: Axis = None, dtype: Any = None, out: None = None, keepdims: bool = False) -> Any:
    """Average over one or several axes, like ``np.mean``; float16 is summed in float32.

    Raises
    ------
    ValueError
        If there are no elements.
    """
    return reduction(_mean, x, axis, dtype, out, keepdims)


# Shapes and matrices.


def as_shape(shape: Any) -> tuple[int, ...]:
    """Return an integer or a sequence of integers as a shape."""
    return (int(shape),) if isinstance(shape, int | np.integer) else tuple(shape)


_reshape_rule = ("g reshaped to the shape of x", lambda g, y, x, *, shape: g.reshape(x.shape))
_reshape = Primitive("reshape", "reshape", lambda x, *, shape: x.reshape(shape), _reshape_rule)


def reshape(x: Any, shape: Any) -> Any:
    """Return the elements in a new shape, in C order, like ``np.reshape``; one size may be -1."""
    return record(_reshape, (operand(x),), {"shape": as_shape(shape)})


_transpose = Primitive(
    "transpose",
    "transpose",
    lambda x, *, axes: x.transpose(axes),
    ("g transposed back", lambda g, y, x, *, axes: g.transpose(tuple(np.argsort(axes)))),
)


def transpose(x: Any, axes: Any = None) -> Any:
    """Permute the axes, or reverse them, like ``np.transpose``."""
    x = operand(x)
    axes = range(x.ndim)[::-1] if axes is None else np.lib.array_utils.normalize_axis_tuple(axes, x.ndim)
    return record(_transpose, (x,), {"axes": tuple(axes)})


_matmul = Primitive(
    "matmul",
    "@",
    np.matmul,
    ("g @ b.mT", lambda g, y, a, b: g @ b.mT),
    ("a.mT @ g", lambda g, y, a, b: a.mT @ g),
)


def matmul(a: Any, b: Any) -> Any:
    """Multiply matrices or stacks of matrices, like ``np.matmul``. A broadcast of leading axes is recorded first."""
    a, b = operand(a), operand(b)
    if a.ndim == 0 or b.ndim == 0 or a.shape[-1] != b.shape[max(b.ndim - 2, 0)]:
        raise ValueError(f"matmul: shapes {a.shape} and {b.shape} do not match")
    rows, columns = a.shape[:-1][-1:], b.shape[1:][-1:]
    a, b = a if rows else a.reshape((1, -1)), b if columns else b.reshape((-1, 1))
    dtype, lead = np.result_type(a.dtype, b.dtype), _joint_shape(a.shape[:-2], b.shape[:-2])
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        a, b = (x if isinstance(x, Tensor) else Tensor(x) for x in (a, b))
    y = record(_matmul, tuple(broadcast_to(astype(x, dtype), lead + x.shape[-2:]) for x in (a, b)))
    return y if rows and columns else y.reshape(lead + rows + columns)


FUNCTIONS |= {"astype": astype, np.where: where, np.broadcast_to: broadcast_to, np.reshape: reshape, np.matmul: matmul}
FUNCTIONS |= dict.fromkeys((np.transpose, np.permute_dims), transpose)

__all__ = [
    "add", "astype", "broadcast_to", "divide", "matmul", "multiply", "negative", "operand", "reshape", "rsqrt",
    "square", "subtract", "tanh", "transpose", "where",
]  # fmt: skip
