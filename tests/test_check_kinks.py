"""Where there is no gradient, code that is right nearby passes, and code that is wrong nearby does not."""

import numpy as np
import pytest

from tests.sampling import one_in
from tinygrad_norm.check import GradientMismatch, Verdict, check_backward, inputs

W, V = np.array([[1, 2, -1.5], [-0.5, 1, 1]]), np.array([[1.0], [-1], [0.5]])


def scattered(g, x, places):
    dx = np.zeros_like(x)
    dx[np.arange(len(x)), places] = g
    return dx


def median_back(g, x):
    return scattered(g, x, np.argsort(x, axis=1)[:, x.shape[1] // 2])


def of_pairs(g, x):
    low = x[:, :2].max(1) <= x[:, 2:].max(1)
    return scattered(g, x, np.where(low, x[:, :2].argmax(1), 2 + x[:, 2:].argmax(1)))


def singular_back(g, x):
    u, _, v = np.linalg.svd(x, full_matrices=False)
    return (u * g) @ v


def net(x, w, v):
    return np.maximum(x @ w, 0) @ v


def net_back(g, x, w, v):
    h = x @ w
    d = (g @ v.T) * (h > 0)
    return d @ w.T, x.T @ d, np.maximum(h, 0).T @ g


def first_largest(g, x):
    dx = np.zeros_like(x)
    dx[np.where(x == x.max())[0][0]] = g
    return dx


RIGHT = {
    "two layers": (net, net_back, inputs("n d", "d m", "m o")),
    "a padded row": (lambda x: net(x, W, V), lambda g, x: net_back(g, x, W, V)[0], np.array([[0.3, 0.7], [0, 0]])),
    "opposite pieces": (
        lambda x: np.maximum(x, 0) - np.maximum(-2 * x, 0),
        lambda g, x: g * ((x > 0) + 2.0 * (x < 0)),
        np.zeros(1),
    ),
    "median": (lambda x: np.sort(x, axis=1)[:, x.shape[1] // 2], median_back, inputs("n c", least={"c": 1})),
    "least of the largest": (lambda x: np.minimum(x[:, :2].max(1), x[:, 2:].max(1)), of_pairs, inputs("n 4")),
    "singular values": (lambda x: np.linalg.svd(x, compute_uv=False), singular_back, inputs("n n", least={"n": 2})),
    "equal singular values": (lambda x: np.linalg.svd(x, compute_uv=False), singular_back, np.eye(3)),
    "the place of the largest": (lambda x: x.max(), first_largest, inputs("n", least={"n": 1})),
}


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("seed", one_in(3, range(3)))
def test_what_is_right_nearby_passes(name, seed):
    assert check_backward(*RIGHT[name], seed=seed, budget="quick").verdict in (Verdict.PASSED, Verdict.KINK)


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_wrong_nearby_does_not(name):
    forward, backward, given = RIGHT[name]

    def wrong(g, *xs):
        found = backward(g, *xs)
        return tuple(1.5 * d for d in found) if isinstance(found, tuple) else 1.5 * found

    with pytest.raises(GradientMismatch):
        check_backward(forward, wrong, given, seed=0, budget="quick")


@pytest.mark.parametrize(
    ("forward", "backward", "x"),
    [
        (lambda x: x**2 + x, lambda g, x: g * np.where(x == 0, 0, 2 * x + 1), np.zeros(3)),
        (np.sin, lambda g, x: g * np.where(x == 0, 0.5, np.cos(x)), np.array([0.0, 1.0])),
        (lambda x: np.sqrt(x * x + 1e-3), lambda g, x: g * np.where(x == 0, 1, x / np.sqrt(x * x + 1e-3)), np.zeros(2)),
    ],
)
def test_where_there_is_a_gradient_being_right_nearby_is_no_excuse(forward, backward, x):
    with pytest.raises(GradientMismatch):
        check_backward(forward, backward, x, seed=0)


@pytest.mark.parametrize("ndarray", ["assert", "list"])
def test_code_that_takes_plain_arrays_alone_is_judged(ndarray):
    def picky(x):
        assert type(x) is np.ndarray if ndarray == "assert" else list(x[0]).index(x[0].max()) >= 0
        return np.sin(x)

    right = lambda g, x: g * picky(x + np.pi / 2)  # noqa: E731
    assert check_backward(picky, right, inputs("n c", least={"n": 1}), seed=0, budget="quick").verdict is Verdict.PASSED
    with pytest.raises(GradientMismatch):
        check_backward(picky, lambda g, x: 2 * right(g, x), inputs("n c", least={"n": 1}), seed=0, budget="quick")


def test_the_edge_with_gaps_reaches_the_gradient():
    def back(g, x):
        return g * 2 * x * (1 if x.flags.c_contiguous else 0.5)

    with pytest.raises(GradientMismatch) as caught:
        check_backward(np.square, back, inputs("n c"), seed=0)
    assert caught.value.report.edge == "strided"


def test_kinks_of_round_numbers_are_kinks():
    def margin(x):
        gaps = np.maximum(x - x[:, :1] + 1, 0)
        return (gaps.sum() - len(x)) / len(x)

    def back(g, x):
        d = g * (x - x[:, :1] + 1 > 0) / len(x)
        d[:, 0] -= d.sum(axis=1)
        return d

    # All values of this function could be float32, and are not.
    x = np.array([[1.0, 1.0, 2.0, 0.0], [3.0, -2.0, -4.0, -2.0]])
    assert check_backward(margin, back, x, seed=0).verdict in (Verdict.PASSED, Verdict.KINK)
    with pytest.raises(GradientMismatch):
        check_backward(margin, lambda g, x: 2 * back(g, x), x, seed=0)
