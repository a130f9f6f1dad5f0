"""Sums of products over named axes, and the sliding windows that convolutions are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..operators import FUNCTIONS, Array
from ..primitive import Primitive
from ..tensor import Tensor, record
from .core import added_widely, astype, broadcast_to, operand
from .shape import variadic


def _einsum_rule(g: Any, y: Any, *xs: Any, terms: tuple[str, ...], result: str, operand: int) -> Any:
    """Contract g with the other operands; an axis that nobody else has was summed alone, so g repeats along it."""
    x, wanted = xs[operand], terms[operand]
    others = [i for i in range(len(xs)) if i != operand]
    known = {label for term in (result, *(terms[i] for i in others)) for label in term}
    present = "".join(label for label in wanted if label in known)
    inputs = ",".join((result, *(terms[i] for i in others)))
    contribution = np.einsum(f"{inputs}->{present}", g, *(xs[i] for i in others))
    if present != wanted:
        sizes = tuple(size if label in known else 1 for label, size in zip(wanted, x.shape, strict=True))
        contribution = broadcast_to(contribution.reshape(sizes), x.shape)
    return contribution


_einsum = variadic(
    "einsum",
    "einsum",
    lambda *xs, terms, result: np.einsum(f"{','.join(terms)}->{result}", *xs),
    ("g contracted with the other operands", _einsum_rule),
)


def einsum(subscripts: str, *operands: Any) -> Any:
    """Sum products over named axes, like ``np.einsum`` with an explicit ``->``: ``einsum("ij,jk->ik", a, b)``.

    Raises
    ------
    ValueError
        Without ``->``, with ``...``, with an axis repeated in one term, or where terms and operands do not match.
    """
    if not any(isinstance(x, Tensor) for x in operands):
        return np.einsum(subscripts, *operands)
    left, arrow, result = subscripts.replace(" ", "").partition("->")
    terms = tuple(left.split(","))
    if not arrow or "." in subscripts:
        raise ValueError(f"einsum of Tensors wants every axis named and an explicit '->', not {subscripts!r}")
    for term in (*terms, result):
        if len(set(term)) < len(term):
            raise ValueError(f"einsum of Tensors: an axis occurs twice in {term!r}, in {subscripts!r}")
    xs = [x if isinstance(x, Tensor) else Tensor(x) for x in operands]
    if len(terms) != len(xs) or any(len(term) != x.ndim for term, x in zip(terms, xs, strict=True)):
        raise ValueError(f"einsum {subscripts!r} does not fit operands of shapes {[x.shape for x in xs]}")
    sizes: dict[str, int] = {}
    for term, x in zip(terms, xs, strict=True):
        for label, size in zip(term, x.shape, strict=True):
            if sizes.setdefault(label, size) != size:
                raise ValueError(f"einsum {subscripts!r}: axis {label!r} has sizes {sizes[label]} and {size}")
    dtype = np.result_type(*(x.dtype for x in xs))
    return record(_einsum, tuple(astype(x, dtype) for x in xs), {"terms": terms, "result": result})


# Windows over the last axes, and their dual: where windows overlap, cotangents add up.


def _windows_forward(x: Array, *, size: tuple[int, ...], stride: tuple[int, ...]) -> Array:
    k = len(size)
    axes = tuple(range(x.ndim - k, x.ndim))
    windows: Array = np.lib.stride_tricks.sliding_window_view(x, size, axis=axes)
    index: Any = (..., *(slice(None, None, step) for step in stride), *(slice(None),) * k)
    selected: Array = windows[index]
    return selected


def _overlap_add_forward(x: Array, *, shape: tuple[int, ...], stride: tuple[int, ...]) -> Array:
    k = len(stride)
    counts, size = x.shape[-2 * k : -k], x.shape[-k:]
    target = np.zeros(shape, x.dtype)
    for offset in np.ndindex(*size):
        reach: Any = tuple(
            slice(start, start + step * (count - 1) + 1, step)
            for start, step, count in zip(offset, stride, counts, strict=True)
        )
        target[..., *reach] += x[..., *offset]
    return target


_sliding_windows = Primitive(
    "sliding_windows",
    "windows",
    _windows_forward,
    ("overlapping parts of g added up", lambda g, y, x, *, size, stride: overlap_add(g, x.shape, stride)),
)
_overlap_add = Primitive(
    "overlap_add",
    "overlap-add",
    added_widely(_overlap_add_forward),
    ("windows of g", lambda g, y, x, *, shape, stride: sliding_windows(g, x.shape[x.ndim - len(stride) :], stride)),
)


def sliding_windows(x: Any, size: Sequence[int], stride: Sequence[int] | None = None) -> Any:
    """Return every window over the last axes: shape ``(..., *counts, *size)``.

    Parameters
    ----------
    x : Tensor or array
        Shape ``(..., *spatial)``, one spatial axis for each entry of ``size``.
    size, stride : sequence of int
        The windows' sides, and the steps between them (1 by default).

    Raises
    ------
    ValueError
        If a window is larger than its axis, or a side or step is not positive.
    """
    x, size = operand(x), tuple(size)
    stride = (1,) * len(size) if stride is None else tuple(stride)
    if len(size) != len(stride) or len(size) > x.ndim or min((*size, *stride), default=1) < 1:
        raise ValueError(f"windows of size {size} and stride {stride} do not fit an array of shape {x.shape}")
    return record(_sliding_windows, (x,), {"size": size, "stride": stride})


def overlap_add(x: Any, shape: Sequence[int], stride: Sequence[int]) -> Any:
    """Add windows up into an array of a shape: the transpose of `sliding_windows`."""
    return record(_overlap_add, (operand(x),), {"shape": tuple(shape), "stride": tuple(stride)})


FUNCTIONS[np.einsum] = einsum

__all__ = ["einsum", "overlap_add", "sliding_windows"]
