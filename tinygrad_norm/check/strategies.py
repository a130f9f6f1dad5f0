"""Inputs of a property check: arrays with named axes, first ordinary ones, then edge cases.

hypothesis often fills arrays with one value: a third of its arrays have a constant row, which cannot show a fault in a
variance. So there are two kinds. *Generic* arrays have distinct values, axes of at least 2, and an ordinary spread.
*Edge cases* are constant, tied, zero, huge, tiny, far from zero, of size 1, empty, or strided.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..engine.operators import Array
from .domains import AXES, MAKERS, placed

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

EDGES = ("constant", "ties", "zeros", "huge", "tiny", "offset", "size 1", "empty", "strided", "float32")
SIDE = re.compile(r"(?P<times>\d*)(?P<axis>(?:[^\W\d]\w*)?)")
MOST_DRAWN = 64
"""For a larger array only a seed is drawn."""


@dataclass(frozen=True)
class Inputs:
    """Arrays whose axes are named, so that their sizes agree: ``Inputs(("n c", "c", "c"))``.

    Attributes
    ----------
    axes : tuple of str
        The axes of each array, separated by spaces: a name, a number, or a multiple of a named axis, as in ``"n 4h"``;
        "" for a scalar.
    smallest, largest : int
        Bounds of the sizes of axes in ordinary arrays.
    least : mapping from name to int
        Smallest sizes of some axes, also in edge cases.
    multiples : mapping from name to int
        A number that divides the size of an axis, such as the number of groups for channels. The size is once, twice or
        three times that number.
    domains : tuple of str
        The domain of each array's values: "real" (the default), "positive", "labels:c" (integers from 0, below the size
        of an axis or a number), "mask" (bools), "integers", "simplex" (positive rows of sum 1), "unit" (rows of length
        1), "sorted" (ascending rows), "triangular" (lower), "spd" (symmetric positive definite).
    edges : tuple of str
        The edge cases to try.
    names : tuple of str
        The names of the arrays, if they have any.
    dtype : str
        The dtype of floating-point arrays.
    """

    axes: tuple[str, ...]
    smallest: int = 2
    largest: int = 4
    least: tuple[tuple[str, int], ...] = ()
    multiples: tuple[tuple[str, int], ...] = ()
    domains: tuple[str, ...] = ()
    edges: tuple[str, ...] = EDGES
    names: tuple[str, ...] = ()
    dtype: str = "float64"

    def __post_init__(self) -> None:
        for side in " ".join(self.axes).split():
            if not SIDE.fullmatch(side):
                raise ValueError(f"an axis must be a name or a size, as in 'n c', 'n 4c' or 'n 3', not {side!r}")
        names = self._axes()
        for name, size in (*self.least, *self.multiples):
            if name not in names or size < 1:
                raise ValueError(
                    f"least and multiples must be positive sizes of {', '.join(sorted(names))}, not {name}: {size}"
                )
        if not 0 < self.smallest <= self.largest:
            raise ValueError(f"no size lies between smallest={self.smallest} and largest={self.largest}")
        if self.domains and len(self.domains) != len(self.axes):
            raise ValueError(f"domains must have one entry for each of {len(self.axes)} arrays, not {self.domains!r}")
        for domain, axes in zip(self.domains, self.axes, strict=False):
            kind, _, of = str(domain).partition(":")
            if kind not in MAKERS or bool(of) != (kind == "labels") or (of and not of.isdecimal() and of not in names):
                known = ", ".join(MAKERS).replace("labels", "labels:c or labels:10")
                raise ValueError(f"a domain must be one of {known}, not {domain!r}")
            last = axes.split()[len(axes.split()) - AXES.get(kind, 0) :]
            if len(last) < AXES.get(kind, 0) or len({*last}) > 1:
                raise ValueError(f"domain {domain!r} needs rows or square matrices, as in 'n' or 'n n', not {axes!r}")
        if not {*self.edges} <= {*EDGES}:
            raise ValueError(f"edges must be among {', '.join(EDGES)}, not {self.edges!r}")
        if self.dtype not in ("float16", "float32", "float64"):
            raise ValueError(f"dtype must be float16, float32 or float64, not {self.dtype!r}")

    def ordered(self, parameters: Sequence[str]) -> Inputs:
        """Return the arrays in the order of a function's parameters, if these include all their names."""
        if not self.names or not {*self.names} <= {*parameters}:
            return self
        if {*self.names} != {*parameters[: len(self.names)]}:
            first = ", ".join(parameters[: len(self.names)])
            raise ValueError(f"inputs must name the first parameters, {first}, not {', '.join(self.names)}")
        order = [self.names.index(name) for name in parameters[: len(self.names)]]
        axes, names, domains = ([of[i] for i in order] for of in (self.axes, self.names, self._domains()))
        return replace(self, axes=tuple(axes), names=tuple(names), domains=tuple(domains))

    def generic(self) -> SearchStrategy[tuple[Array, ...]]:
        """Return a strategy of ordinary arrays: distinct values, axes of at least 2, no fill."""
        return self._strategy(())

    def edge_cases(self, *edges: str) -> SearchStrategy[tuple[Array, ...]]:
        """Return a strategy of edge cases, of the kinds given or of all."""
        return self._strategy(edges or self.edges)

    def ample(self, scale: float = 1.0, sizes: Sequence[int] = (5, 4, 3, 2, 6, 7)) -> tuple[Array, ...]:
        """Return ordinary arrays, the same each time, whose axes have different sizes: these sizes if possible."""
        rng, sides, left = np.random.default_rng(0), dict[str, int](), list(sizes)
        for name in self._axes():
            multiple, least = self._multiple(name), self._least(name)
            fitting = [size for size in left if size % multiple == 0 and size >= least]
            sides[name] = fitting[0] if fitting else -(-max(least, sizes[0]) // multiple) * multiple
            left = [size for size in left if size != sides[name]]
        return tuple(
            self._made(rng.normal(size=shape), domain, sides, scale)
            for shape, domain in zip(self._shapes(sides), self._domains(), strict=True)
        )

    def unvaried(self, seen: Iterable[tuple[tuple[int, ...], ...]]) -> list[tuple[str, int]]:
        """Return the axes that had the same size at all points, and that size, from the shapes of each point."""
        sizes: dict[str, set[int]] = {name: set() for name in self._axes()}
        for shapes in seen:
            for axes, shape in zip(self.axes, shapes, strict=True):
                for side, size in zip(axes.split(), shape, strict=True):
                    times, axis = _parsed(side)
                    if axis:
                        sizes[axis].add(size // times)
        return [(name, min(found)) for name, found in sizes.items() if len(found) == 1]

    def _axes(self) -> list[str]:
        """Return the names of the axes, each once."""
        return list(dict.fromkeys(axis for side in " ".join(self.axes).split() if (axis := _parsed(side)[1])))

    def _shapes(self, sizes: Mapping[str, int]) -> list[tuple[int, ...]]:
        sides = ([_parsed(side) for side in axes.split()] for axes in self.axes)
        return [tuple(times * sizes.get(axis, 1) for times, axis in parsed) for parsed in sides]

    def _strategy(self, edges: Sequence[str]) -> SearchStrategy[tuple[Array, ...]]:
        from hypothesis import strategies as st

        @st.composite
        def arrays(draw: DrawFn) -> tuple[Array, ...]:
            return self._arrays(draw(st.sampled_from(edges)) if edges else "", Shrinking(draw))

        return arrays()

    def drawn(self, edge: str, rng: np.random.Generator) -> tuple[Array, ...]:
        """Return an edge case of a kind, or ordinary arrays for "", without hypothesis, which is slower."""
        return self._arrays(edge, AtRandom(rng))

    def _arrays(self, edge: str, draws: Draws) -> tuple[Array, ...]:
        sizes = {name: self._size(draws, name, edge) for name in self._axes()}
        free = [name for name in sizes if name not in dict(self.least)]
        if edge == "empty" and free:
            sizes[free[0]] = 0
        drawn = []
        for which, (shape, domain) in enumerate(zip(self._shapes(sizes), self._domains(), strict=True)):
            special = edge if which == 0 or edge == "float32" else ""
            values = draws.values(shape)
            if special in ("constant", "ties", "zeros"):
                values = _repeated(values, special)
            scale = {"huge": 1e6, "tiny": 1e-6}.get(special, 1.0)
            array = self._made(values, domain, sizes, scale)
            if special == "offset" and domain == "real":
                array = array + (1e4, -1e6, 1e8)[draws.integer(0, 2)]
            if special == "strided" and array.ndim:
                array = np.repeat(array, 2, axis=-1)[..., ::2]
            if special == "float32" and array.dtype.kind == "f":
                array = array.astype(np.float32)
            # Equal arrays would hide swapped gradients: shift each array after the first by three eighths more.
            shift = which * 0.375 if domain in ("real", "positive", "sorted") else 0
            drawn.append(np.asarray(array + array.dtype.type(shift)) if shift else np.asarray(array))
        return tuple(drawn)

    def _made(self, values: Array, domain: str, sizes: Mapping[str, int], scale: float) -> Array:
        """Return an array of a domain, from real values."""
        array = placed(values, domain, sizes, scale)
        return array.astype(self.dtype) if array.dtype.kind == "f" else array

    def _domains(self) -> tuple[str, ...]:
        return self.domains or ("real",) * len(self.axes)

    def _multiple(self, name: str) -> int:
        return dict(self.multiples).get(name, 1)

    def _least(self, name: str) -> int:
        return max(dict(self.least).get(name, self.smallest), self._multiple(name))

    def _size(self, draws: Draws, name: str, edge: str) -> int:
        multiple, least = self._multiple(name), self._least(name)
        most = max(self.largest // multiple, -(-least // multiple))
        if multiple > 1 or name in dict(self.least):
            # A size that never varies hides faults that depend on it.
            most = max(most, -(-least // multiple) + 2)
        if edge == "size 1" and multiple == 1 and name not in dict(self.least):
            least = 1
        return multiple * draws.integer(-(-least // multiple), most)


def inputs(*axes: str, **options: Any) -> Inputs:
    """Return `Inputs` for arrays with these axes.

    Parameters
    ----------
    *axes : str
        The names of each array's axes, as in ``"n c"``. Axes of the same name have the same size. To name the arrays,
        use keywords: ``x="n c", weight="c"``.
    **options
        The attributes of `Inputs`. Mappings may be dicts, and ``domains`` a dict by the names of the arrays.

    Examples
    --------
    >>> inputs("n c", "c", least={"n": 3}).axes
    ('n c', 'c')
    >>> inputs(scores="n c", y="n", domains={"y": "labels:c"}).domains
    ('real', 'labels:c')
    """
    named = {name: options.pop(name) for name in list(options) if name not in Inputs.__dataclass_fields__}
    for name, pattern in named.items():
        if axes or not isinstance(pattern, str):
            kind = "" if axes else " nor axes, as in 'n c'"
            raise ValueError(f"{name}={pattern!r} is not an option of inputs(){kind}")
    for name in ("least", "multiples"):
        if not isinstance(options.get(name, {}), Mapping):
            raise ValueError(f"{name} must be a dict, as in {name}={{'c': 4}}, not {options[name]!r}")
        options[name] = tuple(options.get(name, {}).items())
    domains = options.get("domains", ())
    if isinstance(domains, Mapping):
        if not {*domains} <= {*named}:
            raise ValueError(
                f"domains must use the names of the arrays, {', '.join(named) or 'which have none'}, not {domains}"
            )
        options["domains"] = tuple(domains.get(name, "real") for name in named)
    elif isinstance(domains, list):
        options["domains"] = tuple(domains)
    return Inputs((*axes, *named.values()), names=tuple(named), **options)


def _parsed(side: str) -> tuple[int, str]:
    """Return the factor and the name of an axis; a number alone has the name ""."""
    found = SIDE.fullmatch(side)
    assert found is not None
    return int(found["times"] or 1), found["axis"]


class Draws(Protocol):
    """A source of integers, and of distinct values of an ordinary spread, from -4 to 4."""

    def integer(self, low: int, high: int) -> int: ...

    def values(self, shape: tuple[int, ...]) -> Array: ...


@dataclass
class Shrinking:
    """Draws of hypothesis, which shrink towards small sizes and 0, 1/8, ..."""

    draw: DrawFn

    def integer(self, low: int, high: int) -> int:
        from hypothesis import strategies as st

        return self.draw(st.integers(low, high))

    def values(self, shape: tuple[int, ...]) -> Array:
        from hypothesis import strategies as st

        size = math.prod(shape)
        if size > MOST_DRAWN:
            return AtRandom(np.random.default_rng(self.draw(st.integers(0, 2**16)))).values(shape)
        eighths = self.draw(st.lists(st.integers(-32, 32), min_size=size, max_size=size, unique=True))
        return np.asarray(np.array(eighths, float).reshape(shape) / 8)


@dataclass
class AtRandom:
    """Random draws, whose values avoid kinks: they are never 0, 1, ..."""

    rng: np.random.Generator

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def values(self, shape: tuple[int, ...]) -> Array:
        size = math.prod(shape)
        places = self.rng.permutation(size) + self.rng.uniform(0.1, 0.9, size)
        return np.asarray((8 * places / max(size, 1) - 4).reshape(shape))


def _repeated(values: Array, edge: str) -> Array:
    """Make rows constant, elements equal, or all zero."""
    if edge == "zeros" or not values.size:
        return np.zeros_like(values)
    if edge == "ties":
        return np.round(values)
    repeated = np.atleast_1d(values.copy())
    repeated[:1] = values.ravel()[0]
    return repeated.reshape(values.shape)
