"""The gradient of a mean.

    y = mean of x over axis 0

x has shape (N, C) and y has shape (C,). g = dL/dy is given, of shape (C,).

Write backward(g, x). It returns dL/dx, of shape (N, C).

Use NumPy only; the gradients and norms of tinygrad_norm are refused.
"""

import numpy as np

EXERCISE = "mean"


def forward(x):
    """Return y. It is here for you to read; the judge uses its own."""
    return x.sum(axis=0) / len(x)


def backward(g, x):
    """Return dL/dx, of shape (N, C)."""
    # y[c] = (x[0, c] + ... + x[N-1, c]) / N: each of the N values has the same weight, 1 / N.
    return np.ones_like(x) * g / len(x)


# The judge's part: not in the student's file.

FILL_IN = ("backward",)
INPUTS = {"x": "n c"}
HINTS = (
    "Write out the mean of one column: y[c] = (x[0, c] + x[1, c] + ... + x[N-1, c]) / N.",
    "The derivative of y[c] by x[n, c] is 1 / N for every n, and the means of other columns do not depend on x[n, c].",
    "So dL/dx[n, c] = g[c] / N: the row g / N, repeated N times. np.broadcast_to or np.ones_like repeats it.",
)


def not_divided(g, x):
    """The 1 / N is missing: this is the gradient of the sum, not of the mean."""
    return np.ones_like(x) * g


def divided_by_all(g, x):
    """It is divided by N * C, the number of all entries; a mean over axis 0 has N values."""
    return np.ones_like(x) * g / x.size


def not_spread(g, x):
    """It has the shape of y: the mean depends on N values, so each of them gets a gradient."""
    return g / len(x)


def divided_by_features(g, x):
    """It is divided by C, the size of axis 1; a mean over axis 0 has N values."""
    return np.ones_like(x) * g / x.shape[1]


WRONG = {
    "backward": {
        not_divided: "count-missing",
        divided_by_all: "wrong-count",
        not_spread: "wrong-shape",
        divided_by_features: "wrong-count",
    },
}
