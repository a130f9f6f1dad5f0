"""Norms with faults, for the diagnosis; see `diagnosis_cases`."""

import numpy as np

from tests.diagnosis_cases import X, case

# Norms.

EPS = 1e-3


def parts(x, axis):
    centred = x - x.mean(axis=axis, keepdims=True)
    inverse = 1 / np.sqrt((centred**2).mean(axis=axis, keepdims=True) + EPS)
    return centred * inverse, inverse


def layer_norm(x, gamma, beta):
    return parts(x, -1)[0] * gamma + beta


def norm_backward(
    axis, of_mean=1.0, of_variance=1.0, outside=False, weight=True, inverse_power=1, dgamma=None, eps=True
):
    def backward(g, x, gamma, beta):
        x_hat, inverse = parts(x, axis)
        if not eps:
            inverse = 1 / x.std(axis=axis, keepdims=True)
        d = g * gamma if weight and not outside else g
        dx = (
            d
            - of_mean * d.mean(axis=axis, keepdims=True)
            - of_variance * x_hat * (d * x_hat).mean(axis=axis, keepdims=True)
        ) * inverse**inverse_power
        dx = dx * gamma if outside else dx
        dg = (g * x_hat).sum(axis=0) if dgamma is None else dgamma(g, x, x_hat)
        return dx, dg, g.sum(axis=0)

    return backward


NORM = {"x": "n c", "gamma": "c", "beta": "c"}
batch_norm = lambda x, gamma, beta: parts(x, 0)[0] * gamma + beta  # noqa: E731
case("layer norm: gamma outside", layer_norm, NORM, norm_backward(-1, outside=True), "gamma", "batch|eps|sign")
case("layer norm: gamma missing", layer_norm, NORM, norm_backward(-1, weight=False), "gamma", "batch|eps|sign")
case("layer norm: mean path", layer_norm, NORM, norm_backward(-1, of_mean=0), "mean", "batch|eps|sign")
case("layer norm: variance path", layer_norm, NORM, norm_backward(-1, of_variance=0), "variance", "batch|eps|sign")
case(
    "layer norm: constants",
    layer_norm,
    NORM,
    norm_backward(-1, 0, 0),
    "constant|statistics|diagonal|elementwise",
    "batch|eps|sign",
)
case("layer norm: mean's sign", layer_norm, NORM, norm_backward(-1, -1), "mean", "batch|eps")
case(
    "layer norm: sums for means",
    layer_norm,
    NORM,
    lambda g, x, gamma, beta: norm_backward(-1, x.shape[1], x.shape[1])(g, x, gamma, beta),
    "mean|sum|axis 1",
    "eps|sign|batch size",
)
case(
    "layer norm: sigma squared",
    layer_norm,
    NORM,
    norm_backward(-1, inverse_power=2),
    "standard deviation|variance",
    "batch|sign|gamma is missing",
)
case(
    "layer norm: dgamma of x",
    layer_norm,
    NORM,
    norm_backward(-1, dgamma=lambda g, x, h: (g * x).sum(axis=0)),
    "x|normalized",
    "batch|sign|transposed",
)
case(
    "layer norm: dgamma without x_hat",
    layer_norm,
    NORM,
    norm_backward(-1, dgamma=lambda g, x, h: g.sum(axis=0)),
    "factor|another input|beta|swapped",
    "batch|sign|transposed",
)
case(
    "batch norm: constants",
    batch_norm,
    NORM,
    norm_backward(0, 0, 0),
    "constant|statistics|diagonal|elementwise",
    "eps|sign",
)
case("batch norm: mean path", batch_norm, NORM, norm_backward(0, of_mean=0), "mean", "eps|sign")
case(
    "batch norm: dgamma averaged",
    batch_norm,
    NORM,
    norm_backward(0, dgamma=lambda g, x, h: (g * h).mean(axis=0)),
    "batch size",
    "eps|sign",
)
case("batch norm: axis 1", batch_norm, NORM, norm_backward(1), "axis|axes", "eps|sign")
case(
    "batch norm: variance's n - 1",
    batch_norm,
    NORM,
    lambda g, x, gamma, beta: norm_backward(0, 1, len(x) / (len(x) - 1))(g, x, gamma, beta),
    "variance",
    "eps|sign",
)


