"""What a page is made of: scenes, each a run of its own, and what is known about norms that makes them telling."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...engine import ops
from ...engine.operators import Array
from ...engine.tensor import Tensor, named, tensor
from ...norm.checks import in_shape
from ...norm.functional import (
    affine,
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    moments,
)
from ...norm.pattern import parse
from ..axes import Axes
from ..text import shortened
from .recording import Recording

EPS = 1e-5
Function = Callable[..., Any]


@dataclass(frozen=True)
class Scene:
    """A run, and why it is shown.

    Attributes
    ----------
    key, title, text : str
    recording : Recording
    tab : str
        The part of the page that it belongs to.
    compare : str or None
        The key of the scene that it is compared with.
    examined : bool
        Whether it is shown which cells its cells depend on; a variant of a scene has the same.
    """

    key: str
    title: str
    text: str
    recording: Recording
    tab: str = "steps"
    compare: str | None = None
    examined: bool = False


@dataclass(frozen=True)
class Norm:
    """What a page knows about a norm."""

    name: str
    title: str
    pattern: str
    call: Function
    shared: str
    lengths: Mapping[str, int] = field(default_factory=dict)
    per_feature: bool = False

    @property
    def unit(self) -> str:
        """What shares a mean, in a word or two."""
        return self.shared.partition(":")[0]

    def parameter_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape[1:] if self.per_feature else shape[1:2]

    def with_statistics(self, mean: Array, var: Array) -> Function:
        """The same map with constants in the place of the statistics."""

        def call(x: Tensor, weight: Any = None, bias: Any = None) -> Any:
            fitted = parse(self.pattern).fit(x.shape, self.lengths)
            centred = named("x−μ", in_shape(x, fitted.shape) - tensor(mean, name="μ"))
            x_hat = centred * tensor(ops.rsqrt(var + EPS), name="r")
            x_hat = named("x̂", in_shape(x_hat, x.shape))
            return affine(x_hat, *(self._beside(v, x) for v in (weight, bias)))

        return call

    def _beside(self, v: Any, x: Tensor) -> Any:
        if v is None or self.per_feature or x.ndim == 2:
            return v
        return ops.reshape(v, v.shape + (1,) * (x.ndim - 2))

    def statistics(self, x: Array) -> tuple[Array, Array]:
        return moments(x, self.pattern, **self.lengths)


def norms(groups: int = 2, images: bool = False) -> dict[str, Norm]:
    """Return the norms that a page can be made of, by name; for images, or for rows of features."""
    known = (
        Norm(
            "batch_norm", "Batch normalization", "n c ... -> c",
            lambda x, weight=None, bias=None: batch_norm(x, weight=weight, bias=bias, eps=EPS),
            "channel: over all samples and positions" if images else "column: one feature over all samples",
        ),
        Norm(
            "layer_norm", "Layer normalization", "n ... -> n",
            lambda x, weight=None, bias=None: layer_norm(x, x.shape[1:], weight, bias, EPS),
            "sample: all its channels and positions" if images else "row: all features of one sample",
            per_feature=True,
        ),
        Norm(
            "instance_norm", "Instance normalization", "n c ... -> n c",
            lambda x, weight=None, bias=None: instance_norm(x, weight=weight, bias=bias, eps=EPS),
            "channel of a sample: over its positions",
        ),
        Norm(
            "group_norm", "Group normalization", "n (g c) ... -> n g",
            lambda x, weight=None, bias=None: group_norm(x, groups, weight, bias, EPS),
            f"group of a sample's channels{': over their positions' if images else ''}", {"g": groups},
        ),
    )  # fmt: skip
    return {norm.name: norm for norm in known}


AXES = ("n", "n c", "n c l", "n c h w", "n g c h w")


def example(norm: Norm, shape: tuple[int, ...], seed: int = 0) -> dict[str, Array]:
    """Return numbers with few digits for x, γ and β; γ is not 1 and β not 0, which would hide mistakes."""
    rng = np.random.default_rng([seed, 2015])
    parameter = norm.parameter_shape(shape)
    return {
        "x": (rng.normal(size=shape) * 2 + 1).round(1),
        "γ": (rng.uniform(0.5, 2, parameter) * rng.choice([-1, 1], parameter)).round(1),
        "β": rng.normal(size=parameter).round(1),
    }


def scenes_of_norm(norm: Norm, inputs: Mapping[str, Array]) -> list[Scene]:
    """Return the scenes of a page about one norm; the first is the one that is stepped through."""
    x = np.asarray(inputs["x"], np.float64)
    base = Recording(norm.call, inputs, axes=AXES)
    g = base.cotangent
    mean, var = norm.statistics(x)

    def run(call: Function, changed: Mapping[str, Any] = {}, cotangent: Array = g) -> Recording:
        return Recording(call, {**inputs, **changed}, cotangent, AXES)

    scenes = [
        Scene(
            "train", "training: the statistics are the batch's own" if norm.name == "batch_norm" else "the norm",
            f"One mean and one variance for each {norm.shared}. They are computed from x, so gradients flow "
            "through them.",
            base, examined=True,
        ),
        Scene(
            "constant", "the statistics held constant",
            "The same numbers μ and σ², but given, not computed from x: two of the three terms of dx are gone. y "
            "is the "
            "same; only the gradient changes.",
            run(norm.with_statistics(mean, var)), "compare", "train", True,
        ),
    ]  # fmt: skip
    other = norms(images=x.ndim > 2)["layer_norm" if norm.name == "batch_norm" else "batch_norm"]
    if other.parameter_shape(x.shape) == norm.parameter_shape(x.shape):
        scenes.append(
            Scene(
                "other", f"{other.title.lower()} of the same numbers",
                f"One mean and one variance for each {other.shared}. In the first scene it is for each {norm.shared}.",
                run(other.call), "compare", "train", True,
            )
        )  # fmt: skip
    if norm.name == "batch_norm":
        scenes += _at_test_time(norm, inputs, run, x, g)
    scenes += _identity(norm, inputs, run, x)
    scenes += [
        Scene(key, title, text, run(norm.call, {"x": changed}), "play", "train")
        for key, title, text, changed in _variants(norm, x)
    ]
    return scenes


def _at_test_time(norm: Norm, inputs: Mapping[str, Array], run: Function, x: Array, g: Array) -> list[Scene]:
    rng = np.random.default_rng(7)
    mean, var = (np.round(v, 2) for v in norm.statistics((rng.normal(size=(50, *x.shape[1:])) * 2 + 1).round(1)))
    call = norm.with_statistics(mean, var)
    return [
        Scene(
            "eval", "one sample, stored statistics",
            "At test time the aggregated statistics of training take the place of the batch's own: they are "
            "constants. A "
            "batch of one sample is enough, its output does not depend on company, and its gradient is γ / √(σ² + ε) "
            "times dL/dy, cell by cell.",
            run(call, {"x": x[:1]}, g[:1]), "test time", None, True,
        ),
        Scene(
            "eval-batch", "the whole batch, stored statistics",
            "The first row is what the sample gave when it was alone. In training its output depends on the "
            "other rows.",
            run(call), "test time", "train", True,
        ),
    ]  # fmt: skip


def _identity(norm: Norm, inputs: Mapping[str, Array], run: Function, x: Array) -> list[Scene]:
    """γ = √(σ² + ε) and β = μ, where parameters and statistics are for the same axes."""
    mean, var = norm.statistics(x)
    if "γ" not in inputs or mean.size != inputs["γ"].size or norm.name != "batch_norm":
        return []
    shape = inputs["γ"].shape
    parameters = {"γ": np.sqrt(var + EPS).reshape(shape), "β": mean.reshape(shape)}
    another = np.round(np.random.default_rng(11).normal(size=x.shape) * 2 + 1, 1)
    return [
        Scene(
            "identity", "γ = √(σ² + ε), β = μ: this batch",
            "y is x: the layer can learn to undo the normalization. γ is the standard deviation, not the "
            "variance. But the "
            "gradient is not dL/dy: the statistics still depend on x, so the Jacobian is not the identity.",
            run(norm.call, parameters), "identity", None, True,
        ),
        Scene(
            "identity-other", "the same γ and β, another batch",
            "Another batch has other statistics, so y is not x.",
            run(norm.call, {**parameters, "x": another}), "identity",
        ),
        Scene(
            "identity-eval", "the same γ and β, and the statistics stored",
            "With the stored statistics in their place it is exact, for every input, in value and in gradient.",
            run(norm.with_statistics(mean, var), {**parameters, "x": another}), "identity", None, True,
        ),
    ]  # fmt: skip


def _variants(norm: Norm, x: Array) -> Sequence[tuple[str, str, str, Array]]:
    """Return changes of x: what each is called, what it shows, and the changed array."""
    cell = (min(1, len(x) - 1),) + (0,) * (x.ndim - 1)
    where = f"x[{', '.join(map(str, cell))}]"
    group = _first_group(norm, x)
    changed, shifted, scaled, outlier = x.copy(), x.copy(), x.copy(), x.copy()
    changed[cell] += 1
    shifted[group] += 3
    scaled[group] *= 2
    outlier[cell] += 100
    what = f"the first {norm.unit}"
    return (
        ("cell", f"{where} plus 1", f"It changes every cell that shares its statistics: its {norm.unit}.", changed),
        (
            "shift", f"3 added to {what}",
            "A constant added to all of them moves their mean and nothing else: y and dx stay as they were.", shifted,
        ),
        (
            "scale", f"{what} doubled",
            "The variance takes the scale out of y again, to within ε. dx is halved: larger inputs, smaller "
            "gradients.",
            scaled,
        ),
        (
            "outlier", f"{where} plus 100",
            "An outlier sets the mean and the variance alone: the others are squeezed together, and their "
            "gradients vanish.",
            outlier,
        ),
    )  # fmt: skip


def _first_group(norm: Norm, x: Array) -> Array:
    """Return which cells share the first mean."""
    fitted = parse(norm.pattern).fit(x.shape, norm.lengths)
    first = np.zeros(fitted.shape, bool)
    first[tuple(slice(None) if i in fitted.axes else 0 for i in range(len(fitted.shape)))] = True
    return first.reshape(x.shape)


def scenes_of_family(shape: tuple[int, ...], groups: int, seed: int = 0) -> list[Scene]:
    """Return all four norms on the same numbers, for the page that compares them."""
    known = norms(groups, len(shape) > 2)
    x = example(known["batch_norm"], shape, seed)["x"]
    scenes: list[Scene] = []
    for norm in known.values():
        parameters = example(norm, shape, seed)
        recording = Recording(
            norm.call, {**parameters, "x": x}, scenes[0].recording.cotangent if scenes else None, AXES
        )
        text = f"Pattern {norm.pattern}. One mean and one variance for each {norm.shared}."
        scenes.append(Scene(norm.name, norm.title, text, recording, examined=True))
    return scenes


def scenes_of_function(fn: Function, inputs: Mapping[str, Any], axes: Axes | None = None) -> list[Scene]:
    """Return a function's own run, and runs with its first input changed, where those give results of that shape."""
    base = Recording(fn, inputs, axes=axes)
    first, value = next(iter(inputs.items()))
    value = np.asarray(value, np.float64)
    scenes = [
        Scene("run", "the function", "The function on its inputs, and its gradient, edge by edge.", base, examined=True)
    ]
    changed, called = value.copy(), shortened(first)
    changed[(0,) * value.ndim] += 1
    for key, title, new in (
        ("cell", f"the first cell of {called} plus 1", changed),
        ("shift", f"3 added to {called}", value + 3),
        ("scale", f"{called} doubled", value * 2),
    ):
        try:
            recording = Recording(fn, {**inputs, first: new}, base.cotangent, axes)
        except Exception:  # whatever a function raises on numbers that it was not given
            continue
        scenes.append(Scene(key, title, "", recording, "play", "run"))
    return scenes
