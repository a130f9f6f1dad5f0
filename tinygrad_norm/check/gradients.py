"""Gradient checks that can fail: random cotangents, an independent oracle, and a report that says what is wrong."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial, wraps
from typing import Any

import numpy as np

from ..engine.context import surrounding
from ..engine.operators import Array
from ..engine.tensor import Tensor
from . import point
from .automatic import Automatic, OfModule
from .calling import ByHand, is_layer, passes
from .evidence import explained
from .leaves import Leaves
from .pytorch import InTorch, is_of_torch, settled
from .report import GradientReport, UncheckedGradient, Verdict, raised
from .scales import generator, step_scale
from .search import BUDGETS, is_drawn, search
from .simplify import simplified
from .strategies import Inputs, inputs
from .subject import Refused, Subject

Given = Callable[..., Any]
Names = int | str | Sequence[int | str] | None


def check_gradients(
    fn: Given,
    *inputs: Any,
    order: int = 1,
    wrt: Names = None,
    oracle: str | Given = "auto",
    budget: str = "normal",
    seed: int | None = None,
    rtol: float = 1e-6,
    strict: bool = False,
    **keywords: Any,
) -> GradientReport:
    """Check the automatic gradients of a function against an independent oracle.

    The cotangent is random. The sum of a normalized output is constant, so a check of ``fn(x).sum()`` would accept zero
    as the gradient of a normalization.

    Parameters
    ----------
    fn : callable
        Takes one Tensor for each input and returns one or several Tensors. It must be deterministic. It may also be a
        function of PyTorch tensors, a ``torch.nn.Module``, or the ``apply`` of a ``torch.autograd.Function``.
    *inputs : arrays, numbers, lists, tuples, dicts of them; or `tinygrad_norm.check.Inputs`; or hypothesis strategies
        Given arrays, the check is at one point, in float64. Given ``check.inputs("n c", "c")`` or strategies of arrays,
        it is a property check: it tries ordinary inputs, then edge cases, and finds the smallest inputs that fail.
        Integers and bools are not perturbed and have no gradient.
    order : int
        Check derivatives up to this order: 1 is the gradient, 2 the gradient of the gradient, and so on.
    wrt : int, str, or a sequence of them, optional
        The inputs to check, by position or by name. Default: all floating-point inputs.
    oracle : {"auto", "complex", "differences"} or callable
        "auto" uses the complex step where the function is analytic, and central differences elsewhere. A callable
        ``oracle(g, *xs)`` returns the right gradients.
    budget : {"quick", "normal", "thorough"}
        50, 200 or 1000 examples of a property check.
    seed : int, optional
        Seed of the cotangent, of the entries that are compared, and of random inputs. The same seed gives the same
        report.
    rtol : float
        Allowed error of a gradient, relative to its largest entry.
    strict : bool
        Raise an error also if a gradient shares memory, is float64 for float32 inputs, or cannot be judged at a single
        point. Otherwise these are notes and warnings.
    **keywords
        Passed to the function.

    Returns
    -------
    GradientReport

    Raises
    ------
    GradientMismatch
        An AssertionError with the report. Each verdict has its own subclass.
    ValueError
        If there is no input, or if ``oracle``, ``budget``, ``order`` or ``wrt`` is not one of the above.

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
        raise ValueError(f"order must be a positive integer, not {order!r}")
    report = GradientReport()
    for degree in range(1, order + 1):
        written = (InTorch if is_of_torch(fn) else Automatic)(fn, keywords, degree)
        judge = oracle if degree == 1 else "differences"
        report = _run(written, inputs, wrt, judge, budget, seed, rtol, strict)
    return report


