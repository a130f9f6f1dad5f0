"""Attention, and losses that compare rows with rows."""

import numpy as np

from tinygrad_norm.check import inputs

from .case import Code, Wrong
from .words import ELEMENTWISE, FACTOR, IGNORES_G, MISSING, ONE_USE, REPEATED, SIGN, SIZE, SWAPPED, TRANSPOSED


def _softmax(s):
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _softmax_backward(g, p):
    return p * (g - (g * p).sum(axis=-1, keepdims=True))


def attention(q, k, v, mask):
    scores = np.where(mask, q @ k.T / np.sqrt(q.shape[-1]), -1e9)
    return _softmax(scores) @ v


def _attention_backward(fault=""):
    def attention_backward(g, q, k, v, mask):
        scale = 1 / np.sqrt(q.shape[-1])
        p = _softmax(np.where(mask, q @ k.T * scale, -1e9))
        dp = g @ v.T
        ds = dp * p * (1 - p) if fault == "elementwise" else _softmax_backward(dp, p)
        ds = np.where(mask, ds, 0) * (1 if fault == "scale" else scale)
        dk = ds @ q if fault == "transposed" else ds.T @ q
        return ds @ k, dk, (p if fault == "v" else p.T) @ g, None

    return attention_backward


class MultiHeadAttention:
    """Two heads of width 2; parameters and gradients in lists."""

    def __init__(self, fault=""):
        self.fault = fault
        rng = np.random.default_rng(4)
        self.params = [rng.normal(size=(4, 4)) for _ in range(4)]
        self.grads = [np.zeros((4, 4)) for _ in range(4)]

    def _heads(self, x):
        n, t, _ = x.shape
        return x.reshape(n, t, 2, 2).transpose(0, 2, 1, 3)

    def _joined(self, heads):
        n, _, t, _ = heads.shape
        return heads.transpose(0, 2, 1, 3).reshape(n, t, 4)

    def forward(self, x):
        Wq, Wk, Wv, Wo = self.params
        self.x = x
        self.q, self.k, self.v = self._heads(x @ Wq), self._heads(x @ Wk), self._heads(x @ Wv)
        self.p = _softmax(self.q @ self.k.swapaxes(-1, -2) / np.sqrt(2))
        self.joined = self._joined(self.p @ self.v)
        return self.joined @ Wo

    def backward(self, dout):
        Wq, Wk, Wv, Wo = self.params
        dheads = self._heads(dout @ Wo.T)
        ds = _softmax_backward(dheads @ self.v.swapaxes(-1, -2), self.p) / np.sqrt(1 if self.fault == "scale" else 2)
        dq, dk, dv = ds @ self.k, ds.swapaxes(-1, -2) @ self.q, self.p.swapaxes(-1, -2) @ dheads
        dq, dk, dv = self._joined(dq), self._joined(dk), self._joined(dv)
        self.grads = [np.einsum("nti,ntj->ij", self.x, d) for d in (dq, dk, dv)]
        self.grads.append(np.einsum("nti,ntj->ij", self.joined, dout))
        dx = dq @ Wq.T
        if self.fault != "uses":
            dx = dx + dk @ Wk.T + dv @ Wv.T
        return dx


# A contrastive loss of pairs, whose right partner is on the diagonal.
def info_nce(a, b):
    s = 2 * a @ b.T
    m = s.max(axis=1, keepdims=True)
    return (np.log(np.exp(s - m).sum(axis=1)) + m[:, 0] - np.diag(s)).mean()


def _info_nce_backward(fault=""):
    def info_nce_backward(g, a, b):
        p = _softmax(2 * a @ b.T)
        if fault != "diagonal":
            p = p - np.eye(len(a))
        ds = g * (1 if fault == "temperature" else 2) * p / len(a)
        return ds @ b, ds @ a if fault == "transposed" else ds.T @ a

    return info_nce_backward


def triplet_loss(anchor, positive, negative, margin=1.0):
    near, far = ((anchor - positive) ** 2).sum(axis=1), ((anchor - negative) ** 2).sum(axis=1)
    return np.maximum(near - far + margin, 0).sum()


def _triplet_backward(fault=""):
    def triplet_backward(g, anchor, positive, negative, margin=1.0):
        near, far = ((anchor - positive) ** 2).sum(axis=1), ((anchor - negative) ** 2).sum(axis=1)
        active = 2 * g * ((near - far + margin > 0) | (fault == "mask"))[:, None]
        danchor = active * (anchor - positive if fault == "anchor" else negative - positive)
        dnegative = active * (anchor - negative)
        return danchor, active * (positive - anchor), -dnegative if fault == "sign" else dnegative

    return triplet_backward


