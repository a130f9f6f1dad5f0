"""Losses of labels and probabilities: with their gradient, cached, as classes, and as plain pairs."""

import numpy as np

from tinygrad_norm.check import inputs

from .case import Code, Wrong
from .words import BATCH, FACTOR, IGNORES_G, MISSING, SIGN, SIZE, STATISTICS


def _softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


# The course's: the loss and its gradient at once.
def _softmax_loss(fault=""):
    def softmax_loss(x, y):
        n = x.shape[0]
        shifted = x - x.max(axis=1, keepdims=True)
        log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        loss = -log_probs[np.arange(n), y].mean()
        dx = np.exp(log_probs)
        if fault == "columns":
            dx[:, y] -= 1
        elif fault != "labels":
            dx[np.arange(n), y] -= 1
        return loss, dx if fault == "batch" else dx / n

    return softmax_loss


# By log-sum-exp, with a cotangent.
def cross_entropy(s, y):
    m = s.max(axis=1)
    return (np.log(np.exp(s - m[:, None]).sum(axis=1)) + m - s[np.arange(len(y)), y]).sum()


def cross_entropy_backward(g, s, y):
    ds = _softmax(s)
    ds[np.arange(len(y)), y] -= 1
    return g * ds


def cross_entropy_backward_unnormalized(g, s, y):
    ds = np.exp(s - s.max(axis=1, keepdims=True))
    ds[np.arange(len(y)), y] -= 1
    return g * ds


# The same, cached; a second backward pass over one cache must give the same.
def softmax_loss_forward(scores, labels):
    p = _softmax(scores)
    return -np.log(p[np.arange(len(p)), labels]).mean(), (p, labels)


def _softmax_loss_backward(fault=""):
    def softmax_loss_backward(dout, cache):
        p, labels = cache
        dx = p if fault == "in place" else p.copy()
        dx[np.arange(len(p)), labels] += 1 if fault == "sign" else -1
        return dout * dx / len(p)

    return softmax_loss_backward


# A class of one-hot targets.
class SoftmaxWithLoss:
    def forward(self, x, t):
        self.y, self.t = _softmax(x), np.eye(x.shape[1])[t]
        return -np.sum(self.t * np.log(self.y + 1e-7)) / len(x)

    def backward(self, dout=1.0):
        slope = -self.t / (self.y + 1e-7)
        return dout * self.y * (slope - (slope * self.y).sum(axis=1, keepdims=True)) / len(self.t)


class SoftmaxWithLossOfOneSample(SoftmaxWithLoss):
    def backward(self, dout=1.0):
        return super().backward(dout) * len(self.t)


class SoftmaxWithLossWithoutCotangent(SoftmaxWithLoss):
    def backward(self, dout=1.0):
        return super().backward(1.0)


class SoftmaxWithLossReversed(SoftmaxWithLoss):
    def backward(self, dout=1.0):
        return -super().backward(dout)


# The course's support vector machine.
def _svm_loss(fault=""):
    def svm_loss(x, y):
        rows = np.arange(x.shape[0])
        margins = np.maximum(0, x - x[rows, y][:, None] + 1.0)
        margins[rows, y] = 0
        loss = margins.sum() / x.shape[0]
        dx = (margins > 0).astype(float)
        dx[rows, y] -= 1 if fault == "count" else dx.sum(axis=1)
        if fault == "class":
            dx[rows, y] = 0
        return loss, dx if fault == "batch" else dx / x.shape[0]

    return svm_loss


def bce_with_logits(x, t):
    return (np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.abs(x)))).mean()


def _bce_backward(fault=""):
    def bce_backward(g, x, t):
        p = 1 / (1 + np.exp(-x))
        dx = g * (p - t)
        if fault == "sign":
            dx = -dx
        if fault == "sigmoid":
            dx = dx * p * (1 - p)
        return dx if fault == "batch" else dx / x.size

    return bce_backward


def kl_divergence(p, q):
    return (p * np.log(p / q)).sum(axis=-1)


def kl_divergence_backward(g, p, q):
    g = g[..., None]
    return g * (np.log(p / q) + 1), -g * p / q


def nll(p, y):
    return -np.log(p[np.arange(len(y)), y]).mean()


def _nll_backward(fault=""):
    def nll_backward(g, p, y):
        dp, rows = np.zeros_like(p), np.arange(len(y))
        dp[rows, y] = -1 / len(y) if fault == "quotient" else -1 / (len(y) * p[rows, y])
        if fault == "rows":
            dp[:, y] = -1 / (len(y) * p[:, y])
        return g * (-dp if fault == "sign" else dp)

    return nll_backward


def focal_loss(x, t, gamma=2.0):
    p = 1 / (1 + np.exp(-x))
    pt = np.where(t, p, 1 - p)
    return -((1 - pt) ** gamma * np.log(pt)).sum()


