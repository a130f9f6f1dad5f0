"""Rows of the primitive table for matrices and for the most general forms of rearranging and products."""

from typing import Any

import numpy as np
from hypothesis import strategies as st
from primitive_table import Row
from strategies import NONZERO, arrays, shapes

from tinygrad_norm import ops

SMALL = st.floats(-0.5, 0.5)


def _dominated(x: Any) -> Any:
    """Add 3 to the diagonal, so that small elements leave the matrix far from singular, in the dtype that they have."""
    return x + np.asarray(3 * np.eye(x.shape[-1]), x.dtype)


def _definite(x: Any) -> Any:
    return _dominated(x + np.swapaxes(x, -1, -2))


@st.composite
def _matrices(draw: st.DrawFn, columns: bool = False) -> Any:
    lead, n = draw(shapes(max_dims=1)), draw(st.integers(1, 3))
    x = draw(arrays((*lead, n, n), SMALL))
    return (x, draw(arrays((*lead, n, draw(st.integers(0, 2)))))) if columns else (x,), {}


@st.composite
def _turns(draw: st.DrawFn) -> Any:
    x = draw(arrays(draw(shapes(min_dims=1))))
    axis = draw(st.none() | st.integers(-x.ndim, x.ndim - 1))
    return (x,), {"shift": draw(st.integers(-4, 4)), "axis": axis}


@st.composite
def _general_contractions(draw: st.DrawFn) -> Any:
    subscripts = draw(
        st.sampled_from(["...i,i...", "ii,i->i", "iij->j", "...ij,...jk->...ik", "ij,jk,kl", "i,...->..."])
    )
    lead, n = draw(shapes(max_dims=1)), draw(st.integers(1, 3))
    terms = subscripts.split("->")[0].split(",")
    sides = [[*lead, *[n] * len(term.replace("...", ""))] if "." in term else [n] * len(term) for term in terms]
    sides = [
        side[::-1] if term.endswith("...") and len(term) > 3 else side for side, term in zip(sides, terms, strict=True)
    ]
    static = {"subscripts": subscripts, "optimize": draw(st.booleans())}
    return tuple(draw(arrays(side)) for side in sides), static


@st.composite
def _normed(draw: st.DrawFn) -> Any:
    x = draw(arrays(draw(shapes(min_dims=1, min_side=1)), NONZERO))
    axis = draw(st.none() | st.integers(-x.ndim, x.ndim - 1))
    return (x,), {"ord": None if axis is None else draw(st.sampled_from([None, 1, 3])), "axis": axis}


MATRIX_ROWS = [
    Row("solve", lambda a, b: ops.solve(_dominated(a), b), lambda a, b: np.linalg.solve(_dominated(a), b),
        _matrices(columns=True)),
    Row("det", lambda x: ops.det(_dominated(x)), lambda x: np.linalg.det(_dominated(x)), _matrices()),
    Row("logabsdet", lambda x: ops.slogdet(_dominated(x)).logabsdet,
        lambda x: np.log(np.linalg.det(_dominated(x))), _matrices()),
    Row("cholesky", lambda x: ops.cholesky(_definite(x)), lambda x: np.linalg.cholesky(_definite(x)), _matrices()),
]  # fmt: skip

MATRIX_COMPOSITES = [
    Row("norm", ops.norm, np.linalg.norm, _normed()),
    Row("roll", ops.roll, np.roll, _turns(), linear=True),
    Row("einsum", lambda *xs, subscripts, **static: ops.einsum(subscripts, *xs, **static),
        lambda *xs, subscripts, **static: np.einsum(subscripts, *xs, **static), _general_contractions(), "whole"),
]  # fmt: skip