# Features are drawn to the centers of their classes.
def center_loss(x, centers, labels):
    return 0.5 * ((x - centers[labels]) ** 2).sum()


def _center_backward(fault=""):
    def center_backward(g, x, centers, labels):
        d, dcenters = g * (x - centers[labels]), np.zeros_like(centers)
        if fault == "added once":
            dcenters[labels] -= d
        else:
            np.subtract.at(dcenters, labels, d)
        if fault == "mean":
            dcenters /= 1 + np.bincount(labels, minlength=len(centers))[:, None]
        return -d if fault == "sign" else d, dcenters, None

    return center_backward


def pairwise(a, b):
    return (a**2).sum(axis=1)[:, None] - 2 * a @ b.T + (b**2).sum(axis=1)


def _pairwise_backward(fault=""):
    def pairwise_backward(g, a, b):
        da = 2 * (g.sum(axis=1, keepdims=True) * a - g @ b)
        db = 2 * (g.sum(axis=0)[:, None] * b - g.T @ a)
        if fault == "squares":
            da, db = -2 * g @ b, -2 * g.T @ a
        return da / 2 if fault == "two" else da, -db if fault == "sign" else db

    return pairwise_backward


CASES = (
    Code(
        "attention with a mask",
        attention,
        _attention_backward(),
        inputs(q="t d", k="t d", v="t d", mask="t t", domains=("real", "real", "real", "mask")),
        (
            Wrong("the scale is missing", _attention_backward("scale"), (*FACTOR, " root")),
            Wrong("softmax elementwise", _attention_backward("elementwise"), (*ELEMENTWISE, "softmax")),
            Wrong("the scores are not transposed in dk", _attention_backward("transposed"), (*TRANSPOSED, *SWAPPED)),
            Wrong("the weights are not transposed in dv", _attention_backward("v"), TRANSPOSED),
        ),
    ),
    Code(
        "multi-head attention, a class with lists",
        MultiHeadAttention(),
        None,
        inputs(x="n t 4", largest=3),
        (
            Wrong("x as queries alone", MultiHeadAttention("uses"), ONE_USE),
            Wrong("the scale is missing", MultiHeadAttention("scale"), (*FACTOR, " root")),
        ),
    ),
    Code(
        "info-nce",
        info_nce,
        _info_nce_backward(),
        inputs(a="n d", b="n d"),
        (
            Wrong("the temperature is missing", _info_nce_backward("temperature"), FACTOR),
            Wrong("1 is not taken from the diagonal", _info_nce_backward("diagonal"), ("diagonal", "missing", "label")),
            Wrong("the cotangent is missing", lambda g, a, b: _info_nce_backward()(1.0, a, b), IGNORES_G),
            Wrong("the scores are not transposed in db", _info_nce_backward("transposed"), (*TRANSPOSED, *SWAPPED)),
        ),
    ),
    Code(
        "triplet loss",
        triplet_loss,
        _triplet_backward(),
        inputs(anchor="n d", positive="n d", negative="n d"),
        (
            Wrong("the anchor's second pull is missing", _triplet_backward("anchor"), (*ONE_USE, *MISSING)),
            Wrong("the negative's sign", _triplet_backward("sign"), SIGN, ("transpos", "batch")),
            Wrong("the hinge is missing", _triplet_backward("mask"), ("mask", "hinge", "zero", "active", "clip")),
        ),
    ),
    Code(
        "center loss",
        center_loss,
        _center_backward(),
        inputs(x="n d", centers="k d", labels="n", domains=("real", "real", "labels:k")),
        (
            Wrong("repeated labels count once", _center_backward("added once"), REPEATED),
            Wrong("centers are averaged", _center_backward("mean"), (*REPEATED, *SIZE, *FACTOR)),
            Wrong("the features' sign", _center_backward("sign"), SIGN),
        ),
    ),
    Code(
        "pairwise squared distances",
        pairwise,
        _pairwise_backward(),
        inputs(a="n d", b="m d"),
        (
            Wrong("the 2 is missing", _pairwise_backward("two"), FACTOR),
            Wrong("the squares' part is missing", _pairwise_backward("squares"), (*MISSING, "parallel", "multiple")),
            Wrong("b's sign", _pairwise_backward("sign"), SIGN),
        ),
    ),
)
