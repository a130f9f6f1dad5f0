"""Softmax and losses with faults, for the diagnosis; see `diagnosis_cases`."""

import numpy as np

from tests.diagnosis_cases import X, case, sigmoid

# Softmax, losses.


def softmax(x):
    e = np.exp(x - x.real.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


SHARES = {"x": "n c"}
case(
    "softmax: elementwise",
    softmax,
    SHARES,
    lambda g, x: g * softmax(x) * (1 - softmax(x)),
    "diagonal|elementwise",
    "batch|sign|eps",
)
case(
    "softmax: term missing",
    softmax,
    SHARES,
    lambda g, x: g * softmax(x),
    "softmax|sum|term|off-diagonal",
    "batch|eps|sign",
)
case(
    "softmax: wrong axis",
    softmax,
    {"x": "n c"},
    lambda g, x: softmax(x) * (g - (g * softmax(x)).sum(axis=0, keepdims=True)),
    "axis",
    "batch|sign|eps",
)
case(
    "softmax: plus",
    softmax,
    SHARES,
    lambda g, x: softmax(x) * (g + (g * softmax(x)).sum(axis=-1, keepdims=True)),
    "sign|softmax|sum",
    "batch|eps",
)
case(
    "softmax: mean",
    softmax,
    SHARES,
    lambda g, x: softmax(x) * (g - (g * softmax(x)).mean(axis=-1, keepdims=True)),
    "softmax|sum|mean",
    "batch|sign",
)
case(
    "softmax: divided by the batch",
    softmax,
    SHARES,
    lambda g, x: softmax(x) * (g - (g * softmax(x)).sum(axis=-1, keepdims=True)) / len(x),
    "batch size",
    "axis|sign",
)


def log_softmax(x):
    s = x - x.real.max(axis=-1, keepdims=True)
    return s - np.log(np.exp(s).sum(axis=-1, keepdims=True))


case(
    "log softmax: sum missing",
    log_softmax,
    SHARES,
    lambda g, x: g - softmax(x) * g,
    "sum|diagonal|elementwise",
    "batch|sign|eps",
)
case(
    "log softmax: passed through",
    log_softmax,
    SHARES,
    lambda g, x: g * 1,
    "cotangent|path|sum|softmax|output",
    "batch|eps",
)

LABELS = {"x": "n c", "y": "labels:c n"}


def cross_entropy(x, y):
    y = np.asarray(y).real.astype(int)
    return -log_softmax(x)[np.arange(len(y)), y].mean()


def onehot(x, y):
    return np.eye(x.shape[1])[np.asarray(y).astype(int)]


case(
    "cross-entropy: one-hot missing",
    cross_entropy,
    LABELS,
    lambda g, x, y: (g * softmax(x) / len(x), 0 * y),
    "label|one-hot",
    "batch|eps|sum",
)
case(
    "cross-entropy: not averaged",
    cross_entropy,
    LABELS,
    lambda g, x, y: (g * (softmax(x) - onehot(x, y)), 0 * y),
    "batch size",
    "axis 1|elements",
)
case(
    "cross-entropy: sign",
    cross_entropy,
    LABELS,
    lambda g, x, y: (g * (onehot(x, y) - softmax(x)) / len(x), 0 * y),
    "sign",
    "batch|axis",
)
case(
    "cross-entropy: averaged over everything",
    cross_entropy,
    LABELS,
    lambda g, x, y: (g * (softmax(x) - onehot(x, y)) / x.size, 0 * y),
    "axis 1",
    "batch|sign",
)
case(
    "cross-entropy: onehot twice",
    cross_entropy,
    LABELS,
    lambda g, x, y: (g * (softmax(x) - 2 * onehot(x, y)) / len(x), 0 * y),
    "label|one-hot",
    "batch|eps",
)
case(
    "cross-entropy: label term alone",
    cross_entropy,
    LABELS,
    lambda g, x, y: (-g * onehot(x, y) / len(x), 0 * y),
    "label|softmax",
    "batch|eps|sign",
)

TWO = {"p": "n c", "t": "n c"}
mse = lambda p, t: ((p - t) ** 2).mean()  # noqa: E731
case(
    "mse: batch for elements",
    mse,
    TWO,
    lambda g, p, t: (2 * g * (p - t) / len(p), -2 * g * (p - t) / len(p)),
    "axis 1",
    "sign|2 times",
)
case(
    "mse: 2 missing",
    mse,
    TWO,
    lambda g, p, t: (g * (p - t) / p.size, -g * (p - t) / p.size),
    "0.5|factor",
    "batch|elements",
)
case("mse: sum for mean", mse, TWO, lambda g, p, t: (2 * g * (p - t), -2 * g * (p - t)), "elements", "batch|sign")
case(
    "mse: target's sign",
    mse,
    TWO,
    lambda g, p, t: (2 * g * (p - t) / p.size, 2 * g * (p - t) / p.size),
    "sign",
    "batch",
)
case(
    "mse: swapped",
    lambda p, t: (p**2 * t).sum(),
    TWO,
    lambda g, p, t: (g * p**2, g * 2 * p * t),
    "swapped",
    "sign|batch",
)
bce = lambda p, t: -(t * np.log(sigmoid(p)) + (1 - t) * np.log(1 - sigmoid(p))).mean()  # noqa: E731
case("bce: sum for mean", bce, TWO, lambda g, p, t: (g * (sigmoid(p) - t), -g * p / p.size), "elements", "sign")
case(
    "bce: sigmoid's slope twice",
    bce,
    TWO,
    lambda g, p, t: (g * (sigmoid(p) - t) * sigmoid(p) * (1 - sigmoid(p)) / p.size, -g * p / p.size),
    "factor|derivative|too often|sigmoid",
    "batch|sign|axis",
)
hinge = lambda s, t: np.maximum(0, 1 - s * t).sum()  # noqa: E731
case(
    "hinge: mask missing",
    hinge,
    TWO,
    lambda g, s, t: (-g * t, g * -s * (s * t < 1)),
    "threshold|mask|zero",
    "batch|axis|sign",
)


def svm(x, y):
    y = np.asarray(y).astype(int)
    rows = np.arange(len(y))
    margins = np.maximum(0, x - x[rows, y][:, None] + 1)
    margins[rows, y] = 0
    return margins.sum() / len(y)


def svm_backward(g, x, y, counted=True, mean=True):
    y = np.asarray(y).astype(int)
    rows = np.arange(len(y))
    d = (x - x[rows, y][:, None] + 1 > 0) * 1.0
    d[rows, y] = 0
    d[rows, y] = -d.sum(axis=1) if counted else -1
    return g * d / (len(y) if mean else 1), 0 * y


case(
    "svm: label counted once",
    svm,
    LABELS,
    lambda g, x, y: svm_backward(g, x, y, counted=False),
    "label",
    "batch|axis|sign",
)
case("svm: not averaged", svm, LABELS, lambda g, x, y: svm_backward(g, x, y, mean=False), "batch size", "label|sign")
case(
    "huber: mask",
    lambda x: np.where(np.abs(x) < 1, x**2 / 2, np.abs(x) - 0.5),
    X,
    lambda g, x: g * x,
    "threshold|mask|x",
    "batch|axis",
)
