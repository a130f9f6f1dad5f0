"""More mutants of other functions, each with the diagnosis that it deserves: to measure one with, not to make it by.

Nobody who writes a diagnosis should look here for the faults to recognize. No function is one of `familiar_mutants` or
of `tinygrad_norm.check.correct`. A mutant that is "unknown" has two faults, or one that no other word describes.
"""

# ruff: noqa: E731
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.familiar_mutants import Array, Labelled, Setting, labelled, mean
from tinygrad_norm.check.strategies import inputs

EPS = 1e-3
LN2 = float(np.log(2))
HW = 1, 2  # the axes of a picture's height and width

total = lambda a, axes: a.sum(axis=axes, keepdims=True)
over_samples = lambda a: a / max(len(a), 1)

# Roots of a mean square, with eps where it belongs and where it is found.
inside = lambda square: np.sqrt(square + EPS)
outside = lambda square: np.sqrt(square) + EPS
nowhere = lambda square: np.sqrt(np.maximum(square, 1e-30))


def normal(x: Array, axes: Any, root: Callable[[Array], Array] = inside) -> tuple[Array, Array]:
    centred = x - mean(x, axes)
    centred = centred - mean(centred, axes)  # the mean is rounded, far from zero
    spread = root(mean(centred * centred, axes))
    return centred / spread, spread


def unnormal(dz: Array, x: Array, axes: Any, by_mean: Any = 1, by_variance: Any = 1, root: Any = inside) -> Array:
    z, spread = normal(x, axes, root)
    return (dz - by_mean * mean(dz, axes) - by_variance * z * mean(dz * z, axes)) / spread


