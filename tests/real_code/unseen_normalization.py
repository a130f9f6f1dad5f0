"""Normalizations of data and of weights."""

import numpy as np

from tests.real_code.case import Code, Wrong
from tinygrad_norm.check import inputs

AXES = (0, 2, 3)


class BatchNorm2d:
    """With ``gamma`` and ``dgamma`` as attributes; faults override the three parts of dx."""

    def __init__(self, c):
        self.gamma = np.linspace(0.5, 2, c)
        self.beta = np.linspace(-1, 1, c)
        self.dgamma = self.dbeta = None
        self.eps = 1e-5

    def forward(self, x):
        mean, var = x.mean(axis=AXES, keepdims=True), x.var(axis=AXES, keepdims=True)
        self.std = np.sqrt(var + self.eps)
        self.xhat = (x - mean) / self.std
        return self.gamma[:, None, None] * self.xhat + self.beta[:, None, None]

    def backward(self, dout):
        self.dgamma = (dout * self.xhat).sum(axis=AXES)
        self.dbeta = dout.sum(axis=AXES)
        d = dout * self.gamma[:, None, None]
        return self.dx(d, self.number(dout))

    def number(self, dout):
        return dout.size / dout.shape[1]

    def dx(self, d, m):
        total = d.sum(axis=AXES, keepdims=True)
        along = (d * self.xhat).sum(axis=AXES, keepdims=True)
        return (d - total / m - self.xhat * along / m) / self.std


class BatchNorm2dOfSamples(BatchNorm2d):
    def number(self, dout):
        return dout.shape[0]


class BatchNorm2dFrozen(BatchNorm2d):
    def dx(self, d, m):
        return d / self.std


class BatchNorm2dWithoutMean(BatchNorm2d):
    def dx(self, d, m):
        return (d - self.xhat * (d * self.xhat).sum(axis=AXES, keepdims=True) / m) / self.std


class BatchNorm2dVariance(BatchNorm2d):
    def dx(self, d, m):
        return super().dx(d, m) / self.std


BATCH_NORM_2D = Code(
    "batch norm of images",
    BatchNorm2d(3),
    None,
    inputs(x="n 3 h w"),
    (
        Wrong(
            "the sums are divided by the number of samples only",
            BatchNorm2dOfSamples(3),
            (
                "batch size",
                "number of samples",
                "the mean",
                "a mean",
                "mean of",
                "mean path",
                "mean term",
                "divided",
                "number of",
            ),
            ("transpos", " sign", "mask", "unreduced"),
        ),
        Wrong(
            "mean and variance are constants",
            BatchNorm2dFrozen(3),
            ("statistics", "constant", "the mean", "a mean", "mean of", "mean path", "mean term", "variance"),
            ("transpos", " sign", "mask", "batch size"),
        ),
        Wrong(
            "the path through the mean is missing",
            BatchNorm2dWithoutMean(3),
            (
                "the mean",
                "a mean",
                "mean of",
                "mean path",
                "mean term",
            ),
            ("transpos", " sign", "mask", "variance term"),
        ),
        Wrong(
            "divided by the variance, not by its root",
            BatchNorm2dVariance(3),
            ("variance", "factor", "times", "deviation", "root"),
            ("transpos", " sign", "mask", "batch size"),
        ),
    ),
)


def staged_forward(x, gamma, beta):
    n = x.shape[0]
    mu = x.sum(axis=0) / n
    xmu = x - mu
    var = (xmu**2).sum(axis=0) / n
    sqrtvar = np.sqrt(var + 1e-5)
    ivar = 1 / sqrtvar
    xhat = xmu * ivar
    return gamma * xhat + beta, (xhat, gamma, xmu, ivar, sqrtvar)


