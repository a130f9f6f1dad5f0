"""Softmax and its relatives."""

import numpy as np

from tests.real_code.case import Code, Wrong
from tinygrad_norm.check import inputs


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def pulled_back(g, y, axis=-1):
    return y * (g - (g * y).sum(axis=axis, keepdims=True))


SPATIAL = Code(
    "softmax over height and width",
    lambda x: softmax(x, axis=(1, 2)),
    lambda g, x: pulled_back(g, softmax(x, axis=(1, 2)), axis=(1, 2)),
    inputs(x="n h w"),
    (
        Wrong(
            "the sum runs over the width only",
            lambda g, x: pulled_back(g, softmax(x, axis=(1, 2)), axis=2),
            ("axis", "axes", "sum over"),
            ("transpos", " sign", "batch size", "mask"),
        ),
        Wrong(
            "the softmax of the backward pass is taken over the width only",
            lambda g, x: pulled_back(g, softmax(x, axis=2), axis=2),
            ("axis", "axes"),
            ("transpos", " sign", "batch size", "mask"),
        ),
        Wrong(
            "y (1 - y), element by element",
            lambda g, x: g * softmax(x, axis=(1, 2)) * (1 - softmax(x, axis=(1, 2))),
            ("diagonal", "elementwise", "element by element", "mixes", "jacobian"),
            ("transpos", " sign", "batch size", "mask"),
        ),
    ),
)


def log_sum_exp(x):
    m = x.max(axis=0)
    return m + np.log(np.exp(x - m).sum(axis=0))


def log_sum_exp_shifted(g, x):
    e = np.exp(x - x.max(axis=0))
    return g * e


LOG_SUM_EXP = Code(
    "log-sum-exp over the first axis",
    log_sum_exp,
    lambda g, x: g * softmax(x, axis=0),
    inputs("n c"),
    (
        Wrong(
            "softmax over the last axis",
            lambda g, x: g * softmax(x, axis=-1),
            ("axis", "axes"),
            ("transpos", " sign", "batch size", "mask"),
        ),
        Wrong(
            "not divided by the sum",
            log_sum_exp_shifted,
            ("normali", "factor", "column", "divi", "sum", "multiple"),
            ("transpos", " sign", "batch size", "mask"),
        ),
        Wrong(
            "the gradient of the maximum",
            lambda g, x: g * (x == x.max(axis=0)),
            ("mask", "zero", "maxim", "largest"),
            ("transpos", " sign", "batch size"),
        ),
    ),
)


def tempered(logits, tau):
    return softmax(logits / tau)


def tempered_backward(fault=""):
    def backward(g, logits, tau):
        d = pulled_back(g, softmax(logits / tau))
        if fault == "untempered":
            d = pulled_back(g, softmax(logits))
        dtau = -(d * logits).sum() / (tau if fault == "power" else tau**2)
        if fault == "sign":
            dtau = -dtau
        return (d if fault == "tau" else d / tau), dtau

    return backward


TEMPERED = Code(
    "softmax with a learned temperature",
    tempered,
    tempered_backward(),
    inputs(logits="n k", tau="", domains={"tau": "positive"}),
    (
        Wrong(
            "the logits' gradient is not divided by the temperature",
            tempered_backward("tau"),
            ("factor", "times", "tau"),
            ("transpos", " sign", "batch size", "mask"),
        ),
        Wrong(
            "the square is missing for the temperature",
            tempered_backward("power"),
            ("factor", "times", "tau"),
            ("transpos", "sign is", "batch size", "mask"),
        ),
        Wrong(
            "the temperature's gradient has the wrong sign",
            tempered_backward("sign"),
            ("sign", "-1 times", "negat", "minus"),
            ("transpos", "batch size", "mask"),
        ),
        Wrong(
            "the softmax of the backward pass forgets the temperature",
            tempered_backward("untempered"),
            (),
            ("transpos", "sign is", "batch size", "mean path"),
        ),
    ),
)


class GumbelSoftmax:
    def __init__(self, tau):
        self.tau = tau

    def forward(self, logits, uniform):
        noise = -np.log(-np.log(uniform))
        self.logits = logits
        self.y = softmax((logits + noise) / self.tau)
        return self.y

    def backward(self, dy):
        return pulled_back(dy, self.y) / self.tau


class GumbelSoftmaxWithoutTemperature(GumbelSoftmax):
    def backward(self, dy):
        return pulled_back(dy, self.y)


