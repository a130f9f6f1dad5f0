"""The gradient of a division by a standard deviation.

    y = c / sqrt(var + EPS)

c has shape (N, C), var has shape (C,) and y has shape (N, C). Here c and var are two separate inputs;
in later exercises var is computed from c. g = dL/dy is given, of shape (N, C).

Write backward(g, c, var). It returns the pair (dL/dc, dL/dvar), each of the shape of its input.

EPS is larger than usual, so that a mistake in it is visible.
Use NumPy only; the gradients and norms of tinygrad_norm are refused.
"""

import numpy as np

EXERCISE = "standard_deviation"
EPS = 1e-3


def forward(c, var):
    """Return y. It is here for you to read; the judge uses its own."""
    return c / np.sqrt(var + EPS)


def backward(g, c, var):
    """Return dL/dc, of shape (N, C), and dL/dvar, of shape (C,)."""
    # y = c * r with r = (var + EPS) ** (-1/2), whose derivative is -1/2 * (var + EPS) ** (-3/2).
    r = 1 / np.sqrt(var + EPS)
    dr = (g * c).sum(axis=0)
    return g * r, -0.5 * dr * r**3


# The judge's part: not in the student's file.

FILL_IN = ("backward",)
INPUTS = {"c": "n c", "var": "c"}
OPTIONS = {"domains": {"var": "positive"}}
HINTS = (
    "Name the factor: r = (var + EPS) ** (-1/2). Then y = c * r, and you know the gradient of a product.",
    "r is broadcast along axis 0, so dL/dr = (g * c).sum(axis=0), as in the exercise multiply.",
    "The derivative of u ** (-1/2) is -1/2 * u ** (-3/2). With u = var + EPS: dL/dvar = dL/dr * (-1/2) * r ** 3.",
)


def no_half(g, c, var):
    """The factor 1/2 is missing: the derivative of u ** (-1/2) is -1/2 * u ** (-3/2)."""
    return g / np.sqrt(var + EPS), -(g * c).sum(axis=0) * (var + EPS) ** -1.5


def no_minus(g, c, var):
    """The minus sign is missing: a larger variance makes y smaller."""
    return g / np.sqrt(var + EPS), 0.5 * (g * c).sum(axis=0) * (var + EPS) ** -1.5


def power_kept(g, c, var):
    """The power is kept: the derivative of u ** (-1/2) has the power -3/2, one less."""
    return g / np.sqrt(var + EPS), -0.5 * (g * c).sum(axis=0) * (var + EPS) ** -0.5


def forgotten_sum(g, c, var):
    """The sum over the batch is missing: one variance divides all N rows, so its gradient adds up over axis 0."""
    return g / np.sqrt(var + EPS), -0.5 * g * c * (var + EPS) ** -1.5


def no_eps(g, c, var):
    """EPS is missing in the gradient of var, which contains the power -3/2 of var + EPS."""
    return g / np.sqrt(var + EPS), -0.5 * (g * c).sum(axis=0) * var**-1.5


WRONG = {
    "backward": {
        no_half: "half",
        no_minus: "wrong-sign",
        power_kept: "wrong-power",
        forgotten_sum: "wrong-shape",
        no_eps: "epsilon",
    },
}
