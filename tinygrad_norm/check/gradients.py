"""Gradient checks that can fail: random cotangents, an independent oracle, and an error that says where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..engine.autodiff import vjp
from ..engine.context import surrounding
from ..engine.operators import Array
from ..engine.tensor import Tensor
from .oracle import central_difference, complex_step, generator, is_analytic

MOST_ELEMENTS = 256
RELATIVE_TOLERANCE = 1e-6
# A gradient that is null in exact arithmetic, as that of a bias before a normalization, is rounding noise of this size
# beside <|cotangent|, |y|> / max|x|.
NOISE = 1e-12


@dataclass(frozen=True)
class GradientReport:
    """What a check found.

    Attributes
    ----------
    oracle : {"complex step", "central differences"}
    largest_relative_error : float
        Over all inputs; beside the largest entry of that input's gradient.
    elements_checked, elements : int
        At most 256 entries of each input are checked, chosen at random.
    input, index, got, want : optional
        Where the largest error is, and both values there.
    """

    oracle: str
    largest_relative_error: float
    elements_checked: int
    elements: int
    input: int
    index: tuple[int, ...]
    got: float
    want: float


class GradientMismatch(AssertionError):
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


def _check(
    forward: Callable[..., Any], backward: Callable[..., Any], points: list[Array], oracle: str, seed: int | None
) -> GradientReport:
    if oracle not in ("auto", "complex", "differences"):
        raise ValueError(f"oracle is 'auto', 'complex' or 'differences', not {oracle!r}")
    rng = generator(seed)
    y = np.asarray(forward(*points))
    cotangent = rng.normal(size=y.shape)
    gradients = backward(cotangent, *points)
    gradients = gradients if isinstance(gradients, tuple | list) else (gradients,)
    if len(gradients) != len(points):
        raise GradientMismatch(f"{len(points)} inputs need as many gradients, not {len(gradients)}")
    exact = oracle == "complex" or (oracle == "auto" and is_analytic(forward, points, cotangent, rng))
    unit = float(np.sum(np.abs(cotangent * y)))
    worst: tuple[float, int, tuple[int, ...], float, float] | None = None
    checked = 0
    for which, (x, gradient) in enumerate(zip(points, gradients, strict=True)):
        got = np.asarray(gradient)
        if got.shape != x.shape:
            raise GradientMismatch(
                f"the gradient of input {which} has shape {got.shape}, where the input has {x.shape}"
            )
        indices = rng.permutation(x.size)[:MOST_ELEMENTS]
        wants, bars = np.empty(len(indices)), np.zeros(len(indices))
        for row, flat in enumerate(indices.tolist()):
            direction = np.zeros(x.shape)
            direction.flat[flat] = 1.0
            if exact:
                wants[row] = complex_step(forward, points, which, direction, cotangent)
            else:
                wants[row], bars[row] = central_difference(forward, points, which, direction, cotangent)
        checked += len(indices)
        gots = got.reshape(-1)[indices]
        noise = NOISE * unit / (float(np.max(np.abs(x), initial=0.0)) or 1.0)
        scale = float(np.max(np.abs(wants), initial=0.0))
        errors = np.abs(gots - wants)
        # Written so that a NaN on either side is a mismatch.
        wrong = ~(errors <= RELATIVE_TOLERANCE * scale + noise + 10 * bars)
        relative = np.where(np.isnan(errors), np.inf, errors) / max(scale, noise, np.finfo(np.float64).tiny)
        for row in np.flatnonzero(wrong | (relative == relative.max(initial=0.0))).tolist():
            place = tuple(int(i) for i in np.unravel_index(int(indices[row]), x.shape))
            found = (float(relative[row]), which, place, float(gots[row]), float(wants[row]))
            if worst is None or found[0] > worst[0]:
                worst = found
        if wrong.any():
            assert worst is not None  # a wrong entry has been looked at
            report = _report(exact, worst, checked, points)
            raise GradientMismatch(
                f"the gradient of input {report.input} is wrong at index {report.index}: got {report.got:.8g}, want "
                f"{report.want:.8g} by {report.oracle} ({int(wrong.sum())} of {len(indices)} entries of that input "
                "are wrong)",
                report,
            )
    return _report(exact, worst or (0.0, 0, (), 0.0, 0.0), checked, points)


def _report(
    exact: bool, worst: tuple[float, int, tuple[int, ...], float, float], checked: int, points: list[Array]
) -> GradientReport:
    error, which, index, got, want = worst
    oracle = "complex step" if exact else "central differences"
    return GradientReport(oracle, error, checked, sum(x.size for x in points), which, index, got, want)
