"""Normalizations: over batches, rows, groups and channels, of weights, and norms themselves."""

import numpy as np

from tinygrad_norm.check import inputs

from .case import Code, Wrong
from .words import BY_SIGN, CONSTANT, EPS, FACTOR, MISSING, NOT_SUMMED, SIZE, SWAPPED, WRONG_AXIS


# Batch norm as in the course, cached, with the running statistics in a dict.
def batchnorm_forward(x, gamma, beta, bn_param):
    eps, momentum = bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
    mean, var = x.mean(axis=0), x.var(axis=0)
    for name, value in (("running_mean", mean), ("running_var", var)):
        bn_param[name] = momentum * bn_param.get(name, np.zeros(x.shape[1])) + (1 - momentum) * value
    std = np.sqrt(var + eps)
    x_hat = (x - mean) / std
    return gamma * x_hat + beta, (x, x_hat, mean, std, var, gamma)


def _batchnorm_backward(fault=""):
    def batchnorm_backward(dout, cache):
        x, x_hat, mean, std, var, gamma = cache
        n = len(x)
        dx_hat = dout if fault == "gamma" else dout * gamma
        spread = np.sqrt(var) if fault == "eps" else std
        dvar = (dx_hat * (x - mean)).sum(axis=0) * -0.5 / spread**3
        dmean = -(dx_hat / spread).sum(axis=0)
        dx = dx_hat / spread
        if fault not in ("variance", "both"):
            dx = dx + dvar * 2 * (x - mean) / n
        if fault not in ("mean", "both"):
            dx = dx + dmean / n
        return dx, (dout * (x if fault == "x" else x_hat)).sum(axis=0), dout.sum(axis=0)

    return batchnorm_backward


# Layer norm, gradients by name.
def layernorm(x, gamma, beta, eps=1e-5):
    mean = x.mean(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(x.var(axis=-1, keepdims=True) + eps) + beta


def _layernorm_backward(fault=""):
    def layernorm_backward(g, x, gamma, beta, eps=1e-5):
        mean = x.mean(axis=-1, keepdims=True)
        std = np.sqrt(x.var(axis=-1, keepdims=True) + eps)
        x_hat = (x - mean) / std
        w = g if fault == "gamma" else g * gamma
        axis = 0 if fault == "axis" else -1
        dx = w - w.mean(axis=axis, keepdims=True) - x_hat * (w * x_hat).mean(axis=axis, keepdims=True)
        dx = gamma * dx / std if fault == "gamma" else dx / std
        dbeta = g if fault == "sum" else g.sum(axis=0)
        return {"x": dx, "gamma": (g * x_hat).sum(axis=0), "beta": dbeta}

    return layernorm_backward


# Group norm over images.
def groupnorm(x, gamma, beta, groups=2, eps=1e-5):
    return _grouped(x, groups, eps)[0] * gamma[:, None, None] + beta[:, None, None]


def _grouped(x, groups, eps):
    rows = x.reshape(len(x), groups, -1)
    std = np.sqrt(rows.var(axis=2, keepdims=True) + eps)
    return ((rows - rows.mean(axis=2, keepdims=True)) / std).reshape(x.shape), std


def _groupnorm_backward(fault=""):
    def groupnorm_backward(g, x, gamma, beta, groups=2, eps=1e-5):
        x_hat, std = _grouped(x, groups, eps)
        w = g if fault == "gamma" else g * gamma[:, None, None]
        across = x.shape[1] if fault == "instance" else groups
        rows, hats = w.reshape(len(x), across, -1), x_hat.reshape(len(x), across, -1)
        dx = rows - rows.mean(axis=2, keepdims=True) - hats * (rows * hats).mean(axis=2, keepdims=True)
        dx = (dx.reshape(len(x), groups, -1) / std).reshape(x.shape)
        if fault == "gamma":
            dx = dx * gamma[:, None, None]
        axes = (2, 3) if fault == "sum" else (0, 2, 3)
        return dx, (g * x_hat).sum(axis=axes), g.sum(axis=axes)

    return groupnorm_backward


class RMSNorm:
    def __init__(self, fault=""):
        self.fault = fault
        self.weight, self.eps = np.array([1.5, -0.5, 2.0, 0.75]), 1e-3

    def forward(self, x):
        self.square = (x**2).mean(axis=-1, keepdims=True)
        self.rms = np.sqrt(self.square + self.eps)
        self.x = x
        return x / self.rms * self.weight

    def backward(self, dout):
        rms = np.sqrt(self.square) if self.fault == "eps" else self.rms
        self.weight_grad = (dout * self.x / self.rms).sum(axis=0)
        w, x_hat = dout * self.weight, self.x / rms
        reduce = np.sum if self.fault == "sum" else np.mean
        path = 0 if self.fault == "constant" else x_hat * reduce(w * x_hat, axis=-1, keepdims=True)
        return (w - path) / rms


# Weights as a length times a direction, for each row.
def weight_norm(v, length):
    return length[:, None] * v / np.sqrt((v**2).sum(axis=1, keepdims=True))


def _weight_norm_backward(fault=""):
    def weight_norm_backward(g, v, length):
        norm = np.sqrt((v**2).sum(axis=1, keepdims=True))
        dlength = (g * v).sum(axis=1, keepdims=True) / (1 if fault == "length" else norm)
        path = 0 if fault == "constant" else dlength * v / (1 if fault == "unit" else norm)
        return length[:, None] / norm * (g - path), dlength[:, 0]

    return weight_norm_backward


def spectral_norm(W):
    return W / np.linalg.svd(W, compute_uv=False)[0]


def _spectral_backward(fault=""):
    def spectral_backward(g, W):
        u, s, vt = np.linalg.svd(W)
        path = (g * W).sum() / s[0] * np.outer(u[:, 0], vt[0])
        return (g + path if fault == "sign" else g - path * (fault != "constant")) / s[0]

    return spectral_backward


# Lengths of rows; at 0 the gradient is taken as 0.
def row_norms(x):
    return np.sqrt((x**2).sum(axis=1))


def row_norms_backward(g, x, power=1):
    norms = row_norms(x)
    return (g / np.where(norms == 0, 1, norms) ** power)[:, None] * x


# Cosines of pairs of rows.
def cosine(a, b):
    return (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))