def staged_backward(fault=""):
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, sqrtvar = cache
        n = dout.shape[0]
        dbeta = dout.sum(axis=0)
        dgamma = (dout * xhat).sum(axis=0)
        dxhat = dout if fault == "gamma" else dout * gamma
        divar = (dxhat * xmu).sum(axis=0)
        dxmu = dxhat * ivar
        dsqrtvar = -divar / (sqrtvar if fault == "power" else sqrtvar**2)
        dvar = dsqrtvar / sqrtvar * (1 if fault == "half" else 0.5)
        if fault != "variance":
            dxmu = dxmu + 2 * xmu * dvar / n
        dmu = -dxmu.sum(axis=0)
        dx = dxmu + (dmu if fault == "n" else dmu / n)
        return dx, dgamma, dbeta

    return backward


STAGED = Code(
    "batch norm in many small steps",
    staged_forward,
    staged_backward(),
    inputs(x="n d", gamma="d", beta="d"),
    (
        Wrong(
            "gamma is left out of dx",
            staged_backward("gamma"),
            ("gamma", "factor", "scale", "weight", "column"),
            ("transpos", "sign is", "batch size"),
        ),
        Wrong(
            "the mean's gradient is not divided by n",
            staged_backward("n"),
            ("the mean", "a mean", "mean of", "mean path", "mean term", "batch size", "number of samples", "divided"),
            ("transpos", "sign is", "variance path"),
        ),
        Wrong(
            "the half of the square root is missing",
            staged_backward("half"),
            ("variance", "half", "twice", "root"),
            ("transpos", "sign is", "batch size", "mean path"),
        ),
        Wrong(
            "the variance's gradient is left out",
            staged_backward("variance"),
            ("variance", "along xhat", "deviation"),
            ("transpos", "sign is", "batch size", "mean path"),
        ),
        Wrong(
            "a power of the deviation is missing",
            staged_backward("power"),
            ("variance", "deviation", "root"),
            ("transpos", "sign is", "batch size", "mean path"),
        ),
    ),
)


def instance_norm(x, weight, bias, eps=1e-5):
    mean, var = x.mean(axis=(2, 3), keepdims=True), x.var(axis=(2, 3), keepdims=True)
    return (x - mean) / np.sqrt(var + eps) * weight[:, None, None] + bias[:, None, None]


def instance_norm_backward(fault=""):
    def backward(g, x, weight, bias, eps=1e-5):
        over = (0, 2, 3) if fault == "axes" else (2, 3)
        var = x.var(axis=(2, 3), keepdims=True)
        std = np.sqrt(var) + eps if fault == "eps" else np.sqrt(var + eps)
        xhat = (x - x.mean(axis=(2, 3), keepdims=True)) / std
        d = g * weight[:, None, None]
        dx = d - d.mean(axis=over, keepdims=True) - xhat * (d * xhat).mean(axis=over, keepdims=True)
        dweight = (g * xhat).sum(axis=(2, 3) if fault == "weight" else (0, 2, 3))
        return dx / std, dweight, g.sum(axis=(0, 2, 3))

    return backward


INSTANCE_NORM = Code(
    "instance norm",
    instance_norm,
    instance_norm_backward(),
    inputs(x="n c h w", weight="c", bias="c"),
    (
        Wrong(
            "the statistics' gradients run over the batch as well",
            instance_norm_backward("axes"),
            ("axis", "axes", "batch"),
            ("transpos", " sign", "mask"),
        ),
        Wrong(
            "the weight's gradient is not summed over the batch",
            instance_norm_backward("weight"),
            ("sum", "reduc", "broadcast", "axis", "shape"),
            ("transpos", " sign", "mask", "variance"),
        ),
        Wrong(
            "eps is added outside of the root",
            instance_norm_backward("eps"),
            ("epsilon", " eps"),
            ("transpos", " sign", "mask", "batch size"),
        ),
    ),
    {"eps": 1e-2},
)


def standardized_weight(w):
    mean, var = w.mean(axis=(1, 2, 3), keepdims=True), w.var(axis=(1, 2, 3), keepdims=True)
    return (w - mean) / np.sqrt(var + 1e-5)


