"""Rows of the table for NumPy's other elementwise functions, products, order statistics and masked reductions."""

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from primitive_table import Row, _along_an_axis, _apart, _elementwise, _reductions, _unary_cases
from strategies import CLEARANCE, NONZERO, POSITIVE, SMOOTH, arrays, axes, distinct_arrays, shapes

from tinygrad_norm import ops

_INSIDE = st.floats(-CLEARANCE, CLEARANCE)
_STEEP = st.floats(-1, 1)
_ABOVE_ONE = st.floats(1 + CLEARANCE, 3)
_LESS, _MORE = (st.floats(a, b) | st.floats(-b, -a) for a, b in [(0.5, 1), (1.5, 2)])  # no quotient near 1


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


def _as_ufunc(name: str, *domains: Any, **options: Any) -> Row:
    return _elementwise(name, getattr(np, name), *domains, **options)


ROWS = [
    *(_as_ufunc(name, _STEEP) for name in ("tan", "sinh", "cosh", "arctan", "arcsinh")),
    *(_as_ufunc(name, _INSIDE) for name in ("arcsin", "arccos", "arctanh")),
    _as_ufunc("arccosh", _ABOVE_ONE),
    _as_ufunc("log2", POSITIVE),
    _as_ufunc("log10", POSITIVE),
    _as_ufunc("cbrt", NONZERO),
    _as_ufunc("hypot", NONZERO, NONZERO),
    _as_ufunc("arctan2", NONZERO, NONZERO),
    _as_ufunc("logaddexp", SMOOTH, SMOOTH),
    _as_ufunc("logaddexp2", SMOOTH, SMOOTH),
    _as_ufunc("remainder", _LESS, _MORE),
    _as_ufunc("fmod", _LESS, _MORE),
    Row("prod", ops.prod, np.prod, _reductions()),
    Row("cumprod", ops.cumprod, np.cumprod, _unary_cases(_along_an_axis, min_dims=1)),
]

COMPOSITES = [
    Row("cumprod", ops.cumprod, np.cumprod, _unary_cases(lambda shape: st.just({})), "flat"),
    _as_ufunc("exp2", SMOOTH),
    _as_ufunc("degrees", SMOOTH, linear=True),
    _as_ufunc("reciprocal", NONZERO),
    _as_ufunc("sinc", SMOOTH),
    _apart("fmax", np.fmax),
    _apart("fmin", np.fmin),
    Row("sort", ops.sort, np.sort, st.tuples(shapes(min_dims=1).flatmap(lambda s: st.tuples(distinct_arrays(s))),
                                             st.fixed_dictionaries({"axis": st.sampled_from([0, -1, None])}))),
    _reduction("ptp"),
    _reduction("median"),
    _reduction("quantile", q=0.3),
    _reduction("quantile", "by weights", q=0.8, method="hazen"),
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
