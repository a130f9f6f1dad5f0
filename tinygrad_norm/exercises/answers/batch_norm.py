"""Batch norm: all its gradients, in closed form.

    x̂ = (x - mean) / sqrt(var + EPS)      mean and biased variance of x over axis 0
    y = gamma * x̂ + beta

x, x̂ and y have shape (N, C); gamma and beta have shape (C,). g = dL/dy is given, of shape (N, C).

Write backward(g, x, gamma, beta). It returns (dL/dx, dL/dgamma, dL/dbeta), each of the shape of its input.
This is a backward pass in training: the mean and the variance are computed from x.

Use NumPy only; the gradients and norms of tinygrad_norm are refused.
"""

import numpy as np

EXERCISE = "batch_norm"
EPS = 1e-3


def forward(x, gamma, beta):
    """Return y. It is here for you to read; the judge uses its own."""
    centred = x - x.mean(axis=0)
    x_hat = centred / np.sqrt((centred * centred).mean(axis=0) + EPS)
    return gamma * x_hat + beta


def backward(g, x, gamma, beta):
    """Return dL/dx, of shape (N, C), and dL/dgamma and dL/dbeta, of shape (C,)."""
    sigma = np.sqrt(x.var(axis=0) + EPS)
    x_hat = (x - x.mean(axis=0)) / sigma
    # The gradient of x̂ is g * gamma; the rest is the exercise normalize.
    dx_hat = g * gamma
    dx = (dx_hat - dx_hat.mean(axis=0) - x_hat * (dx_hat * x_hat).mean(axis=0)) / sigma
    return dx, (g * x_hat).sum(axis=0), g.sum(axis=0)


# The judge's part: not in the student's file.

FILL_IN = ("backward",)
INPUTS = {"x": "n c", "gamma": "c", "beta": "c"}
OPTIONS = {"least": {"n": 2}}
HINTS = (
    "Go backwards one line at a time: from y to x̂, gamma and beta, and then from x̂ to x.",
    "dL/dx̂ = g * gamma. The rest of dL/dx is the exercise normalize with dL/dx̂ instead of g.",
    "dL/dx = (dx̂ - mean(dx̂) - x̂ * mean(dx̂ * x̂)) / sqrt(var + EPS), with means over axis 0 and dx̂ = g * gamma.",
)


def parts(g, x, gamma, ddof=0):
    """Return dL/dx̂, x̂, σ and the right gradients of gamma and beta."""
    sigma = np.sqrt(x.var(axis=0, ddof=ddof) + EPS)
    x_hat = (x - x.mean(axis=0)) / sigma
    return g * gamma, x_hat, sigma, ((g * x_hat).sum(axis=0), g.sum(axis=0))


def no_gamma(g, x, gamma, beta):
    """gamma is missing: the gradient of x̂ is g * gamma, not g."""
    _, x_hat, sigma, others = parts(g, x, gamma)
    return (g - g.mean(axis=0) - x_hat * (g * x_hat).mean(axis=0)) / sigma, *others


def constant_statistics(g, x, gamma, beta):
    """The statistics are held constant: this is the gradient at test time; in training mean and var depend on x."""
    dx_hat, _, sigma, others = parts(g, x, gamma)
    return dx_hat / sigma, *others


def constant_variance(g, x, gamma, beta):
    """The variance is held constant: the path through the variance is missing."""
    dx_hat, _, sigma, others = parts(g, x, gamma)
    return (dx_hat - dx_hat.mean(axis=0)) / sigma, *others


def sums(g, x, gamma, beta):
    """The 1 / N is missing: both corrections are means over the batch, not sums."""
    dx_hat, x_hat, sigma, others = parts(g, x, gamma)
    return (dx_hat - dx_hat.sum(axis=0) - x_hat * (dx_hat * x_hat).sum(axis=0)) / sigma, *others


def divided_by_variance(g, x, gamma, beta):
    """This divides by the variance: the square root is missing in the division at the end."""
    dx_hat, x_hat, sigma, others = parts(g, x, gamma)
    terms = dx_hat - dx_hat.mean(axis=0) - x_hat * (dx_hat * x_hat).mean(axis=0)
    return terms / sigma**2, *others


def unbiased(g, x, gamma, beta):
    """The variance divides by N - 1; batch norm normalizes with the biased variance, which divides by N."""
    dx_hat, x_hat, sigma, others = parts(g, x, gamma, ddof=1)
    return (dx_hat - dx_hat.mean(axis=0) - x_hat * (dx_hat * x_hat).mean(axis=0)) / sigma, *others


def no_eps(g, x, gamma, beta):
    """EPS is missing in the division at the end: it must be sqrt(var + EPS), not sqrt(var)."""
    dx_hat, x_hat, _, others = parts(g, x, gamma)
    terms = dx_hat - dx_hat.mean(axis=0) - x_hat * (dx_hat * x_hat).mean(axis=0)
    return terms / x.std(axis=0), *others


WRONG = {
    "backward": {
        no_gamma: "gamma-missing",
        constant_statistics: "statistics-as-constants",
        constant_variance: "variance-path",
        sums: "count-missing",
        divided_by_variance: "wrong-power",
        unbiased: "n-minus-1",
        no_eps: "epsilon",
    },
}