def standardized_weight_backward(fault=""):
    def backward(g, w):
        over = (0, 2, 3) if fault == "axis" else (1, 2, 3)
        y = standardized_weight(w)
        std = np.sqrt(w.var(axis=(1, 2, 3), keepdims=True) + 1e-5)
        along = (g * y).sum(axis=over, keepdims=True) / (w[0].size - (fault == "bessel"))
        return (g - g.mean(axis=over, keepdims=True) - y * along * (std if fault == "square" else 1)) / std

    return backward


WEIGHT_STANDARDIZATION = Code(
    "weight standardization",
    standardized_weight,
    standardized_weight_backward(),
    inputs(w="o i h w"),
    (
        Wrong(
            "the variance's gradient divides by n - 1",
            standardized_weight_backward("bessel"),
            ("n-1", "n - 1", "variance", "bessel", "unbiased"),
            ("transpos", " sign", "mask", "batch size", "mean path"),
        ),
        Wrong(
            "summed over the outputs instead of the inputs",
            standardized_weight_backward("axis"),
            ("axis", "axes"),
            ("transpos", " sign", "mask", "batch size"),
        ),
        Wrong(
            "a power of the deviation is missing",
            standardized_weight_backward("square"),
            ("variance", "deviation", "root"),
            ("transpos", " sign", "mask", "batch size", "mean path"),
        ),
    ),
)


def unit_rows(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def unit_rows_backward(fault=""):
    def backward(g, x):
        norm = np.linalg.norm(x, axis=1, keepdims=True)
        y = x / norm
        along = (g * y).sum(axis=0 if fault == "axis" else 1, keepdims=True)
        if fault == "constant":
            return g / norm
        if fault == "unscaled":
            return g - y * along
        if fault == "input":
            return (g - x * (g * x).sum(axis=1, keepdims=True)) / norm
        return (g - y * along) / norm

    return backward


UNIT_ROWS = Code(
    "rows of length one",
    unit_rows,
    unit_rows_backward(),
    inputs("n d"),
    (
        Wrong(
            "the length is a constant",
            unit_rows_backward("constant"),
            ("constant", "norm", "length", "projection", "missing", "statistic", "multiple of"),
            ("transpos", " sign", "batch size", "mask"),
        ),
        Wrong(
            "not divided by the length",
            unit_rows_backward("unscaled"),
            ("norm", "length", "factor", "row", "scale", "divi"),
            ("transpos", " sign", "batch size", "mask"),
        ),
        Wrong(
            "the sum runs over the rows",
            unit_rows_backward("axis"),
            ("axis", "axes"),
            ("transpos", " sign", "batch size", "mask"),
        ),
        Wrong("the input instead of the output", unit_rows_backward("input"), (), ("transpos", "batch size")),
    ),
)


def z_score(x):
    return (x - x.mean(axis=0)) / x.std(axis=0, ddof=1)


def z_score_backward(fault=""):
    def backward(g, x):
        n, y = len(x), z_score(x)
        along = (g * y).sum(axis=0) / (n if fault == "bessel" else n - 1)
        total = g.sum(axis=0) / n
        if fault == "mean":
            total = 0
        if fault == "variance":
            along = 0
        return (g - total - y * along) / x.std(axis=0, ddof=1)

    return backward


Z_SCORE = Code(
    "z-scores of the columns, with the sample deviation",
    z_score,
    z_score_backward(),
    inputs("n c", least={"n": 3}),
    (
        Wrong(
            "the variance's gradient divides by n",
            z_score_backward("bessel"),
            ("n-1", "n - 1", "variance", "bessel", "unbiased"),
            ("transpos", " sign", "mask", "mean path"),
        ),
        Wrong(
            "the mean is a constant",
            z_score_backward("mean"),
            (
                "the mean",
                "a mean",
                "mean of",
                "mean path",
                "mean term",
            ),
            ("transpos", " sign", "batch", "mask"),
        ),
        Wrong(
            "the deviation is a constant",
            z_score_backward("variance"),
            ("variance", "deviation"),
            ("transpos", " sign", "batch", "mask"),
        ),
    ),
)

CASES = (BATCH_NORM_2D, STAGED, INSTANCE_NORM, WEIGHT_STANDARDIZATION, UNIT_ROWS, Z_SCORE)
