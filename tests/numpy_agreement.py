"""What a function of NumPy's does with Tensors is compared with what NumPy does with arrays."""

import numpy as np
import pytest
from primitive_table import check_derivatives

from tinygrad_norm import Tensor


def drawn(shape, seed=0):
    """Numbers between -2 and 2, the same each time for a shape, at least 0.1 from 0."""
    rng = np.random.default_rng([seed, 7, *shape])
    return np.asarray(rng.uniform(0.1, 2, shape) * rng.choice([-1, 1], shape))


def parts(y):
    return list(y) if isinstance(y, tuple | list) else [y]


def joined(function):
    """The function, with all that it returns in one vector."""
    return lambda *xs: np.concatenate([np.reshape(y, (-1,)) for y in parts(function(*xs))])


def agrees(function, *inputs, reference=None, order=2, tolerance=1e-9):
    """Values, kind and dtypes are NumPy's, and the derivatives those that complex steps through NumPy give."""
    reference = reference or function
    for dtype in (np.float32, np.float64):
        arrays = [x.astype(dtype) for x in inputs]
        got, want = function(*map(Tensor, arrays)), reference(*arrays)
        if isinstance(want, tuple | list):
            assert type(got) is type(want)
        assert len(parts(got)) == len(parts(want))
        for y, expected in zip(parts(got), map(np.asarray, parts(want)), strict=True):
            assert isinstance(y, Tensor)
            assert (y.shape, y.dtype) == (expected.shape, expected.dtype)
            scale = max(1, np.abs(expected).max(initial=0))
            np.testing.assert_allclose(y.data, expected, rtol=0, atol=40 * np.finfo(dtype).eps * scale)
    check_derivatives(joined(function), inputs, np.random.default_rng(1), order, tolerance=tolerance)


def refuses_alike(function, *inputs, match=None):
    """NumPy raises an error for arrays, and the same kind comes for Tensors, with a message."""
    with pytest.raises(Exception) as theirs:  # noqa: PT011 (whatever NumPy raises)
        function(*inputs)
    kinds = tuple(kind for kind in theirs.type.__mro__ if kind in (ValueError, TypeError, IndexError))
    with pytest.raises(kinds, match=match):
        function(*map(Tensor, inputs))
