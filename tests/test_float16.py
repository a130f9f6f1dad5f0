"""float16 adds up, and shares out, in float32: results are those of float64, rounded once."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import tinygrad_norm as tn
from tinygrad_norm import Tensor, ops

LONG = 70_000


def against_float64(function, *arrays, g_scale=1.0):
    """Values and gradients to half a unit in the last place, or nearly."""
    rng = np.random.default_rng(3)
    narrow = [Tensor(x.astype(np.float16), requires_grad=True) for x in arrays]
    wide = [Tensor(x.data.astype(np.float64), requires_grad=True) for x in narrow]
    y, want = function(*narrow), function(*wide)
    assert y.dtype == np.float16
    assert_allclose(y.data, want.data.astype(np.float16), rtol=1e-3, atol=1e-7)
    g = (rng.normal(size=y.shape) * g_scale).astype(np.float16)
    for found, right in zip(tn.grad(y, narrow, g), tn.grad(want, wide, g.astype(np.float64)), strict=True):
        assert found.dtype == np.float16
        assert_allclose(found.data, right.data.astype(np.float16), rtol=2e-3, atol=2e-3 * np.abs(right.data).max())


@pytest.mark.parametrize("subscripts", ["ij->j", "ij,ij->j", "ij,i->j"])
def test_einsum_adds_up_beyond_2048(subscripts):
    """NumPy's own sum of 70,000 halves stops at 1,024 in some orders of the axes."""
    rng = np.random.default_rng(1)
    terms = subscripts.split("->")[0].split(",")
    shapes = {"ij": (LONG, 2), "i": (LONG,)}
    against_float64(lambda *xs: np.einsum(subscripts, *xs), *(rng.random(shapes[t]) / 8 for t in terms))
    against_float64(lambda x: np.einsum("j,ij->ij", x, np.ones((LONG, 2), x.dtype)), rng.random(2), g_scale=0.01)


def test_einsum_of_plain_arrays_adds_up_too():
    halves = np.full((LONG, 2), 0.5, np.float16)
    assert_allclose(ops.einsum("ij->j", halves), np.float16(LONG / 2))


@pytest.mark.parametrize("softmax", [ops.softmax, ops.log_softmax, ops.logsumexp], ids=lambda f: f.__name__)
@pytest.mark.parametrize("n", [5, 4097, LONG])
def test_softmax_is_rounded_once(softmax, n):
    """Over 65,504 equal classes the sum of exponentials is past float16; small shares had 0.4 % of error."""
    rng = np.random.default_rng(2)
    against_float64(softmax, rng.normal(size=n))
    against_float64(softmax, np.zeros(n))


def test_cross_entropy_of_many_classes():
    rng = np.random.default_rng(2)
    against_float64(lambda x: tn.nn.CrossEntropyLoss()(x, np.array([3])), rng.normal(size=(1, LONG)), g_scale=1024)


def test_lengths_whose_squares_overflow():
    rng = np.random.default_rng(4)
    against_float64(np.linalg.norm, np.array([3e4, 4e4]))
    against_float64(lambda x: np.linalg.norm(x, axis=0), rng.normal(size=(LONG, 2)) * 4)
