"""Backward passes with one fault each, which prove that a check can fail.

Every mutant is a right gradient (see `correct`) with one fault, and names the verdict that a check should give. The
faults are tables: for any function, for behaviour, for the rule of one function, for shapes and memory, and for norms.

Examples
--------
>>> from tinygrad_norm.check import check_backward
>>> mutant = next(m for m in MUTANTS if m.name == "layer_norm: variance path dropped")
>>> mutant.verdict
'WRONG_VALUE'
>>> check_backward(mutant.forward, mutant.backward, mutant.inputs, seed=0)  # doctest: +ELLIPSIS
Traceback (most recent call last):
    ...
tinygrad_norm.check.report.WrongValue: WRONG_VALUE: ...
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from .correct import (
    CORRECT,
    NORMS,
    Array,
    Backward,
    Case,
    Forward,
    Gradients,
    Pullback,
    average,
    own,
    shifted,
    sigmoid,
    softmax,
)
from .strategies import Inputs

Verdict = Literal[
    "WRONG_VALUE",
    "WRONG_SHAPE",
    "WRONG_DTYPE",
    "NAN",
    "NONDETERMINISTIC",
    "MUTATES_INPUT",
    "ALIASED_GRADIENT",
    "NOT_LINEAR_IN_COTANGENT",
]


@dataclass(frozen=True)
class Mutant:
    """A function, and a backward pass with a fault.

    Attributes
    ----------
    name : str
        Such as "layer_norm: variance path dropped".
    fault : str
        Such as "variance path dropped".
    forward : callable
        ``forward(*xs) -> y``, right and analytic.
    make : callable
        Returns a new faulty ``backward(g, *xs)``, which has not been called.
    inputs : Inputs
        Inputs that show the fault.
    verdict : str
        The verdict that a check should give.
    """

    name: str
    fault: str
    forward: Forward
    make: Callable[[], Backward]
    inputs: Inputs
    verdict: Verdict

    @property
    def backward(self) -> Backward:
        """The faulty backward pass. It is new each time, so that checks do not share its state."""
        return self.make()


Making = Callable[[Case], Backward]


class Fault(NamedTuple):
    """A fault: how to put it into a case, the cases where it is a fault, its verdict, and how to make it visible."""

    name: str
    of: Making
    where: tuple[str, ...]
    verdict: Verdict = "WRONG_VALUE"
    seen: Callable[[Case], Case] = lambda case: case


# Faults in the gradients of any case.


def changed(change: Callable[[Gradients, Array, Gradients], Any]) -> Making:
    """Change the gradients. ``change`` takes them, the cotangent and the inputs."""
    return lambda case: lambda g, *xs: change(case.backward(g, *xs), g, xs)


def every(change: Callable[[Array, int], Any]) -> Making:
    """Change every gradient. ``change`` takes it and the batch size."""
    return changed(lambda gradients, g, xs: tuple(change(d, len(xs[0])) for d in gradients))


def first(change: Callable[[Array, Array], Any]) -> Making:
    """Change the gradient of the first input. ``change`` takes it and that input."""
    return changed(lambda gradients, g, xs: (change(gradients[0], xs[0]), *gradients[1:]))


def second(change: Callable[[Array, Array], Any]) -> Making:
    """Change the gradient of the second input. ``change`` takes it and that input."""
    return changed(lambda gradients, g, xs: (gradients[0], change(gradients[1], xs[1]), *gradients[2:]))


def of_cotangent(change: Callable[[Array], Array]) -> Making:
    """Change the cotangent."""
    return lambda case: lambda g, *xs: case.backward(change(g), *xs)


def afterwards(change: Callable[[Array, Array], None]) -> Making:
    """Change the cotangent or the first input in place, after the gradients are computed."""

    def returned(gradients: Gradients, g: Array, xs: Gradients) -> Gradients:
        change(g, xs[0])
        return gradients

    return changed(returned)


def stale(case: Case) -> Backward:
    """Keep the first inputs of each shape and dtype, and use them in all later calls."""
    kept: dict[Any, Gradients] = {}

    def backward(g: Array, *xs: Array) -> Gradients:
        first = kept.setdefault(tuple((x.shape, x.dtype) for x in xs), tuple(x.copy() for x in xs))
        return case.backward(g, *first)

    return backward


def noisy(case: Case) -> Backward:
    """Scale each gradient by a number near 1 that differs from call to call."""
    rng = np.random.default_rng(0)
    return lambda g, *xs: tuple(d * rng.uniform(0.9, 1.1) for d in case.backward(g, *xs))


def nan_at_the_end(d: Array, x: Array) -> Array:
    """Return the gradient with NaN as its last element."""
    d.flat[-1:] = np.nan
    return d


def nan_at_zeros(d: Array, x: Array) -> Array:
    """Return the gradient times ``x / x``, as with a formula that divides by ``x`` and should not."""
    with np.errstate(invalid="ignore"):
        return np.asarray(d * (x / x))


def rule(formula: Callable[..., Any]) -> Making:
    """Replace the whole rule by a formula."""
    return lambda case: own(formula)


def as_is(formula: Callable[..., Any]) -> Making:
    """Replace the whole rule by a formula, without copying its results."""
    return lambda case: formula


# What makes a fault visible.


def square(case: Case) -> Case:
    """Return the case with axes of equal size, so that a transposed gradient has the right shape."""
    axes = tuple(" ".join("n" for _ in axes.split()) for axes in case.inputs.axes)
    return replace(case, inputs=replace(case.inputs, axes=axes))


def tenth(case: Case) -> Case:
    """Return the case with its first input divided by 10, so that eps matters beside the variance."""

    def backward(g: Array, x: Array, *others: Array) -> Gradients:
        first, *rest = case.backward(g, x / 10, *others)
        return (first / 10, *rest)

    return replace(case, forward=lambda x, *others: case.forward(x / 10, *others), backward=backward)


# Faults in the gradients of norms: dx = (dx̂ - mean(dx̂) - x̂ mean(dx̂ x̂)) / σ, dweight = Σ g x̂, dbias = Σ g.


def of_norm(change: Callable[[Pullback], Gradients]) -> Making:
    """Change the gradients of a norm. ``change`` takes their terms."""

    def making(case: Case) -> Backward:
        def backward(g: Array, *xs: Array) -> Gradients:
            # Without eps, and in constant rows, the divisor may be zero.
            with np.errstate(divide="ignore", invalid="ignore"):
                return change(NORMS[case.name].pullback(g, *xs))

        return own(backward)

    return making


def of_x(dx: Callable[[Pullback], Array]) -> Making:
    """Replace the gradient of a norm's input."""
    return of_norm(lambda p: p.gradients(dx=dx(p)))