def narrow_without_eps(g, x, gamma, beta):
    dx, dgamma, dbeta = norm_backward(0, eps=False)(g, x / 8, gamma, beta)
    return dx / 8, dgamma, dbeta


case(
    "batch norm: eps dropped",
    lambda x, gamma, beta: batch_norm(x / 8, gamma, beta),
    NORM,
    narrow_without_eps,
    "eps|standard deviation",
    "batch|sign",
)
unit = lambda x: x / np.sqrt((x**2).sum(axis=1, keepdims=True))  # noqa: E731
case(
    "l2 normalize: norm constant",
    unit,
    X,
    lambda g, x: g / np.sqrt((x**2).sum(axis=1, keepdims=True)),
    "norm|diagonal|elementwise",
    "batch|sign|eps",
)
rms = lambda x: x / np.sqrt((x**2).mean(axis=1, keepdims=True) + EPS)  # noqa: E731
case(
    "rms: sum for mean",
    rms,
    X,
    lambda g, x: (
        (g - rms(x) * (g * rms(x)).sum(axis=1, keepdims=True)) / np.sqrt((x**2).mean(axis=1, keepdims=True) + EPS)
    ),
    "axis 1|sum|norm",
    "batch|sign",
)
case(
    "variance: mean forgotten",
    lambda x: x.var(axis=0),
    X,
    lambda g, x: 2 * g * x / len(x),
    "mean|constant",
    "batch|sign|eps",
)
case(
    "std: sqrt missing",
    lambda x: np.sqrt(((x - x.mean(0)) ** 2).mean(0)),
    X,
    lambda g, x: g * (x - x.mean(0)) / len(x),
    "standard deviation|factor",
    "batch|sign",
)
case("mean: sum", lambda x: x.mean(axis=1), X, lambda g, x: g[:, None] * np.ones_like(x), "axis 1", "batch|sign")


def in_groups(x):
    return parts(x.reshape(len(x), 2, -1), -1)[0].reshape(x.shape)


def in_groups_backward(g, x, of_mean=1.0, of_variance=1.0):
    x_hat, inverse = parts(x.reshape(len(x), 2, -1), -1)
    d = g.reshape(x_hat.shape)
    terms = of_mean * d.mean(axis=-1, keepdims=True) + of_variance * x_hat * (d * x_hat).mean(axis=-1, keepdims=True)
    return ((d - terms) * inverse).reshape(x.shape)


IMAGES = {"x": "n 4 h"}
case(
    "group norm: variance path",
    in_groups,
    IMAGES,
    lambda g, x: in_groups_backward(g, x, 1, 0),
    "variance",
    "batch|sign",
)
case(
    "group norm: mean path",
    in_groups,
    IMAGES,
    lambda g, x: in_groups_backward(g, x, 0, 1),
    "mean",
    "batch|sign|variance",
)
case(
    "group norm: constants",
    in_groups,
    IMAGES,
    lambda g, x: in_groups_backward(g, x, 0, 0),
    "constant|statistics",
    "batch|sign",
)
case(
    "unit rows: sums over columns",
    unit,
    X,
    lambda g, x: (
        g / np.sqrt((x**2).sum(1, keepdims=True))
        - x * (g * x).sum(0, keepdims=True) / np.sqrt((x**2).sum(1, keepdims=True)) ** 3
    ),
    "axis",
    "batch|eps|transposed",
)
case(
    "unit rows: norm not cubed",
    unit,
    X,
    lambda g, x: g / np.sqrt((x**2).sum(1, keepdims=True)) - x * (g * x).sum(1, keepdims=True),
    "norm",
    "batch|eps|sign",
)
case(
    "standard deviation: sum for mean",
    lambda x: np.sqrt(((x - x.mean(0)) ** 2).mean(0)),
    X,
    lambda g, x: g * (x - x.mean(0)) / x.std(0),
    "batch size",
    "axis 1|eps",
)
