"""Patterns such as ``n (g c) h w -> n g``: what is normalized over, written down.

To the left of the arrow stand the axes of the input; parentheses split one axis into several, and ``...`` stands for
any number of axes. To the right stand the axes that are kept: there is one mean and one variance for each of their
combinations, taken over all the others.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn

ELLIPSIS = "..."


@dataclass(frozen=True)
class Fitted:
    """A pattern applied to a shape.

    Attributes
    ----------
    shape : tuple of int
        The input's shape with every split axis written out.
    names : tuple of str
        A name for each axis of ``shape``.
    axes : tuple of int
        The axes of ``shape`` that statistics run over.
    """

    shape: tuple[int, ...]
    names: tuple[str, ...]
    axes: tuple[int, ...]

    @property
    def number_of_means(self) -> int:
        """How many means, and variances, there are."""
        return math.prod(size for i, size in enumerate(self.shape) if i not in self.axes)

    @property
    def values_per_mean(self) -> int:
        """How many values share a mean."""
        return math.prod(self.shape[i] for i in self.axes)


@dataclass(frozen=True, eq=False)
class Pattern:
    """A parsed pattern: the names in each axis of the input, and the names that are kept. Each text has one."""

    text: str
    input_axes: tuple[tuple[str, ...], ...]
    kept: frozenset[str]

    def _fail(self, reason: str) -> NoReturn:
        raise ValueError(f"pattern {self.text!r}: {reason}")

    def fit(self, shape: tuple[int, ...], lengths: Mapping[str, int] | None = None) -> Fitted:
        """Apply the pattern to a shape; ``lengths`` gives sizes of axes, as ``g=8``.

        Raises
        ------
        ValueError
            If the number of axes or a length does not fit. The message quotes the pattern and names the axis.
        """
        return _fit(self, shape, tuple(sorted((lengths or {}).items())))


@lru_cache(maxsize=1024)
def parse(text: str) -> Pattern:
    """Parse a pattern, once.

    Raises
    ------
    ValueError
        If it is malformed. The message quotes it and names what is wrong.

    Examples
    --------
    >>> parse("n (g c) ... -> n g").fit((2, 6, 5, 5), {"g": 3})
    Fitted(shape=(2, 3, 2, 5, 5), names=('n', 'g', 'c', '...0', '...1'), axes=(2, 3, 4))
    """
    if not isinstance(text, str):
        raise TypeError(f"a pattern is a string such as 'n c ... -> c', not {type(text).__name__}")
    fail = Pattern(text, (), frozenset())._fail
    left, arrow, right = text.partition("->")
    if not arrow or "->" in right:
        fail("expected one '->' between the input's axes and those that are kept, as in 'n c ... -> c'")
    input_axes = _input_axes(left, fail)
    names = [name for axis in input_axes for name in axis]
    for name in names:
        if name != ELLIPSIS and not name.isidentifier():
            fail(f"{name!r} is not a name for an axis; use a word such as 'c', or '...'")
        if names.count(name) > 1:
            fail(f"axis {name!r} occurs twice on the left")
    if ELLIPSIS in names and (ELLIPSIS,) not in input_axes:
        fail("'...' cannot stand inside parentheses")
    if "(" in right or ")" in right:
        fail("parentheses stand on the left only; on the right, name the axes that are kept")
    kept = right.split()
    for name in kept:
        if name not in names:
            fail(f"axis {name!r} is kept but is not on the left, which has {' '.join(names) or 'no axes'}")
        if kept.count(name) > 1:
            fail(f"axis {name!r} occurs twice on the right")
    return Pattern(text, input_axes, frozenset(kept))


def describe(pattern: str, shape: Sequence[int], **axis_lengths: int) -> str:
    """Say in words what a pattern shares on a shape.

    Parameters
    ----------
    pattern : str
    shape : sequence of int
    **axis_lengths : int
        Sizes of axes in parentheses, as ``g=2``.

    Raises
    ------
    ValueError
        If the pattern is malformed or does not fit.

    Examples
    --------
    >>> describe("n c h w -> c", (4, 3, 8, 8))
    'one mean and variance per c; 4 × 8 × 8 = 256 values each'
    """
    fitted = parse(pattern).fit(tuple(shape), axis_lengths)
    kept = pattern.partition("->")[2].split()
    sizes = " × ".join(str(fitted.shape[i]) for i in fitted.axes)
    values = f"{sizes} = {fitted.values_per_mean}" if len(fitted.axes) > 1 else str(fitted.values_per_mean)
    noun = "value" if fitted.values_per_mean == 1 else "values"
    return f"one mean and variance {'per ' + ', '.join(kept) if kept else 'in all'}; {values} {noun} each"


def _input_axes(left: str, fail: Callable[[str], NoReturn]) -> tuple[tuple[str, ...], ...]:
    """Return the names in each axis of the input: one, or several that it is split into."""
    axes: list[tuple[str, ...]] = []
    group: list[str] | None = None
    for token in re.findall(r"[()]|[^\s()]+", left):
        if token == "(":
            if group is not None:
                fail("parentheses do not nest")
            group = []
        elif token == ")":
            if not group:
                fail("')' closes no group of axes")
            axes.append(tuple(group))
            group = None
        elif group is not None:
            group.append(token)
        else:
            axes.append((token,))
    if group is not None:
        fail("'(' is not closed")
    return tuple(axes)


@lru_cache(maxsize=4096)
def _fit(pattern: Pattern, shape: tuple[int, ...], lengths: tuple[tuple[str, int], ...]) -> Fitted:
    given = dict(lengths)
    known = {name for axis in pattern.input_axes for name in axis}
    for name, length in given.items():
        if name not in known:
            pattern._fail(f"a length is given for {name!r}, which is not one of its axes")
        if isinstance(length, bool) or not isinstance(length, int) or length < 1:
            pattern._fail(f"the length of axis {name!r} must be a positive integer, not {length!r}")
    has_ellipsis = (ELLIPSIS,) in pattern.input_axes
    extra = len(shape) - len(pattern.input_axes) + has_ellipsis
    if extra < 0 or (extra and not has_ellipsis):
        least = "at least " if has_ellipsis else ""
        wanted = len(pattern.input_axes) - has_ellipsis
        pattern._fail(f"expected {least}{wanted} axes, but the input has shape {shape}")
    sizes: list[int] = []
    names: list[str] = []
    position = 0
    for axis in pattern.input_axes:
        if axis == (ELLIPSIS,):
            sizes += shape[position : position + extra]
            names += [f"{ELLIPSIS}{i}" for i in range(extra)]
            position += extra
        else:
            sizes += _split(pattern, axis, shape[position], given)
            names += axis
            position += 1
    kept = tuple(name in pattern.kept or (ELLIPSIS in pattern.kept and name.startswith(ELLIPSIS)) for name in names)
    return Fitted(tuple(sizes), tuple(names), tuple(i for i, keep in enumerate(kept) if not keep))


def _split(pattern: Pattern, axis: tuple[str, ...], size: int, given: Mapping[str, int]) -> list[int]:
    """Return the sizes of the axes that one axis of the input is split into; at most one may be unknown."""
    unknown = [name for name in axis if name not in given]
    product = math.prod(given[name] for name in axis if name in given)
    what = f"axis {axis[0]!r}" if len(axis) == 1 else f"axis ({' '.join(axis)})"
    lengths = ", ".join(f"{name}={given[name]}" for name in axis if name in given)
    if len(unknown) > 1:
        pattern._fail(f"{what} of size {size} needs a length for {' or '.join(map(repr, unknown))}, as in {axis[0]}=2")
    if unknown and size % product:
        pattern._fail(f"{what} has size {size}, which {lengths} does not divide")
    if not unknown and size != product:
        pattern._fail(f"{what} has size {size}, which does not match {lengths}")
    return [given.get(name, size // product) for name in axis]
