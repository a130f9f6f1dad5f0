"""The gradient of a product in which one factor is broadcast.

    y = x * w

x has shape (N, C), w has shape (C,) and y has shape (N, C): every row of x is multiplied by the same w.
A loss L is computed from y, and g = dL/dy is given. It has the shape of y.

Write backward(g, x, w). It returns the pair (dL/dx, dL/dw), each of the shape of its input.

Use NumPy only; the gradients and norms of tinygrad_norm are refused.
"""

import numpy as np

EXERCISE = "multiply"


def forward(x, w):
    """Return y. It is here for you to read; the judge uses its own."""
    return x * w


def backward(g, x, w):
    """Return dL/dx, of shape (N, C), and dL/dw, of shape (C,)."""
    dx = g * w
    # w[c] is used in all rows, so its gradient is the sum of what comes back from them.
    dw = (g * x).sum(axis=0)
    return dx, dw


# The judge's part: not in the student's file.

FILL_IN = ("backward",)
INPUTS = {"x": "n c", "w": "c"}
HINTS = (
    "Take one entry: y[n, c] = x[n, c] * w[c]. What is the derivative of y[n, c] by x[n, c], and by w[c]?",
    "w[c] appears in y[0, c], y[1, c], ..., y[N-1, c]. The chain rule adds the gradients from all of them.",
    "Where the forward pass repeats an array along an axis, the backward pass sums over it: here axis 0, of g * x.",
)


def forgotten_sum(g, x, w):
    """The sum over the batch is missing: w is used in all N rows, so its gradient adds up over axis 0."""
    return g * w, g * x


def averaged(g, x, w):
    """This is the mean over the batch, but it must be the sum: all N rows add to the loss, and nothing divides by N."""
    return g * w, (g * x).mean(axis=0)


def swapped(g, x, w):
    """The factors are swapped: the derivative of x * w by x is w, and by w it is x."""
    return g * x, (g * w).sum(axis=0)


def kept(g, x, w):
    """The sum keeps its axis: with keepdims=True the gradient has shape (1, C), and w has shape (C,)."""
    return g * w, (g * x).sum(axis=0, keepdims=True)


WRONG = {
    "backward": {
        forgotten_sum: "wrong-shape",
        averaged: "mean-for-sum",
        swapped: "wrong-factor",
        kept: "wrong-shape",
    },
}
