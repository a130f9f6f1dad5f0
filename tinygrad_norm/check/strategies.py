"""What a property check draws: arrays of named axes, first ordinary ones, then the edges.

hypothesis likes to fill arrays with one value, and a third of what it draws has a constant row, in which no fault of a
variance can be seen. So there are two regimes. *Generic* arrays have distinct values, sides of at least 2, and an
ordinary spread; *edges* are constant, tied, zero, huge, tiny, far from zero, of size 1, empty, or strided.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..engine.operators import Array

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

Domain = Literal["real", "positive"]

EDGES = ("constant", "ties", "zeros", "huge", "tiny", "offset", "size 1", "empty", "strided", "float32")


@dataclass(frozen=True)
class Inputs:
    """Arrays whose axes are named, so that their sizes agree: ``Inputs("n c", "c", "c")``.

    Attributes
    ----------
    axes : tuple of str
        For each array the names of its axes, apart by spaces; "" for a scalar.
    smallest, largest : int
        Of the sides of ordinary arrays.
    least : mapping from name to int
        Smallest sides of some axes, at the edges as well.
    multiples : mapping from name to int
        What a side is a multiple of, as channels are of groups.
    domains : tuple of {"real", "positive"}
        What each array's values are from; real ones unless given.
    """

    axes: tuple[str, ...]
    smallest: int = 2
    largest: int = 4
    least: tuple[tuple[str, int], ...] = ()
    multiples: tuple[tuple[str, int], ...] = ()
    domains: tuple[Domain, ...] = ()
    edges: tuple[str, ...] = EDGES

    def __post_init__(self) -> None:
        names = set(" ".join(self.axes).split())
        for name in names:
            if not name.isidentifier():
                raise ValueError(f"axes have names, as in 'n c', and {name!r} is none")
        for name, size in (*self.least, *self.multiples):
            if name not in names or size < 1:
                raise ValueError(
                    f"least and multiples are positive sizes of {', '.join(sorted(names))}: not {name} {size}"
                )
        if not 0 < self.smallest <= self.largest:
            raise ValueError(f"sides are from {self.smallest} to {self.largest}: none is possible")
        if self.domains and (len(self.domains) != len(self.axes) or not {*self.domains} <= {"real", "positive"}):
            raise ValueError(f"domains are 'real' or 'positive', one for each array, not {self.domains!r}")
        if not {*self.edges} <= {*EDGES}:
            raise ValueError(f"edges are of {', '.join(EDGES)}, not {self.edges!r}")

    def generic(self) -> SearchStrategy[tuple[Array, ...]]:
        """Return a strategy of ordinary arrays: distinct values, sides of at least 2, no fill."""
        return self._strategy(())

    def edge_cases(self, *edges: str) -> SearchStrategy[tuple[Array, ...]]:
        """Return a strategy of arrays that are special in one way, of these or of any."""
        return self._strategy(edges or self.edges)

    def ample(self, scale: float = 1.0) -> tuple[Array, ...]:
        """Return ordinary arrays, the same each time, with sides that can be told apart: 5, 4, 3, ..."""
        rng, sizes, left = np.random.default_rng(0), dict[str, int](), [5, 4, 3, 2, 6, 7]
        for name in dict.fromkeys(" ".join(self.axes).split()):
            multiple = dict(self.multiples).get(name, 1)
            least = max(dict(self.least).get(name, self.smallest), multiple)
            fitting = [size for size in left if size % multiple == 0 and size >= least]
            sizes[name] = fitting[0] if fitting else -(-least // multiple) * multiple
            left = [size for size in left if size != sizes[name]]
        arrays = [rng.normal(size=[sizes[name] for name in axes.split()]) for axes in self.axes]
        return tuple(
            np.asarray(scale * (np.abs(a) + 0.5 if domain == "positive" else a))
            for a, domain in zip(arrays, self._domains(), strict=True)
        )

    def _strategy(self, edges: Sequence[str]) -> SearchStrategy[tuple[Array, ...]]:
        from hypothesis import strategies as st

        @st.composite
        def arrays(draw: DrawFn) -> tuple[Array, ...]:
            edge = draw(st.sampled_from(edges)) if edges else "generic"
            sizes = {name: self._size(draw, name, edge) for name in dict.fromkeys(" ".join(self.axes).split())}
            if edge == "empty" and sizes:
                sizes[next(iter(sizes))] = 0
            shapes = [tuple(sizes[name] for name in axes.split()) for axes in self.axes]
            arrays = [
                _array(draw, shape, domain, edge if which == 0 or edge == "float32" else "generic")
                for which, (shape, domain) in enumerate(zip(shapes, self._domains(), strict=True))
            ]
            # Equal arrays would hide gradients that are swapped: shift every one but the first by an eighth or more.
            return tuple(np.asarray(a + a.dtype.type(which * 0.375)) if which else a for which, a in enumerate(arrays))

        return arrays()

    def _domains(self) -> tuple[Domain, ...]:
        real: Domain = "real"
        return self.domains or (real,) * len(self.axes)

    def _size(self, draw: DrawFn, name: str, edge: str) -> int:
        from hypothesis import strategies as st

        multiple = dict(self.multiples).get(name, 1)
        least = max(dict(self.least).get(name, self.smallest), multiple)
        if edge == "size 1" and multiple == 1 and name not in dict(self.least):
            least = 1
        return multiple * draw(st.integers(-(-least // multiple), max(self.largest, least) // multiple))


def inputs(*axes: str, **options: Any) -> Inputs:
    """Return `Inputs` for arrays with these axes.

    Parameters
    ----------
    *axes : str
        The names of each array's axes, as ``"n c"``; equal names have equal sizes.
    **options
        As the attributes of `Inputs`; mappings may be dicts.

    Examples
    --------
    >>> inputs("n c", "c", least={"n": 3}).axes
    ('n c', 'c')
    """
    for name in ("least", "multiples"):
        if isinstance(options.get(name), dict):
            options[name] = tuple(options[name].items())
    return Inputs(axes, **options)


def _array(draw: DrawFn, shape: tuple[int, ...], domain: Domain, edge: str) -> Array:
    """Draw one array: shrinks towards small integers and halves, whatever its edge."""
    from hypothesis import strategies as st

    size = math.prod(shape)
    # Eighths from -4 to 4, all different: distinct values of an ordinary spread that shrink towards 0, 1/8, ...
    eighths = draw(st.lists(st.integers(-32, 32), min_size=size, max_size=size, unique=size <= 65))
    values = np.asarray(np.array(eighths, float).reshape(shape) / 8)
    if edge in ("constant", "ties", "zeros"):
        values = _repeated(draw, values, edge)
    if domain == "positive":
        values = np.abs(values) + 0.5
    scale = {"huge": 1e6, "tiny": 1e-6}.get(edge, 1.0)
    values = values * scale
    if edge == "offset" and domain == "real":
        values = values + draw(st.sampled_from([1e4, -1e6, 1e8]))
    if edge == "strided" and values.ndim:
        values = np.repeat(values, 2, axis=-1)[..., ::2]
    return values.astype(np.float32) if edge == "float32" else np.asarray(values)


def _repeated(draw: DrawFn, values: Array, edge: str) -> Array:
    """Make rows constant, elements equal, or all zero."""
    if edge == "zeros" or not values.size:
        return np.zeros_like(values)
    if edge == "ties":
        return np.round(values)
    repeated = np.atleast_1d(values.copy())
    repeated[:1] = values.ravel()[0]
    return repeated.reshape(values.shape)
