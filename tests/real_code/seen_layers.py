"""Layers with weights: cached pairs, classes with parameters, tables, masks, and sums of branches."""

import numpy as np

from tinygrad_norm.check import inputs

from .case import Code, Wrong
from .words import BATCH, BY_SIGN, FACTOR, MISSING, NOT_SUMMED, ONE_USE, REPEATED, SIZE, SWAPPED, TRANSPOSED


# Affine, cached, of inputs with any trailing axes.
def affine_forward(x, w, b):
    return x.reshape(len(x), -1) @ w + b, (x, w, b)


def _affine_backward(fault=""):
    def affine_backward(dout, cache):
        x, w, _ = cache
        rows = x.reshape(len(x), -1)
        dx = dout @ w.T
        dw = rows.T @ dout
        if fault == "mean":
            dw = dw / len(x)
        return (
            dx if fault == "shape" else dx.reshape(x.shape),
            dw,
            dout.copy() if fault == "sum" else dout.sum(axis=0),
        )

    return affine_backward


class Dense:
    """Square, so that a missing transposition keeps the shape."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.W, self.b = rng.normal(size=(3, 3)), rng.normal(size=3)
        self.dW = self.db = None

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout):
        self.dW, self.db = self.x.T @ dout, dout.sum(axis=0)
        return dout @ self.W.T


class DenseUntransposed(Dense):
    def backward(self, dout):
        super().backward(dout)
        return dout @ self.W


class DenseWithMeanBias(Dense):
    def backward(self, dout):
        dx = super().backward(dout)
        self.db = dout.mean(axis=0)
        return dx


class DenseWithTransposedWeightGradient(Dense):
    def backward(self, dout):
        dx = super().backward(dout)
        self.dW = dout.T @ self.x
        return dx


class TwoLayerNet:
    """Parameters and gradients in dicts."""

    def __init__(self, fault=""):
        self.fault = fault
        rng = np.random.default_rng(1)
        self.params = {
            "W1": rng.normal(size=(4, 3)),
            "b1": rng.normal(size=3),
            "W2": rng.normal(size=(3, 2)),
            "b2": rng.normal(size=2),
        }
        self.grads = {}

    def forward(self, x):
        p = self.params
        self.x, self.z = x, x @ p["W1"] + p["b1"]
        self.h = np.maximum(self.z, 0)
        return self.h @ p["W2"] + p["b2"]

    def backward(self, dout):
        dh = dout @ self.params["W2"].T
        dz = dh if self.fault == "mask" else dh * (self.z > 0)
        hidden = self.z if self.fault == "hidden" else self.h
        rows = len(dout) if self.fault == "mean" else 1
        self.grads = {
            "W1": self.x.T @ dz,
            "b1": dz.sum(axis=0) / rows,
            "W2": hidden.T @ dout,
            "b2": dout.sum(axis=0),
        }
        return dz @ self.params["W1"].T


# Dropout by a mask that is given.
def dropout(x, mask, p=0.5):
    return x * mask / (1 - p)


# A table looked up by indices, which repeat.
def embed(W, idx):
    return W[idx]


def _embed_backward(fault=""):
    def embed_backward(g, W, idx):
        dW = np.zeros_like(W)
        if fault == "assigned":
            dW[idx] = g
        elif fault == "added once":
            dW[idx] += g
        else:
            np.add.at(dW, idx, g)
        if fault == "mean":
            dW /= np.maximum(np.bincount(idx.ravel(), minlength=len(W)), 1)[:, None]
        return dW, None

    return embed_backward


class ResidualBlock:
    """x + tanh(x W)."""

    def __init__(self):
        self.W = np.random.default_rng(2).normal(size=(3, 3))

    def forward(self, x):
        self.x, self.h = x, np.tanh(x @ self.W)
        return x + self.h

    def backward(self, dout):
        inner = dout * (1 - self.h**2)
        self.grad_W = self.x.T @ inner
        return dout + inner @ self.W.T


class ResidualBlockWithoutSkip(ResidualBlock):
    def backward(self, dout):
        return super().backward(dout) - dout


class ResidualBlockWithoutBranch(ResidualBlock):
    def backward(self, dout):
        super().backward(dout)
        return dout


# Positions added to embeddings that are scaled by the root of their width.
def positional(x, pos):
    return x * np.sqrt(x.shape[-1]) + pos


def positional_backward(g, x, pos):
    return g * np.sqrt(x.shape[-1]), g.sum(axis=0)


# The same weights in an encoder and its decoder.
def _tied(g, W, x, encoder=1, decoder=1):
    h = np.tanh(x @ W)
    dz = (g @ W) * (1 - h**2)
    return encoder * x.T @ dz + decoder * g.T @ h, dz @ W.T


CASES = (
    Code(
        "affine layer, cached",
        affine_forward,
        _affine_backward(),
        inputs(x="n 2 3", w="6 m", b="m"),
        (
            Wrong("db is not summed", _affine_backward("sum"), NOT_SUMMED),
            Wrong("dx is not reshaped", _affine_backward("shape"), ("reshape", "shape of the input", "as many")),
            Wrong("dw is divided by the batch size", _affine_backward("mean"), (*BATCH, *SIZE)),
        ),
    ),
    Code(
        "dense layer, a class",
        Dense(),
        None,
        inputs(x="n 3"),
        (
            Wrong("W is not transposed", DenseUntransposed(), TRANSPOSED),
            Wrong("db is a mean", DenseWithMeanBias(), (*BATCH, *SIZE)),
            Wrong("dW is transposed", DenseWithTransposedWeightGradient(), TRANSPOSED),
        ),
    ),
    Code(
        "two-layer net, a class with dicts",
        TwoLayerNet(),
        None,
        inputs(x="n 4"),
        (
            Wrong("relu's mask is missing", TwoLayerNet("mask"), (*BY_SIGN, "relu")),
            Wrong("dW2 of what stands before relu", TwoLayerNet("hidden"), (*BY_SIGN, "relu", "activation")),
            Wrong("db1 is a mean", TwoLayerNet("mean"), (*BATCH, *SIZE)),
        ),
    ),
    Code(
        "dropout with a mask",
        dropout,
        lambda g, x, mask, p=0.5: (g * mask / (1 - p), None),
        inputs(x="n c", mask="n c", domains=("real", "mask")),
        (
            Wrong("the mask is missing", lambda g, x, mask, p=0.5: g / (1 - p), (*BY_SIGN, "dropped")),
            Wrong("the scale is missing", lambda g, x, mask, p=0.5: g * mask, FACTOR),
            Wrong("the scale is p", lambda g, x, mask, p=0.5: g * mask / p, FACTOR),
        ),
        {"p": 0.2},
    ),
    Code(
        "embedding lookup",
        embed,
        _embed_backward(),
        inputs(W="v d", idx="n t", domains=("real", "labels:v")),
        (
            Wrong("rows are assigned", _embed_backward("assigned"), REPEATED),
            Wrong("repeated rows are added once", _embed_backward("added once"), REPEATED),
            Wrong("repeated rows are averaged", _embed_backward("mean"), (*REPEATED, " mean", "averag", "divid")),
        ),
    ),
    Code(
        "residual addition",
        lambda x, y: x + y,
        lambda g, x, y: (g, g),
        inputs(x="n c", y="n c"),
        (
            Wrong("half for each", lambda g, x, y: (g / 2, g / 2), FACTOR),
            Wrong("nothing for the branch", lambda g, x, y: (g, np.zeros_like(g)), MISSING),
            Wrong("the sum of both", lambda g, x, y: (2 * g, 2 * g), FACTOR),
        ),
    ),
    Code(
        "residual block, a class",
        ResidualBlock(),
        None,
        inputs(x="n 3"),
        (
            Wrong("the skip connection is missing", ResidualBlockWithoutSkip(), ("cotangent", "skip", "residual")),
            Wrong("the branch is missing", ResidualBlockWithoutBranch(), ("cotangent", "branch", "missing")),
        ),
    ),
    Code(
        "positions and a scale",
        positional,
        positional_backward,
        inputs(x="n t d", pos="t d"),
        (
            Wrong("the root is missing", lambda g, x, pos: (g.copy(), g.sum(axis=0)), (*FACTOR, " root")),
            Wrong("divided by the root", lambda g, x, pos: (g / x.shape[-1] ** 0.5, g.sum(axis=0)), (*FACTOR, " root")),
            Wrong("positions are not summed", lambda g, x, pos: (g * x.shape[-1] ** 0.5, g.copy()), NOT_SUMMED),
        ),
    ),
    Code(
        "tied weights",
        lambda W, x: np.tanh(x @ W) @ W.T,
        _tied,
        inputs(W="d h", x="n d"),
        (
            Wrong("the decoder's use alone", lambda g, W, x: _tied(g, W, x, encoder=0), (*ONE_USE, *SWAPPED)),
            Wrong("the encoder's use alone", lambda g, W, x: _tied(g, W, x, decoder=0), (*ONE_USE, *SWAPPED)),
        ),
    ),
)
