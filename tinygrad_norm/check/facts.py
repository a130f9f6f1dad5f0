"""The numbers of a fault: the Jacobian that a gradient gives, and the right Jacobian."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np

from ..engine.operators import Array
from .oracle import COMPLEX_STEP
from .scales import step_scales
from .subject import Subject

Said = Iterator[tuple[str, Array]]
"""Guesses are sentences, each with the gradient that it predicts."""
MOST_PAIRS = 100_000
"""Largest number of entries of a whole Jacobian."""
MOST_COLUMNS = 1000
"""Largest number of entries of an input: each needs a run of the function."""
PLAIN = tuple(round(value, 6) for value in (1 / 3, 0.5, 2, 3))
"""Factors that are so common that they are named after an axis only if sizes differ."""


@dataclass(frozen=True)
class Evidence:
    """A gradient and the right gradient at one point, for all one-hot cotangents or a few random ones.

    Attributes
    ----------
    subject : Subject
    points : tuple of ndarrays
        All inputs.
    which : int
        The input that the gradient belongs to.
    g : ndarray
        A random cotangent.
    exact : bool
        Whether the complex step can be trusted.
    """

    subject: Subject
    points: tuple[Array, ...]
    which: int
    g: Array
    exact: bool

    @property
    def x(self) -> Array:
        return self.points[self.which]

    @property
    def name(self) -> str:
        return self.subject.names[self.which]

    @cached_property
    def y(self) -> Array:
        return self.subject.value(*self.points)

    @property
    def whole(self) -> bool:
        """Whether the cotangents are all one-hot, so that the gradients are the rows of a Jacobian."""
        return self.g.size * self.x.size <= MOST_PAIRS

    @cached_property
    def cotangents(self) -> Array:
        """All one-hot cotangents, or the random cotangent and three others, one in each row."""
        size = self.g.size
        others = np.random.default_rng(0).normal(size=(3, size))
        return np.eye(size) if self.whole else np.stack([self.g.ravel(), *others])

    @cached_property
    def got(self) -> Array:
        """The gradient for each cotangent, of shape ``(rows, *x.shape)``."""
        return np.stack([self.pulled(c.reshape(self.g.shape)) for c in self.cotangents])

    @cached_property
    def want(self) -> Array:
        return self.right(self.which)

    @cached_property
    def mismatch(self) -> Array:
        return self.got - self.want

    @cached_property
    def ratio(self) -> float:
        """The multiple of the right gradient that is closest to the gradient, or 1 if the right gradient is zero."""
        size = float((self.want * self.want).sum())
        return float((self.got * self.want).sum()) / size if size else 1.0

    def pulled(self, g: Array, points: Sequence[Array] | None = None) -> Array:
        """Return the gradient under test for a cotangent."""
        return np.asarray(self.subject.gradients(points or self.points, g)[self.which], np.float64)

    def right(self, which: int) -> Array:
        """Return the right gradient of an input for each cotangent."""
        shape = self.points[which].shape
        if callable(self.subject.oracle):
            pulled = [self.subject.oracles(self.points, c.reshape(self.g.shape))[which] for c in self.cotangents]
            return np.stack(pulled)
        if self.points[which].size > MOST_COLUMNS:
            raise ValueError("a Jacobian with this many columns takes too long")
        units = np.eye(self.points[which].size).reshape(-1, *shape)
        slopes = np.stack([self.slope(self.points, which, unit).ravel() for unit in units], axis=-1)
        return np.asarray(self.cotangents @ slopes).reshape(-1, *shape)

    def right_for(self, g: Array) -> Array:
        """Return the right gradient for a cotangent: any one if the Jacobian is whole, else the first."""
        return np.asarray(np.tensordot(g.ravel(), self.want, 1) if self.whole else self.want[0])

    def slope(self, points: Sequence[Array], which: int, direction: Array) -> Array:
        """Return the derivative of the output along a direction of an input."""

        def at(distance: complex) -> Array:
            moved = np.asarray(points[which] + distance * direction)
            return self.subject.value(*points[:which], moved, *points[which + 1 :])

        if self.exact:
            return np.asarray(at(1j * COMPLEX_STEP).imag / COMPLEX_STEP)
        step = 1e-4 * float(np.min(step_scales(points[which])[direction != 0], initial=1e6))
        near, far = at(step / 2) - at(-step / 2), at(step) - at(-step)
        return np.asarray((8 * near - far) / (6 * step))

    @cached_property
    def moved(self) -> Array:
        """The gradient for each cotangent along three random directions."""
        return np.stack([np.tensordot(self.got, d, self.x.ndim) for d in self.directions])

    @property
    def directions(self) -> Array:
        return np.random.default_rng(1).normal(size=(3, *self.x.shape))

    @cached_property
    def right_moved(self) -> Array:
        """The same for the right gradient, from three calls of the function."""
        slopes = [self.slope(self.points, self.which, d).ravel() for d in self.directions]
        return np.stack([self.cotangents @ slope for slope in slopes])

    def times(self, scale: float) -> Evidence:
        """Return the evidence with the input scaled."""
        return replace(self, points=tuple(scale * p if i == self.which else p for i, p in enumerate(self.points)))

    def shows(self) -> bool:
        """Return whether these numbers show the fault."""
        finite = np.isfinite(self.got).all() and np.isfinite(self.want).all()
        return bool(finite and np.abs(self.mismatch).max(initial=0) > 1e-6 * np.abs(self.want).max(initial=0))

    def explained_by(self, model: Array) -> bool:
        """Return whether a model of the gradient explains the mismatch, not only the gradient."""
        left = float(np.abs(self.got - model).max(initial=0))
        return left <= 1e-4 * float(np.abs(self.mismatch).max(initial=0))


def close(a: Array, b: Array, to: float = 1e-5) -> bool:
    """Return whether arrays agree, relative to their largest value, and are not zero."""
    scale = max(float(np.abs(b).max(initial=0)), float(np.abs(a).max(initial=0)))
    return scale > 0 and float(np.abs(a - b).max(initial=0)) <= to * scale


def named_axes(axes: Sequence[int]) -> str:
    return f"ax{'i' if len(axes) == 1 else 'e'}s {', '.join(map(str, axes))}"


def subsets(ndim: int) -> Iterator[tuple[int, ...]]:
    return (axes for count in range(1, ndim + 1) for axes in combinations(range(ndim), count))


def named_factor(e: Evidence, factor: float, told: str, number: str) -> list[str]:
    """Return descriptions of a factor: by what it may be, likely ones first, and by its value."""
    named = [told.format(words) for value, words in _factors(e) if abs(abs(factor) - value) < 1e-5 * value]
    return [*([number] if round(abs(factor), 6) in PLAIN else []), *named, number]


def _factors(e: Evidence) -> Iterator[tuple[float, str]]:
    for name, p in zip(e.subject.names, e.points, strict=False):
        if p.size == 1 and p.dtype.kind == "f" and p.any():
            yield from ((abs(p.item()), f"multiplied by {name}"), (1 / abs(p.item()), f"divided by {name}"))
    for alike in zip(*(_of_size(float(n), name) for name, n in sizes_of(e).items() if n > 1), strict=True):
        yield from alike


def _of_size(n: float, name: str) -> Iterator[tuple[float, str]]:
    unbiased = f"n / (n - 1) for {name}, as with the unbiased variance"
    yield n, f"multiplied by {name}, as when a sum is taken instead of a mean"
    yield 1 / n, f"divided by {name}, as when a mean is taken instead of a sum"
    yield from ((n / (n - 1), f"multiplied by {unbiased}"), (1 - 1 / n, f"divided by {unbiased}"))
    for power, root in ((0.5, "the square root of"), (2.0, "the square of")):
        yield from ((n**power, f"multiplied by {root} {name}"), (n**-power, f"divided by {root} {name}"))
    yield (n / (n - 1)) ** 0.5, f"multiplied by the square root of {unbiased}"
    yield (1 - 1 / n) ** 0.5, f"divided by the square root of {unbiased}"
    yield from ((2 / n, f"multiplied by 2 and divided by {name}"), (n / 2, f"multiplied by {name} and divided by 2"))
    yield from ((2 * n, f"multiplied by 2 and by {name}"), (0.5 / n, f"divided by 2 and by {name}"))


def sizes_of(e: Evidence) -> dict[str, int]:
    """Return the sizes of axes and of sets of axes, by name. Of equal sizes, the first is the likeliest."""
    shapes = [p.shape for p in (*e.points, e.g) if p.ndim]
    leading = [shape[0] for shape in shapes if len(shape) > 1] or [shape[0] for shape in shapes]
    sizes = {"the batch size": max(leading, key=leading.count)} if leading else {}
    for name, shape in [(e.name, e.x.shape), ("the output", e.g.shape), *shapes_of(e)]:
        sizes[f"the number of elements of {name}"] = math.prod(shape)
        for count in range(1, len(shape)):
            for axes in combinations(range(len(shape)), count):
                sizes[f"the size of {named_axes(axes)} of {name}"] = math.prod(shape[a] for a in axes)
    return sizes


def shapes_of(e: Evidence) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, p.shape) for name, p in zip(e.subject.names, e.points, strict=False)]


def named_values(e: Evidence) -> list[tuple[str, Array]]:
    """Return the arrays whose values a guess may use: the floating-point inputs and the output."""
    named = [(n, a) for n, a in zip(e.subject.names, e.points, strict=False) if a.dtype.kind == "f"]
    return [named[0], *named[1:], ("the output y", e.y)]


def aligned_to(a: Array, shape: tuple[int, ...]) -> Iterator[Array]:
    """Yield an array broadcast to a shape in every way that fits: by its last axes, its first axes, or its channels."""
    seen = set()
    for front in range(len(shape) - a.ndim + 1):
        padded = (*(1,) * front, *a.shape, *(1,) * (len(shape) - a.ndim - front))
        if padded not in seen and all(n in (1, m) for n, m in zip(padded, shape, strict=True)):
            seen.add(padded)
            yield np.broadcast_to(a.reshape(padded), shape)


def compared(e: Evidence) -> list[tuple[str, Array]]:
    """Return the arrays whose signs and thresholds are tried: inputs, the output, and differences and products."""
    values = [(name, v) for name, a in named_values(e) if a.size > 1 for v in aligned_to(a, e.x.shape)]
    inputs = [(name, a) for name, a in named_values(e)[:-1] if a.shape == e.x.shape]
    for (m, a), (n, b) in combinations(inputs, 2):
        values += [(f"{m} - {n}", a - b), (f"{m} * {n}", a * b)]
    return values
