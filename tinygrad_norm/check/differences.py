"""Central differences with an error bar, for functions to which the complex step does not apply."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ..engine.operators import Array
from .rounding import at_random
from .scales import Function, largest, nearby, of_one, step_scale, step_scales

EPS = float(np.finfo(np.float64).eps)

# Relative to the spread of the input. The smaller ones are for functions that bend sharply, such as a normalization of
# almost constant values. Elsewhere rounding makes them useless, and the error bar shows this.
RELATIVE_STEPS = (2e-2, 1.7e-3, 2.3e-4, 1.9e-5, 2.9e-6, 3.1e-8, 1.3e-10, 1.1e-12, 1.4e-14)
MOST_BENDING = 6
"""Largest number of outputs with a kink for which all combinations of sides are tried."""
ENOUGH = 1e-9
"""If nonzero slopes of two steps agree this well, no further steps are needed."""


class Slope(NamedTuple):
    """The extrapolated slope for one step size, and its rounding error."""

    value: float
    rounding: float


class Sides(NamedTuple):
    """The contribution of each output to the slope from the left and from the right, and the rounding error."""

    left: Array
    right: Array
    rounding: float

    @property
    def apart(self) -> float:
        """The total distance between both sides, over all outputs."""
        return float(np.sum(np.abs(self.right - self.left)))

    @property
    def largest(self) -> float:
        """The larger absolute value of both slopes."""
        return max(abs(float(np.sum(self.left))), abs(float(np.sum(self.right))))

    def may_be(self, got: float, slack: float) -> bool:
        """Return whether a value lies between both sides, or is a sum with one side or the middle for each output."""
        low, high = sorted((float(np.sum(self.left)), float(np.sum(self.right))))
        if low - slack <= got <= high + slack:
            return True
        bends = np.abs(self.right - self.left) > 1e-3 * self.apart / max(self.left.size, 1)
        middle = (self.left + self.right) / 2
        if np.sum(bends) > MOST_BENDING:
            return abs(got - float(np.sum(middle))) <= self.apart / 2 + slack
        straight = float(np.sum(middle[~bends]))
        ways = itertools.product(*zip(self.left[bends], self.right[bends], middle[bends], strict=True))
        return any(abs(straight + float(sum(way)) - got) <= slack for way in ways)


class Differences:
    """Extrapolated central differences of ``<cotangent, fn(x)>`` at an input, along any direction.

    ``eps`` is the machine epsilon of the dtype in which the function computes.
    """

    def __init__(self, fn: Function, inputs: Sequence[Array], which: int, cotangent: Array, eps: float = EPS) -> None:
        self.fn, self.cotangent, self.eps = of_one(fn, inputs, which), cotangent, eps
        self.others = fn, inputs, which
        self.x = x = inputs[which]
        self.scales = step_scales(x)
        self.terms = self._terms(x)
        self.here, self.size = float(np.sum(self.terms)), float(np.sum(np.abs(self.terms)))
        nudged = self.fn(x + RELATIVE_STEPS[1] * 2**-0.5 * self.scales)
        # A function with integer values, such as floor, has no slope.
        self.hopeless = not np.isfinite(self.size) or bool(nudged.any() and (nudged == np.round(nudged)).all())
        # The effect of the last places of x, and of rounding inside: far from zero, the step itself is rounded.
        rng = np.random.default_rng(0)
        self.wobble = max(abs(self._rounded_at(nearby(x, rng, eps), rng) - self.here) for _ in range(3))
        # A function may compute in float32. Its values show this, unless x itself has no finer digits.
        single = float(np.finfo(np.float32).eps)
        finer = EPS * largest(x) < single * largest(nudged)
        self.coarse = eps > EPS or bool(finer and (nudged == nudged.astype(np.float32)).all())
        self.unit = 8 * max(eps, single * self.coarse)

    @cached_property
    def inside(self) -> float:
        """The effect of rounding inside the function, at exactly x."""
        rng = np.random.default_rng(1)
        return max(abs(self._rounded_at(self.x, rng) - self.here) for _ in range(2))

    def _rounded_at(self, at: Array, rng: np.random.Generator) -> float:
        return float(np.sum(at_random(lambda one: self._terms(*one), [at], rng)))

    def _rounding(self, step: float) -> float:
        """Return the effect of rounding on a one-sided slope."""
        return (32 * self.eps * self.size + 2 * self.inside) / step

    def _terms(self, at: Array) -> Array:
        return self.cotangent * self.fn(at)

    def along(self, direction: Array) -> tuple[float, float]:
        """Return the slope along a direction, and its error bar, which may be infinite.

        Each step is judged by the next smaller one, and only if the slopes come closer: slopes of steps that are too
        large grow as the steps shrink. The smallest error bar wins.
        """
        moved = direction != 0
        if not moved.any():
            return 0.0, 0.0
        if self.hopeless:
            return 0.0, np.inf
        x, size, wobble, unit = self.x, self.size, self.wobble, self.unit
        scale = float(np.min(self.scales[moved] / np.abs(direction[moved])))
        reach = float(np.max(np.abs(x[moved] / direction[moved])))  # the size of x, in steps along the direction
        found: list[Slope] = []
        farthest = 0.0
        for relative in RELATIVE_STEPS:
            step = relative * scale
            four = [self._terms(x + t * step * direction) for t in (1, -1, 0.5, -0.5)]
            far, back, near, nearly = (float(np.sum(values)) for values in four)
            if not np.isfinite([far, back, near, nearly]).all():
                continue
            moves = max(abs(v - self.here) for v in (far, back, near, nearly))
            farthest = max(farthest, moves)
            slope = (4 * (near - nearly) / step - (far - back) / (2 * step)) / 3
            most = max(size, *(float(np.sum(np.abs(values))) for values in four))
            found.append(Slope(slope, (unit * (most + abs(slope) * reach) + 2 * wobble) / step))
            if moves == 0 < farthest:
                break  # lost in rounding, as with all smaller steps
            if not self.coarse and len(found) > 1 and abs(slope - found[-2].value) < ENOUGH * abs(slope):
                break
        # Inside a function, numbers of order one may cancel, and smaller ones are then rounded away.
        order_one = float(np.sum(np.abs(self.cotangent)))
        if farthest == 0:
            whole = len(found) == len(RELATIVE_STEPS)
            return 0.0, found[0].rounding + unit * order_one / (RELATIVE_STEPS[0] * scale) if whole else np.inf
        if wobble > 0.01 * farthest > unit * size:
            # Last places of x move the function about as far as steps do, so any slope would be noise.
            return 0.0, wobble / (self.eps * largest(x)) if farthest < 1e-12 * order_one else np.inf
        return _most_certain(found)

    def at_a_kink(self, direction: Array, got: float) -> bool:
        """Return whether there is a kink, and the value is one that a convention may choose.

        The one-sided slopes of a smooth function come closer as the step shrinks; those at a kink do not.
        """
        moved, reach = direction != 0, largest(direction)
        # Next to enormous elements, two steps are tried, because the smaller one may be lost in rounding.
        for scale in sorted({float(np.min(self.scales[moved] / np.abs(direction[moved]))), step_scale(self.x) / reach}):
            step = 1e-5 * scale
            wide, sides = self._sides(direction, step), self._sides(direction, step / 2)
            if sides.apart > 0.75 * wide.apart and sides.apart > 1e-4 * sides.largest + sides.rounding:
                break
        else:
            return False
        for closer in (self._sides(direction, step * 100.0**-power) for power in range(1, 7)):
            if closer.rounding > 0.1 * sides.apart or not closer.largest:
                break
            if closer.apart < 0.5 * sides.apart:
                return False  # the kink is not at this point
        slack = 1e-3 * sides.apart + sides.rounding
        if sides.may_be(got, slack):
            return True
        # If more than two pieces meet, as when three values are sorted, the slope of each piece occurs nearby.
        return any(abs(got - slope) <= 10 * bar + slack for slope, bar in self._nearby(direction))

    def may_be(self, direction: Array, got: float) -> bool:
        """Return whether a value lies between the slopes nearby and 0, the slope of inactive pieces.

        If there are more than two pieces, not all may have been found, so more is allowed.
        """
        met = self._nearby(direction)
        slopes, bar = [0.0, *(slope for slope, _ in met)], max((bar for _, bar in met), default=np.inf)
        spread = max(slopes) - min(slopes)
        pieces = len({round(slope / (spread or 1.0), 3) for slope in slopes[1:]})
        slack = (0.5 if pieces > 2 else 1e-3) * spread + 10 * bar
        return min(slopes) - slack <= got <= max(slopes) + slack

    def _nearby(self, direction: Array) -> list[tuple[float, float]]:
        """Return slopes and error bars at points nearby."""
        fn, inputs, which = self.others
        rng, found = np.random.default_rng(0), []
        for _ in range(16):
            beside = [*inputs]
            beside[which] = self.x + 1e-3 * self.scales * rng.normal(size=self.x.shape)
            found.append(Differences(fn, beside, which, self.cotangent, self.eps).along(direction))
        return [(slope, bar) for slope, bar in found if np.isfinite(bar)]

    def bends(self) -> bool:
        """Return whether the slopes along three directions with sum zero do not add up to zero, for any step size.

        Then there is no gradient here. If several pieces meet, as at a median of equal values, single entries may not
        show this.
        """
        rng = np.random.default_rng(0)
        pairs = ([self.scales * rng.normal(size=self.x.shape) for _ in range(2)] for _ in range(3))
        return any(self._bends_between(one, two) for one, two in pairs)

    def _bends_between(self, one: Array, two: Array) -> bool:
        first = 0.0
        for step in (1e-5, 1e-7, 1e-9, 1e-11):
            rises = [float(np.sum(self._terms(self.x + step * d) - self.terms)) for d in (one, two, -one - two)]
            apart, size, rounding = abs(sum(rises)) / step, sum(map(abs, rises)) / step, 10 * self._rounding(step)
            if not first:
                if not apart > 1e-3 * size + rounding:
                    return False
                first = apart
            elif rounding > apart:
                break
            elif apart < 0.5 * first:
                return False
        return True

    def _sides(self, direction: Array, step: float) -> Sides:
        right = (self._terms(self.x + step * direction) - self.terms) / step
        left = (self.terms - self._terms(self.x - step * direction)) / step
        return Sides(left.ravel(), right.ravel(), self._rounding(step))


def _most_certain(found: Sequence[Slope]) -> tuple[float, float]:
    """Return the slope with the smallest error bar, for steps in descending order."""
    gaps = [abs(one.value - two.value) for one, two in itertools.pairwise(found)]
    # A gap may be small by luck. In coarse arithmetic such as float32, the next one is up to ten times larger.
    luckless = [max(gap, following / 10) for gap, following in zip(gaps, [*gaps[1:], 0.0], strict=False)]
    bars = [gap + slope.rounding for gap, slope in zip(luckless, found, strict=False)]
    for i, gap in enumerate(gaps):
        close = gap <= 2 * found[i].rounding or gap <= 1e-3 * abs(found[i].value)
        if not (close or (i > 0 and gap <= gaps[i - 1] / 50)):
            bars[i] = np.inf
    # Steps that are too large can agree by chance. Smaller ones contradict them, within their own rounding.
    for i, slope in enumerate(found[:-1]):
        apart = (abs(slope.value - smaller.value) - slope.rounding - smaller.rounding for smaller in found[i + 1 :])
        bars[i] = max(bars[i], *apart)
    bar, value = min(zip(bars, (slope.value for slope in found), strict=False), default=(np.inf, 0.0))
    return value, bar
