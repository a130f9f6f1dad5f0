"""Batch norm at test time: the backward pass when the statistics are given.

    x̂ = (x - mean) / sqrt(var + EPS)
    y = gamma * x̂ + beta

x, x̂ and y have shape (N, C); gamma, beta, mean and var have shape (C,). In eval mode mean and var are the running
statistics: constants, which no longer depend on x. g = dL/dy is given, of shape (N, C).

Write backward(g, x, gamma, beta, mean, var). It returns (dL/dx, dL/dgamma, dL/dbeta), each of the shape of its input;
mean and var need no gradient.

Use NumPy only; the gradients and norms of tinygrad_norm are refused.
"""

import numpy as np

EXERCISE = "batch_norm_eval"
EPS = 1e-3


def forward(x, gamma, beta, mean, var):
    """Return y. It is here for you to read; the judge uses its own."""
    return gamma * (x - mean) / np.sqrt(var + EPS) + beta


def backward(g, x, gamma, beta, mean, var):
    """Return dL/dx, of shape (N, C), and dL/dgamma and dL/dbeta, of shape (C,)."""
    # With constant statistics only the direct path is left, and each sample has a gradient of its own.
    sigma = np.sqrt(var + EPS)
    return g * gamma / sigma, (g * (x - mean) / sigma).sum(axis=0), g.sum(axis=0)


# The judge's part: not in the student's file.

FILL_IN = ("backward",)
INPUTS = {"x": "n c", "gamma": "c", "beta": "c", "mean": "c", "var": "c"}
WRT = ("x", "gamma", "beta")
OPTIONS = {"domains": {"var": "positive"}, "least": {"n": 2}}
HINTS = (
    "Which paths from x to y are left when mean and var are constants?",
    "Only the direct one: y is a linear function of x, with slope gamma / sqrt(var + EPS).",
    "The gradient of gamma sums g * x̂ over axis 0, with x̂ of the given mean and var, not of the batch's own.",
)


def training(g, x, gamma, beta, mean, var):
    """This is the gradient in training, through the statistics; here mean and var are constants."""
    sigma = np.sqrt(var + EPS)
    x_hat, d = (x - mean) / sigma, g * gamma
    return (d - d.mean(axis=0) - x_hat * (d * x_hat).mean(axis=0)) / sigma, (g * x_hat).sum(axis=0), g.sum(axis=0)


def batch_statistics(g, x, gamma, beta, mean, var):
    """The statistics of the batch are used, but eval mode uses the given mean and var."""
    sigma = np.sqrt(x.var(axis=0) + EPS)
    return g * gamma / sigma, (g * (x - x.mean(axis=0)) / sigma).sum(axis=0), g.sum(axis=0)


def no_gamma(g, x, gamma, beta, mean, var):
    """gamma is missing: the slope of y in x is gamma / sqrt(var + EPS)."""
    sigma = np.sqrt(var + EPS)
    return g / sigma, (g * (x - mean) / sigma).sum(axis=0), g.sum(axis=0)


def no_root(g, x, gamma, beta, mean, var):
    """This divides by the variance: the square root is missing."""
    sigma = var + EPS
    return g * gamma / sigma, (g * (x - mean) / sigma).sum(axis=0), g.sum(axis=0)


def not_centred(g, x, gamma, beta, mean, var):
    """The mean is not subtracted in x̂: constants have no gradient, but the gradient of gamma needs x̂ itself."""
    sigma = np.sqrt(var + EPS)
    return g * gamma / sigma, (g * x / sigma).sum(axis=0), g.sum(axis=0)


WRONG = {
    "backward": {
        training: "wrong-mode",
        batch_statistics: "wrong-mode",
        no_gamma: "gamma-missing",
        no_root: "wrong-power",
        not_centred: "wrong-factor",
    },
}
