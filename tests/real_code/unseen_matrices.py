"""Matrices, scans and rotations."""

import numpy as np

from tests.real_code.case import Code, Wrong
from tinygrad_norm.check import inputs

TRANSPOSED = ("transpos",)

BILINEAR = Code(
    "bilinear form",
    lambda x, A, y: np.einsum("ni,ij,nj->n", x, A, y),
    lambda g, x, A, y: (g[:, None] * (y @ A.T), np.einsum("n,ni,nj->ij", g, x, y), g[:, None] * (x @ A)),
    inputs(x="n d", A="d d", y="n d"),
    (
        Wrong(
            "A and its transpose are exchanged",
            lambda g, x, A, y: (g[:, None] * (y @ A), np.einsum("n,ni,nj->ij", g, x, y), g[:, None] * (x @ A.T)),
            TRANSPOSED,
            (" sign", "batch", "the mean"),
        ),
        Wrong(
            "the gradient of A is transposed",
            lambda g, x, A, y: (g[:, None] * (y @ A.T), np.einsum("n,ni,nj->ji", g, x, y), g[:, None] * (x @ A)),
            TRANSPOSED,
            (" sign", "batch", "the mean"),
        ),
        Wrong(
            "the gradients of x and y are swapped",
            lambda g, x, A, y: (g[:, None] * (x @ A), np.einsum("n,ni,nj->ij", g, x, y), g[:, None] * (y @ A.T)),
            ("swap", "order", "exchang"),
            (" sign", "batch", "the mean"),
        ),
    ),
)

CUMPROD = Code(
    "cumulative product of positive numbers",
    lambda x: np.cumprod(x, axis=1),
    lambda g, x: np.cumsum((g * np.cumprod(x, axis=1))[:, ::-1], axis=1)[:, ::-1] / x,
    inputs(x="n t", domains=("positive",)),
    (
        Wrong(
            "the sum runs forward in time",
            lambda g, x: np.cumsum(g * np.cumprod(x, axis=1), axis=1) / x,
            ("transpos", "flip", "revers", "direction", "order", "later"),
            (" sign", "batch", "the mean"),
        ),
        Wrong(
            "not divided by x",
            lambda g, x: np.cumsum((g * np.cumprod(x, axis=1))[:, ::-1], axis=1)[:, ::-1],
            ("factor", "times x", "divid", "multiplied by x"),
            (" sign", "batch", "transpos"),
        ),
        Wrong(
            "the steps after the first are left out",
            lambda g, x: g * np.cumprod(x, axis=1) / x,
            ("diagonal", "elementwise", "element by element", "missing", "sum over", "mixes", " uses"),
            (" sign", "batch", "transpos"),
        ),
    ),
)


def running_mean(x):
    return np.cumsum(x, axis=0) / np.arange(1, len(x) + 1)[:, None]


def running_mean_backward(g, x):
    return np.cumsum((g / np.arange(1, len(x) + 1)[:, None])[::-1], axis=0)[::-1]


RUNNING_MEAN = Code(
    "running mean",
    running_mean,
    running_mean_backward,
    inputs(x="t c"),
    (
        Wrong(
            "divided by the count after the sum",
            lambda g, x: np.cumsum(g[::-1], axis=0)[::-1] / np.arange(1, len(x) + 1)[:, None],
            ("transpos", "factor", "count", "order", "row", "steps"),
            (" sign", "batch size"),
        ),
        Wrong(
            "the sum runs forward in time",
            lambda g, x: running_mean(g),
            ("transpos", "flip", "revers", "direction", "order", "later"),
            (" sign", "batch size"),
        ),
        Wrong(
            "the last flip is missing",
            lambda g, x: running_mean_backward(g, x)[::-1],
            ("flip", "revers", "order"),
            (" sign", "batch size"),
        ),
    ),
)


def differences_backward(g, x):
    return np.pad(g, ((0, 0), (1, 0))) - np.pad(g, ((0, 0), (0, 1)))


DIFFERENCES = Code(
    "differences of neighbours",
    lambda x: np.diff(x, axis=1),
    differences_backward,
    inputs(x="n t", least={"t": 2}),
    (
        Wrong(
            "the sign is wrong",
            lambda g, x: -differences_backward(g, x),
            ("sign", "-1 times", "negat", "minus"),
            ("batch", "transpos", "mask"),
        ),
        Wrong(
            "the earlier neighbour gets nothing",
            lambda g, x: np.pad(g, ((0, 0), (1, 0))),
            ("missing", " uses", "one of", "part of", "diagonal"),
            ("batch", "sign is", "the mean"),
        ),
    ),
)

OUTER = Code(
    "outer products of rows",
    lambda a, b: a[:, :, None] * b[:, None, :],
    lambda g, a, b: (np.einsum("nij,nj->ni", g, b), np.einsum("nij,ni->nj", g, a)),
    inputs(a="n d", b="n d"),
    (
        Wrong(
            "the cotangent is transposed",
            lambda g, a, b: (np.einsum("nji,nj->ni", g, b), np.einsum("nji,ni->nj", g, a)),
            TRANSPOSED,
            (" sign", "batch", "the mean"),
        ),
        Wrong(
            "the gradients are swapped",
            lambda g, a, b: (np.einsum("nij,ni->nj", g, a), np.einsum("nij,nj->ni", g, b)),
            ("swap", "order", "exchang"),
            (" sign", "batch", "the mean"),
        ),
    ),
)

