"""Backward passes of the norms written by hand, right and with one fault each: what a check must tell apart.

Plain NumPy, nothing shared with the package. A norm is a view in which each row shares a mean and a variance: rows of
channels for batch norm, of samples for layer norm, of both for instance norm, of groups for group norm.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

EPS = 1e-3
GROUPS = 2
SHAPE = (3, 4, 3)  # n, c, space: four channels in two groups
NORMS = ("batch", "layer", "instance", "group")


def rows(norm: str, x: Array) -> Array:
    """Return x as (rows, values that share a statistic)."""
    if norm == "batch":
        return x.transpose(1, 0, 2).reshape(x.shape[1], -1)
    return x.reshape({"layer": len(x), "instance": len(x) * x.shape[1], "group": len(x) * GROUPS}[norm], -1)


def unrows(norm: str, r: Array, shape: tuple[int, ...]) -> Array:
    """Undo `rows`."""
    if norm == "batch":
        return r.reshape(shape[1], shape[0], shape[2]).transpose(1, 0, 2)
    return r.reshape(shape)


def _normalized(norm: str, x: Array) -> tuple[Array, Array]:
    r = rows(norm, x)
    centred = r - r.mean(axis=1, keepdims=True)
    inverse = (np.mean(centred * centred, axis=1, keepdims=True) + EPS) ** -0.5
    return centred * inverse, inverse


def forward(norm: str) -> Callable[..., Array]:
    """Return ``(x, weight, bias) -> y``, weight and bias for each channel; analytic, so that complex steps pass."""

    def call(x: Array, weight: Array, bias: Array) -> Array:
        normalized, _ = _normalized(norm, x)
        return unrows(norm, normalized, x.shape) * weight[:, None] + bias[:, None]

    return call


class Parts(NamedTuple):
    """What the closed form of a norm's gradient is made of, in rows."""

    scaled: Array  # dL/dx̂
    normalized: Array  # x̂
    inverse: Array  # 1 / sqrt(var + eps)
    variance: Array


def closed_form(p: Parts) -> Array:
    """``dx = (dx̂ - mean(dx̂) - x̂ mean(dx̂ x̂)) / sqrt(var + eps)``."""
    mean_path = p.scaled.mean(axis=1, keepdims=True)
    variance_path = p.normalized * (p.scaled * p.normalized).mean(axis=1, keepdims=True)
    return (p.scaled - mean_path - variance_path) * p.inverse


def _bessel(p: Parts) -> Array:
    n = p.scaled.shape[1]
    return closed_form(p._replace(normalized=p.normalized * np.sqrt(n / (n - 1))))


INPUT_FAULTS: dict[str, Callable[[Parts], Array]] = {
    "dx = 0": lambda p: np.zeros_like(p.scaled),
    "variance path dropped": lambda p: (p.scaled - p.scaled.mean(axis=1, keepdims=True)) * p.inverse,
    "mean path dropped": lambda p: closed_form(p) + p.scaled.mean(axis=1, keepdims=True) * p.inverse,
    "eps dropped": lambda p: closed_form(p._replace(inverse=p.variance**-0.5)),
    "eps outside the root": lambda p: closed_form(p._replace(inverse=1 / (np.sqrt(p.variance) + EPS))),
    "statistics detached": lambda p: p.scaled * p.inverse,
    "sign of the variance path": lambda p: (
        closed_form(p) + 2 * p.inverse * p.normalized * (p.scaled * p.normalized).mean(axis=1, keepdims=True)
    ),
    "sign flipped": lambda p: -closed_form(p),
    "n/(n-1)": _bessel,
    "sum for mean": lambda p: (p.scaled - p.scaled.sum(axis=1, keepdims=True)) * p.inverse,
    "twice": lambda p: 2 * closed_form(p),
}
OTHER_FAULTS = (
    "wrong axis", "weight missing", "missing unbroadcast sum", "dγ without x̂", "dγ and dβ swapped", "dγ halved",
    "dβ averaged",
)  # fmt: skip
FAULTS = (*INPUT_FAULTS, *OTHER_FAULTS)


def backward(norm: str, fault: str | None = None) -> Callable[..., tuple[Array, Array, Array]]:
    """Return ``(g, x, weight, bias) -> (dx, dweight, dbias)``, with one of the FAULTS or none."""
    another = {"batch": "layer", "layer": "batch", "instance": "layer", "group": "instance"}[norm]

    def call(g: Array, x: Array, weight: Array, bias: Array) -> tuple[Array, Array, Array]:
        scaled = g if fault == "weight missing" else g * weight[:, None]
        over = another if fault == "wrong axis" else norm
        normalized, inverse = _normalized(over, x)
        parts = Parts(rows(over, scaled), normalized, inverse, rows(over, x).var(axis=1, keepdims=True))
        dx = unrows(over, INPUT_FAULTS.get(fault or "", closed_form)(parts), x.shape)
        x_hat = unrows(norm, _normalized(norm, x)[0], x.shape)
        dweight, dbias = (g * x_hat).sum(axis=(0, 2)), g.sum(axis=(0, 2))
        if fault == "missing unbroadcast sum":
            dbias = g
        elif fault == "dγ without x̂":
            dweight = dbias
        elif fault == "dγ and dβ swapped":
            dweight, dbias = dbias, dweight
        elif fault == "dγ halved":
            dweight = dweight / 2
        elif fault == "dβ averaged":
            dbias = g.mean(axis=(0, 2))
        return dx, dweight, dbias

    return call


AXES = {"batch": (0, 2), "layer": (1, 2), "instance": (2,), "group": (2, 3)}


def detached(norm: str, which: str) -> Callable[[Any], Any]:
    """Return a norm of Tensors in which a statistic is a constant for the gradient, though not in value."""

    def call(x: Any) -> Any:
        values = x.reshape(x.shape[0], GROUPS, -1, x.shape[2]) if norm == "group" else x
        mean = values.mean(axis=AXES[norm], keepdims=True)
        centred = values - (mean.detach() if which in ("mean", "both") else mean)
        deviations = values - mean.detach() if which == "mean inside the variance" else centred
        variance = (deviations * deviations).mean(axis=AXES[norm], keepdims=True)
        if which in ("variance", "both"):
            variance = variance.detach()
        return (centred / np.sqrt(variance + EPS)).reshape(x.shape)

    return call
