"""Patterns such as ``n (g c) h w -> n g``, which define the axes that a normalization runs over.

The left side lists the axes of the input. Parentheses split one axis into several, and ``...`` stands for any number of
axes. The right side lists the axes that are kept: there is one mean and one variance for each combination of their
indices, computed over all other axes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NoReturn

import numpy as np

ELLIPSIS = "..."

Terms = tuple[tuple[str, ...], ...]
"""Axes, each given by its name or by the names of the axes that it is split into."""


def is_size(value: Any, least: int = 1) -> bool:
    """Return whether a value is a Python or NumPy integer and at least ``least``; True and 2.0 are not integers."""
    # The most common type is tested first, because layers call this on every call.
    known = type(value) is int or (isinstance(value, int | np.integer) and not isinstance(value, bool))
    return known and bool(value >= least)


def among(name: str, names: Collection[str]) -> bool:
    """Return whether an axis of a fitted pattern is among the given names; ``...`` stands for several axes."""
    return name in names or (ELLIPSIS in names and name.startswith(ELLIPSIS))


@dataclass(frozen=True)
class Fitted:
    """A pattern applied to a shape.

    Attributes
    ----------
    shape : tuple of int
        The shape of the input after splitting axes.
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
        """The number of means, which is also the number of variances."""
        return math.prod(size for i, size in enumerate(self.shape) if i not in self.axes)

    @cached_property
    def values_per_mean(self) -> int:
        """The number of values that share a mean."""
        return math.prod(self.shape[i] for i in self.axes)

    @property
    def shares(self) -> str:
        """The number of values that share a mean, as text: ``"4 × 8 × 8 = 256 values each"``."""
        sizes = " × ".join(str(self.shape[i]) for i in self.axes)
        total = f"{sizes} = {self.values_per_mean}" if len(self.axes) > 1 else str(self.values_per_mean)
        return f"{total} {'value' if self.values_per_mean == 1 else 'values'} each"

    def sizes(self, terms: Terms) -> tuple[int, ...]:
        """Return the shape of an array with one axis for each term: parentheses join axes, ``...`` keeps them apart."""
        sizes: list[int] = []
        for term in terms:
            parts = [size for name, size in zip(self.names, self.shape, strict=True) if among(name, term)]
            sizes += parts if term == (ELLIPSIS,) else [math.prod(parts)]
        return tuple(sizes)

    def beside(self, terms: Terms) -> tuple[int, ...]:
        """Return the shape that broadcasts such an array against ``shape``: its own axes, and 1 elsewhere."""
        chosen = [name for term in terms for name in term]
        return tuple(size if among(name, chosen) else 1 for name, size in zip(self.names, self.shape, strict=True))


