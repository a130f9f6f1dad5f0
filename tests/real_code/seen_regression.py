"""Losses of real targets, and a penalty of weights."""

import numpy as np

from tinygrad_norm.check import inputs

from .case import Code, Wrong
from .words import BATCH, BY_SIGN, FACTOR, SIGN, SIZE, STATISTICS


# A class whose backward takes nothing.
class MSELoss:
    def forward(self, prediction, target):
        self.difference = prediction - target
        return np.mean(self.difference**2)

    def backward(self):
        return 2 * self.difference / self.difference.size


class MSELossWithoutTwo(MSELoss):
    def backward(self):
        return self.difference / self.difference.size


class MSELossOverRows(MSELoss):
    def backward(self):
        return 2 * self.difference / len(self.difference)


class MSELossReversed(MSELoss):
    def backward(self):
        return -2 * self.difference / self.difference.size


def l1_loss(prediction, target):
    return np.abs(prediction - target).mean()


def l1_loss_backward(g, prediction, target):
    d = g * np.sign(prediction - target) / prediction.size
    return d, -d


def huber(r, delta=1.0):
    a = np.abs(r)
    return np.where(a <= delta, 0.5 * r**2, delta * (a - 0.5 * delta))


def huber_backward(g, r, delta=1.0):
    return g * np.clip(r, -delta, delta)


# A penalty beside the loss, with gradients by name.
def ridge(W, b, x, y, reg=0.0):
    return ((x @ W + b - y) ** 2).mean() + 0.5 * reg * (W**2).sum()


def _ridge_backward(penalty):
    def ridge_backward(g, W, b, x, y, reg=0.0):
        r = 2 * (x @ W + b - y) / len(y)
        return {"dW": g * (x.T @ r + penalty * reg * W), "db": g * r.sum()}

    return ridge_backward


OVER_BATCH = (*BATCH, *SIZE)

CASES = (
    Code(
        "mean squared error, a class",
        MSELoss(),
        None,
        inputs(prediction="n c", target="n c"),
        (
            Wrong("the 2 is missing", MSELossWithoutTwo(), FACTOR),
            Wrong("divided by the rows alone", MSELossOverRows(), (*FACTOR, *OVER_BATCH)),
            Wrong("target minus prediction", MSELossReversed(), SIGN),
        ),
        {"wrt": "prediction"},
    ),
    Code(
        "l1 loss",
        l1_loss,
        l1_loss_backward,
        inputs(prediction="n c", target="n c"),
        (
            Wrong("the target's sign", lambda g, p, t: (l1_loss_backward(g, p, t)[0],) * 2, SIGN),
            Wrong("not divided by the size", lambda g, p, t: (g * np.sign(p - t), g * np.sign(t - p)), OVER_BATCH),
            Wrong(
                "l2's", lambda g, p, t: (g * (p - t) / p.size, g * (t - p) / p.size), (*FACTOR, *BY_SIGN), STATISTICS
            ),
        ),
    ),
    Code(
        "huber, with a keyword",
        huber,
        huber_backward,
        inputs(r="n c"),
        (
            Wrong(
                "the sign is missing",
                lambda g, r, delta: g * np.where(np.abs(r) <= delta, r, delta),
                BY_SIGN,
                STATISTICS,
            ),
            Wrong(
                "delta is missing",
                lambda g, r, delta: g * np.where(np.abs(r) <= delta, r, np.sign(r)),
                (*BY_SIGN, *FACTOR, "threshold", "clip", "delta"),
            ),
            Wrong(
                "never linear",
                lambda g, r, delta: g * r,
                (*BY_SIGN, *FACTOR, "threshold", "clip", " large"),
                ("transpos",),
            ),
        ),
        {"delta": 1.5},
    ),
    Code(
        "ridge regression with a penalty",
        ridge,
        _ridge_backward(1),
        inputs(W="d", b="", x="n d", y="n"),
        (
            Wrong("the penalty's sign", _ridge_backward(-1), (*SIGN, "penalty", "parallel", "multiple of", "weight")),
            Wrong("the penalty's one half", _ridge_backward(2), ("penalty", "parallel", "multiple of", "weight")),
            Wrong("the penalty is missing", _ridge_backward(0), ("penalty", "parallel", "multiple of", "missing")),
        ),
        {"wrt": ("W", "b"), "reg": 0.1},
    ),
)
