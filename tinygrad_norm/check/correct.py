"""Correct backward passes written by hand. A check must accept them, and every mutant starts from one.

They use only NumPy, so that any checker of hand-written gradients can be tested with them. The forward functions are
analytic and take complex arrays, as the complex step needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .strategies import EDGES, Inputs, inputs

Array = np.ndarray[Any, np.dtype[Any]]
Gradients = tuple[Array, ...]
Forward = Callable[..., Array]
Backward = Callable[..., Gradients]

EPS = 1e-3  # larger than usual, so that its faults are visible
GROUPS = 2
BOUNDED = tuple(edge for edge in EDGES if edge not in ("huge", "offset"))  # where exp does not overflow


@dataclass(frozen=True)
class Case:
    """A function, its gradients, and its inputs.

    Attributes
    ----------
    name : str
        The name of the function, such as "layer_norm".
    forward : callable
        ``forward(*xs) -> y``.
    backward : callable
        ``backward(g, *xs)`` returns the gradient of ``<g, y>`` for each of ``xs``, with the same shape and dtype.
    inputs : Inputs
        The random inputs ``xs``.
    axes : tuple of int, optional
        For a norm, the axes of ``x`` that its statistics run over, within each group for a group norm.
    """

    name: str
    forward: Forward
    backward: Backward
    inputs: Inputs
    axes: tuple[int, ...] | None = None


def own(formula: Callable[..., Any]) -> Backward:
    """Return a backward pass whose gradients are new arrays with the dtypes of their inputs."""

    def backward(g: Array, *xs: Array) -> Gradients:
        return tuple(np.array(d, dtype=x.dtype) for d, x in zip(formula(g, *xs), xs, strict=True))

    return backward


def average(a: Array, axes: tuple[int, ...]) -> Array:
    """Return the mean over axes, with ``keepdims``. The mean of no values is zero."""
    count = math.prod(a.shape[axis] for axis in axes)
    return np.asarray(a.sum(axis=axes, keepdims=True) / max(count, 1))


def centred(a: Array, axes: tuple[int, ...]) -> Array:
    """Return the deviations from the mean."""
    # Twice, because the mean is rounded: far from zero, its error may exceed the spread of the values.
    deviations = a - average(a, axes)
    return deviations - average(deviations, axes)


def sigmoid(x: Array) -> Array:
    """Return ``1 / (1 + exp(-x))`` in a form that does not overflow."""
    return np.asarray((1 + np.tanh(x / 2)) / 2)


def variance(x: Array) -> Array:
    """Return the biased variance over the first axis."""
    return np.asarray(average(centred(x, (0,)) ** 2, (0,))[0])


def shifted(x: Array) -> tuple[Array, Array]:
    """Return ``exp(x - m)`` and ``m``, the largest real part of each row, which is a constant for all gradients."""
    largest = x.real.max(axis=-1, keepdims=True)
    return np.exp(x - largest), largest


def softmax(x: Array) -> Array:
    """Return the softmax over the last axis."""
    powers, _ = shifted(x)
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def logsumexp(x: Array) -> Array:
    """Return ``log(sum(exp(x)))`` over the last axis."""
    powers, largest = shifted(x)
    return np.asarray(np.log(powers.sum(axis=-1)) + largest[..., 0])


def _softmax_backward(g: Array, x: Array) -> Gradients:
    y = softmax(x)
    return (y * (g - (g * y).sum(axis=-1, keepdims=True)),)


@dataclass(frozen=True, kw_only=True)
class Normalized:
    """``x̂ = (x - mean) / σ`` with ``σ = sqrt(var + eps)`` over some axes. Without ``centres``, the mean is left out."""

    x: Array
    axes: tuple[int, ...]
    centres: bool
    eps: float = EPS

    @property
    def deviations(self) -> Array:
        return centred(self.x, self.axes) if self.centres else self.x

    @property
    def variance(self) -> Array:
        return average(self.deviations**2, self.axes)

    @property
    def sigma(self) -> Array:
        return np.asarray(np.sqrt(self.variance + self.eps))

    @property
    def normalized(self) -> Array:
        return self.deviations / self.sigma


@dataclass(frozen=True, kw_only=True)
class Pullback(Normalized):
    """The terms of a norm's gradient, by name, for a cotangent ``g`` of ``y = x̂ weight + bias``.

    In ``dx = (dx̂ - mean(dx̂) - x̂ mean(dx̂ x̂)) / σ`` the last two terms are the paths through the mean and the variance
    (Ioffe and Szegedy 2015, section 3, simplified). ``weight`` is broadcast. ``shape`` is ``(n, c, ...)``; the other
    arrays may be views with groups. ``elsewhere`` are the axes of the statistics of another norm.
    """

    g: Array
    weight: Array
    shape: tuple[int, ...]
    elsewhere: tuple[int, ...]

    @property
    def count(self) -> int:
        """The number of values that share a statistic."""
        return math.prod(self.x.shape[axis] for axis in self.axes)

    @property
    def scaled(self) -> Array:
        """The cotangent ``dx̂``."""
        return self.g * self.weight

    @property
    def mean_path(self) -> Array:
        return average(self.scaled, self.axes) if self.centres else np.zeros_like(self.scaled)

    @property
    def variance_path(self) -> Array:
        return self.normalized * average(self.scaled * self.normalized, self.axes)

    @property
    def dx(self) -> Array:
        return (self.scaled - self.mean_path - self.variance_path) / self.sigma

    @property
    def dweight(self) -> Array:
        return self.per_channel(self.g * self.normalized)

    @property
    def dbias(self) -> Array:
        return self.per_channel(self.g)

    def per_channel(self, a: Array) -> Array:
        """Return the sum over all axes except the channels."""
        return np.asarray(self.whole(a).sum(axis=(0, *range(2, len(self.shape)))))

    def whole(self, a: Array) -> Array:
        """Return an array, which may be a view with groups, in the shape of ``x``."""
        return a.reshape(self.shape)

    def gradients(self, dx: Array | None = None, dweight: Array | None = None, dbias: Array | None = None) -> Gradients:
        """Return the gradients of ``x``, ``weight`` and, if it centres, ``bias``; those not given are right."""
        of_x = self.whole(self.dx if dx is None else dx)
        of_weight, of_bias = self.dweight if dweight is None else dweight, self.dbias if dbias is None else dbias
        return (of_x, of_weight, of_bias) if self.centres else (of_x, of_weight)


@dataclass(frozen=True)
class Norm:
    """A norm of ``(n, c, ...)`` with a weight and a bias for each channel. Its statistics run over ``axes``.

    With groups, these are axes of ``(n, groups, c / groups, ...)``. ``elsewhere`` are the axes of another norm.
    """

    axes: tuple[int, ...]
    elsewhere: tuple[int, ...]
    centres: bool = True
    groups: int | None = None

    def view(self, a: Array) -> Array:
        """Return the array with its channels split into groups, if the norm has groups."""
        if self.groups is None:
            return a
        n, channels, *rest = a.shape
        return a.reshape(n, self.groups, channels // self.groups, *rest)

    def forward(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        """Return ``x̂ weight + bias``."""
        normalized = Normalized(x=self.view(x), axes=self.axes, centres=self.centres).normalized.reshape(x.shape)
        y = normalized * per_channel(weight, x)
        return y if bias is None else y + per_channel(bias, x)

    def pullback(self, g: Array, x: Array, weight: Array, *_bias: Array) -> Pullback:
        """Return the terms of the gradient."""
        return Pullback(
            x=self.view(x),
            axes=self.axes,
            centres=self.centres,
            g=self.view(g),
            weight=self.view(np.broadcast_to(per_channel(weight, x), x.shape)),
            shape=x.shape,
            elsewhere=self.elsewhere,
        )


def per_channel(parameter: Array, x: Array) -> Array:
    """Return a per-channel parameter in a shape that broadcasts with ``(n, c, ...)``."""
    return parameter.reshape(-1, *(1,) * (x.ndim - 2))


NORMS = {
    "batch_norm": Norm(axes=(0,), elsewhere=(1,)),
    "layer_norm": Norm(axes=(1,), elsewhere=(0,)),
    "instance_norm": Norm(axes=(2,), elsewhere=(0, 2)),
    "group_norm": Norm(axes=(2, 3), elsewhere=(1, 2, 3), groups=GROUPS),
    "rms_norm": Norm(axes=(1,), elsewhere=(0,), centres=False),
}


def _case(name: str, forward: Forward, formula: Callable[..., Any], *axes: str, **options: Any) -> Case:
    return Case(name, forward, own(formula), inputs(*axes, **options))


def _norm(name: str, axes: tuple[int, ...], *named: str, **options: Any) -> Case:
    norm = NORMS[name]
    backward = own(lambda g, *xs: norm.pullback(g, *xs).gradients())
    return Case(name, norm.forward, backward, inputs(*named, **options), axes)


_POSITIVE = {"domains": ("positive",)}

CORRECT: tuple[Case, ...] = (
    _case("sin", np.sin, lambda g, x: (g * np.cos(x),), "n c"),
    _case("exp", np.exp, lambda g, x: (g * np.exp(x),), "n c", edges=BOUNDED),
    _case("tanh", np.tanh, lambda g, x: (g * (1 - np.tanh(x) ** 2),), "n c"),
    _case("sigmoid", sigmoid, lambda g, x: (g * sigmoid(x) * (1 - sigmoid(x)),), "n c"),
    _case("square", np.square, lambda g, x: (2 * g * x,), "n c"),
    _case("reciprocal", lambda x: 1 / x, lambda g, x: (-g / x**2,), "n c", **_POSITIVE),
    _case("log", np.log, lambda g, x: (g / x,), "n c", **_POSITIVE),
    _case("sqrt", np.sqrt, lambda g, x: (g / (2 * np.sqrt(x)),), "n c", **_POSITIVE),
    _case("add", np.add, lambda g, x, y: (g, g), "n c", "n c"),
    _case("subtract", np.subtract, lambda g, x, y: (g, -g), "n c", "n c"),
    _case("multiply", np.multiply, lambda g, x, y: (g * y, g * x), "n c", "n c"),
    _case("divide", np.divide, lambda g, x, y: (g / y, -g * x / y**2), "n c", "n c", domains=("real", "positive")),
    _case("add_broadcast", np.add, lambda g, x, y: (g, g.sum(axis=0)), "n c", "c"),
    _case("multiply_broadcast", np.multiply, lambda g, x, y: (g * y, (g * x).sum(axis=0)), "n c", "c"),
    _case("matmul", np.matmul, lambda g, x, y: (g @ y.T, x.T @ g), "n k", "k m"),
    _case("sum", lambda x: x.sum(axis=0), lambda g, x: (np.broadcast_to(g, x.shape),), "n c"),
    _case(
        "mean",
        lambda x: x.sum(axis=1) / x.shape[1],
        lambda g, x: (np.broadcast_to(g[:, None] / x.shape[1], x.shape),),
        "n c",
    ),
    _case("variance", variance, lambda g, x: (2 * g * centred(x, (0,)) / max(len(x), 1),), "n c"),
    _case("softmax", softmax, _softmax_backward, "n c"),
    _case("logsumexp", logsumexp, lambda g, x: (g[:, None] * softmax(x),), "n c"),
    _case("transpose_scale", lambda x: x.T / 2, lambda g, x: (g.T / 2,), "n c"),
    _norm("batch_norm", (0,), "n c", "c", "c"),
    _norm("layer_norm", (1,), "n c", "c", "c"),
    _norm("instance_norm", (2,), "n c l", "c", "c"),
    _norm("group_norm", (1, 2), "n c l", "c", "c", least={"c": 2 * GROUPS}, multiples={"c": GROUPS}),
    _norm("rms_norm", (1,), "n c", "c"),
)