def check_backward(
    forward: Any,
    backward: Any,
    *inputs: Any,
    wrt: Names = None,
    oracle: str | Given = "auto",
    budget: str = "normal",
    seed: int | None = None,
    rtol: float = 1e-6,
    strict: bool = False,
    cached: bool | None = None,
    **keywords: Any,
) -> GradientReport:
    """Check a backward pass written by hand in plain NumPy.

    Parameters
    ----------
    forward : callable, or an object with ``forward`` and ``backward``
        ``forward(*xs)`` takes arrays and returns ``y``, ``(y, cache)`` or ``(y1, y2, ...)``. For an object, or a class
        whose constructor needs no arguments, leave out ``backward``: ``check_backward(layer, *inputs)``. Its parameters
        are checked, too: those in ``params`` and ``grads``, and every ``W`` with a ``dW``, ``grad_W`` or ``W_grad``.
    backward : callable or None
        ``backward(g, *xs)`` or ``backward(g, cache)``, where ``g`` is ``dL/dy``. With several outputs, ``g`` is a
        tuple, or there is one argument for each output. It returns the gradient; or a tuple or list of gradients, one
        for each input or for each floating-point input; or a dict with the names of the inputs, ``dx`` or ``grad_x`` as
        keys. None if forward returns ``(loss, gradient or gradients)``.
    *inputs, wrt, oracle, budget, seed, rtol, strict
        As in `check_gradients`. Arrays are copied, so they never change.
    cached : bool, optional
        Whether the last value that forward returns is a cache for backward. Default: inferred from the arguments of
        backward.
    **keywords
        Passed to forward, and to backward if it takes them.

    Returns
    -------
    GradientReport

    Raises
    ------
    GradientMismatch
        An AssertionError with the report: wrong values, shapes or dtypes, changed inputs, ...

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
    >>> forward = lambda scores, labels: (scores[np.arange(len(labels)), labels].sum(), scores.shape)
    >>> def backward(g, shape):  # the labels are missing
    ...     return g * np.ones(shape)
    >>> points = tn.check.inputs(scores="n c", labels="n", domains={"labels": "labels:c"})
    >>> tn.check_backward(forward, backward, points, seed=0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    tinygrad_norm.check.report.WrongValue: WRONG_VALUE: the gradient of scores is wrong...
    """
    if is_layer(forward) and backward is not None:
        inputs = backward, *inputs
    return _run(passes(forward, backward, keywords, cached), inputs, wrt, oracle, budget, seed, rtol, strict)


