"""Rows of the table for NumPy's other elementwise functions, products, order statistics and masked reductions."""

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from primitive_table import Row, _along_an_axis, _reductions, _unary_cases
from strategies import CLEARANCE, POSITIVE, arrays, axes, distinct_arrays, generators, shapes

from tinygrad_norm import ops

_EITHER, _UP = [-1, 1], [1]
_SMOOTH, _STEEP, _INSIDE = (0, 2, _EITHER), (0, 1, _EITHER), (0, CLEARANCE, _EITHER)
_NONZERO, _LESS, _MORE = (
    (CLEARANCE, 2, _EITHER),
    (0.5, 1, _EITHER),
    (1.5, 2, _EITHER),
)  # no quotient of the last two is near 1
_POSITIVE, _ABOVE_ONE = (CLEARANCE, 2, _UP), (1 + CLEARANCE, 3, _UP)


def _ufunc(name: str, *domains: Any, **options: Any) -> Row:
    """A row for an elementwise function: numbers of a size between two bounds, of the given signs.

    Hypothesis draws the shape and a seed. That is quicker than to draw each number, and these functions have no other
    special points than those that are tested one by one.
    """

    def draw(shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        drawn = (rng.uniform(low, high, shape) * rng.choice(signs, shape) for low, high, signs in domains)
        return tuple(map(np.asarray, drawn)), {}

    cases = st.builds(draw, shapes(max_dims=2), generators)
    return Row(name, getattr(ops, name), getattr(np, name), cases, elementwise=True, **options)


@st.composite
def _masked(draw: st.DrawFn, values: Any = arrays) -> Any:
    """A reduction's cases with a mask, which leaves out none of the first elements of each axis."""
    (x,), static = draw(_reductions(values, min_side=1).filter(lambda case: case[1]["axis"] != ()))
    where = draw(hnp.arrays(bool, x.shape))
    for axis in range(x.ndim):
        where[(slice(None),) * axis + (0,)] = True
    return (x,), {**static, "where": where if x.ndim else True}


@st.composite
def _weighted(draw: st.DrawFn) -> Any:
    shape = draw(shapes(min_side=1))
    return (draw(arrays(shape)), draw(arrays(shape, POSITIVE))), {"axis": draw(axes(len(shape)))}


def _reduction(name: str, variant: str = "", cases: Any = None, **static: Any) -> Row:
    """A row for a reduction of elements of any order, with some parameters fixed."""
    function, reference = getattr(ops, name), getattr(np, name)
    cases = _reductions(distinct_arrays, min_side=1) if cases is None else cases
    return Row(name, lambda x, **s: function(x, **s, **static), lambda x, **s: reference(x, **s, **static), cases,
               variant)  # fmt: skip


ROWS = [
    *(_ufunc(name, _STEEP) for name in ("tan", "sinh", "cosh", "arctan", "arcsinh")),
    *(_ufunc(name, _INSIDE) for name in ("arcsin", "arccos", "arctanh")),
    _ufunc("arccosh", _ABOVE_ONE),
    _ufunc("log2", _POSITIVE),
    _ufunc("log10", _POSITIVE),
    _ufunc("cbrt", _NONZERO),
    _ufunc("hypot", _NONZERO, _NONZERO),
    _ufunc("arctan2", _NONZERO, _NONZERO),
    _ufunc("logaddexp", _SMOOTH, _SMOOTH),
    _ufunc("logaddexp2", _SMOOTH, _SMOOTH),
    _ufunc("remainder", _LESS, _MORE),
    _ufunc("fmod", _LESS, _MORE),
    Row("prod", ops.prod, np.prod, _reductions()),
    Row("cumprod", ops.cumprod, np.cumprod, _unary_cases(_along_an_axis, min_dims=1)),
]

COMPOSITES = [
    Row("cumprod", ops.cumprod, np.cumprod, _unary_cases(lambda shape: st.just({})), "flat"),
    _ufunc("sinc", _SMOOTH),
    _ufunc("fmax", _LESS, _MORE),
    Row("sort", ops.sort, np.sort, st.tuples(shapes(min_dims=1).flatmap(lambda s: st.tuples(distinct_arrays(s))),
                                             st.fixed_dictionaries({"axis": st.sampled_from([0, -1, None])}))),
    _reduction("ptp"),
    _reduction("median"),
    _reduction("quantile", q=0.3),
    _reduction("max", "of some", _masked(distinct_arrays), initial=0.375),
    _reduction("prod", "of some", _masked()),
    _reduction("mean", "of some", _masked()),
    _reduction("var", "of some", _masked()),
    Row("average", lambda x, w, axis: ops.average(x, axis, w), lambda x, w, axis: np.average(x, axis, w), _weighted()),
    Row("nansum", np.nansum, np.nansum, _reductions(), linear=True),
    Row("select", lambda a, b, *, condition: ops.select([condition, a > b - math.inf], [a, b]),
        lambda a, b, *, condition: np.where(condition, a, b),
        shapes().flatmap(lambda s: st.tuples(st.tuples(arrays(s), arrays(s)), st.fixed_dictionaries(
            {"condition": arrays(s, st.booleans().map(float)).map(lambda x: x > 0)}))), linear=True),
]  # fmt: skip
