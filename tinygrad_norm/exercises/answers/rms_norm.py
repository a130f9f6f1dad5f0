"""RMS norm: all its gradients.

    rms = sqrt(mean of x ** 2 over axis 1 + EPS)
    y   = gamma * x / rms

x and y have shape (N, C), gamma has shape (C,). Nothing is subtracted, and there is no beta.
g = dL/dy is given, of shape (N, C).

Write backward(g, x, gamma). It returns the pair (dL/dx, dL/dgamma), each of the shape of its input.

Use NumPy only; the gradients and norms of tinygrad_norm are refused.
"""

import numpy as np

EXERCISE = "rms_norm"
EPS = 1e-3


def forward(x, gamma):
    """Return y. It is here for you to read; the judge uses its own."""
    return gamma * x / np.sqrt((x * x).mean(axis=1, keepdims=True) + EPS)


def backward(g, x, gamma):
    """Return dL/dx, of shape (N, C), and dL/dgamma, of shape (C,)."""
    rms = np.sqrt((x * x).mean(axis=1, keepdims=True) + EPS)
    x_hat = x / rms
    dx_hat = g * gamma
    # Two paths: the direct one and the mean square. No mean is subtracted, so there is no path through one.
    return (dx_hat - x_hat * (dx_hat * x_hat).mean(axis=1, keepdims=True)) / rms, (g * x_hat).sum(axis=0)


# The judge's part: not in the student's file.

FILL_IN = ("backward",)
INPUTS = {"x": "n c", "gamma": "c"}
OPTIONS = {"least": {"c": 2}}
HINTS = (
    "Two paths lead from x to y: the direct one, and one through rms. In layer norm there were three.",
    "With x̂ = x / rms and dx̂ = g * gamma: dL/drms = -(dx̂ * x̂ / rms).sum(axis=1), and d rms / dx[n, c] = x̂[n, c] / C.",
    "dL/dx = (dx̂ - x̂ * mean(dx̂ * x̂)) / rms, with the mean over axis 1; dL/dgamma = (g * x̂).sum(axis=0).",
)


def parts(x):
    """Return x̂ and the root mean square."""
    rms = np.sqrt((x * x).mean(axis=1, keepdims=True) + EPS)
    return x / rms, rms


def as_layer_norm(g, x, gamma):
    """A mean is subtracted from dx̂, as in layer norm. RMS norm subtracts no mean, so there is no path through one."""
    x_hat, rms = parts(x)
    d = g * gamma
    dx = (d - d.mean(axis=1, keepdims=True) - x_hat * (d * x_hat).mean(axis=1, keepdims=True)) / rms
    return dx, (g * x_hat).sum(axis=0)


def constant_rms(g, x, gamma):
    """The root mean square is held constant: it is computed from x, and that path is missing."""
    x_hat, rms = parts(x)
    return g * gamma / rms, (g * x_hat).sum(axis=0)


def gamma_outside(g, x, gamma):
    """gamma is outside the mean: it varies along axis 1, so take the mean of g * gamma * x̂."""
    x_hat, rms = parts(x)
    return gamma * (g - x_hat * (g * x_hat).mean(axis=1, keepdims=True)) / rms, (g * x_hat).sum(axis=0)


def of_x(g, x, gamma):
    """gamma multiplies x / rms, not x: its gradient sums g * x / rms."""
    return backward(g, x, gamma)[0], (g * x).sum(axis=0)


def summed(g, x, gamma):
    """The 1 / C is missing: the correction is a mean over the features, not a sum."""
    x_hat, rms = parts(x)
    d = g * gamma
    return (d - x_hat * (d * x_hat).sum(axis=1, keepdims=True)) / rms, (g * x_hat).sum(axis=0)


WRONG = {
    "backward": {
        as_layer_norm: "path-too-many",
        constant_rms: "statistics-as-constants",
        gamma_outside: "gamma-outside",
        of_x: "wrong-factor",
        summed: "count-missing",
    },
}
