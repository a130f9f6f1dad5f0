"""The gradient of a variance.

    mean = mean of x over axis 0
    y    = mean of (x - mean) ** 2 over axis 0

x has shape (N, C); mean and y have shape (C,). It is the biased variance, which divides by N.
g = dL/dy is given, of shape (C,).

Write backward(g, x). It returns dL/dx, of shape (N, C). Remember that the mean is also computed from x.

Use NumPy only; the gradients and norms of tinygrad_norm are refused.
"""

import numpy as np

EXERCISE = "variance"


def forward(x):
    """Return y. It is here for you to read; the judge uses its own."""
    centred = x - x.sum(axis=0) / len(x)
    return (centred * centred).sum(axis=0) / len(x)


def backward(g, x):
    """Return dL/dx, of shape (N, C)."""
    # The path through the mean has the factor sum of (x - mean), and deviations from the mean add up to 0.
    return 2 * (x - x.mean(axis=0)) * g / len(x)


# The judge's part: not in the student's file.

FILL_IN = ("backward",)
INPUTS = {"x": "n c"}
OPTIONS = {"least": {"n": 2}}
HINTS = (
    "First hold the mean constant: y is then a mean of squares, and you know both derivatives.",
    "That gives 2 * (x - mean) * g / N. Now the mean: dL/dmean is the sum over n of -2 * (x[n] - mean) * g / N.",
    "The deviations of a column from its mean add up to 0. So the path through the mean adds nothing.",
)


def no_two(g, x):
    """The 2 of the square is missing."""
    return (x - x.mean(axis=0)) * g / len(x)


def no_n(g, x):
    """The 1 / N of the mean of the squares is missing."""
    return 2 * (x - x.mean(axis=0)) * g


def unbiased(g, x):
    """It is divided by N - 1, as for the unbiased variance; the variance here divides by N."""
    return 2 * (x - x.mean(axis=0)) * g / (len(x) - 1)


def not_centred(g, x):
    """The mean is missing: the derivative of (x - mean) ** 2 is 2 * (x - mean), not 2 * x."""
    return 2 * x * g / len(x)


def mean_of_one(g, x):
    """Only row n is counted, with 1 - 1 / N, but a change of x[n] changes the mean in all other rows as well."""
    return 2 * (x - x.mean(axis=0)) * g / len(x) * (1 - 1 / len(x))


WRONG = {
    "backward": {
        no_two: "half",
        no_n: "count-missing",
        unbiased: "n-minus-1",
        not_centred: "wrong-factor",
        mean_of_one: "own-sample",
    },
}
