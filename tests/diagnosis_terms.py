"""Faults of terms, masks, counts and directions: what a diagnosis may say of them."""

import numpy as np

from tests.diagnosis_cases import case


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


case(
    "ridge: no penalty",
    lambda w, x, y: 0.5 * ((x @ w - y) ** 2).sum() + (w * w).sum(),
    {"w": "c", "x": "n c", "y": "n"},
    lambda g, w, x, y: (g * x.T @ (x @ w - y), g * np.outer(x @ w - y, w), -g * (x @ w - y)),
    "penalty",
    "batch|transposed",
)
case(
    "masked mean: divided by all",
    lambda x, m: (x**2 * m).sum() / (m.sum() + 0.0),
    {"x": "n c", "m": "mask n c"},
    lambda g, x, m: (g * 2 * x * m / m.size, 0 * m),
    "sum(m)",
    "sign|transposed",
)
case(
    "masked product: no mask",
    lambda u, v, m: 0.5 * ((u @ v.T * m) ** 2).sum(),
    {"u": "n k", "v": "c k", "m": "mask n c"},
    lambda g, u, v, m: (g * u @ v.T @ v, g * (u @ v.T * m).T @ u, 0 * m),
    "mask",
    "sign|transposed",
)
case(
    "entropy: softmax elementwise",
    lambda x: -(softmax(x) * np.log(softmax(x))).sum(-1),
    {"x": "n c"},
    lambda g, x: -g[:, None] * (np.log(softmax(x)) + 1) * softmax(x) * (1 - softmax(x)),
    "elementwise",
    "sign|batch",
)
case(
    "cumulative product: forward",
    lambda x: np.cumprod(x, 1),
    {"x": "+ n c"},
    lambda g, x: np.cumsum(g * np.cumprod(x, 1), 1) / x,
    "direction",
    "sign|batch",
)
case(
    "gate: weights not transposed",
    lambda x, w: sigmoid(x @ w) * x,
    {"x": "n c", "w": "c c"},
    lambda g, x, w: (
        g * sigmoid(x @ w) + g * x * sigmoid(x @ w) * sigmoid(-x @ w) @ w,
        x.T @ (g * x * sigmoid(x @ w) * sigmoid(-x @ w)),
    ),
    "not transposed",
    "sign|batch",
)
case(
    "threshold: no sign",
    lambda x, t: np.sign(x) * np.maximum(np.abs(x) - t / 5, 0),
    {"x": "n c", "t": "+ 1"},
    lambda g, x, t: (g * (np.abs(x) > t / 5), -(g * (np.abs(x) > t / 5)).sum().reshape(1) / 5),
    "sign of x",
    "batch|transposed",
)
case(
    "take along: gathered",
    lambda x, i: np.take_along_axis(x, i, 1),
    {"x": "n c", "i": "labels:c n c"},
    lambda g, x, i: (np.take_along_axis(g, i, 1), 0 * i),
    "scatter|not transposed",
    "sign|batch",
)
