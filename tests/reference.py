"""Derivatives of the norms of any order, to 50 digits.

A `Hyperdual` over n directions carries every mixed derivative along subsets of them: it is a polynomial in n symbols
whose squares are zero. Computing a norm once with hyperdual numbers gives the n-th derivative along n directions
exactly, as Taylor arithmetic does: no rule of reverse mode, no step size, nothing shared with the package.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import mpmath
import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
DIGITS = 50

_exactly = np.vectorize(mpmath.mpf, otypes=[object])


class Hyperdual:
    """``parts[S]``, an array of mpmath numbers, is the coefficient of the product of the symbols in the bits of S."""

    def __init__(self, parts: Sequence[Array]) -> None:
        self.parts = list(parts)

    def _each(self, function: Callable[[Array], Array]) -> Hyperdual:
        return Hyperdual([function(part) for part in self.parts])

    def __add__(self, other: Hyperdual) -> Hyperdual:
        return Hyperdual([a + b for a, b in zip(self.parts, other.parts, strict=True)])

    def __sub__(self, other: Hyperdual) -> Hyperdual:
        return self + other._each(lambda part: -part)

    def __mul__(self, other: Hyperdual) -> Hyperdual:
        products = []
        for whole in range(len(self.parts)):
            # Every way to share the symbols of this product between the two factors.
            shares = [some for some in range(whole + 1) if some & whole == some]
            products.append(sum(self.parts[some] * other.parts[whole ^ some] for some in shares))
        return Hyperdual(products)

    def plus(self, constant: Any) -> Hyperdual:
        return Hyperdual([self.parts[0] + constant, *self.parts[1:]])

    def mean(self, axes: tuple[int, ...]) -> Hyperdual:
        n = int(np.prod([self.parts[0].shape[i] for i in axes]))
        return self._each(lambda part: part.sum(axis=axes, keepdims=True) / n)

    def reshape(self, *shape: int) -> Hyperdual:
        return self._each(lambda part: part.reshape(shape))

    def rsqrt(self) -> Hyperdual:
        """The binomial series of ``(a + e) ** -1/2`` about its plain part ``a``; it ends, as ``e`` is nilpotent."""
        plain = self.parts[0]
        rest = Hyperdual([plain * 0, *self.parts[1:]])
        power = Hyperdual([plain * 0 + 1, *(part * 0 for part in self.parts[1:])])
        total = power._each(lambda part: part * plain ** mpmath.mpf(-0.5))
        for k in range(1, len(self.parts).bit_length()):
            power = power * rest
            factor = mpmath.binomial(-0.5, k) * plain ** (mpmath.mpf(-0.5) - k)
            total = total + power._each(lambda part, factor=factor: part * factor)
        return total


def _with_all_digits(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def precise(*args: Any, **kwargs: Any) -> Any:
        with mpmath.workdps(DIGITS):
            return function(*args, **kwargs)

    return precise


Norm = Callable[..., Hyperdual]
"""A norm of Hyperduals: ``norm(x, weight, bias, eps)``, or without the bias."""


def normalized(x: Hyperdual, axes: tuple[int, ...], eps: float, subtract_mean: bool = True) -> Hyperdual:
    centred = x - x.mean(axes) if subtract_mean else x
    return centred * (centred * centred).mean(axes).plus(mpmath.mpf(eps)).rsqrt()


def _shape(x: Hyperdual) -> tuple[int, ...]:
    return x.parts[0].shape


def _channels(v: Hyperdual, x: Hyperdual) -> Hyperdual:
    return v.reshape(1, -1, *(1,) * (len(_shape(x)) - 2))


def _last(x: Hyperdual, weight: Hyperdual) -> tuple[int, ...]:
    return tuple(range(len(_shape(x)) - len(_shape(weight)), len(_shape(x))))


def batch_norm(x: Hyperdual, weight: Hyperdual, bias: Hyperdual, eps: float) -> Hyperdual:
    axes = (0, *range(2, len(_shape(x))))
    return normalized(x, axes, eps) * _channels(weight, x) + _channels(bias, x)


def instance_norm(x: Hyperdual, weight: Hyperdual, bias: Hyperdual, eps: float) -> Hyperdual:
    axes = tuple(range(2, len(_shape(x))))
    return normalized(x, axes, eps) * _channels(weight, x) + _channels(bias, x)


def group_norm(x: Hyperdual, weight: Hyperdual, bias: Hyperdual, eps: float, num_groups: int = 2) -> Hyperdual:
    rows = normalized(x.reshape(_shape(x)[0], num_groups, -1), (2,), eps)
    return rows.reshape(*_shape(x)) * _channels(weight, x) + _channels(bias, x)


def layer_norm(x: Hyperdual, weight: Hyperdual, bias: Hyperdual, eps: float) -> Hyperdual:
    return normalized(x, _last(x, weight), eps) * weight + bias


def rms_norm(x: Hyperdual, weight: Hyperdual, eps: float) -> Hyperdual:
    return normalized(x, _last(x, weight), eps, subtract_mean=False) * weight


@_with_all_digits
def derivative(
    norm: Norm, inputs: Sequence[Array], cotangent: Array, directions: Sequence[Sequence[Array]], eps: float
) -> Any:
    """Return the derivative of ``<cotangent, norm(*inputs)>`` along the directions, one order for each of them.

    A direction has an array for each input. With none, this is the value itself.
    """
    size = 2 ** len(directions)
    numbers = []
    for position, value in enumerate(inputs):
        parts = [_exactly(value)] + [_exactly(np.zeros_like(value))] * (size - 1)
        for k, direction in enumerate(directions):
            parts[2**k] = _exactly(direction[position])
        numbers.append(Hyperdual(parts))
    y = norm(*numbers, eps=eps)
    return (_exactly(cotangent) * y.parts[-1]).sum()


def slopes(
    norm: Norm,
    inputs: Sequence[Array],
    cotangent: Array,
    directions: Sequence[Sequence[Array]],
    last: Sequence[Array],
    eps: float,
) -> list[float]:
    """Return the slope of that derivative along a last direction, for each input by itself, rounded to float64."""
    found = []
    for position in range(len(inputs)):
        alone = [v if i == position else np.zeros_like(v) for i, v in enumerate(last)]
        found.append(float(derivative(norm, inputs, cotangent, [*directions, alone], eps)))
    return found


@_with_all_digits
def numerical_derivative(
    norm: Norm, inputs: Sequence[Array], cotangent: Array, direction: Sequence[Array], order: int, eps: float
) -> Any:
    """Return the same along one direction taken ``order`` times, by mpmath's finite differences: the judge's judge."""

    def along(t: Any) -> Any:
        moved = [Hyperdual([_exactly(v) + t * _exactly(d)]) for v, d in zip(inputs, direction, strict=True)]
        return (_exactly(cotangent) * norm(*moved, eps=eps).parts[0]).sum()

    return mpmath.diff(along, 0, order)