class GumbelSoftmaxWithoutNoise(GumbelSoftmax):
    def backward(self, dy):
        return pulled_back(dy, softmax(self.logits / self.tau)) / self.tau


class GumbelSoftmaxStraightThrough(GumbelSoftmax):
    def backward(self, dy):
        return np.array(dy)


GUMBEL = Code(
    "Gumbel softmax with given noise",
    GumbelSoftmax(0.5),
    None,
    inputs(logits="n k", uniform="n k", domains=("real", "simplex"), least={"k": 2}),
    (
        Wrong(
            "the temperature is missing",
            GumbelSoftmaxWithoutTemperature(0.5),
            ("factor", "times", "half", "0.5"),
            ("transpos", " sign", "batch size", "mask"),
        ),
        Wrong(
            "the softmax of the backward pass forgets the noise",
            GumbelSoftmaxWithoutNoise(0.5),
            (),
            ("transpos", "sign is", "batch size"),
        ),
        Wrong(
            "straight through",
            GumbelSoftmaxStraightThrough(0.5),
            ("diagonal", "jacobian", "mixes", "identity", "elementwise", "does not depend", "missing"),
            ("transpos", "sign is", "batch size"),
        ),
    ),
    {"wrt": "logits"},
)


def attention_pooling(h, q):
    a = softmax(h @ q)
    return (a[..., None] * h).sum(axis=1), (h, q, a)


def attention_pooling_backward(fault=""):
    def backward(dout, cache):
        h, q, a = cache
        da = (h * dout[:, None, :]).sum(axis=2)
        ds = da * a * (1 - a) if fault == "elementwise" else pulled_back(da, a)
        dq = np.einsum("nt,ntd->d", ds, h)
        if fault == "batch":
            dq = dq / len(h)
        values = a[..., None] * dout[:, None, :]
        return (values if fault == "scores" else values + ds[..., None] * q), dq

    return backward


ATTENTION_POOLING = Code(
    "attention pooling",
    attention_pooling,
    attention_pooling_backward(),
    inputs(h="n t d", q="d"),
    (
        Wrong(
            "softmax is differentiated element by element",
            attention_pooling_backward("elementwise"),
            ("diagonal", "elementwise", "element by element", "mixes", "jacobian"),
            ("transpos", "sign is", "batch size"),
        ),
        Wrong(
            "the path from the scores to h is missing",
            attention_pooling_backward("scores"),
            ("missing", " uses", "one of", "part of", "path", "constant"),
            ("transpos", "sign is", "batch size"),
        ),
        Wrong(
            "the query's gradient is divided by the batch",
            attention_pooling_backward("batch"),
            (
                "batch size",
                "number of samples",
                "size of n",
                "length of n",
                "axis 0",
                "the mean",
                "a mean",
                "mean of",
                "mean path",
                "mean term",
            ),
            ("transpos", " sign", "mask"),
        ),
    ),
)


def sinkhorn_step(scores):
    p = softmax(scores, axis=1)
    return p / p.sum(axis=0)


def sinkhorn_step_backward(fault=""):
    def backward(g, scores):
        p = softmax(scores, axis=1)
        total = p.sum(axis=0)
        if fault == "constant":
            dp = g / total
        else:
            dp = g / total - (g * p).sum(axis=1 if fault == "axis" else 0, keepdims=True) / total**2
        return pulled_back(dp, p, axis=0 if fault == "order" else 1)

    return backward


SINKHORN = Code(
    "one step of Sinkhorn's iteration",
    sinkhorn_step,
    sinkhorn_step_backward(),
    inputs(scores="n n"),
    (
        Wrong(
            "the columns' sums are constants",
            sinkhorn_step_backward("constant"),
            ("constant", "sum", "column", "statistic", "missing"),
            ("transpos", "sign is", "batch size"),
        ),
        Wrong(
            "the columns' sums are taken over the rows",
            sinkhorn_step_backward("axis"),
            ("axis", "axes", "transpos"),
            ("sign is", "batch size"),
        ),
        Wrong(
            "softmax is pulled back over the columns",
            sinkhorn_step_backward("order"),
            ("axis", "axes"),
            ("sign is", "batch size"),
        ),
    ),
)

CASES = (SPATIAL, LOG_SUM_EXP, TEMPERED, GUMBEL, ATTENTION_POOLING, SINKHORN)
