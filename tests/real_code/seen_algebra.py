"""Linear algebra, transforms, and functions of positive numbers."""

import numpy as np

from tinygrad_norm.check import inputs

from .case import Code, Wrong
from .words import CONSTANT, ELEMENTWISE, FACTOR, FLIPPED, MISSING, NOT_SUMMED, SIGN, SIZE, STATISTICS, TRANSPOSED


def _solve_backward(fault=""):
    def solve_backward(g, A, b):
        x = np.linalg.solve(A, b)
        db = np.linalg.solve(A if fault == "untransposed" else A.T, g)
        dA = -np.outer(db, x)
        if fault == "sign":
            dA = -dA
        return dA.T if fault == "outer" else dA, db

    return solve_backward


def _inverse_backward(fault=""):
    def inverse_backward(g, A):
        B = np.linalg.inv(A)
        if fault == "elementwise":
            return -g * B**2
        if fault == "untransposed":
            return -B @ g @ B
        return (1 if fault == "sign" else -1) * B.T @ g @ B.T

    return inverse_backward


# Half the log-determinant, by Cholesky of the symmetric part.
def half_log_det(A):
    return np.log(np.diag(np.linalg.cholesky((A + A.T) / 2))).sum()


def half_log_det_backward(g, A):
    return g * np.linalg.inv(A) / 2


# Batches of matrices, the second shared by all.
def batched_matmul(x, W):
    return x @ W


def _matmul_backward(fault=""):
    def matmul_backward(g, x, W):
        dx = g @ (W if fault == "untransposed" else W.T)
        dW = x.swapaxes(1, 2) @ g
        if fault == "swapped":
            dW = g.swapaxes(1, 2) @ x
        return dx, dW if fault == "sum" else dW.mean(axis=0) if fault == "mean" else dW.sum(axis=0)

    return matmul_backward


def polynomial(x):
    return np.stack([x**0, x, x**2, x**3], axis=1)


def _polynomial_backward(fault=""):
    def polynomial_backward(g, x):
        if fault == "powers":
            return g[:, 1] * x + 2 * g[:, 2] * x**2 + 3 * g[:, 3] * x**3
        if fault == "factors":
            return g[:, 1] + g[:, 2] * x + g[:, 3] * x**2
        return (g[:, 0] if fault == "constant" else 0) + g[:, 1] + 2 * g[:, 2] * x + 3 * g[:, 3] * x**2

    return polynomial_backward


def _turn(angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])


def rotate(x, angle):
    return x @ _turn(angle).T


def _rotate_backward(fault=""):
    def rotate_backward(g, x, angle):
        dx = g @ (_turn(angle).T if fault == "again" else _turn(angle))
        dangle = (g * (x @ _turn(angle + np.pi / 2).T)).sum()
        return dx, -dangle if fault == "sign" else dangle

    return rotate_backward


def _cosines(n):
    return np.cos(np.pi / n * np.outer(np.arange(n), np.arange(n) + 0.5))


def power_spectrum(x):
    return np.abs(np.fft.rfft(x, axis=1)) ** 2


def _spectrum_backward(fault=""):
    def spectrum_backward(g, x):
        n = x.shape[1]
        z = np.zeros(x.shape, complex)
        z[:, : g.shape[1]] = g * np.fft.rfft(x, axis=1)
        dx = 2 * (np.fft.fft if fault == "forwards" else np.fft.ifft)(z, axis=1).real
        if fault == "two":
            dx = dx / 2
        return dx if fault in ("size", "forwards") else n * dx

    return spectrum_backward


# Powers with exponents that are learned.
def power(x, p):
    return x**p


def _power_backward(fault=""):
    def power_backward(g, x, p):
        dx = g * (1 if fault == "factor" else p) * x ** (p if fault == "exponent" else p - 1)
        dp = g * x**p * (1 if fault == "log" else np.log(x))
        return dx, dp.sum()

    return power_backward


def weighted_mean(x, w):
    return (x * w).sum(axis=1) / w.sum(axis=1)


def _weighted_mean_backward(fault=""):
    def weighted_mean_backward(g, x, w):
        g, total = g[:, None], w.sum(axis=1, keepdims=True)
        mean = 0 if fault == "constant" else weighted_mean(x, w)[:, None]
        return g * w / (1 if fault == "total" else total), g * (x - mean) / total

    return weighted_mean_backward


PAIR = inputs(A="n n", b="n", domains=("triangular", "real"))