def _focal_backward(fault=""):
    def focal_backward(g, x, t, gamma=2.0):
        p = 1 / (1 + np.exp(-x))
        pt = np.where(t, p, 1 - p)
        slope = -((1 - pt) ** gamma) / pt
        if fault != "weight":
            slope = slope + gamma * (1 - pt) ** (gamma - 1) * np.log(pt)
        return g * slope * pt * (1 - pt) * (1 if fault == "sign" else np.where(t, 1, -1))

    return focal_backward


LABELLED = inputs(scores="n c", labels="n", domains=("real", "labels:c"))
AT_LABELS = ("label", " class", "column", "entries", "target", "missing", " index", "diagonal")
OVER_BATCH = (*BATCH, *SIZE)

CASES = (
    Code(
        "softmax loss with its gradient",
        _softmax_loss(),
        None,
        LABELLED,
        (
            Wrong("not divided by the batch size", _softmax_loss("batch"), OVER_BATCH),
            Wrong("1 is taken from whole columns", _softmax_loss("columns"), AT_LABELS),
            Wrong("1 is not taken at the labels", _softmax_loss("labels"), AT_LABELS),
        ),
    ),
    Code(
        "cross-entropy by log-sum-exp",
        cross_entropy,
        cross_entropy_backward,
        LABELLED,
        (
            Wrong("divided by the batch size", lambda g, s, y: cross_entropy_backward(g, s, y) / len(y), OVER_BATCH),
            Wrong("the cotangent is missing", lambda g, s, y: cross_entropy_backward(1.0, s, y), IGNORES_G),
            Wrong(
                "exponentials are not normalized", cross_entropy_backward_unnormalized, (*FACTOR, " sum", "normaliz")
            ),
        ),
    ),
    Code(
        "softmax loss, cached",
        softmax_loss_forward,
        _softmax_loss_backward(),
        LABELLED,
        (
            Wrong("the cache is changed in place", _softmax_loss_backward("in place"), ("in place", "cache", "differ")),
            Wrong("1 is added at the labels", _softmax_loss_backward("sign"), (*AT_LABELS, " sign")),
        ),
    ),
    Code(
        "softmax with loss, a class",
        SoftmaxWithLoss(),
        None,
        LABELLED,
        (
            Wrong("not divided by the batch size", SoftmaxWithLossOfOneSample(), OVER_BATCH),
            Wrong("the cotangent is missing", SoftmaxWithLossWithoutCotangent(), IGNORES_G),
            Wrong("target minus prediction", SoftmaxWithLossReversed(), SIGN),
        ),
    ),
    Code(
        "svm loss with its gradient",
        _svm_loss(),
        None,
        LABELLED,
        (
            Wrong("the right class counts once", _svm_loss("count"), (*AT_LABELS, " count", " sum")),
            Wrong("the right class has none", _svm_loss("class"), (*AT_LABELS, "zero")),
            Wrong("not divided by the batch size", _svm_loss("batch"), OVER_BATCH),
        ),
    ),
    Code(
        "binary cross-entropy with logits",
        bce_with_logits,
        _bce_backward(),
        inputs(logits="n c", targets="n c", domains=("real", "mask")),
        (
            Wrong("target minus prediction", _bce_backward("sign"), SIGN),
            Wrong(
                "times the sigmoid's derivative",
                _bce_backward("sigmoid"),
                (*FACTOR, "derivative", "sigmoid"),
                STATISTICS,
            ),
            Wrong("not divided by the size", _bce_backward("batch"), OVER_BATCH),
        ),
    ),
    Code(
        "kl divergence",
        kl_divergence,
        kl_divergence_backward,
        inputs(p="n c", q="n c", domains=("simplex", "simplex")),
        (
            Wrong(
                "the 1 is missing",
                lambda g, p, q: (g[..., None] * np.log(p / q), kl_divergence_backward(g, p, q)[1]),
                (*MISSING, "constant", "cotangent alone"),
            ),
            Wrong("q's sign", lambda g, p, q: (kl_divergence_backward(g, p, q)[0], g[..., None] * p / q), SIGN),
            Wrong(
                "q's quotient",
                lambda g, p, q: (kl_divergence_backward(g, p, q)[0], -g[..., None] / q),
                (*FACTOR, "missing", "elementwise"),
            ),
        ),
    ),
    Code(
        "negative log-likelihood",
        nll,
        _nll_backward(),
        inputs(p="n c", labels="n", domains=("simplex", "labels:c")),
        (
            Wrong(
                "not divided by the probability", _nll_backward("quotient"), (*FACTOR, "missing", "divid"), STATISTICS
            ),
            Wrong("whole columns", _nll_backward("rows"), AT_LABELS),
            Wrong("the sign", _nll_backward("sign"), SIGN),
        ),
    ),
    Code(
        "focal loss",
        focal_loss,
        _focal_backward(),
        inputs(logits="n", targets="n", domains=("real", "mask")),
        (
            Wrong(
                "the weight is a constant",
                _focal_backward("weight"),
                (*MISSING, *FACTOR, "constant", "product"),
                STATISTICS,
            ),
            Wrong("the sign where the target is 0", _focal_backward("sign"), (*SIGN, "mask", "target")),
        ),
        {"gamma": 2.0},
    ),
)
