"""Gradient checks that can fail: random cotangents, an independent oracle, and a report that says what is wrong."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np

from ..engine.autodiff import grad, vjp
from ..engine.context import surrounding
from ..engine.operators import Array, plain
from ..engine.tensor import Tensor
from . import point
from .evidence import explained
from .oracle import generator, step_scale
from .point import Subject
from .report import GradientReport, Verdict, raised
from .search import is_drawn, search
from .simplify import simplified
from .strategies import Inputs, inputs

Given = Callable[..., Any]


def check_gradients(
    fn: Given,
    *inputs: Any,
    order: int = 1,
    wrt: int | str | Sequence[int | str] | None = None,
    oracle: str | Given = "auto",
    budget: str = "normal",
    seed: int | None = None,
) -> GradientReport:
    """Check the automatic gradients of a function against an independent oracle.

    The cotangent is random: the sum of a normalized output is constant, so a check of ``fn(x).sum()`` would accept any
    gradient of a normalization, even zero.

    Parameters
    ----------
    fn : callable
        Takes as many Tensors as there are inputs, returns a Tensor. It must be deterministic.
    *inputs : arrays or Tensors; or `tinygrad_norm.check.Inputs`; or hypothesis strategies
        Arrays: a check at one point, in float64. ``check.inputs("n c", "c")``, or strategies of arrays: a property
        check, over ordinary points and then the edges, which finds the smallest point that fails.
    order : int
        Derivatives up to this order are checked: the gradient, the gradient of the gradient, ...
    wrt : int, str, or a sequence of them, optional
        Which inputs count, by position or by the name of the function's parameter; all unless given.
    oracle : {"auto", "complex", "differences"} or callable
        "auto" takes the complex step where the function is analytic, and central differences elsewhere. A callable
        ``oracle(g, *xs)`` returns the right gradients.
    budget : {"quick", "normal", "thorough"}
        50, 200 or 1000 examples of a property check.
    seed : int, optional
        For the cotangent, the choice of entries, and what is drawn. The same seed gives the same report.

    Returns
    -------
    GradientReport

    Raises
    ------
    GradientMismatch
        An AssertionError with the report, of a class of its own for each verdict.
    ValueError
        If there is no input, or another ``oracle``, ``budget``, ``order`` or ``wrt``.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> x = np.random.default_rng(0).normal(size=(4, 3))
    >>> report = tn.check_gradients(tn.batch_norm, x, seed=0)
    >>> report.oracle, report.largest_relative_error < 1e-12
    ('complex step', True)
    >>> tn.check_gradients(tn.batch_norm, tn.check.inputs("n c"), seed=0).verdict.name
    'PASSED'
    >>> tn.check_gradients(lambda x: x - x.mean(0).detach(), x, seed=0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    tinygrad_norm.check.report.WrongValue: WRONG_VALUE: the gradient of x is wrong.
    ...
    """
    if isinstance(order, bool) or not isinstance(order, int) or order < 1:
        raise ValueError(f"order is a positive integer, not {order!r}")
    names = _names(fn, inputs)
    report = GradientReport()
    for degree in range(1, order + 1):
        report = _run(
            _automatic(fn, degree), inputs, names, wrt, oracle if degree == 1 else "differences", budget, seed
        )
    return report


def check_backward(
    forward: Given,
    backward: Given,
    *inputs: Any,
    wrt: int | str | Sequence[int | str] | None = None,
    oracle: str | Given = "auto",
    budget: str = "normal",
    seed: int | None = None,
) -> GradientReport:
    """Check a backward pass that was written by hand, in plain NumPy.

    Parameters
    ----------
    forward : callable
        ``forward(*xs) -> y``, on arrays.
    backward : callable
        ``backward(g, *xs)`` returns the gradient, or a tuple with one gradient for each input; ``g`` is ``dL/dy``.
    *inputs, wrt, oracle, budget, seed
        As in `check_gradients`. Arrays are copied, and never changed.

    Returns
    -------
    GradientReport

    Raises
    ------
    GradientMismatch
        An AssertionError with the report: wrong values, shapes or dtypes, shared memory, changed inputs, ...

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> forward = lambda x: np.tanh(x)
    >>> backward = lambda g, x: g * (1 - np.tanh(x))  # the square is missing
    >>> tn.check_backward(forward, backward, np.array([0.5]), seed=0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    tinygrad_norm.check.report.WrongValue: WRONG_VALUE: the gradient of x is wrong.
    ...
    """
    return _run((forward, backward), inputs, _names(forward, inputs), wrt, oracle, budget, seed)


def check_module(
    module: Any, *inputs: Any, oracle: str | Given = "auto", budget: str = "normal", seed: int | None = None
) -> dict[str, GradientReport]:
    """Check a module's gradients of its inputs and of all its parameters, in training and in evaluation mode.

    Parameters
    ----------
    module : tinygrad_norm.nn.Module
        Its parameters, buffers and modes are what they were afterwards.
    *inputs : arrays, Tensors, `Inputs` or strategies
        Of the module's own inputs.
    oracle, budget, seed
        As in `check_gradients`.

    Returns
    -------
    dict from "train" and "eval" to GradientReport

    Raises
    ------
    GradientMismatch

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> layer = tn.nn.BatchNorm1d(3)
    >>> reports = tn.check_module(layer, np.random.default_rng(0).normal(size=(4, 3)), seed=0)
    >>> [argument.name for argument in reports["train"].arguments]
    ['weight', 'bias', 'x']
    """
    if not hasattr(module, "named_parameters"):
        raise TypeError(f"check_module takes a Module, not {type(module).__name__}; check_gradients takes functions")
    parameters = dict(module.named_parameters())
    own = [parameters[path].data.astype(np.float64) for path in parameters]
    modules = list(module.modules())
    before = [(m, m.training, dict(m._buffers)) for m in modules]
    names = [*parameters, *_names(module.forward, inputs)]

    def call(*values: Any) -> Any:
        with _standing_in(module, dict(zip(parameters, values, strict=False))):
            return module(*values[len(parameters) :])

    reports = {}
    try:
        for mode in ("train", "eval"):
            module.train(mode == "train")
            drawn = inputs if not any(map(is_drawn, inputs)) else (_with_parameters(own, inputs),)
            given = (*own, *inputs) if drawn is inputs else drawn
            reports[mode] = _run(_automatic(call, 1), given, names, None, oracle, budget, seed)
    finally:
        for owner, training, buffers in before:
            owner.training = training
            owner._buffers.update(buffers)
    return reports


def gradient_property(
    *axes: str, order: int = 1, budget: str = "normal", seed: int | None = None, **options: Any
) -> Callable[[Given], Callable[[], None]]:
    """Make a test of a function: decorated, it takes no arguments and checks its gradients over many inputs.

    Parameters
    ----------
    *axes : str
        For each parameter the names of its axes, as in `tinygrad_norm.check.inputs`.
    order, budget, seed
        As in `check_gradients`.
    **options
        As in `tinygrad_norm.check.inputs`.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> @tn.check.gradient_property("n c", "c", budget="quick", seed=0)
    ... def test_scaled_batch_norm(x, weight):
    ...     return tn.batch_norm(x, weight=weight)
    >>> test_scaled_batch_norm()
    """

    def decorate(fn: Given) -> Callable[[], None]:
        @wraps(fn)
        def test() -> None:
            check_gradients(fn, inputs(*axes, **options), order=order, budget=budget, seed=seed)

        # pytest would take the function's own parameters for fixtures; a failure is where the function stands.
        del test.__wrapped__
        test.place_as = fn  # type: ignore[attr-defined]
        return test

    return decorate


# How they run.


@contextmanager
def _standing_in(module: Any, values: Mapping[str, Any]) -> Iterator[None]:
    """Put values in the place of a module's parameters for the duration of a ``with``."""
    places = []
    for path in values:
        owner = module
        *way, name = path.split(".")
        for step in way:
            owner = getattr(owner, step)
        places.append((owner.__dict__, name, owner.__dict__[name]))
    try:
        for (attributes, name, _), value in zip(places, values.values(), strict=True):
            attributes[name] = value
        yield
    finally:
        for attributes, name, parameter in places:
            attributes[name] = parameter


def _with_parameters(own: Sequence[Array], given: Sequence[Any]) -> Any:
    """Return a strategy of a module's parameters, as they are, and of drawn inputs."""
    from hypothesis import strategies as st

    drawn = [x.generic() if isinstance(x, Inputs) else x if is_drawn(x) else st.just((x,)) for x in given]
    return st.tuples(*drawn).map(
        lambda parts: (*own, *(a for p in parts for a in (p if isinstance(p, tuple) else (p,))))
    )


def _run(
    functions: tuple[Given, Given],
    given: Sequence[Any],
    names: Sequence[str],
    wrt: Any,
    oracle: str | Given,
    budget: str,
    seed: int | None,
) -> GradientReport:
    if not given:
        raise ValueError("a check needs at least one input")
    for function in functions:
        if not callable(function):
            raise TypeError(f"a function is wanted, not {function!r}")
    if not callable(oracle) and oracle not in ("auto", "complex", "differences"):
        raise ValueError(f"oracle is 'auto', 'complex' or 'differences', not {oracle!r}")

    def subject(arrays: Sequence[Any]) -> Subject:
        called = tuple(names[i] if i < len(names) else f"input {i}" for i in range(len(arrays)))
        return Subject(*functions, called, _wanted(wrt, called), oracle)

    def examine(arrays: Sequence[Any], rng: np.random.Generator, cotangent: Array | None = None) -> GradientReport:
        with surrounding(examined=True):
            return point.examine(subject(arrays), arrays, rng, cotangent)

    def explain(report: GradientReport, first: GradientReport | None = None) -> GradientReport:
        larger = [first.witness] if first else []
        if isinstance(given[0], Inputs) and len(given) == 1:
            larger = [given[0].ample(scale) for scale in (1.0, step_scale(report.witness[0]))]
        with surrounding(examined=True):
            report = explained(subject(report.witness), report, larger)
        return simplified(report, lambda g: examine(report.witness, generator(report.seed), g))

    if any(map(is_drawn, given)):
        settled = int(np.random.default_rng().integers(2**32)) if seed is None else seed
        return search(examine, tuple(given), budget, settled, explain)
    try:
        report = replace(examine(given, generator(seed)), seed=seed)
    except point.Refused as refusal:
        raise refusal.at(given) from None
    # That a gradient is null at one point is no fault, and a kink is none.
    if report.verdict not in (Verdict.PASSED, Verdict.KINK, Verdict.VACUOUS):
        raise raised(explain(report))
    return report


def _wanted(wrt: Any, names: Sequence[str]) -> tuple[int, ...]:
    if wrt is None:
        return tuple(range(len(names)))
    chosen = []
    for one in [wrt] if isinstance(wrt, int | str) else wrt:
        if isinstance(one, str) and one in names:
            chosen.append(names.index(one))
        elif isinstance(one, int) and not isinstance(one, bool) and 0 <= one < len(names):
            chosen.append(one)
        else:
            raise ValueError(f"wrt names inputs by position or name, of {', '.join(names)}; not {one!r}")
    if not chosen:
        raise ValueError("wrt names no input: nothing would be checked")
    return tuple(chosen)


def _automatic(fn: Given, order: int) -> tuple[Given, Given]:
    """Return the forward and backward functions for derivatives of an order: that of the gradient of one order less."""
    fn = _joined(fn)
    if order > 1:
        fn = _gradient_of(fn, order - 1)

    def forward(*xs: Array) -> Array:
        y = fn(*(Tensor(x) for x in xs))
        return np.asarray(plain(y))

    def backward(g: Array, *xs: Array) -> Any:
        return vjp(fn, *xs)[1](g)

    return forward, backward


def _joined(fn: Given) -> Given:
    """Return a function with one output: several are put in a row."""

    def joined(*xs: Tensor) -> Any:
        y = fn(*xs)
        if y is None:
            raise TypeError("the function returns None, where a Tensor or an array is wanted: does it lack a return?")
        if not isinstance(y, tuple | list):
            return y
        return np.concatenate([np.reshape(part, (-1,)) for part in y])

    return joined


def _gradient_of(fn: Given, order: int) -> Given:
    """Return the function whose value is the gradient of ``<c, fn>`` for a fixed random c, of all inputs in a row."""
    if order > 1:
        fn = _gradient_of(fn, order - 1)

    def gradient(*xs: Tensor) -> Any:
        # Leaves of their own where the inputs need no gradient, so that there is one to record.
        leaves = [x if x.requires_grad else Tensor(x.data, requires_grad=True) for x in xs]
        with surrounding(recording=True):
            y = fn(*leaves)
        cotangent = generator(order).normal(size=y.shape)
        found = grad(y, leaves, cotangent, create_graph=True) if y.requires_grad else [x * 0 for x in leaves]
        return np.concatenate([np.reshape(v, (-1,)) for v in found])

    return gradient


def _names(fn: Given, given: Sequence[Any]) -> tuple[str, ...]:
    """Return a name for each input: a Tensor's own, or the function's parameter's, or its position."""

    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        parameters = ()  # type: ignore[assignment]
    single = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    count = max(len(given), len(single))
    own = [x.name if isinstance(x, Tensor) else None for x in given]
    return tuple(
        (own[i] if i < len(own) and own[i] else None) or (single[i] if i < len(single) else f"input {i}")
        for i in range(count)
    )