def _cosine_backward(fault=""):
    def cosine_backward(g, a, b):
        aa, bb = (a**2).sum(axis=1, keepdims=True), (b**2).sum(axis=1, keepdims=True)
        c, root, g = cosine(a, b)[:, None], np.sqrt(aa * bb), g[:, None]
        if fault == "constant":
            return g * b / root, g * a / root
        if fault == "square":
            return g * (b / root - c * a / np.sqrt(aa)), g * (a / root - c * b / np.sqrt(bb))
        da, db = g * (b / root - c * a / aa), g * (a / root - c * b / bb)
        return (db, da) if fault == "swapped" else (da, db)

    return cosine_backward


CASES = (
    Code(
        "batch norm, cached",
        batchnorm_forward,
        _batchnorm_backward(),
        inputs(x="n 4", gamma="4", beta="4"),
        (
            Wrong("the path through the variance is missing", _batchnorm_backward("variance"), ("variance", *EPS)),
            Wrong("the path through the mean is missing", _batchnorm_backward("mean"), (" mean",), ("variance is",)),
            Wrong("the statistics are constants", _batchnorm_backward("both"), CONSTANT),
            Wrong("gamma is missing in dx", _batchnorm_backward("gamma"), ("gamma", "weight", *FACTOR)),
            Wrong("dgamma by x", _batchnorm_backward("x"), ("gamma", "normaliz", "x̂", *FACTOR, " mean", "parallel")),
            Wrong("eps is missing in dx", _batchnorm_backward("eps"), EPS),
        ),
        {"bn_param": {"mode": "train"}},
    ),
    Code(
        "layer norm, a dict of gradients",
        layernorm,
        _layernorm_backward(),
        inputs(x="n c", gamma="c", beta="c"),
        (
            Wrong("gamma outside the sums", _layernorm_backward("gamma"), ("gamma", "outside", "weight", "inside")),
            Wrong("the means run over the batch", _layernorm_backward("axis"), WRONG_AXIS),
            Wrong("dbeta is not summed", _layernorm_backward("sum"), NOT_SUMMED),
        ),
    ),
    Code(
        "group norm",
        groupnorm,
        _groupnorm_backward(),
        inputs(x="n c h w", gamma="c", beta="c", multiples={"c": 2}),
        (
            Wrong("an instance norm's sums", _groupnorm_backward("instance"), ("group", "channel", *WRONG_AXIS)),
            Wrong("gamma outside the sums", _groupnorm_backward("gamma"), ("gamma", "outside", "weight", "inside")),
            Wrong("gamma and beta not summed over the batch", _groupnorm_backward("sum"), NOT_SUMMED),
        ),
        {"groups": 2},
    ),
    Code(
        "rms norm, a class",
        RMSNorm(),
        None,
        inputs(x="n 4"),
        (
            Wrong("the root is a constant", RMSNorm("constant"), (*CONSTANT, "norm of x", " root")),
            Wrong("a sum for the mean", RMSNorm("sum"), (*SIZE, " times", "parallel")),
            Wrong("eps is missing", RMSNorm("eps"), (*EPS, " root", "norm of x")),
        ),
    ),
    Code(
        "weight norm",
        weight_norm,
        _weight_norm_backward(),
        inputs(v="m d", length="m"),
        (
            Wrong("the norm is a constant", _weight_norm_backward("constant"), (*CONSTANT, " norm")),
            Wrong("the direction is not of length 1", _weight_norm_backward("unit"), (*CONSTANT, " norm", "parallel")),
            Wrong("the length's norm is missing", _weight_norm_backward("length"), (*FACTOR, " norm", "divid")),
        ),
    ),
    Code(
        "spectral norm",
        spectral_norm,
        _spectral_backward(),
        inputs(W="m n"),
        (
            Wrong("the norm is a constant", _spectral_backward("constant"), (*CONSTANT, " norm", " rank")),
            Wrong("the path's sign", _spectral_backward("sign"), (" sign", " rank", " norm", " path")),
        ),
    ),
    Code(
        "norms of rows",
        row_norms,
        row_norms_backward,
        inputs(x="n d"),
        (
            Wrong("not divided by the norm", lambda g, x: g[:, None] * x, (*FACTOR, " norm", "divid")),
            Wrong("twice", lambda g, x: 2 * row_norms_backward(g, x), FACTOR),
            Wrong("divided by the square", lambda g, x: row_norms_backward(g, x, power=2), (*FACTOR, " norm", "divid")),
            Wrong("signs alone", lambda g, x: g[:, None] * np.sign(x), (*FACTOR, *BY_SIGN, " norm")),
        ),
    ),
    Code(
        "cosine similarity",
        cosine,
        _cosine_backward(),
        inputs(a="n d", b="n d"),
        (
            Wrong("the norms are constants", _cosine_backward("constant"), (*CONSTANT, " norm")),
            Wrong("a norm for its square", _cosine_backward("square"), (" norm", "parallel", " times", *MISSING)),
            Wrong("the gradients are swapped", _cosine_backward("swapped"), SWAPPED),
        ),
    ),
)
