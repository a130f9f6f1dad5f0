"""What the tests draw: shapes, axes, indices, arrays in every layout, and values that keep away from kinks.

Values keep `CLEARANCE` from every kink, pole and branch point of the function that they are for, so that derivatives
exist and the oracles may move that far in the complex plane. Cotangents are normal numbers from a drawn seed:
hypothesis likes zeros and repeats, which would hide mistakes.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

CLEARANCE = 0.5

SMOOTH = st.floats(-2, 2)
POSITIVE = st.floats(CLEARANCE, 2)
NONZERO = POSITIVE | st.floats(-2, -CLEARANCE)
ABOVE_MINUS_ONE = st.floats(CLEARANCE - 1, 2)
AROUND_THE_UNIT_INTERVAL = st.floats(-2, -1.5) | st.floats(-0.5, 0.5) | st.floats(1.5, 2)

seeds = st.integers(0, 2**32 - 1)
generators = st.builds(np.random.default_rng, seeds)


def shapes(min_dims: int = 0, max_dims: int = 3, min_side: int = 0) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes with 0-d, axes of size 1 and, unless `min_side` is 1, arrays without elements."""
    return hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=3)


def arrays(shape: Any, elements: st.SearchStrategy[float] = SMOOTH) -> st.SearchStrategy[np.ndarray]:
    """float64 arrays in which every element is drawn for itself."""
    return hnp.arrays(np.float64, shape, elements=elements, fill=st.nothing())


@st.composite
def distinct_arrays(draw: st.DrawFn, shape: tuple[int, ...]) -> np.ndarray:
    """Arrays whose elements lie at least `CLEARANCE` apart, in any order."""
    size = math.prod(shape)
    order = np.array(draw(st.permutations(range(size))), float)
    return ((order - size // 2) * 0.75 + draw(arrays(size, st.floats(-0.125, 0.125)))).reshape(shape)


@st.composite
def pairs_apart(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays of a shape that are nowhere closer than `CLEARANCE`."""
    a = draw(arrays(shape))
    return a, np.asarray(a + draw(arrays(shape, NONZERO)))


@st.composite
def axes(draw: st.DrawFn, ndim: int) -> Any:
    """An `axis` argument: None, an axis, or a tuple of axes in any order, each counted from either end."""
    kind = draw(st.sampled_from(["all", "one", "some"]))
    if kind == "all" or (kind == "one" and ndim == 0):
        return None
    either_end = st.tuples(*(st.sampled_from([axis, axis - ndim]) for axis in range(ndim))).flatmap(st.permutations)
    signed = draw(either_end) if ndim else []
    return signed[0] if kind == "one" else tuple(signed[: draw(st.integers(0, ndim))])


def _selections(shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    """Integer arrays for some axes, perhaps with slices between them, which need not name every place."""
    whole_numbers = [st.lists(st.integers(-n, n - 1), min_size=3, max_size=3).map(np.array) for n in shape]
    return st.tuples(*(st.just(slice(None)) | one for one in whole_numbers))


def indices(shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    """What stands in `x[...]`: integers, slices, `...`, None, integer arrays with repeats, boolean arrays."""
    kinds = [hnp.basic_indices(shape, allow_newaxis=True, max_dims=5), hnp.arrays(bool, shape)]
    if shape and 0 not in shape:
        kinds += [hnp.integer_array_indices(shape, result_shape=shapes(max_dims=2)), _selections(shape)]
    return st.one_of(kinds)


def view_of(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Callable[[Any], Any]]:
    """A base array, and a view of it, for arrays and Tensors alike, that has the values of `x` in another layout."""
    order, steps = rng.permutation(x.ndim), rng.choice([1, 2, -1], x.ndim)
    window = tuple(slice(None, None, int(step)) for step in steps)
    back = x.transpose(order)
    base = np.full([2 * n if step == 2 else n for n, step in zip(back.shape, steps, strict=True)], 0.75)
    base[window] = back
    return base, lambda b: b[window].transpose(tuple(np.argsort(order))) if x.ndim else b[()]
