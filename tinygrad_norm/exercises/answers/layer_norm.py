"""Layer norm: all its gradients.

    x̂ = (x - mean) / sqrt(var + EPS)      mean and biased variance of each row, over axis 1
    y = gamma * x̂ + beta

x, x̂ and y have shape (N, C); gamma and beta have shape (C,), one value for each feature.
g = dL/dy is given, of shape (N, C).

Write backward(g, x, gamma, beta). It returns (dL/dx, dL/dgamma, dL/dbeta), each of the shape of its input.

Use NumPy only; the gradients and norms of tinygrad_norm are refused.
"""

import numpy as np

EXERCISE = "layer_norm"
EPS = 1e-3


def forward(x, gamma, beta):
    """Return y. It is here for you to read; the judge uses its own."""
    centred = x - x.mean(axis=1, keepdims=True)
    x_hat = centred / np.sqrt((centred * centred).mean(axis=1, keepdims=True) + EPS)
    return gamma * x_hat + beta


def backward(g, x, gamma, beta):
    """Return dL/dx, of shape (N, C), and dL/dgamma and dL/dbeta, of shape (C,)."""
    sigma = np.sqrt(x.var(axis=1, keepdims=True) + EPS)
    x_hat = (x - x.mean(axis=1, keepdims=True)) / sigma
    # gamma varies along the axis of the means, so it must stay inside them.
    dx_hat = g * gamma
    mean_path = dx_hat.mean(axis=1, keepdims=True)
    variance_path = x_hat * (dx_hat * x_hat).mean(axis=1, keepdims=True)
    return (dx_hat - mean_path - variance_path) / sigma, (g * x_hat).sum(axis=0), g.sum(axis=0)


# The judge's part: not in the student's file.

FILL_IN = ("backward",)
INPUTS = {"x": "n c", "gamma": "c", "beta": "c"}
OPTIONS = {"least": {"c": 2}}
HINTS = (
    "Two axes matter here: the statistics run over axis 1, and gamma and beta are repeated along axis 0.",
    "Start from dx̂ = g * gamma. Subtract the two corrections of batch norm, as means over axis 1 with keepdims=True.",
    "dL/dx = (dx̂ - mean(dx̂) - x̂ * mean(dx̂ * x̂)) / sqrt(var + EPS) with dx̂ = g * gamma inside both means,"
    " and the gradients of gamma and beta are sums over axis 0.",
)


def closed_form(g, x, dx_hat, axis=1):
    """Return all gradients, with the corrections over this axis."""
    sigma = np.sqrt(x.var(axis=1, keepdims=True) + EPS)
    x_hat = (x - x.mean(axis=1, keepdims=True)) / sigma
    mean_path = dx_hat.mean(axis=axis, keepdims=True)
    variance_path = x_hat * (dx_hat * x_hat).mean(axis=axis, keepdims=True)
    return (dx_hat - mean_path - variance_path) / sigma, (g * x_hat).sum(axis=0), g.sum(axis=0)


def gamma_outside(g, x, gamma, beta):
    """gamma is outside the means: it varies along axis 1, so take the means of g * gamma, not of g."""
    dx, *others = closed_form(g, x, g)
    return gamma * dx, *others


def over_batch(g, x, gamma, beta):
    """The corrections are means over the batch, as in batch norm; layer norm's statistics run over axis 1."""
    return closed_form(g, x, g * gamma, axis=0)


def constant_statistics(g, x, gamma, beta):
    """The statistics are held constant: the paths through the mean and the variance are missing."""
    sigma = np.sqrt(x.var(axis=1, keepdims=True) + EPS)
    return g * gamma / sigma, *closed_form(g, x, g)[1:]


def constant_mean(g, x, gamma, beta):
    """The mean is held constant: the path through it is missing."""
    sigma = np.sqrt(x.var(axis=1, keepdims=True) + EPS)
    dx, *others = closed_form(g, x, g * gamma)
    return dx + (g * gamma).mean(axis=1, keepdims=True) / sigma, *others


def constant_variance(g, x, gamma, beta):
    """The variance is held constant: the path through it is missing."""
    sigma = np.sqrt(x.var(axis=1, keepdims=True) + EPS)
    dx_hat = g * gamma
    return (dx_hat - dx_hat.mean(axis=1, keepdims=True)) / sigma, *closed_form(g, x, dx_hat)[1:]


def averaged(g, x, gamma, beta):
    """The gradients of gamma and beta are means over the batch, where they must be sums."""
    dx, dgamma, dbeta = closed_form(g, x, g * gamma)
    return dx, dgamma / len(x), dbeta / len(x)


def parameters_over_features(g, x, gamma, beta):
    """gamma and beta are repeated along the batch: their gradients are sums over axis 0, of shape (C,), not axis 1."""
    x_hat = forward(x, np.ones_like(gamma), np.zeros_like(beta))
    return closed_form(g, x, g * gamma)[0], (g * x_hat).sum(axis=1), g.sum(axis=1)


def no_gamma(g, x, gamma, beta):
    """gamma is missing: the gradient of x̂ is g * gamma, not g."""
    return closed_form(g, x, g)


WRONG = {
    "backward": {
        gamma_outside: "gamma-outside",
        over_batch: "wrong-axis",
        constant_statistics: "statistics-as-constants",
        constant_mean: "mean-path",
        constant_variance: "variance-path",
        averaged: "mean-for-sum",
        parameters_over_features: "wrong-axis",
        no_gamma: "gamma-missing",
    },
}
