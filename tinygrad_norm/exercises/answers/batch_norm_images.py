"""Batch norm of images.

    x̂ = (x - mean) / sqrt(var + EPS)      mean and biased variance of each channel, over batch, height and width
    y = gamma * x̂ + beta

x, x̂ and y have shape (N, C, H, W); gamma and beta have shape (C,), one value for each channel.
g = dL/dy is given, of shape (N, C, H, W).

Write backward(g, x, gamma, beta). It returns (dL/dx, dL/dgamma, dL/dbeta), each of the shape of its input.

Use NumPy only; the gradients and norms of tinygrad_norm are refused.
"""

import numpy as np

EXERCISE = "batch_norm_images"
EPS = 1e-3
AXES = (0, 2, 3)  # batch, height and width


def forward(x, gamma, beta):
    """Return y. It is here for you to read; the judge uses its own."""
    centred = x - x.mean(axis=AXES, keepdims=True)
    x_hat = centred / np.sqrt((centred * centred).mean(axis=AXES, keepdims=True) + EPS)
    return gamma[:, None, None] * x_hat + beta[:, None, None]


def backward(g, x, gamma, beta):
    """Return dL/dx, of shape (N, C, H, W), and dL/dgamma and dL/dbeta, of shape (C,)."""
    sigma = np.sqrt(x.var(axis=AXES, keepdims=True) + EPS)
    x_hat = (x - x.mean(axis=AXES, keepdims=True)) / sigma
    dx_hat = g * gamma[:, None, None]
    mean_path = dx_hat.mean(axis=AXES, keepdims=True)
    variance_path = x_hat * (dx_hat * x_hat).mean(axis=AXES, keepdims=True)
    return (dx_hat - mean_path - variance_path) / sigma, (g * x_hat).sum(axis=AXES), g.sum(axis=AXES)


# The judge's part: not in the student's file.

FILL_IN = ("backward",)
INPUTS = {"x": "n c h w", "gamma": "c", "beta": "c"}
OPTIONS = {"least": {"n": 2}}
HINTS = (
    "It is the exercise batch_norm with other axes: N * H * W values share a mean and a variance, not N.",
    "Keep the axes with keepdims=True, so that means of shape (1, C, 1, 1) broadcast with (N, C, H, W).",
    "gamma has shape (C,), and NumPy aligns shapes at the end: gamma[:, None, None] lines up with the channels.",
)


def closed_form(g, x, gamma, statistics=AXES, corrections=AXES, dx_hat=None):
    """Return the gradient of x with statistics and corrections over these axes."""
    sigma = np.sqrt(x.var(axis=statistics, keepdims=True) + EPS)
    x_hat = (x - x.mean(axis=statistics, keepdims=True)) / sigma
    dx_hat = g * gamma[:, None, None] if dx_hat is None else dx_hat
    mean_path = dx_hat.mean(axis=corrections, keepdims=True)
    variance_path = x_hat * (dx_hat * x_hat).mean(axis=corrections, keepdims=True)
    return (dx_hat - mean_path - variance_path) / sigma, (g * x_hat).sum(axis=AXES), g.sum(axis=AXES)


def batch_only(g, x, gamma, beta):
    """The statistics run over the batch only, one mean for each pixel. Here they also run over height and width."""
    return closed_form(g, x, gamma, statistics=0, corrections=0)


def corrections_of_batch(g, x, gamma, beta):
    """The corrections are means over the batch only; they must run over all axes of the statistics, (0, 2, 3)."""
    return closed_form(g, x, gamma, corrections=0)


def divided_by_batch(g, x, gamma, beta):
    """The sums are divided by N, but N * H * W values share a mean and a variance."""
    sigma = np.sqrt(x.var(axis=AXES, keepdims=True) + EPS)
    x_hat = (x - x.mean(axis=AXES, keepdims=True)) / sigma
    d = g * gamma[:, None, None]
    total, along = d.sum(axis=AXES, keepdims=True), (d * x_hat).sum(axis=AXES, keepdims=True)
    return (d - (total + x_hat * along) / len(x)) / sigma, (g * x_hat).sum(axis=AXES), g.sum(axis=AXES)


def parameters_of_batch(g, x, gamma, beta):
    """gamma and beta are used at all pixels: their gradients are sums over (0, 2, 3), not over the batch only."""
    x_hat = (x - x.mean(axis=AXES, keepdims=True)) / np.sqrt(x.var(axis=AXES, keepdims=True) + EPS)
    return closed_form(g, x, gamma)[0], (g * x_hat).sum(axis=0), g.sum(axis=0)


def no_gamma(g, x, gamma, beta):
    """gamma is missing: the gradient of x̂ is g * gamma, not g."""
    return closed_form(g, x, gamma, dx_hat=g)


WRONG = {
    "backward": {
        batch_only: "wrong-axis",
        corrections_of_batch: "wrong-axis",
        divided_by_batch: "wrong-count",
        parameters_of_batch: "wrong-shape",
        no_gamma: "gamma-missing",
    },
}
