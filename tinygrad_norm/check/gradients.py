"""Gradient checks that can fail: random cotangents, an independent oracle, and an error that says where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..engine.autodiff import vjp
from ..engine.context import surrounding
from ..engine.operators import Array
from ..engine.tensor import Tensor
from .oracle import Function, generator, is_analytic, nearby, slopes

MOST_ELEMENTS = 256
RELATIVE_TOLERANCE = 1e-6
# How far the oracle moves when the inputs change in their last place, at a few entries, is what a gradient that
# vanishes by cancellation, as that of a bias before a normalization, may be off by. Its own unsteadiness is no excuse.
FEW_ELEMENTS = 16
NOISE_FACTOR = 16


@dataclass(frozen=True)
class GradientReport:
    """What a check found.

    Attributes
    ----------
    oracle : {"complex step", "central differences"}
    largest_relative_error : float
        Over all inputs; beside the largest entry of that input's gradient, or what is uncertain about it, if more.
    elements_checked, elements : int
        At most 256 entries of each input are checked, chosen at random.
    input, index, got, want : optional
        Where the largest error is, and both values there.
    """

    oracle: str
    largest_relative_error: float
    elements_checked: int
    elements: int
    input: int = 0
    index: tuple[int, ...] = ()
    got: float = 0.0
    want: float = 0.0


class GradientMismatch(AssertionError):  # noqa: N818 (it says what is wrong, as AssertionErrors do)
    """A gradient differs from the oracle. Carries the ``report``."""

    def __init__(self, message: str, report: GradientReport | None = None) -> None:
        super().__init__(message)
        self.report = report


def check_gradients(
    fn: Callable[..., Any], *inputs: Any, oracle: str = "auto", seed: int | None = None
) -> GradientReport:
    """Check the automatic gradients of a function at one point, in float64, against an independent oracle.

    The cotangent is random: the sum of a normalized output is constant, so a check of ``fn(x).sum()`` would accept any
    gradient of a normalization, even zero.

    Parameters
    ----------
    fn : callable
        Takes as many Tensors as there are inputs, returns a Tensor. It must be deterministic.
    *inputs : arrays or Tensors
        Where to check; converted to float64.
    oracle : {"auto", "complex", "differences"}
        "auto" takes the complex step where the function is analytic, and central differences elsewhere.
    seed : int, optional
        For the cotangent and the choice of entries.

    Returns
    -------
    GradientReport

    Raises
    ------
    GradientMismatch
        An AssertionError that names the input, the index and both values.
    ValueError
        If there is no input, or another ``oracle``.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> x = np.random.default_rng(0).normal(size=(4, 3))
    >>> report = tn.check_gradients(tn.batch_norm, x, seed=0)
    >>> report.oracle, report.largest_relative_error < 1e-12
    ('complex step', True)
    >>> tn.check_gradients(lambda x: x - x.mean(0).detach(), x, seed=0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    tinygrad_norm.check.gradients.GradientMismatch: the gradient of input 0 is wrong at index ...
    """
    points = _points(inputs)

    def forward(*xs: Array) -> Array:
        y = fn(*(Tensor(x) for x in xs))
        return np.asarray(y.data if isinstance(y, Tensor) else y)

    def backward(g: Array, *xs: Array) -> Any:
        return vjp(fn, *xs)[1](g)

    with surrounding(examined=True):
        return _check(forward, backward, points, oracle, seed)


def check_backward(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    *inputs: Any,
    oracle: str = "auto",
    seed: int | None = None,
) -> GradientReport:
    """Check a backward pass that was written by hand, in plain NumPy.

    Parameters
    ----------
    forward : callable
        ``forward(*xs) -> y``, on arrays.
    backward : callable
        ``backward(g, *xs)`` returns the gradient, or a tuple with one gradient for each input; ``g`` is ``dL/dy``.
    *inputs : arrays
        Where to check; converted to float64, and never changed.
    oracle, seed
        As in `check_gradients`.

    Returns
    -------
    GradientReport

    Raises
    ------
    GradientMismatch
        An AssertionError that names the input, the index and both values.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> forward = lambda x: np.tanh(x)
    >>> backward = lambda g, x: g * (1 - np.tanh(x))  # the square is missing
    >>> tn.check_backward(forward, backward, np.array([0.5]), seed=0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    tinygrad_norm.check.gradients.GradientMismatch: the gradient of input 0 is wrong at index (0,): got ...
    """
    return _check(forward, backward, _points(inputs), oracle, seed)


def _points(inputs: Sequence[Any]) -> list[Array]:
    if not inputs:
        raise ValueError("a check needs at least one input")
    points = [np.array(x.data if isinstance(x, Tensor) else x, dtype=np.float64) for x in inputs]
    for point in points:
        point.setflags(write=False)
    return points


def _check(forward: Function, backward: Function, points: list[Array], oracle: str, seed: int | None) -> GradientReport:
    if oracle not in ("auto", "complex", "differences"):
        raise ValueError(f"oracle is 'auto', 'complex' or 'differences', not {oracle!r}")
    rng = generator(seed)
    y = np.asarray(forward(*points))
    cotangent = rng.normal(size=y.shape)
    gradients = _candidate(backward, cotangent, points)
    exact = oracle == "complex" or (oracle == "auto" and is_analytic(forward, points, cotangent, rng))
    rounded = [nearby(x, rng) for x in points]
    unit = float(np.sum(np.abs(cotangent * y))) * np.finfo(np.float64).eps
    worst = GradientReport("complex step" if exact else "central differences", -1.0, 0, sum(x.size for x in points))
    for which, x in enumerate(points):
        entries = rng.permutation(x.size)[:MOST_ELEMENTS].tolist()
        want, bars = slopes(forward, points, which, entries, cotangent, exact)
        got = gradients[which].reshape(-1)[entries]
        again, _ = slopes(forward, rounded, which, entries[:FEW_ELEMENTS], cotangent, exact)
        noise = _largest(again - want[:FEW_ELEMENTS]) + unit / (_largest(x) or 1.0)
        # What an error is compared with: the gradient's own scale, or what rounding and the oracle leave uncertain.
        size = np.maximum(_largest(want), (NOISE_FACTOR * noise + 10 * bars) / RELATIVE_TOLERANCE)
        with np.errstate(invalid="ignore"):
            errors = np.abs(got - want) / np.maximum(size, np.finfo(np.float64).tiny)
        errors = np.where(got == want, 0, np.where(np.isnan(errors), np.inf, errors))
        row = int(errors.argmax()) if entries else 0
        checked = worst.elements_checked + len(entries)
        if entries and errors[row] > worst.largest_relative_error:
            worst = replace(
                worst,
                largest_relative_error=float(errors[row]),
                input=which,
                index=tuple(int(i) for i in np.unravel_index(entries[row], x.shape)),
                got=float(got[row]),
                want=float(want[row]),
            )
        worst = replace(worst, elements_checked=checked)
        wrong = int((errors > RELATIVE_TOLERANCE).sum())
        if wrong:
            raise GradientMismatch(
                f"the gradient of input {worst.input} is wrong at index {worst.index}: got {worst.got:.8g}, want "
                f"{worst.want:.8g} by {worst.oracle} ({wrong} of {len(entries)} entries of that input are wrong)",
                worst,
            )
    return replace(worst, largest_relative_error=max(worst.largest_relative_error, 0.0))


def _candidate(backward: Function, cotangent: Array, points: list[Array]) -> list[Array]:
    """Return the gradients that are to be checked, one of its input's shape for each."""
    returned: Any = backward(cotangent, *points)
    gradients = returned if isinstance(returned, tuple | list) else (returned,)
    if len(gradients) != len(points):
        raise GradientMismatch(f"{len(points)} inputs need as many gradients, not {len(gradients)}")
    arrays = [np.asarray(g.data if isinstance(g, Tensor) else g) for g in gradients]
    for which, (x, g) in enumerate(zip(points, arrays, strict=True)):
        if g.shape != x.shape:
            raise GradientMismatch(f"the gradient of input {which} has shape {g.shape}, where the input has {x.shape}")
    return arrays


def _largest(values: Array) -> float:
    return float(np.max(np.abs(values[np.isfinite(values)]), initial=0.0))
