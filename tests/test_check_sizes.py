"""Faults that sizes, a dtype or the edges of a domain hide, and what the report says of them."""

import numpy as np
import pytest

from tests.sampling import one_in
from tests.test_check_judging import accepted, rejected
from tinygrad_norm.check import GradientMismatch, check_backward, inputs


def grouped_norm(x):
    n, c, length = x.shape
    z = x.reshape(n, 4, c // 4 * length)
    centred = z - z.mean(-1, keepdims=True)
    return (centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-3)).reshape(x.shape)


def normed_back(g, x, groups):
    shape = (len(x), groups, -1)
    z, d = x.reshape(shape), g.reshape(shape)
    centred = z - z.mean(-1, keepdims=True)
    sigma = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-3)
    y = centred / sigma
    return ((d - d.mean(-1, keepdims=True) - y * (d * y).mean(-1, keepdims=True)) / sigma).reshape(x.shape)


@pytest.mark.parametrize("seed", one_in(2, range(2)))
def test_multiples_vary_so_that_a_group_norm_is_no_instance_norm(seed):
    given = inputs("n c l", multiples={"c": 4})
    accepted(grouped_norm, lambda g, x: normed_back(g, x, 4), given, seed=seed, budget="quick")
    rejected(grouped_norm, lambda g, x: normed_back(g, x, x.shape[1]), given, seed=seed, budget="quick")


def test_an_axis_that_never_varied_is_told():
    pinned = inputs("n c", smallest=3, largest=3)
    assert "axis n was always 3 in ordinary inputs" in accepted(np.sin, lambda g, x: g * np.cos(x), pinned).not_checked
    free = accepted(np.sin, lambda g, x: g * np.cos(x), inputs("n 3"), seed=0)
    assert not [note for note in free.not_checked if "always" in note]


def test_a_logarithm_without_a_domain_is_told():
    with pytest.raises(GradientMismatch, match="not finite") as caught:
        check_backward(np.log, lambda g, x: g / x, inputs("n c"), seed=0)
    assert 'domains=("positive",)' in caught.value.report.text()
    accepted(np.log, lambda g, x: g / x, inputs("n c", domains=("positive",)), seed=0)


@pytest.mark.parametrize("wrong", [0.5, np.nan, 0.0])
def test_what_is_wrong_in_float32_alone_is_found(wrong, budget):
    def back(g, x):
        return g * 2 * x * (np.float32(wrong) if x.dtype == np.float32 else 1)

    for given in (inputs("n c"), np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)):
        assert "float32" in rejected(np.square, back, given, seed=0).message
        accepted(np.square, lambda g, x: g * 2 * x, given, seed=0, budget=budget)
