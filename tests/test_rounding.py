"""Arithmetic that rounds at random: near what NumPy computes, by rounding, wherever NumPy is used."""

import numpy as np
import pytest

from tinygrad_norm.check.rounding import Rounded, rounded

INDEX = np.array([0, 0, 2])


def added(x):
    out = np.zeros((3, 3), x.dtype)
    np.add.at(out, INDEX, x)
    return out


def in_place(x):
    y = x.copy()
    y += 1
    y[0] *= 3
    return y


FUNCTIONS = {
    "arithmetic": lambda x: (x * 3 - x / 7 + 1) ** 2,
    "functions": lambda x: np.log(np.exp(x).sum(1)),
    "norm": lambda x: (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-3),
    "products": lambda x: x @ x.T + np.einsum("ij,kj->ik", x, x) + np.dot(x, x),
    "solve": lambda x: np.linalg.solve(x @ x.T + np.eye(3), x),
    "add.at": added,
    "in place": in_place,
    "out": lambda x: np.add(x, 1, out=np.zeros_like(x)),
    "two results": lambda x: np.modf(x)[0] + np.modf(x)[1],
    "cumulative": lambda x: np.cumsum(x, axis=1) + np.multiply.accumulate(x, axis=0),
    "pieces": lambda x: np.where(x > 0, x, np.maximum(x * 0.1, -1)),
    "complex": lambda x: np.sin(x + 1j * x),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_results_are_near_and_differ_from_run_to_run(name, dtype):
    rng, x = np.random.default_rng(0), np.random.default_rng(1).normal(size=(3, 3)).astype(dtype)
    before, want = x.copy(), FUNCTIONS[name](x)
    runs = [np.asarray(FUNCTIONS[name](rounded(x, rng))) for _ in range(5)]
    assert np.array_equal(x, before)
    assert all(run.dtype == want.dtype and run.shape == want.shape for run in runs)
    for run in runs:
        np.testing.assert_allclose(run, want, rtol=1e3 * np.finfo(dtype).eps, atol=1e3 * np.finfo(dtype).eps)
    assert len({run.tobytes() for run in runs}) > 1


def test_what_cancels_is_seen_and_what_is_exact_is_not_moved():
    rng, x = np.random.default_rng(0), np.array([1e6, 1e6 + 1])
    spread = np.std([float((rounded(x, rng) ** 2).mean() - rounded(x, rng).mean() ** 2) for _ in range(50)])
    assert 1e-5 < spread < 1e-2
    for exact in (np.negative, np.abs, np.sign, np.floor, lambda v: np.maximum(v, 0), lambda v: v - v):
        assert np.array_equal(exact(rounded(x, rng)), exact(x))
    assert isinstance(rounded(x, rng)[:1].T + 0, Rounded)