KRONECKER = Code(
    "Kronecker product",
    np.kron,
    lambda g, A, B: (
        np.einsum("iajb,ab->ij", g.reshape(A.shape[0], B.shape[0], A.shape[1], B.shape[1]), B),
        np.einsum("iajb,ij->ab", g.reshape(A.shape[0], B.shape[0], A.shape[1], B.shape[1]), A),
    ),
    inputs(A="m n", B="m n"),
    (
        Wrong(
            "the blocks are read in the wrong order",
            lambda g, A, B: (
                np.einsum("aibj,ab->ij", g.reshape(A.shape[0], B.shape[0], A.shape[1], B.shape[1]), B),
                np.einsum("aibj,ij->ab", g.reshape(A.shape[0], B.shape[0], A.shape[1], B.shape[1]), A),
            ),
            ("order", "permut", "reshape", "axes", "swap", "transpos"),
            (" sign", "batch", "the mean"),
        ),
    ),
)


def logdet(A):
    return np.linalg.slogdet(A)[1]


LOGDET = Code(
    "logarithm of the determinant",
    logdet,
    lambda g, A: g * np.linalg.inv(A).T,
    inputs(A="n n", domains=("spd",)),
    (
        Wrong(
            "the determinant's own gradient",
            lambda g, A: g * np.linalg.det(A) * np.linalg.inv(A).T,
            ("factor", "times", "determinant", "proportional"),
            (" sign", "batch", "transpos"),
        ),
        Wrong(
            "the trace of the inverse on the diagonal",
            lambda g, A: g * np.diag(np.diag(np.linalg.inv(A))),
            ("diagonal", "off-diagonal", "zero", "missing"),
            ("sign is", "batch", "transpos"),
        ),
    ),
)


def whiten_solve(L, b):
    return np.linalg.solve(L, b)


def whiten_solve_backward(fault=""):
    def backward(g, L, b):
        db = np.linalg.solve(L if fault == "transposed" else L.T, g)
        dL = -db @ whiten_solve(L, b).T
        if fault == "sign":
            dL = -dL
        return dL if fault == "full" else np.tril(dL), db

    return backward


TRIANGULAR_SOLVE = Code(
    "triangular solve",
    lambda L, b: whiten_solve(np.tril(L), b),
    whiten_solve_backward(),
    inputs(L="n n", b="n m", domains=("triangular", "real")),
    (
        Wrong("solved with L itself", whiten_solve_backward("transposed"), TRANSPOSED, (" sign", "batch", "mask")),
        Wrong(
            "the matrix's gradient has the wrong sign",
            whiten_solve_backward("sign"),
            ("sign", "-1 times", "negat", "minus"),
            ("batch", "transpos"),
        ),
        Wrong(
            "the upper triangle gets a gradient",
            whiten_solve_backward("full"),
            ("triang", "mask", "tril", "zero"),
            ("batch", " sign", "transpos"),
        ),
    ),
)


def rotate(x, theta):
    c, s = np.cos(theta), np.sin(theta)
    return x @ np.array([[c, -s], [s, c]]).T


def rotate_backward(fault=""):
    def backward(g, x, theta):
        c, s = np.cos(theta), np.sin(theta)
        R, dR = np.array([[c, -s], [s, c]]), np.array([[-s, -c], [c, -s]])
        if fault == "derivative":
            dR = np.array([[-s, c], [c, -s]])
        return g @ (R.T if fault == "transposed" else R), ((g.T @ x) * dR).sum()

    return backward


ROTATION = Code(
    "rotation of points by an angle",
    rotate,
    rotate_backward(),
    inputs(x="n 2", theta=""),
    (
        Wrong("rotated forward again", rotate_backward("transposed"), TRANSPOSED, ("batch", "the mean", "factor")),
        Wrong("a sign in the derivative of the matrix", rotate_backward("derivative"), (), ("batch", "transpos")),
    ),
)


def rotary(x, direction=1):
    t, half = x.shape[1], x.shape[2] // 2
    angles = np.arange(t)[:, None] / 100 ** (np.arange(half) / max(half, 1))
    cos, sin = np.cos(angles), direction * np.sin(angles)
    a, b = x[..., ::2], x[..., 1::2]
    return np.stack([a * cos - b * sin, a * sin + b * cos], axis=-1).reshape(x.shape)


def rotary_halves(g, x):
    d = rotary(g, -1)
    return np.concatenate([d[..., ::2], d[..., 1::2]], axis=-1)


ROTARY = Code(
    "rotary position encoding",
    rotary,
    lambda g, x: rotary(g, -1),
    inputs(x="n t 2d"),
    (
        Wrong(
            "rotated in the same direction",
            lambda g, x: rotary(g),
            ("transpos", "inverse", "direction", "sign of the sine"),
            ("batch", "the mean", "factor"),
        ),
        Wrong(
            "the halves instead of the pairs",
            rotary_halves,
            ("order", "permut", "interleav", "swap"),
            ("batch", "mean path", "sign is"),
        ),
    ),
)


def geometric_mean(x):
    return np.exp(np.log(x).mean(axis=1))


GEOMETRIC_MEAN = Code(
    "geometric mean",
    geometric_mean,
    lambda g, x: (g * geometric_mean(x))[:, None] / x / x.shape[1],
    inputs(x="n c", domains=("positive",)),
    (
        Wrong(
            "not divided by the number of columns",
            lambda g, x: (g * geometric_mean(x))[:, None] / x,
            ("factor", "times", "number of", "size of c", "size", "columns", "length of c"),
            (" sign", "transpos", "mask"),
        ),
        Wrong(
            "the gradient of the mean of logarithms",
            lambda g, x: g[:, None] / x / x.shape[1],
            ("factor", "times", "output", "row", "chain"),
            (" sign", "transpos", "batch"),
        ),
    ),
)

CASES = (
    *(BILINEAR, CUMPROD, RUNNING_MEAN, DIFFERENCES, OUTER, KRONECKER),
    *(LOGDET, TRIANGULAR_SOLVE, ROTATION, ROTARY, GEOMETRIC_MEAN),
)
