"""A norm of your own, with its backward pass.

Write forward(x), which returns y, and backward(g, x), which returns dL/dx for g = dL/dy. All have shape (N, C).

You choose the norm, but it must normalize: if you multiply x by a number, y must not change by more than 1 %, as
long as the values of x are not tiny. It must also be a new norm, not batch norm, layer norm or RMS norm, and it has no
gamma and no beta. You may divide by the mean absolute value, by the largest value, by the length of the row, by the
difference of two quantiles, ...

EPS prevents a division by zero. backward is judged against your own forward.
Use NumPy only; the gradients and norms of tinygrad_norm are refused.
"""

import numpy as np

EXERCISE = "own_norm"
EPS = 1e-3


def forward(x):
    """Return y, of shape (N, C)."""
    # Divide by the mean absolute value of the row.
    return x / (np.abs(x).mean(axis=1, keepdims=True) + EPS)


def backward(g, x):
    """Return dL/dx, of shape (N, C)."""
    # y = x / s with s = mean(|x|) + EPS; the derivative of |x| is the sign of x.
    s = np.abs(x).mean(axis=1, keepdims=True) + EPS
    ds = -(g * x).sum(axis=1, keepdims=True) / s**2
    return g / s + ds * np.sign(x) / x.shape[1]


# The judge's part: not in the student's file.

FILL_IN = ("forward", "backward")
INPUTS = {"x": "n c"}
OWN_FORWARD = True
RETURNS = {"forward": ("y",)}
OPTIONS = {"least": {"c": 4, "n": 4}, "edges": ("strided", "float32")}
HINTS = (
    "Choose one number s for each row (or column) that doubles when x doubles, and divide by s + EPS.",
    "The backward pass has two paths: the direct one, g / s, and one through s, which is computed from x.",
    "dL/ds = -(g * x).sum(axis) / s ** 2 over the axis that shares s. Multiply it by the derivative of s by x.",
)


def only_centred(x):
    """The scale is not removed: when x is multiplied by 8, so is y."""
    return x - x.mean(axis=1, keepdims=True)


def squared(x):
    """The scale is removed twice: when x is multiplied by 8, y is divided by 8."""
    return x / (np.square(x).mean(axis=1, keepdims=True) + EPS)


def constant_scale(g, x):
    """The divisor is held constant, but it is computed from x: that path is missing."""
    return g / (np.abs(x).mean(axis=1, keepdims=True) + EPS)


def no_sign(g, x):
    """The derivative of the absolute value is missing: it is the sign of x."""
    s = np.abs(x).mean(axis=1, keepdims=True) + EPS
    return g / s - (g * x).sum(axis=1, keepdims=True) / s**2 / x.shape[1]


def no_mean(g, x):
    """The 1 / C of the mean is missing."""
    s = np.abs(x).mean(axis=1, keepdims=True) + EPS
    return g / s - (g * x).sum(axis=1, keepdims=True) / s**2 * np.sign(x)


WRONG = {
    "forward": {
        only_centred: "scale-kept",
        squared: "wrong-power",
    },
    "backward": {
        constant_scale: "statistics-as-constants",
        no_sign: "inner-derivative",
        no_mean: "count-missing",
    },
}