def of_terms(terms: Callable[[Pullback], Array]) -> Making:
    """Replace the terms in the gradient of a norm's input, which are divided by σ."""
    return of_x(lambda p: terms(p) / p.sigma)


def of_weight(dweight: Callable[[Pullback], Array]) -> Making:
    """Replace the gradient of a norm's weight."""
    return of_norm(lambda p: p.gradients(dweight=dweight(p)))


def of_bias(dbias: Callable[[Pullback], Array]) -> Making:
    """Replace the gradient of a norm's bias."""
    return of_norm(lambda p: p.gradients(dbias=dbias(p)))


def per_element(p: Pullback) -> int:
    """Return the number of elements that share a parameter."""
    return max(p.g.size // p.shape[1], 1)


def without_weight(p: Pullback) -> Pullback:
    """Return the terms for a weight of ones."""
    return replace(p, weight=np.ones_like(p.weight))


def means_elsewhere(p: Pullback) -> Array:
    """Return the terms of dx with right statistics, but with both means over the axes of another norm."""
    mean = average(p.scaled, p.elsewhere) if p.centres else 0
    return np.asarray(p.scaled - mean - p.normalized * average(p.scaled * p.normalized, p.elsewhere))


def n_minus_1_in_the_variance(p: Pullback) -> Array:
    """Return the terms of dx for a variance that divides by n - 1, although the norm divides by n."""
    return p.scaled - p.mean_path - p.variance_path * (p.count / max(p.count - 1, 1))


def nan_in_constant_rows(p: Pullback) -> Array:
    """Return dx with 0 / 0 where all values that share a statistic are equal."""
    spread = p.x.max(axis=p.axes, keepdims=True, initial=-np.inf) - p.x.min(axis=p.axes, keepdims=True, initial=np.inf)
    return np.asarray(p.dx * (spread / spread))


# The cases of each fault.

CASES = {case.name: case for case in CORRECT}
EVERY = tuple(CASES)
ALL_NORMS = tuple(NORMS)
CENTRED = ("batch_norm", "layer_norm", "instance_norm", "group_norm")
SPATIAL = ("instance_norm", "group_norm")
MIXED_WEIGHTS = ("layer_norm", "group_norm", "rms_norm")  # values that share a statistic have different weights
PAIRS = ("subtract", "multiply", "divide", "add_broadcast", "multiply_broadcast", "matmul")
OVER_BATCHES = ("matmul", "sum", "mean", "variance", "add_broadcast", *ALL_NORMS)
CURVED = ("sin", "exp", "sqrt", "multiply", "matmul", "softmax", "variance", "batch_norm", "layer_norm")
# Cases in which a cotangent of ones gives no zero gradient.
UNEVEN = ("sqrt", "subtract", "divide", "matmul", "mean", "variance", "logsumexp", *MIXED_WEIGHTS)

OF_VALUES = (
    Fault("sign flipped", every(lambda d, n: -d), EVERY),
    Fault("1 % too large", every(lambda d, n: 1.01 * d), ("tanh", "log", "divide", "matmul", "softmax", *ALL_NORMS)),
    Fault("twice", every(lambda d, n: 2 * d), ("sigmoid", "sqrt", "mean", "logsumexp", "batch_norm", "rms_norm")),
    Fault("zero", every(lambda d, n: 0 * d), ("reciprocal", "softmax", "variance", "layer_norm")),
    Fault("n/(n-1)", every(lambda d, n: d * (n / max(n - 1, 1))), OVER_BATCHES),
    Fault("divided by the batch size", every(lambda d, n: d / max(n, 1)), OVER_BATCHES),
    Fault("first gradient zero", first(lambda d, x: 0 * d), PAIRS),
    Fault("second gradient zero", second(lambda d, x: 0 * d), (*PAIRS, *ALL_NORMS)),
    Fault("gradients swapped", changed(lambda gradients, g, xs: gradients[::-1]), ("subtract", "multiply", "divide")),
    Fault("gradients swapped", changed(lambda gradients, g, xs: gradients[::-1]), ("matmul",), seen=square),
    Fault("transposed", every(lambda d, n: d.T), ("tanh", "multiply", "mean", "softmax", "matmul"), seen=square),
    Fault("first gradient transposed", first(lambda d, x: d.T), ("subtract", "batch_norm", "layer_norm"), seen=square),
    Fault("stale inputs", stale, CURVED),
)

OF_BEHAVIOUR = (
    Fault("cotangent ignored", of_cotangent(np.ones_like), UNEVEN, "NOT_LINEAR_IN_COTANGENT"),
    Fault("cotangent squared", of_cotangent(np.square), ("exp", "sum", *ALL_NORMS), "NOT_LINEAR_IN_COTANGENT"),
    Fault("cotangent without sign", of_cotangent(np.abs), ("tanh", "add", "softmax"), "NOT_LINEAR_IN_COTANGENT"),
    Fault("NaN at the end", first(nan_at_the_end), ("square", "matmul", "sum", "layer_norm"), "NAN"),
    Fault("NaN at zeros", first(nan_at_zeros), ("sin", "tanh", "square", "multiply"), "NAN"),
    Fault("NaN in constant rows", of_x(nan_in_constant_rows), ALL_NORMS, "NAN"),
    Fault("always float64", every(lambda d, n: d.astype(np.float64)), CURVED, "WRONG_DTYPE"),
    Fault("always float32", every(lambda d, n: d.astype(np.float32)), ("log", "rms_norm"), "WRONG_DTYPE"),
    Fault("cotangent doubled", afterwards(lambda g, x: np.copyto(g, 2 * g)), ("exp", "add", "sum"), "MUTATES_INPUT"),
    Fault("input shifted", afterwards(lambda g, x: np.copyto(x, x + 1)), ("square", "layer_norm"), "MUTATES_INPUT"),
    Fault("noise", noisy, ("sin", "divide", "sum", "logsumexp", "batch_norm"), "NONDETERMINISTIC"),
)

# Slips that the rule of one function invites.
OF_RULES = (
    Fault("sine for cosine", rule(lambda g, x: (g * np.sin(x),)), ("sin",)),
    Fault("by the rule of powers", rule(lambda g, x: (g * x * np.exp(x - 1),)), ("exp",)),
    Fault("square missing", rule(lambda g, x: (g * (1 - np.tanh(x)),)), ("tanh",)),
    Fault("1 - y missing", rule(lambda g, x: (g * sigmoid(x),)), ("sigmoid",)),
    Fault("2 missing", rule(lambda g, x: (g * x,)), ("square",)),
    Fault("square missing", rule(lambda g, x: (-g / x,)), ("reciprocal",)),
    Fault("times x", rule(lambda g, x: (g * x,)), ("log",)),
    Fault("root not inverted", rule(lambda g, x: (g * np.sqrt(x) / 2,)), ("sqrt",)),
    Fault("square of the divisor missing", rule(lambda g, x, y: (g / y, -g * x / y)), ("divide",)),
    Fault("sign of the second gradient", rule(lambda g, x, y: (g / y, g * x / y**2)), ("divide",)),
    Fault("sign of the second gradient", rule(lambda g, x, y: (g, g)), ("subtract",)),
    Fault("averaged over the batch", rule(lambda g, x, y: (g, average(g, (0,))[0])), ("add_broadcast",)),
    Fault("not divided", rule(lambda g, x: (np.broadcast_to(g[:, None], x.shape),)), ("mean",)),
    Fault("not centred", rule(lambda g, x: (2 * g * x / max(len(x), 1),)), ("variance",)),
    Fault("nothing beside the diagonal", rule(lambda g, x: (g * softmax(x) * (1 - softmax(x)),)), ("softmax",)),
    Fault("sum missing", rule(lambda g, x: (g * softmax(x),)), ("softmax",)),
    Fault("sum over the wrong axis", rule(lambda g, x: (softmax(x) * (g - (g * softmax(x)).sum(0)),)), ("softmax",)),
    Fault("not normalized", rule(lambda g, x: (g[:, None] * shifted(x)[0],)), ("logsumexp",)),
    Fault("not scaled", rule(lambda g, x: (g.T,)), ("transpose_scale",)),
)

OF_SHAPES = (
    Fault("not summed", rule(lambda g, x, y: (g, g)), ("add_broadcast",), "WRONG_SHAPE"),
    Fault("summed axis kept", rule(lambda g, x, y: (g, g.sum(0, keepdims=True))), ("add_broadcast",), "WRONG_SHAPE"),
    Fault("not summed", rule(lambda g, x, y: (g * y, g * x)), ("multiply_broadcast",), "WRONG_SHAPE"),
    Fault("not broadcast", rule(lambda g, x: (g,)), ("sum",), "WRONG_SHAPE"),
    Fault("not broadcast", rule(lambda g, x: (g[:, None] / x.shape[1],)), ("mean",), "WRONG_SHAPE"),
    Fault("flattened", every(lambda d, n: d.reshape(-1)), ("logsumexp", "matmul"), "WRONG_SHAPE"),
    Fault("weight gradient not summed", of_weight(lambda p: p.whole(p.g * p.normalized)), ALL_NORMS, "WRONG_SHAPE"),
    Fault("bias gradient not summed", of_bias(lambda p: p.whole(p.g)), CENTRED, "WRONG_SHAPE"),
    Fault("bias gradient for each sample", of_bias(lambda p: p.whole(p.g).sum(axis=2)), SPATIAL, "WRONG_SHAPE"),
)

OF_MEMORY = (
    Fault("the cotangent itself", as_is(lambda g, x, y: (g, g)), ("add",), "ALIASED_GRADIENT"),
    Fault("one array for both", as_is(lambda g, x, y: (g.copy(),) * 2), ("add",), "ALIASED_GRADIENT"),
    Fault("the cotangent itself", as_is(lambda g, x, y: (g, -g)), ("subtract",), "ALIASED_GRADIENT"),
    Fault("the cotangent's view", as_is(lambda g, x, y: (g[:], g.sum(0))), ("add_broadcast",), "ALIASED_GRADIENT"),
    Fault("the cotangent repeated", as_is(lambda g, x: (np.broadcast_to(g, x.shape),)), ("sum",), "ALIASED_GRADIENT"),
    Fault("one row repeated", as_is(lambda g, x: (np.broadcast_to(1 * g, x.shape),)), ("sum",), "ALIASED_GRADIENT"),
)

OF_NORMS = (
    Fault("mean path dropped", of_terms(lambda p: p.scaled - p.variance_path), CENTRED),
    Fault("variance path dropped", of_terms(lambda p: p.scaled - p.mean_path), ALL_NORMS),
    Fault("statistics as constants", of_terms(lambda p: p.scaled), CENTRED),
    Fault("sign of the mean path", of_terms(lambda p: p.scaled + p.mean_path - p.variance_path), CENTRED),
    Fault("sign of the variance path", of_terms(lambda p: p.scaled - p.mean_path + p.variance_path), ALL_NORMS),
    Fault("n/(n-1) in the variance path", of_terms(n_minus_1_in_the_variance), ALL_NORMS),
    Fault("sums for means", of_terms(lambda p: p.scaled - p.count * (p.mean_path + p.variance_path)), ALL_NORMS),
    Fault("means over the wrong axes", of_terms(means_elsewhere), ALL_NORMS),
    Fault("statistics over the wrong axes", of_x(lambda p: replace(p, axes=p.elsewhere).dx), ALL_NORMS),
    Fault("centred as layer norm is", of_x(lambda p: replace(p, centres=True).dx), ("rms_norm",)),
    Fault("weight missing", of_x(lambda p: without_weight(p).dx), ALL_NORMS),
    Fault("weight outside the means", of_x(lambda p: p.weight * without_weight(p).dx), MIXED_WEIGHTS),
    Fault("not divided by σ", of_x(lambda p: p.dx * p.sigma), ALL_NORMS),
    Fault("divided by the variance", of_x(lambda p: p.dx / p.sigma), ALL_NORMS),
    Fault("eps dropped", of_x(lambda p: replace(p, eps=0.0).dx), ALL_NORMS, seen=tenth),
    Fault("eps dropped from σ alone", of_x(lambda p: p.dx * p.sigma / p.variance**0.5), ALL_NORMS, seen=tenth),
    Fault("eps outside the root", of_x(lambda p: p.dx * p.sigma / (p.variance**0.5 + p.eps)), ALL_NORMS, seen=tenth),
    Fault("x for x̂ in the weight gradient", of_weight(lambda p: p.per_channel(p.g * p.x)), ALL_NORMS),
    Fault("weight gradient without x̂", of_weight(lambda p: p.dbias), ALL_NORMS),
    Fault("weight gradient halved", of_weight(lambda p: p.dweight / 2), ALL_NORMS),
    Fault("weight gradient averaged", of_weight(lambda p: p.dweight / per_element(p)), ("rms_norm",)),
    Fault("bias gradient averaged", of_bias(lambda p: p.dbias / per_element(p)), CENTRED),
    Fault("bias gradient zero", of_bias(lambda p: 0 * p.dbias), CENTRED),
    Fault("parameters swapped", of_norm(lambda p: p.gradients(dweight=p.dbias, dbias=p.dweight)), CENTRED),
)

FAULTS: tuple[Fault, ...] = (*OF_VALUES, *OF_BEHAVIOUR, *OF_RULES, *OF_SHAPES, *OF_MEMORY, *OF_NORMS)


def mutant(fault: Fault, case: Case) -> Mutant:
    """Return a case with a fault."""

    def make() -> Backward:
        return fault.seen(replace(case, backward=fault.of(case))).backward

    seen = fault.seen(case)
    return Mutant(f"{case.name}: {fault.name}", fault.name, seen.forward, make, seen.inputs, fault.verdict)


MUTANTS: tuple[Mutant, ...] = tuple(mutant(fault, CASES[name]) for fault in FAULTS for name in fault.where)
