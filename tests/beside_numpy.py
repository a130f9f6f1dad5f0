"""What runs a NumPy function on an array and on a Tensor, and compares."""

from typing import Any

import numpy as np
from numpy.testing import assert_allclose

import tinygrad_norm as tn
from tinygrad_norm import Tensor


def random(*shape: int, seed: int = 5) -> Any:
    return np.random.default_rng(seed).normal(size=shape)


def leaf(x: Any, **options: Any) -> Tensor:
    return Tensor(x, requires_grad=True, **options)


def same(function, x, dtype=np.float64):
    """NumPy's value and dtype; return the gradient for a random cotangent, and the cotangent."""
    x = np.asarray(x, dtype)
    want = np.asarray(function(x))
    t = leaf(x)
    y = function(t)
    assert (type(y), y.shape, y.dtype) == (Tensor, want.shape, want.dtype)
    assert_allclose(y.data, want, rtol=8 * np.finfo(y.dtype).eps, atol=np.finfo(y.dtype).eps)
    g = random(*y.shape, seed=7)
    return tn.grad(y, t, g).data, g.astype(y.dtype)