def check_module(module: Any, *inputs: Any, **options: Any) -> dict[str, GradientReport]:
    """Check a module's gradients with respect to its inputs and parameters, in training and evaluation mode.

    Parameters
    ----------
    module : tinygrad_norm.nn.Module
        Its parameters, buffers and modes are restored afterwards.
    *inputs : arrays, Tensors, `Inputs` or strategies
        The inputs of the module.
    **options
        wrt, oracle, budget, seed, rtol, strict, as in `check_gradients`; others are passed to the module.

    Returns
    -------
    dict of GradientReport, with the keys "train" and "eval"

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
    if not hasattr(module, "named_parameters") or is_of_torch(module):
        raise TypeError(f"check_module takes a Module, not {type(module).__name__}; check_gradients takes functions")
    settings = _settings(options)
    written = OfModule(module, options)
    before = [(m, m.training, dict(m._buffers)) for m in module.modules()]
    reports = {}
    try:
        for mode in ("train", "eval"):
            module.train(mode == "train")
            reports[mode] = _run(written, inputs, **settings)
    finally:
        for owner, training, buffers in before:
            owner.training = training
            owner._buffers.update(buffers)
    return reports


def gradient_property(
    *axes: str, backward: Given | None = None, order: int = 1, **options: Any
) -> Callable[[Given], Callable[[], None]]:
    """Turn a function into a test, which takes no arguments and checks the gradients over many inputs.

    Parameters
    ----------
    *axes : str
        The names of the axes of each parameter, as in `tinygrad_norm.check.inputs`.
    backward : callable, optional
        A backward pass for the decorated function, as in `check_backward`.
    order : int
        As in `check_gradients`.
    **options
        wrt, oracle, budget, seed, rtol, strict, as in `check_gradients`; others as in `tinygrad_norm.check.inputs`.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> @tn.check.gradient_property("n c", "c", budget="quick", seed=0)
    ... def test_scaled_batch_norm(x, weight):
    ...     return tn.batch_norm(x, weight=weight)
    >>> test_scaled_batch_norm()
    """
    settings = _settings(options)
    drawn = inputs(*axes, **options)

    def decorate(fn: Given) -> Callable[[], None]:
        @wraps(fn)
        def test() -> None:
            if backward is None:
                check_gradients(fn, drawn, order=order, **settings)
            else:
                check_backward(fn, backward, drawn, **settings)

        # pytest would take the parameters of the function for fixtures. A failure is reported at the function's line.
        del test.__wrapped__
        test.place_as = fn  # type: ignore[attr-defined]
        return test

    return decorate


# How they run.


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    """Remove and return the options of a check."""
    names = ("wrt", "oracle", "budget", "seed", "rtol", "strict")
    return {name: options.pop(name) for name in names if name in options}


def _run(
    written: ByHand | Automatic,
    given: Sequence[Any],
    wrt: Names = None,
    oracle: str | Given = "auto",
    budget: str = "normal",
    seed: int | None = None,
    rtol: float = 1e-6,
    strict: bool = False,
) -> GradientReport:
    """Check at one point or search, and explain a failure."""
    _accept(given, oracle, budget, rtol)
    drawn, around, called = _sorted_out(given, written.signature.names)
    latest: list[Subject] = []

    def subject(values: Sequence[Any]) -> tuple[Subject, list[Array]]:
        nonlocal written
        arguments = around(values)
        names = written.signature.named(len(arguments))
        names = [
            (x.name if isinstance(x, Tensor) else None) or called.get(i, names[i]) for i, x in enumerate(arguments)
        ]
        leaves = Leaves(names, arguments)
        try:
            written = written if latest else settled(written, leaves)
            if own := written.own(leaves):
                leaves = Leaves(names, arguments, own)
        except Exception as error:
            raise Refused(error) from error
        forward, backward = partial(written.value, leaves), partial(written.gradients, leaves, wrt)
        about = (leaves.chosen(wrt), oracle, strict, rtol, leaves.optional(wrt))
        again = partial(backward, again=True) if type(written) is ByHand else None
        return Subject(forward, backward, tuple(leaves.names), *about, again=again), leaves.arrays

    def examine(values: Sequence[Any], rng: np.random.Generator, **how: Any) -> GradientReport:
        with surrounding(examined=True):
            made, arrays = subject(values)
            latest[:] = [made]
            return point.examine(made, arrays, rng, **how)

    def explain(report: GradientReport, first: GradientReport | None = None) -> GradientReport:
        larger: list[Sequence[Array]] = [first.witness] if first else []
        with surrounding(examined=True):
            if drawn and isinstance(drawn[0], Inputs):
                scale = step_scale(report.witness[report.input])
                ways = ((1.0,), (scale,), (1.0, (3, 5, 7, 4, 2, 6)), (1.0, (4, 7, 5, 6, 3, 2)))
                larger = [subject(drawn[0].ample(*way))[1] for way in ways]
            made, again = point.in_its_dtype(latest[0], report.witness), report.witness
            report = explained(made, report, larger)
            return simplified(report, lambda g: point.examine(made, again, generator(report.seed), g))

    if drawn:
        settled_seed = int(np.random.default_rng().integers(2**32)) if seed is None else seed
        return search(examine, drawn, budget, settled_seed, explain)
    try:
        report = replace(examine(given, generator(seed)), seed=seed)
    except Refused as refusal:
        raise refusal.at(given) from None
    if report.verdict in (Verdict.VACUOUS, Verdict.ORACLE_UNRELIABLE) and not strict:
        # At a single point this is not a fault.
        warnings.warn(f"{report.verdict.name}: {report.message}", UncheckedGradient, stacklevel=3)
    elif report.verdict not in (Verdict.PASSED, Verdict.KINK):
        raise raised(explain(report))
    return report


def _accept(given: Sequence[Any], oracle: str | Given, budget: str, rtol: float) -> None:
    """Raise an error for arguments that cannot be checked."""
    if not given:
        raise ValueError("a check needs at least one input")
    if any(isinstance(x, str) for x in given):
        raise ValueError(f"inputs must be arrays, or inputs({', '.join(map(repr, given))})")
    if budget not in BUDGETS:
        raise ValueError(f"budget must be one of {', '.join(BUDGETS)}, not {budget!r}")
    if not callable(oracle) and oracle not in ("auto", "complex", "differences"):
        raise ValueError(f"oracle must be 'auto', 'complex', 'differences' or a function, not {oracle!r}")
    if not (isinstance(rtol, float) and 0 < rtol < 1):
        raise ValueError(f"rtol must be a float between 0 and 1, not {rtol!r}")


Around = Callable[[Sequence[Any]], Sequence[Any]]


def _sorted_out(given: Sequence[Any], names: Sequence[str]) -> tuple[tuple[Any, ...], Around, dict[int, str]]:
    """Return the strategies, a function that puts drawn arrays among the others, and names for positions."""
    drawn = [x for x in given if is_drawn(x)]
    if not any(isinstance(x, Inputs) for x in drawn):
        return tuple(given) if drawn else (), lambda values: values, {}
    if len(drawn) > 1:
        raise ValueError("give one inputs(...) for all random arrays, not several")
    first = next(i for i, x in enumerate(given) if is_drawn(x))
    ordered = drawn[0].ordered(names[first:])
    called = {first + i: name for i, name in enumerate(ordered.names)}
    return (ordered,), lambda values: (*given[:first], *values, *given[first + 1 :]), called
