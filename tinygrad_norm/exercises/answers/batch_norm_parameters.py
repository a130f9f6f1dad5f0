"""Batch norm: the gradients of γ and β.

    x̂ = (x - mean) / sqrt(var + EPS)      mean and biased variance of x over axis 0
    y = gamma * x̂ + beta

x, x̂ and y have shape (N, C); gamma and beta have shape (C,). g = dL/dy is given, of shape (N, C).

Write backward(g, x, gamma, beta). It returns the pair (dL/dgamma, dL/dbeta), both of shape (C,).

Use NumPy only; the gradients and norms of tinygrad_norm are refused.
"""

import numpy as np

EXERCISE = "batch_norm_parameters"
EPS = 1e-3


def forward(x, gamma, beta):
    """Return y. It is here for you to read; the judge uses its own."""
    centred = x - x.mean(axis=0)
    x_hat = centred / np.sqrt((centred * centred).mean(axis=0) + EPS)
    return gamma * x_hat + beta


def backward(g, x, gamma, beta):
    """Return dL/dgamma and dL/dbeta, both of shape (C,)."""
    # gamma multiplies x̂, beta is added; both are used in all N rows.
    x_hat = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + EPS)
    return (g * x_hat).sum(axis=0), g.sum(axis=0)


# The judge's part: not in the student's file.

FILL_IN = ("backward",)
INPUTS = {"x": "n c", "gamma": "c", "beta": "c"}
WRT = ("gamma", "beta")
OPTIONS = {"least": {"n": 2}}
HINTS = (
    "Only the last line matters, because x̂ does not depend on gamma or beta. The exercise multiply had y = gamma * x̂.",
    "gamma[c] and beta[c] are used in all N rows, so both gradients are sums over axis 0.",
    "dL/dgamma sums g times what gamma is multiplied by, which is x̂; dL/dbeta sums g alone.",
)


def of_x(g, x, gamma, beta):
    """gamma multiplies x̂, not x: normalize x first."""
    return (g * x).sum(axis=0), g.sum(axis=0)


def forgotten_sum(g, x, gamma, beta):
    """The sum over the batch is missing: gamma and beta are used in all N rows."""
    return g * forward(x, np.ones_like(gamma), np.zeros_like(beta)), g * 1


def averaged(g, x, gamma, beta):
    """This is the mean over the batch, but it must be the sum."""
    return (g * forward(x, np.ones_like(gamma), np.zeros_like(beta))).mean(axis=0), g.mean(axis=0)


def of_y(g, x, gamma, beta):
    """g is multiplied by y, but the derivative of gamma * x̂ + beta by gamma is x̂."""
    return (g * forward(x, gamma, beta)).sum(axis=0), g.sum(axis=0)


def with_gamma(g, x, gamma, beta):
    """gamma does not belong in the gradient of beta: beta is added after the multiplication."""
    return (g * forward(x, np.ones_like(gamma), np.zeros_like(beta))).sum(axis=0), (g * gamma).sum(axis=0)


WRONG = {
    "backward": {
        of_x: "wrong-factor",
        forgotten_sum: "wrong-shape",
        averaged: "mean-for-sum",
        of_y: "wrong-factor",
        with_gamma: "wrong-factor",
    },
}