CASES = (
    Code(
        "solve",
        np.linalg.solve,
        _solve_backward(),
        PAIR,
        (
            Wrong("A is not transposed", _solve_backward("untransposed"), TRANSPOSED),
            Wrong("dA's sign", _solve_backward("sign"), SIGN),
            Wrong("dA is transposed", _solve_backward("outer"), TRANSPOSED),
        ),
    ),
    Code(
        "inverse",
        np.linalg.inv,
        _inverse_backward(),
        inputs(A="n n", domains=("triangular",)),
        (
            Wrong("not transposed", _inverse_backward("untransposed"), TRANSPOSED),
            Wrong("the sign", _inverse_backward("sign"), SIGN),
            Wrong("elementwise", _inverse_backward("elementwise"), ELEMENTWISE),
        ),
    ),
    Code(
        "half a log-determinant by cholesky",
        half_log_det,
        half_log_det_backward,
        inputs(A="n n", domains=("spd",)),
        (
            Wrong("twice", lambda g, A: g * np.linalg.inv(A), FACTOR),
            Wrong("not inverted", lambda g, A: g * A / 2, ("invers", *FACTOR, "elementwise")),
            Wrong("the diagonal alone", lambda g, A: g * np.diag(np.diag(np.linalg.inv(A))) / 2, ("diagonal", "zero")),
        ),
    ),
    Code(
        "matrix products of a batch",
        batched_matmul,
        _matmul_backward(),
        inputs(x="n t c", W="c c"),
        (
            Wrong("W is not transposed", _matmul_backward("untransposed"), TRANSPOSED),
            Wrong("dW is not summed over the batch", _matmul_backward("sum"), NOT_SUMMED),
            Wrong("dW is a mean over the batch", _matmul_backward("mean"), (*SIZE, *FACTOR)),
            Wrong("dW's factors are swapped", _matmul_backward("swapped"), TRANSPOSED),
        ),
    ),
    Code(
        "polynomial features",
        polynomial,
        _polynomial_backward(),
        inputs(x="n"),
        (
            Wrong("powers are not lowered", _polynomial_backward("powers"), (*FACTOR, "power", "parallel"), STATISTICS),
            Wrong("factors are missing", _polynomial_backward("factors"), (*FACTOR, "power"), STATISTICS),
            Wrong("the constant has a slope", _polynomial_backward("constant"), ("cotangent", "output", "constant")),
        ),
    ),
    Code(
        "rotation by an angle",
        rotate,
        _rotate_backward(),
        inputs(x="n 2", angle=""),
        (
            Wrong("turned again, not back", _rotate_backward("again"), (*TRANSPOSED, " sign", "invers")),
            Wrong("the angle's sign", _rotate_backward("sign"), SIGN),
        ),
    ),
    Code(
        "discrete cosine transform",
        lambda x: x @ _cosines(x.shape[1]).T,
        lambda g, x: g @ _cosines(x.shape[1]),
        inputs(x="n t"),
        (
            Wrong("applied untransposed", lambda g, x: g @ _cosines(x.shape[1]).T, TRANSPOSED),
            Wrong(
                "the inverse for the transpose",
                lambda g, x: g @ np.linalg.inv(_cosines(x.shape[1])).T,
                ("invers", *FACTOR, *SIZE, *TRANSPOSED),
            ),
        ),
    ),
    Code(
        "power spectrum",
        power_spectrum,
        _spectrum_backward(),
        inputs(x="n t"),
        (
            Wrong("the size of the inverse transform", _spectrum_backward("size"), (*FACTOR, *SIZE)),
            Wrong("transformed forwards", _spectrum_backward("forwards"), (*FLIPPED, *TRANSPOSED)),
            Wrong("the 2 is missing", _spectrum_backward("two"), FACTOR),
        ),
    ),
    Code(
        "logarithm",
        np.log,
        lambda g, x: g / x,
        inputs(x="n", domains=("positive",)),
        (
            Wrong("times x", lambda g, x: g * x, (*FACTOR, "divid", "power", "invers"), STATISTICS),
            Wrong("of 1 + x", lambda g, x: g / (1 + x), (*FACTOR, " eps", "derivative"), STATISTICS),
        ),
    ),
    Code(
        "power with a learned exponent",
        power,
        _power_backward(),
        inputs(x="n", p="", domains=("positive", "positive")),
        (
            Wrong("the exponent as a factor is missing", _power_backward("factor"), FACTOR, STATISTICS),
            Wrong(
                "the exponent is not lowered", _power_backward("exponent"), (*FACTOR, "power", "parallel"), STATISTICS
            ),
            Wrong("dp's logarithm is missing", _power_backward("log"), (*FACTOR, " log", *MISSING)),
        ),
    ),
    Code(
        "weighted mean",
        weighted_mean,
        _weighted_mean_backward(),
        inputs(x="n t", w="n t", domains=("real", "positive")),
        (
            Wrong("the total is a constant in dw", _weighted_mean_backward("constant"), (*CONSTANT, "total", " mean")),
            Wrong("dx is not divided by the total", _weighted_mean_backward("total"), (*FACTOR, *SIZE, "normaliz")),
        ),
    ),
)