# Norms with a weight and a bias: of two groups of channels, which come last; of whole pictures, whose parameters have a
# place each; and of places, with a style for every sample, as many places as samples.
grouped = lambda a: a.reshape(*a.shape[:2], 2, a.shape[2] // 2)
groups_z = lambda x: normal(grouped(x), (1, 3))[0].reshape(x.shape)

GROUPS = lambda x, w, b: groups_z(x) * w + b, inputs("n l c", "c", "c", least={"c": 4}, multiples={"c": 2})
LAYER = lambda x, w, b: normal(x, HW)[0] * w + b, inputs("n h w", "h w", "h w")
STYLE = lambda x, w, b: normal(x, 1)[0] * w[:, None] + b[:, None], inputs("n n c", "n c", "n c", least={"n": 3})


def groups_back(g: Array, x: Array, w: Array, b: Array, over: Any = (0, 1), **faults: Any) -> tuple[Array, ...]:
    dx = unnormal(grouped(g * w), grouped(x), (1, 3), **faults).reshape(x.shape)
    return dx, (g * groups_z(x)).sum(axis=over), g.sum(axis=(0, 1))


def layer_back(g: Array, x: Array, w: Array, b: Array, add: Any = np.sum, **faults: Any) -> tuple[Array, ...]:
    return unnormal(g * w, x, HW, **faults), add(g * normal(x, HW)[0], axis=0), add(g, axis=0)


def style_back(g: Array, x: Array, w: Array, b: Array, over: Any = 1, **faults: Any) -> tuple[Array, ...]:
    return unnormal(g * w[:, None], x, 1, **faults), (g * normal(x, 1)[0]).sum(axis=over), g.sum(axis=1)


# A linear map whose small weights are standardized, and the root mean square over the channels in the middle.
rms = lambda x: inside(mean(x * x, 1) / 256) * 16

ROWS = lambda x, w: x @ normal(w / 16, 1)[0].T, inputs("n i", "o i", least={"i": 3})
RMS = lambda x, w: x / rms(x) * w[:, None], inputs("n c l", "c")


def rows_back(g: Array, x: Array, w: Array, **faults: Any) -> tuple[Array, Array]:
    return g @ normal(w / 16, 1)[0], unnormal(g.T @ x, w / 16, 1, **faults) / 16


def rms_back(g: Array, x: Array, w: Array, path: float = 1, root: Any = inside) -> tuple[Array, Array]:
    r, dz = root(mean(x * x, 1) / 256) * 16, g * w[:, None]
    return (dz - path * x / r * mean(dz * x / r, 1)) / r, (g * x / rms(x)).sum(axis=(0, 2))


# Scores of columns by the sample's deviation, without eps, and the correlations of small columns, with it.
deviation = lambda x: np.sqrt(total((x - mean(x, 0)) ** 2, 0) / (len(x) - 1))

SCORE = lambda x: (x - mean(x, 0)) / deviation(x), inputs("n c", least={"n": 3}, edges=("tiny", "strided", "float32"))
CORRELATIONS = lambda x: over_samples(normal(x / 16, 0)[0]).T @ normal(x / 16, 0)[0], inputs("n c", least={"n": 3})


def score_back(g: Array, x: Array, mean_less: int = 0, square_less: int = 1, path: int = 1) -> tuple[Array]:
    z, n = SCORE[0](x), len(x)
    return ((g - path * total(g, 0) / (n - mean_less) - path * z * total(g * z, 0) / (n - square_less)) / deviation(x),)


def correlations_back(g: Array, x: Array, less: int = 0, root: Any = inside) -> tuple[Array]:
    dz = normal(x / 16, 0, root)[0] @ (g + g.T) / max(len(x) - less, 1)
    return (unnormal(dz, x / 16, 0, root=root) / 16,)


# Lengths: small rows of a square matrix, made as long as 1, and the cosine between rows.
length = lambda a: inside(total(a * a, 1))

UNIT = lambda x: x / 32 / length(x / 32), inputs("n n")
COSINE = lambda a, b: (a * b / length(a) / length(b)).sum(axis=1), inputs("n c", "n c")


def unit_back(g: Array, x: Array, along: Any = lambda a: total(a, 1), root: Any = inside, power: int = 3) -> Any:
    u, r = x / 32, root(total(x * x, 1) / 1024)
    return ((g / r - u * along(g * u) / r**power) / 32,)


def cosine_back(g: Array, a: Array, b: Array, path: float = 1, swap: bool = False) -> tuple[Array, Array]:
    p, q = a / length(a), b / length(b)
    y, g = total(p * q, 1), g[:, None]
    s, t = (q, p) if swap else (p, q)
    return g * (t - path * y * s) / length(a), g * (s - path * y * t) / length(b)


# Exponentials: cross-entropy in bits with any targets, a soft maximum of pictures, attention, and a temperature.
most = lambda x, axes: x.real.max(axis=axes, keepdims=True)
above = lambda x, axes: x - most(x, axes)
soft = lambda x, axes=-1: np.exp(above(x, axes)) / total(np.exp(above(x, axes)), axes)
log_soft = lambda x: above(x, 1) - np.log(total(np.exp(above(x, 1)), 1))
unsoft = lambda d, y, axis=1: y * (d - total(d * y, axis))

BITS = lambda x, t: np.asarray(-over_samples(t * log_soft(x)).sum() / LN2), inputs("n k", "n k")
SOFT_MAXIMUM = lambda x: (4 * np.log(mean(np.exp(above(x, HW) / 4), HW)) + most(x, HW))[:, 0, 0], inputs("n h w")
ATTENTION = lambda q, k, v: soft(q @ k.T / 8) @ v, inputs("n c", "m c", "m d")
WARM = lambda x, t: soft(x / t), inputs("n k", "", domains=("real", "positive"))


def bits_back(g: Array, x: Array, t: Array, share: Any = over_samples, unit: float = LN2) -> tuple[Array, Array]:
    return share(soft(x) * total(t, 1) - t) * g / unit, -share(log_soft(x)) * g / unit


def attention_back(g: Array, q: Array, k: Array, v: Array, back: Any = unsoft) -> tuple[Array, Array, Array]:
    shares = soft(q @ k.T / 8)
    d = back(g @ v.T, shares) / 8
    return d @ k, d.T @ q, shares.T @ g


def warm_back(g: Array, x: Array, t: Array, back: Any = unsoft, add: Any = np.sum) -> tuple[Array, Array]:
    y = soft(x / t)
    return unsoft(g, y) / t, -add(back(g, y) * x) / t**2


# Two forms, the mean square of errors, a map of both sides, means so far, and a gate.
ordinals = lambda x: np.arange(1, x.shape[1] + 1, dtype=x.real.dtype)
onwards = lambda a, axis=1: np.flip(np.cumsum(np.flip(a, axis), axis), axis)
gate = lambda x, w, b: (1 + np.tanh((x @ w + b) / 16)) / 2

BILINEAR = lambda x, a, y: ((x @ a) * y).sum(axis=1), inputs("n c", "c c", "n c")
QUADRATIC = lambda x, m, a: ((x - m) @ a * (x - m)).sum(axis=1), inputs("n c", "c", "c c")
ERRORS = lambda x, t: np.asarray(((x - t) ** 2).sum() / max(x.size, 1)), inputs("n c", "n c")
SIDES = lambda x, p, q: p @ x @ q, inputs("n c", "n n", "c c")
SO_FAR = lambda x: np.cumsum(x, axis=1) / ordinals(x), inputs("n c")
GATED = lambda x, w, b, v: gate(x, w, b) * (x @ v), inputs("n c", "c c", "c", "c c")

bilinear_back = lambda g, x, a, y: (g[:, None] * (y @ a.T), x.T @ (g[:, None] * y), g[:, None] * (x @ a))
sides_back = lambda g, x, p, q: (p.T @ g @ q.T, g @ (x @ q).T, (p @ x).T @ g)


def quadratic_back(g: Array, x: Array, m: Array, a: Array, other: Any = np.transpose) -> tuple[Array, Array, Array]:
    dx = g[:, None] * ((x - m) @ (a + other(a)))
    return dx, -dx.sum(axis=0), (x - m).T @ (g[:, None] * (x - m))


def errors_back(g: Array, x: Array, t: Array, count: Any = np.size, two: float = 2) -> tuple[Array, Array]:
    d = two * g * (x - t) / max(count(x), 1)
    return d, -d


def gated_back(g: Array, x: Array, w: Array, b: Array, v: Array, rest: Any = lambda s: 1 - s) -> tuple[Array, ...]:
    s = gate(x, w, b)
    ds, dv = g * (x @ v) * s * rest(s) / 8, g * s
    return ds @ w.T + dv @ v.T, x.T @ ds, ds.sum(axis=0), x.T @ dv


def but(which: int, change: Callable[[Array], Any], gradients: tuple[Array, ...]) -> tuple[Any, ...]:
    return tuple(change(d) if i == which else d for i, d in enumerate(gradients))


# Without a fault, so that it can be shown that the faults are all that is wrong.
RIGHT: tuple[tuple[Setting, Callable[..., Any]], ...] = (
    (GROUPS, groups_back), (LAYER, layer_back), (STYLE, style_back), (ROWS, rows_back), (RMS, rms_back),
    (SCORE, score_back), (CORRELATIONS, correlations_back), (UNIT, unit_back), (COSINE, cosine_back), (BITS, bits_back),
    (SOFT_MAXIMUM, lambda g, x: (g[:, None, None] * soft(x / 4, HW),)), (ATTENTION, attention_back),
    (WARM, warm_back), (BILINEAR, bilinear_back), (QUADRATIC, quadratic_back), (ERRORS, errors_back),
    (SIDES, sides_back), (SO_FAR, lambda g, x: (onwards(g / ordinals(x)),)), (GATED, gated_back),
)  # fmt: skip

FAULTS: tuple[tuple[Any, ...], ...] = (
    ("group norm", GROUPS, "mean's correction over the channels of all groups", "mean path",
     lambda *a: groups_back(*a, by_mean=1 / 2)),
    ("group norm", GROUPS, "deviation detached", "variance path", lambda *a: groups_back(*a, by_variance=0)),
    ("group norm", GROUPS, "weight summed over samples alone", "unreduced broadcast",
     lambda *a: groups_back(*a, over=0), "WRONG_SHAPE"),
    ("layer norm", LAYER, "sum for the mean in the mean's correction", "mean path",
     lambda g, x, w, b: layer_back(g, x, w, b, by_mean=x.shape[1] * x.shape[2])),
    ("layer norm", LAYER, "statistics detached", "statistics as constants",
     lambda *a: layer_back(*a, by_mean=0, by_variance=0)),
    ("layer norm", LAYER, "parameters averaged over samples", "batch size",
     lambda *a: layer_back(*a, add=lambda d, axis: mean(d, axis)[0])),
    ("style norm", STYLE, "mean's correction added", "mean path", lambda *a: style_back(*a, by_mean=-1)),
    ("style norm", STYLE, "weight summed over samples for places", "wrong axis", lambda *a: style_back(*a, over=0)),
    ("style norm", STYLE, "bias for each place", "unreduced broadcast",
     lambda g, *xs: but(2, lambda _: g, style_back(g, *xs)), "WRONG_SHAPE"),
    ("standard rows", ROWS, "centring forgotten", "mean path", lambda *a: rows_back(*a, by_mean=0)),
    ("standard rows", ROWS, "divided by the deviation, no more", "statistics as constants",
     lambda *a: rows_back(*a, by_mean=0, by_variance=0)),
    ("standard rows", ROWS, "without eps", "eps", lambda *a: rows_back(*a, root=nowhere)),
    ("standard rows", ROWS, "deviation taken for fixed, and the weights ascend", "unknown",
     lambda *a: but(1, np.negative, rows_back(*a, by_variance=0))),
    ("root mean square norm", RMS, "sum for the mean in the correction", "variance path",
     lambda g, x, w: rms_back(g, x, w, path=x.shape[1])),
    ("root mean square norm", RMS, "without eps", "eps", lambda *a: rms_back(*a, root=nowhere)),
    ("z-score", SCORE, "biased variance in the correction", "n/(n-1)", lambda *a: score_back(*a, square_less=0)),
    ("z-score", SCORE, "n - 1 in both corrections", "n/(n-1)", lambda *a: score_back(*a, mean_less=1)),
    ("z-score", SCORE, "divided by the biased deviation", "n/(n-1)",
     lambda g, x: (score_back(g, x)[0] * np.sqrt(len(x) / (len(x) - 1)),)),
    ("z-score", SCORE, "neither correction", "statistics as constants", lambda *a: score_back(*a, path=0)),
    ("correlations", CORRELATIONS, "unbiased where the forward is not", "n/(n-1)",
     lambda *a: correlations_back(*a, less=1)),
    ("correlations", CORRELATIONS, "eps added to the deviation", "eps", lambda *a: correlations_back(*a, root=outside)),
    ("unit rows", UNIT, "length not squared in the projection", "variance path", lambda *a: unit_back(*a, power=1)),
    ("unit rows", UNIT, "eps added to the length", "eps", lambda *a: unit_back(*a, root=outside)),
    ("unit rows", UNIT, "sums laid along columns", "wrong axis",
     lambda *a: unit_back(*a, along=lambda p: p.sum(axis=1))),
    ("cosine", COSINE, "projections added", "variance path", lambda *a: cosine_back(*a, path=-1)),
    ("cosine", COSINE, "of a distance", "sign", lambda *a: tuple(-d for d in cosine_back(*a))),
    ("cosine", COSINE, "rows swapped", "unknown", lambda *a: cosine_back(*a, swap=True)),
    ("cross-entropy", BITS, "in nats", "factor", lambda *a: bits_back(*a, unit=1)),
    ("cross-entropy", BITS, "sum for the mean", "batch size", lambda *a: bits_back(*a, share=np.asarray)),
    ("cross-entropy", BITS, "minus forgotten for the targets", "sign", lambda *a: but(1, np.negative, bits_back(*a))),
    ("soft maximum", SOFT_MAXIMUM, "divided by the temperature again", "factor",
     lambda g, x: (g[:, None, None] * soft(x / 4, HW) / 4,)),
    ("soft maximum", SOFT_MAXIMUM, "shares of rows", "wrong axis", lambda g, x: (g[:, None, None] * soft(x / 4, 2),)),
    ("attention", ATTENTION, "total over queries", "wrong axis",
     lambda *a: attention_back(*a, back=lambda d, y: unsoft(d, y, 0))),
    ("attention", ATTENTION, "the softmax's diagonal alone", "unknown",
     lambda *a: attention_back(*a, back=lambda d, y: d * y * (1 - y))),
    ("temperature", WARM, "past the softmax", "unknown", lambda *a: warm_back(*a, back=lambda d, y: d)),
    ("temperature", WARM, "one for each entry", "unreduced broadcast", lambda *a: warm_back(*a, add=np.asarray),
     "WRONG_SHAPE"),
    ("bilinear form", BILINEAR, "outputs by inputs", "transposed", lambda *a: but(1, np.transpose, bilinear_back(*a))),
    ("bilinear form", BILINEAR, "matrix averaged over samples", "batch size",
     lambda g, x, *a: but(1, lambda d: d / max(len(x), 1), bilinear_back(g, x, *a))),
    ("quadratic form", QUADRATIC, "the matrix taken for symmetric", "unknown",
     lambda *a: quadratic_back(*a, other=np.asarray)),
    ("quadratic form", QUADRATIC, "centre without minus", "sign", lambda *a: but(1, np.negative, quadratic_back(*a))),
    ("quadratic form", QUADRATIC, "a centre for each sample", "unreduced broadcast",
     lambda *a: but(1, lambda _: -quadratic_back(*a)[0], quadratic_back(*a)), "WRONG_SHAPE"),
    ("square error", ERRORS, "2 forgotten", "factor", lambda *a: errors_back(*a, two=1)),
    ("square error", ERRORS, "divided by columns alone", "batch size",
     lambda *a: errors_back(*a, count=lambda x: x.shape[1])),
    ("two sides", SIDES, "the left one", "transposed", lambda *a: but(1, np.transpose, sides_back(*a))),
    ("two sides", SIDES, "the right one", "transposed", lambda *a: but(2, np.transpose, sides_back(*a))),
    ("means so far", SO_FAR, "along samples", "wrong axis", lambda g, x: (onwards(g / ordinals(x), 0),)),
    ("gate", GATED, "slope s for s (1 - s)", "unknown", lambda *a: gated_back(*a, rest=np.ones_like)),
    ("gate", GATED, "values' weight by outputs and inputs", "transposed",
     lambda *a: but(3, np.transpose, gated_back(*a))),
)  # fmt: skip

HELD_OUT: tuple[Labelled, ...] = tuple(labelled(*fault) for fault in FAULTS)