@dataclass(frozen=True, eq=False)
class Pattern:
    """A parsed pattern: the names in each axis of the input, and the names that are kept. It is cached by its text."""

    text: str
    input_axes: Terms
    kept: tuple[str, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of all axes, in order."""
        return tuple(name for axis in self.input_axes for name in axis)

    @property
    def first_axis(self) -> tuple[str, ...]:
        """The names in the first axis of the input, the batch."""
        return self.input_axes[0] if self.input_axes else ()

    @property
    def sharing(self) -> str:
        """A description of the statistics: ``"one mean and variance per n, g"``."""
        return f"one mean and variance {'per ' + ', '.join(self.kept) if self.kept else 'in all'}"

    def fit(self, shape: Sequence[int], lengths: Mapping[str, int] | None = None) -> Fitted:
        """Apply the pattern to a shape; ``lengths`` maps names to sizes of axes.

        Raises
        ------
        ValueError
            If the number of axes or a length does not match. The message quotes the pattern and points to the axis.
        TypeError
            If ``shape`` is not a sequence of sizes.
        """
        # Convert before the cache lookup, because 2.0 and True have the same hash as 2 and 1.
        if type(shape) is not tuple or not all(type(size) is int and size >= 0 for size in shape):
            shape = _as_shape(shape)
        return _fit(self, shape, tuple(sorted(self.checked_lengths(lengths).items())) if lengths else ())

    def checked_lengths(self, lengths: Mapping[str, int]) -> dict[str, int]:
        """Return sizes of axes as integers. Unknown axes and invalid sizes raise a ValueError."""
        for name, length in lengths.items():
            if name not in self.names:
                self.fail(f"a length is given for {name!r}, which is not one of its axes")
            if not is_size(length):
                self.fail(f"the length of axis {name!r} must be a positive integer, not {length!r}", name)
        return {name: int(length) for name, length in lengths.items()}

    def leave_free(self, keywords: Collection[str]) -> None:
        """Raise a ValueError if an axis has the name of a keyword argument, because its length would be ambiguous."""
        for name in self.names:
            if name in keywords:
                self.fail(f"{name!r} is the name of an argument; rename the axis", name)

    def select(self, text: str, what: str) -> Terms:
        """Parse a selection of the pattern's axes: ``"c"``, ``"(g c)"`` joined, or ``"g c"`` as separate axes.

        Raises
        ------
        ValueError
            If a name is not an axis of the pattern, or the order differs from the pattern's.
        """
        if not isinstance(text, str):
            raise TypeError(f"{what} must be a string with axes of the pattern, such as {what}='c', not {text!r}")
        names = self.names
        quoted = _Quoted(text, what)
        terms = quoted.axes(text)
        position = -1
        for name in (name for term in terms for name in term):
            if name not in names:
                quoted.fail(f"{name!r} is not an axis of {self.text!r}", name)
            if names.index(name) < position:
                quoted.fail(f"axis {name!r} is not in the order of {self.text!r}", name)
            position = names.index(name)
        return terms

    def fail(self, reason: str, *names: str) -> NoReturn:
        """Raise the error for a shape that does not match, pointing to an axis."""
        _Quoted(self.text).fail(reason, *names)


@dataclass(frozen=True)
class _Quoted:
    """A pattern or selection of axes, and the errors that quote it and point to a position."""

    text: str
    what: str = "pattern"

    def fail_at(self, reason: str, start: int, stop: int) -> NoReturn:
        shown = re.sub(r"\s", " ", self.text)
        pointer = " " * start + "^" * max(stop - start, 1)
        raise ValueError(f"{self.what} {self.text!r}: {reason}\n  {shown}\n  {pointer}")

    def fail(self, reason: str, *names: str) -> NoReturn:
        """Point to the first occurrence of a name, or of several in parentheses; without a name, to all axes."""
        words = r"\s+".join(map(re.escape, names))
        sought = rf"\(\s*{words}\s*\)" if len(names) > 1 else rf"(?<![^\s()]){words}(?![^\s()-])"
        found = re.search(sought, self.text) if names else None
        if found is None:
            left = self.text.partition("->")[0].rstrip()
            self.fail_at(reason, len(left) - len(left.lstrip()), len(left))
        self.fail_at(reason, *found.span())

    def axes(self, left: str) -> Terms:
        """Return the names in each axis of ``left``, the start of the text: one name, or several in parentheses."""
        axes: list[tuple[str, ...]] = []
        group: list[str] | None = None
        seen: set[str] = set()
        for match in re.finditer(r"[()]|[^\s()]+", left):
            token, span = match[0], match.span()
            if token == "(":
                if group is not None:
                    self.fail_at("parentheses cannot be nested", *span)
                group, opened = [], span
            elif token == ")":
                if not group:
                    self.fail_at("')' has no group of axes to close", *span)
                axes.append(tuple(group))
                group = None
            else:
                if token != ELLIPSIS and not token.isidentifier():
                    self.fail_at(f"{token!r} is not a name for an axis; use a word such as 'c', or '...'", *span)
                if token in seen:
                    where = " on the left" if self.what == "pattern" else ""
                    self.fail_at(f"axis {token!r} occurs twice{where}", *span)
                if token == ELLIPSIS and group is not None:
                    self.fail_at("'...' is not allowed inside parentheses", *span)
                seen.add(token)
                if group is None:
                    axes.append((token,))
                else:
                    group.append(token)
        if group is not None:
            self.fail_at("'(' is not closed", *opened)
        return tuple(axes)


def parse(text: str) -> Pattern:
    """Parse a pattern; the result is cached.

    Raises
    ------
    ValueError
        If the pattern is malformed. The message quotes it and points to the error.

    Examples
    --------
    >>> parse("n (g c) ... -> n g").fit((2, 6, 5, 5), {"g": 3})
    Fitted(shape=(2, 3, 2, 5, 5), names=('n', 'g', 'c', '...0', '...1'), axes=(2, 3, 4))
    >>> parse("n c h w -> k")
    Traceback (most recent call last):
        ...
    ValueError: pattern 'n c h w -> k': axis 'k' is kept but is not on the left, which has n c h w
      n c h w -> k
                 ^
    """
    if not isinstance(text, str):
        raise TypeError(f"a pattern is a string such as 'n c ... -> c', not {type(text).__name__}")
    return _parse(text)


@lru_cache(maxsize=1024)
def _parse(text: str) -> Pattern:
    quoted = _Quoted(text)
    left, arrow, right = text.partition("->")
    if not arrow or "->" in right:
        start = text.rindex("->") if arrow else len(text)
        reason = "expected one '->' between the axes of the input and the axes to keep, as in 'n c ... -> c'"
        quoted.fail_at(reason, start, start + 2 * bool(arrow))
    input_axes = quoted.axes(left)
    names = [name for axis in input_axes for name in axis]
    kept: list[str] = []
    for match in re.finditer(r"[()]|[^\s()]+", right):
        name, span = match[0], [len(left) + 2 + end for end in match.span()]
        if name in "()":
            quoted.fail_at("parentheses are allowed only on the left; on the right, list the axes to keep", *span)
        if name not in names:
            known = " ".join(names) or "no axes"
            quoted.fail_at(f"axis {name!r} is kept but is not on the left, which has {known}", *span)
        if name in kept:
            quoted.fail_at(f"axis {name!r} occurs twice on the right", *span)
        kept.append(name)
    return Pattern(text, input_axes, tuple(kept))


def describe(pattern: str, shape: Sequence[int], /, **axis_lengths: int) -> str:
    """Describe the statistics that a pattern defines for a shape.

    Parameters
    ----------
    pattern : str
    shape : sequence of int
    **axis_lengths : int
        Sizes of axes in parentheses, such as ``g=2``.

    Raises
    ------
    ValueError
        If the pattern is malformed or does not match the shape.
    TypeError
        If ``shape`` is not a sequence of sizes.

    Examples
    --------
    >>> describe("n c h w -> c", (4, 3, 8, 8))
    'one mean and variance per c; 4 × 8 × 8 = 256 values each'
    """
    parsed = parse(pattern)
    return f"{parsed.sharing}; {parsed.fit(shape, axis_lengths).shares}"


def _as_shape(shape: Sequence[int]) -> tuple[int, ...]:
    if not isinstance(shape, Sequence) or not all(is_size(size, least=0) for size in shape):
        raise TypeError(f"a shape must be a sequence of non-negative integers such as (4, 3), not {shape!r}")
    return tuple(map(int, shape))


@lru_cache(maxsize=4096)
def _fit(pattern: Pattern, shape: tuple[int, ...], lengths: tuple[tuple[str, int], ...]) -> Fitted:
    given = dict(lengths)
    has_ellipsis = (ELLIPSIS,) in pattern.input_axes
    extra = len(shape) - len(pattern.input_axes) + has_ellipsis
    if extra < 0 or (extra and not has_ellipsis):
        least = "at least " if has_ellipsis else ""
        wanted = len(pattern.input_axes) - has_ellipsis
        pattern.fail(f"expected {least}{wanted} axes, but the input has shape {shape}")
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
    reduced = tuple(i for i, name in enumerate(names) if not among(name, pattern.kept))
    return Fitted(tuple(sizes), tuple(names), reduced)


def _split(pattern: Pattern, axis: tuple[str, ...], size: int, given: Mapping[str, int]) -> list[int]:
    """Return the sizes of the axes that one axis of the input is split into; at most one may be unknown."""
    unknown = [name for name in axis if name not in given]
    product = math.prod(given[name] for name in axis if name in given)
    what = f"axis {axis[0]!r}" if len(axis) == 1 else f"axis ({' '.join(axis)})"
    lengths = ", ".join(f"{name}={given[name]}" for name in axis if name in given)
    if len(unknown) > 1:
        reason = f"{what} of size {size} needs a length for {' or '.join(map(repr, unknown))}, as in {axis[0]}=2"
        pattern.fail(reason, *axis)
    if unknown and size % product:
        pattern.fail(f"{what} has size {size}, which is not divisible by {lengths}", *axis)
    if not unknown and size != product:
        pattern.fail(f"{what} has size {size}, which does not match {lengths}", *axis)
    return [given.get(name, size // product) for name in axis]
