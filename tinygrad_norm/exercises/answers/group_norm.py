"""Group norm: all its gradients.

    x̂ = (x - mean) / sqrt(var + EPS)      mean and biased variance of each sample and group
    y = gamma * x̂ + beta

x, x̂ and y have shape (N, C, L). The C channels form GROUPS groups of neighbours: with C = 4 and GROUPS = 2, channels 0
and 1 are the first group. All values of a group, at all L positions, share a mean and a variance.
gamma and beta have shape (C,), one value for each channel. g = dL/dy is given, of shape (N, C, L).

Write backward(g, x, gamma, beta). It returns (dL/dx, dL/dgamma, dL/dbeta), each of the shape of its input.

Use NumPy only; the gradients and norms of tinygrad_norm are refused.
"""

import numpy as np

EXERCISE = "group_norm"
EPS = 1e-3
GROUPS = 2


def forward(x, gamma, beta):
    """Return y. It is here for you to read; the judge uses its own."""
    grouped = x.reshape(len(x), GROUPS, -1)
    centred = grouped - grouped.mean(axis=2, keepdims=True)
    x_hat = centred / np.sqrt((centred * centred).mean(axis=2, keepdims=True) + EPS)
    return gamma[:, None] * x_hat.reshape(x.shape) + beta[:, None]


def backward(g, x, gamma, beta):
    """Return dL/dx, of shape (N, C, L), and dL/dgamma and dL/dbeta, of shape (C,)."""
    # With one row for each group it is layer norm over the last axis; gamma and beta belong to channels.
    grouped = x.reshape(len(x), GROUPS, -1)
    sigma = np.sqrt(grouped.var(axis=2, keepdims=True) + EPS)
    x_hat = (grouped - grouped.mean(axis=2, keepdims=True)) / sigma
    dx_hat = (g * gamma[:, None]).reshape(grouped.shape)
    mean_path = dx_hat.mean(axis=2, keepdims=True)
    variance_path = x_hat * (dx_hat * x_hat).mean(axis=2, keepdims=True)
    dx = (dx_hat - mean_path - variance_path) / sigma
    return dx.reshape(x.shape), (g * x_hat.reshape(x.shape)).sum(axis=(0, 2)), g.sum(axis=(0, 2))


# The judge's part: not in the student's file.

FILL_IN = ("backward",)
INPUTS = {"x": "n c l", "gamma": "c", "beta": "c"}
OPTIONS = {"multiples": {"c": 2}, "least": {"l": 2}}
HINTS = (
    "Reshape x to (N, GROUPS, C // GROUPS * L): each row of the last axis then shares a mean and a variance.",
    "In that shape it is the closed form of layer norm, with means over axis 2.",
    "gamma belongs to channels: multiply g by gamma[:, None] before reshaping, and reshape x̂ back for dL/dgamma.",
    "dL/dgamma = (g * x̂).sum(axis=(0, 2)) and dL/dbeta = g.sum(axis=(0, 2)), both in the shape (N, C, L).",
)


def closed_form(g, x, dx_hat, view=lambda a: a.reshape(len(a), GROUPS, -1), back=lambda a, x: a.reshape(x.shape)):
    """Return all gradients, with statistics along the last axis of a view."""
    grouped, d = view(x), view(dx_hat)
    sigma = np.sqrt(grouped.var(axis=-1, keepdims=True) + EPS)
    x_hat = (grouped - grouped.mean(axis=-1, keepdims=True)) / sigma
    dx = (d - d.mean(axis=-1, keepdims=True) - x_hat * (d * x_hat).mean(axis=-1, keepdims=True)) / sigma
    return back(dx, x), (g * back(x_hat, x)).sum(axis=(0, 2)), g.sum(axis=(0, 2))


def interleaved(g, x, gamma, beta):
    """The groups are interleaved, channel modulo GROUPS; a group is a block of neighbouring channels."""

    def view(a):
        return a.reshape(len(a), -1, GROUPS, a.shape[2]).swapaxes(1, 2).reshape(len(a), GROUPS, -1)

    def back(a, x):
        return a.reshape(len(x), GROUPS, -1, x.shape[2]).swapaxes(1, 2).reshape(x.shape)

    return closed_form(g, x, g * gamma[:, None], view, back)


def instances(g, x, gamma, beta):
    """Each channel has statistics of its own, as in instance norm; here the channels of a group share them."""
    return closed_form(g, x, g * gamma[:, None], lambda a: a)


def whole_sample(g, x, gamma, beta):
    """The whole sample shares its statistics, as in layer norm; here each group has its own."""
    return closed_form(g, x, g * gamma[:, None], lambda a: a.reshape(len(a), -1))


def gamma_outside(g, x, gamma, beta):
    """gamma is outside the means: it varies within a group, so take the means of g * gamma, not of g."""
    dx, *others = closed_form(g, x, g)
    return dx * gamma[:, None], *others


def per_group(g, x, gamma, beta):
    """gamma and beta are summed over groups; each channel has its own, so their gradients have shape (C,)."""
    dx, dgamma, dbeta = closed_form(g, x, g * gamma[:, None])
    return dx, dgamma.reshape(GROUPS, -1).sum(axis=1), dbeta.reshape(GROUPS, -1).sum(axis=1)


WRONG = {
    "backward": {
        interleaved: "interleaved-groups",
        instances: "wrong-axis",
        whole_sample: "wrong-axis",
        gamma_outside: "gamma-outside",
        per_group: "wrong-shape",
    },
}
