"""The scenes of a page, each a separate run, and the facts about norms that they illustrate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...engine import ops
from ...engine.operators import Array
from ...engine.tensor import Tensor, named
from ...norm.checks import admit, in_shape
from ...norm.functional import (
    affine,
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    moments,
    normalize,
    rms_norm,
    standardized,
)
from ...norm.pattern import parse
from ..axes import Axes
from .insights import Sharing, sharing
from .recording import Recording

EPS = 1e-5
Function = Callable[..., Any]

SHARES, GIVEN, IDENTITY = "Norms on the same numbers", "Given statistics", "γ and β for the identity"
"""The groups of the page's menu."""
_LIKE_GROUPS = {"layer_norm": "one group", "instance_norm": "a group for each channel"}
"""The groups with which group norm equals another norm. A prime number of channels allows only these."""


@dataclass(frozen=True)
class Scene:
    """A run with an explanation.

    Attributes
    ----------
    key, title, text : str
    recording : Recording
    group : str
        The heading in the menu. Empty for the first scene.
    shares : Sharing or None
        The cells of x that share a statistic, or would share it if it were not given.
    norm : Norm or None
        The norm, if the run uses its own statistics and the parameters of the example.
    """

    key: str
    title: str
    text: str
    recording: Recording
    group: str = ""
    shares: Sharing | None = None
    norm: Norm | None = None


