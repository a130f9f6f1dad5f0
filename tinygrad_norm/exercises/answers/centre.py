"""The gradient of centring.

    y = x - mean of x over axis 0

x has shape (N, C), and so has y: from each column its mean is subtracted. g = dL/dy is given, of shape (N, C).

Write backward(g, x). It returns dL/dx, of shape (N, C).

Use NumPy only; the gradients and norms of tinygrad_norm are refused.
"""

import numpy as np

EXERCISE = "centre"


def forward(x):
    """Return y. It is here for you to read; the judge uses its own."""
    return x - x.sum(axis=0) / len(x)


def backward(g, x):
    """Return dL/dx, of shape (N, C)."""
    # Two paths lead from x to y: the direct one, and one through the mean, which is subtracted from all N rows.
    dmean = -g.sum(axis=0)
    return g + dmean / len(x)


# The judge's part: not in the student's file.

FILL_IN = ("backward",)
INPUTS = {"x": "n c"}
HINTS = (
    "Two paths lead from x to y: the direct one, and one through the mean. Find the gradient of each, and add them.",
    "The mean is subtracted from all N rows, so dL/dmean = -g.sum(axis=0).",
    "Each of the N values gets 1 / N of that. Together: dL/dx = g - g.sum(axis=0) / N.",
)


def constant_mean(g, x):
    """The mean is held constant: y also depends on x through the mean, and that path is missing."""
    return g * 1


def not_averaged(g, x):
    """The 1 / N of the mean is missing: each of the N values gets 1 / N of the gradient of the mean."""
    return g - g.sum(axis=0)


def added(g, x):
    """The sign of the path through the mean is wrong: the mean is subtracted."""
    return g + g.mean(axis=0)


def rows(g, x):
    """The mean of g is taken over axis 1; it must be the axis of the mean in the forward pass, axis 0."""
    return g - g.mean(axis=1, keepdims=True)


WRONG = {
    "backward": {
        constant_mean: "mean-path",
        not_averaged: "count-missing",
        added: "wrong-sign",
        rows: "wrong-axis",
    },
}
