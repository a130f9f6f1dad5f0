"""Normalization over the batch, forward and backward.

    mean = mean of x over axis 0
    var  = mean of (x - mean) ** 2 over axis 0
    x̂    = (x - mean) / sqrt(var + EPS)

x has shape (N, C), and so has x̂; mean and var have shape (C,).

Write forward(x), which returns x̂, and backward(g, x), which returns dL/dx for g = dL/dx̂. All have shape (N, C).

EPS is larger than usual, so that a mistake in it is visible.
Use NumPy only; the gradients and norms of tinygrad_norm are refused.
"""

import numpy as np

EXERCISE = "normalize"
EPS = 1e-3


def forward(x):
    """Return x̂, of shape (N, C)."""
    centred = x - x.mean(axis=0)
    var = (centred * centred).mean(axis=0)
    return centred / np.sqrt(var + EPS)


def backward(g, x):
    """Return dL/dx, of shape (N, C)."""
    # Three paths, three terms: the direct path, the mean and the variance.
    x_hat = forward(x)
    sigma = np.sqrt(x.var(axis=0) + EPS)
    return (g - g.mean(axis=0) - x_hat * (g * x_hat).mean(axis=0)) / sigma


# The judge's part: not in the student's file.

FILL_IN = ("forward", "backward")
INPUTS = {"x": "n c"}
RETURNS = {"forward": ("x̂",)}
OPTIONS = {"least": {"n": 2}}
HINTS = (
    "Go step by step: centring, variance, division. You know the gradient of each from earlier exercises.",
    "With c = x - mean: dL/dc = g / sqrt(var + EPS) + dL/dvar * 2 * c / N,"
    " where dL/dvar = -1/2 * (g * c).sum(axis=0) * (var + EPS) ** (-3/2).",
    "Then centring: dL/dx = dL/dc - (dL/dc).mean(axis=0). The c / N term has mean 0.",
    "Replace c / sqrt(var + EPS) by x̂: dL/dx = (g - mean(g) - x̂ * mean(g * x̂)) / sqrt(var + EPS), means over axis 0.",
)


def unbiased_forward(x):
    """The variance divides by N - 1, as with ddof=1; normalization divides by N."""
    return (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0, ddof=1) + EPS)


def eps_outside(x):
    """EPS is outside the root: it is sqrt(var + EPS), not sqrt(var) + EPS."""
    return (x - x.mean(axis=0)) / (x.std(axis=0) + EPS)


def no_root(x):
    """This divides by the variance: the square root is missing."""
    return (x - x.mean(axis=0)) / (x.var(axis=0) + EPS)


def rows(x):
    """The statistics are taken over axis 1, for each sample; here they are taken over the batch, axis 0."""
    return (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + EPS)


def constant_statistics(g, x):
    """The mean and the variance are held constant: both are computed from x, and their paths are missing."""
    return g / np.sqrt(x.var(axis=0) + EPS)


def constant_variance(g, x):
    """The variance is held constant: the path through the variance is missing."""
    return (g - g.mean(axis=0)) / np.sqrt(x.var(axis=0) + EPS)


def constant_mean(g, x):
    """The mean is held constant: the path through the mean is missing."""
    x_hat = forward(x)
    return (g - x_hat * (g * x_hat).mean(axis=0)) / np.sqrt(x.var(axis=0) + EPS)


def sums(g, x):
    """The sums over the batch are not divided by N, but both corrections are means."""
    x_hat = forward(x)
    return (g - g.sum(axis=0) - x_hat * (g * x_hat).sum(axis=0)) / np.sqrt(x.var(axis=0) + EPS)


WRONG = {
    "forward": {
        unbiased_forward: "n-minus-1",
        eps_outside: "epsilon",
        no_root: "wrong-power",
        rows: "wrong-axis",
    },
    "backward": {
        constant_statistics: "statistics-as-constants",
        constant_variance: "variance-path",
        constant_mean: "mean-path",
        sums: "count-missing",
    },
}