@dataclass(frozen=True)
class Norm:
    """The facts about a norm for a page."""

    name: str
    title: str
    pattern: str
    call: Function
    shared: str
    lengths: Mapping[str, int] = field(default_factory=dict)
    per_feature: bool = False
    subtracts: bool = True

    @property
    def unit(self) -> str:
        """The set of cells that share a mean, in a word or two."""
        return self.shared.partition(":")[0]

    @property
    def statistics_in_words(self) -> str:
        return "One mean and one variance" if self.subtracts else "One mean square and no mean"

    def parameter_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape[1:] if self.per_feature else shape[1:2]

    def fitted(self, x: Array) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the shape in which x is normalized, and the shape of its statistics."""
        fitted = parse(self.pattern).fit(x.shape, self.lengths)
        return fitted.shape, tuple(1 if i in fitted.axes else size for i, size in enumerate(fitted.shape))

    def given_statistics(self, x: Array) -> dict[str, Array]:
        """Return the statistics of x by name, for `with_statistics`."""
        mean, var = moments(x, self.pattern, **self.lengths)
        return {"μ": mean, "σ²": var} if self.subtracts else {"mean x²": var + mean**2}

    def with_statistics(self, x: Tensor, *others: Any) -> Any:
        """Apply the norm with given statistics. The arguments are x, weight and bias if any, and the statistics."""
        given = admit(x, self.pattern, self.lengths, EPS)
        if self.subtracts:
            *parameters, mean, var = others
            x_hat, _, _ = standardized(given._replace(mean=mean, var=var))
        else:
            *parameters, mean_square = others
            x_hat = named("x̂", in_shape(given.values * ops.rsqrt(mean_square + EPS), x.shape))
        return affine(x_hat, *(self._beside(v, x) for v in parameters))

    def _beside(self, v: Any, x: Tensor) -> Any:
        return v if self.per_feature or x.ndim == 2 else ops.reshape(v, v.shape + (1,) * (x.ndim - 2))

    def would_share(self, x: Array) -> Sharing:
        """Return the cells that would share statistics if these were computed and not given."""
        shape, kept = self.fitted(x)
        ids = np.broadcast_to(np.arange(np.prod(kept, dtype=int)).reshape(kept), shape).reshape(x.shape)
        return Sharing(ids, "", "")


def norms(groups: int = 2, images: bool = False) -> dict[str, Norm]:
    """Return the norms that have a page, by name, with texts for images or for rows of features."""
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
        Norm(
            "rms_norm", "RMS normalization", "n ... -> n",
            lambda x, weight=None: rms_norm(x, x.shape[1:], weight, EPS),
            "sample: all its channels and positions" if images else "row: all features of one sample",
            per_feature=True, subtracts=False,
        ),
    )  # fmt: skip
    return {norm.name: norm for norm in known}


AXES = ("n", "n c", "n c l", "n c h w", "n g c h w")


def example(norm: Norm, shape: tuple[int, ...], seed: int = 0) -> dict[str, Array]:
    """Return numbers with few digits for x, γ and β. γ is not 1 and β is not 0, which would hide mistakes."""
    rng = np.random.default_rng([seed, 2015])
    parameter = norm.parameter_shape(shape)
    found = {
        "x": (rng.normal(size=shape) * 2 + 1).round(1),
        "γ": (rng.uniform(0.5, 2, parameter) * rng.choice([-1, 1], parameter)).round(1),
        "β": rng.normal(size=parameter).round(1),
    }
    return found if norm.subtracts else {key: found[key] for key in ("x", "γ")}


def scenes_of_norm(norm: Norm, inputs: Mapping[str, Array]) -> list[Scene]:
    """Return the scenes of a page about one norm. The page opens with the first."""
    x = np.asarray(inputs["x"], np.float64)
    base = Recording(norm.call, inputs, axes=AXES)
    page = _PageOfNorm(norm, {**inputs, "x": x}, base)
    return [page.own, *page.family(), *page.given(), *page.identity()]


@dataclass(frozen=True)
class _PageOfNorm:
    """The scenes of a page about one norm."""

    norm: Norm
    inputs: Mapping[str, Array]
    base: Recording

    def _run(self, call: Function, inputs: Mapping[str, Any], cotangent: Array | None = None) -> Recording:
        return Recording(call, inputs, self.base.cotangent if cotangent is None else cotangent, AXES)

    @property
    def own(self) -> Scene:
        norm = self.norm
        title = "training: batch statistics" if norm.name == "batch_norm" else norm.title
        flows = "They are" if norm.subtracts else "It is"
        them = "them" if norm.subtracts else "it"
        text = (
            f"{norm.statistics_in_words} for each {norm.shared}. "
            f"{flows} computed from x, so gradients flow through {them}."
        )
        return Scene("train", title, text, self.base, "", _shares(self.base), norm)

    def family(self) -> list[Scene]:
        """Return the other norms on the same numbers, with the same γ and β if they fit."""
        x = self.inputs["x"]
        scenes = []
        for norm in norms(_groups_of(x), x.ndim > 2).values():
            if norm.name == self.norm.name or (norm.name == "group_norm" and _groups_of(x) in (1, x.shape[1])):
                continue
            fits = all(v.shape == norm.parameter_shape(x.shape) for key, v in self.inputs.items() if key != "x")
            taken = [key for key in example(norm, x.shape) if key in self.inputs and (key == "x" or fits)]
            call = norm.call
            text = f"{norm.statistics_in_words} for each {norm.shared}."
            if norm.name == "instance_norm" and x.ndim == 2:
                call = _by_pattern("n c -> n c")
                text = (
                    "Without positions, every value is its own mean: x̂ is 0, y is β and does not depend on x. "
                    "tn.instance_norm rejects such an input; this is tn.normalize(x, 'n c -> n c')."
                )
            if _groups_of(x) == x.shape[1] > 1 and norm.name in _LIKE_GROUPS:
                text += f" Group norm with {_LIKE_GROUPS[norm.name]} has the same statistics."
            try:
                recording = self._run(call, {key: self.inputs[key] for key in taken})
            except ValueError:
                continue  # the norm rejects an input of this shape
            scenes.append(Scene(norm.name, norm.title, text, recording, SHARES, _shares(recording), norm))
        return scenes

    def given(self) -> list[Scene]:
        """Return the scenes with given statistics: as constants, and at test time."""
        norm, inputs, x, g = self.norm, self.inputs, self.inputs["x"], self.base.cotangent
        constant = Scene(
            "constant", "this batch's statistics, held constant",
            "The statistics have the same values, but are given as inputs. So y is the same, but no gradient flows "
            "through them: only the route through the numerator is left.",
            self._run(norm.with_statistics, {**inputs, **norm.given_statistics(x)}), GIVEN, norm.would_share(x),
        )  # fmt: skip
        if norm.name != "batch_norm":
            return [constant]
        rng = np.random.default_rng(7)
        others = (rng.normal(size=(50, *x.shape[1:])) * 2 + 1).round(1)
        stored = {key: value.round(2) for key, value in norm.given_statistics(others).items()}
        one = {**inputs, "x": x[:1]}
        return [
            constant,
            Scene(
                "eval", "test time: one sample, stored statistics",
                "The statistics were stored during training and are constants. A single sample is enough, its output "
                "does not depend on other samples, and dx is γ / √(σ² + ε) times dL/dy, cell by cell.",
                self._run(norm.with_statistics, {**one, **stored}, g[:1]), GIVEN, norm.would_share(x[:1]),
            ),
            Scene(
                "eval-batch", "test time: the whole batch",
                "The output of the first sample is the same as alone. No cell depends on another one, so dx does not "
                "sum to zero over the batch.",
                self._run(norm.with_statistics, {**inputs, **stored}), GIVEN, norm.would_share(x),
            ),
            self._batch_of_one(one),
        ]  # fmt: skip

    def _batch_of_one(self, inputs: Mapping[str, Array]) -> Scene:
        x, g = inputs["x"], self.base.cotangent[:1]
        try:
            batch_norm(x)
        except ValueError as error:
            refused = str(error)
            recording = self._run(_by_pattern("n c -> c"), inputs, g)
            text = (
                f"tn.batch_norm rejects it: “{refused}.” tn.normalize(x, 'n c -> c') computes it: the mean of one "
                "value is the value itself, so x̂ is 0, y is β for every x, and dx is 0."
            )
        else:
            recording = self._run(self.norm.call, inputs, g)
            text = "Each channel still has several positions that share the statistics, the same as in instance norm."
        return Scene("one", "training on a batch of one", text, recording, GIVEN, _shares(recording))

    def identity(self) -> list[Scene]:
        """Return the scenes with γ = √(σ² + ε) and β = μ, if parameters and statistics have the same axes."""
        norm, x = self.norm, self.inputs["x"]
        if "γ" not in self.inputs or norm.name != "batch_norm":
            return []
        shape, statistics = self.inputs["γ"].shape, norm.given_statistics(x)
        parameters = {"γ": np.sqrt(statistics["σ²"] + EPS).reshape(shape), "β": statistics["μ"].reshape(shape)}
        another = np.round(np.random.default_rng(11).normal(size=x.shape) * 2 + 1, 1)
        here, elsewhere = {**self.inputs, **parameters}, {**self.inputs, **parameters, "x": another}
        mine, other = self._run(norm.call, here), self._run(norm.call, elsewhere)
        return [
            Scene(
                "identity", "γ = √(σ² + ε), β = μ: this batch",
                "γ and β undo the normalization, so y is x. γ is the standard deviation, not the variance. But dx is "
                "not dL/dy, since the statistics still depend on x.",
                mine, IDENTITY, _shares(mine),
            ),
            Scene(
                "identity-other", "the same γ and β, another batch",
                "Another batch has different statistics, so y is not x.", other, IDENTITY, _shares(other),
            ),
            Scene(
                "identity-eval", "the same γ and β, statistics stored",
                "With stored statistics, y is x for every input, and dx is dL/dy.",
                self._run(norm.with_statistics, {**elsewhere, **statistics}), IDENTITY, norm.would_share(x),
            ),
        ]  # fmt: skip


def _shares(recording: Recording) -> Sharing | None:
    return sharing(recording, next(iter(recording.leaves.values())))


def _by_pattern(pattern: str) -> Function:
    """Return the norm with a pattern, as a function of x, weight and bias if any."""
    return lambda x, *parameters: affine(normalize(x, pattern, eps=EPS), *parameters)


def _groups_of(x: Array) -> int:
    """Return the smallest number of groups, more than one, that divides the channels of an array."""
    return next((g for g in range(2, x.shape[1]) if x.shape[1] % g == 0), x.shape[1])


def scenes_of_family(shape: tuple[int, ...], groups: int, seed: int = 0) -> list[Scene]:
    """Return the scenes of the page that compares the norms on the same numbers."""
    known = norms(groups, len(shape) > 2)
    x = example(known["batch_norm"], shape, seed)["x"]
    scenes: list[Scene] = []
    for norm in known.values():
        inputs = {**example(norm, shape, seed), "x": x}
        recording = Recording(norm.call, inputs, scenes[0].recording.cotangent if scenes else None, AXES)
        text = f"Pattern {norm.pattern}. {norm.statistics_in_words} for each {norm.shared}."
        scenes.append(Scene(norm.name, norm.title, text, recording, SHARES, _shares(recording), norm))
    return scenes


def scenes_of_function(fn: Function, inputs: Mapping[str, Any], axes: Axes | None = None) -> list[Scene]:
    """Return the single scene of a function."""
    text = "The function and its gradient, edge by edge."
    recording = Recording(fn, inputs, axes=axes)
    return [Scene("run", "the function", text, recording, "", _shares(recording))]
