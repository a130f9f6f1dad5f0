"""The checkers, each by the door that it has for gradients written by hand, and the inputs that they are given."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np

from tests.draws import Arrays, drawn
from tinygrad_norm.check import point
from tinygrad_norm.check.correct import Array, Backward, Forward
from tinygrad_norm.check.report import FAULTS
from tinygrad_norm.check.scales import generator
from tinygrad_norm.check.strategies import Inputs

Checker = Callable[[Forward, Backward, Arrays, int], bool]
"""``checker(forward, backward, xs, number)`` returns whether the gradients pass; the number seeds what is random."""

SEED = 0
OURS = "tinygrad_norm"
USUAL = "torch gradcheck of fn(x).sum()"
DRAWS = 50
VISIBLE = 1e-4


# What they are tried on.


def moved(xs: Arrays, scale: float, offset: float = 0.0) -> Arrays:
    """Return the inputs with the first one scaled and shifted, as it is where neither does anything."""
    return xs if scale == 1 and offset == 0 else (np.asarray(xs[0] * scale + offset).astype(xs[0].dtype), *xs[1:])


def tried_on(inputs: Inputs, forward: Forward, scale: float) -> list[Arrays]:
    """Return the draws at a scale, without those where the function overflows."""
    with np.errstate(all="ignore"):
        points = [moved(xs, scale) for xs in drawn(inputs, DRAWS)]
        return [xs for xs in points if np.isfinite(forward(*xs)).all()]


def can_be_seen(forward: Forward, backward: Backward, xs: Arrays, number: int) -> bool:
    """Return whether the gradient for a random cotangent is off, by a complex step that is no checker's."""
    g = np.random.default_rng([SEED, number]).normal(size=forward(*xs).shape)
    for which, got in enumerate(backward(g, *xs)):
        want = np.empty(got.shape)
        for index in np.ndindex(got.shape):
            stepped = [x.astype(complex) for x in xs]
            stepped[which][index] += 1e-100j
            want[index] = np.sum(g * forward(*stepped)).imag / 1e-100
        if not np.max(np.abs(got - want), initial=0) <= VISIBLE * np.max(np.abs(want), initial=0):
            return True
    return False


# The checkers.


def ours(forward: Forward, backward: Backward, xs: Arrays, number: int, closely: bool = True) -> bool:
    """Check at one point, as `check_backward` does; or, if not closely, as its search does at all but the first."""
    names = tuple(f"x{i}" for i in range(len(xs)))
    subject = point.Subject(forward, backward, names, tuple(range(len(xs))))
    return point.examine(subject, xs, generator(number), closely=closely).verdict not in FAULTS


def torch_gradcheck(
    forward: Forward, backward: Backward, xs: Arrays, number: int, fast: bool = False, summed: bool = False
) -> bool:
    import torch

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *tensors: Any) -> Any:
            # gradcheck moves its inputs in place.
            ctx.arrays = [tensor.detach().numpy().copy() for tensor in tensors]
            return torch.from_numpy(np.array(forward(*ctx.arrays)))

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return tuple(torch.from_numpy(np.array(d)) for d in backward(g.numpy().copy(), *ctx.arrays))

    def called(*tensors: Any) -> Any:
        y = Function.apply(*tensors)
        return y.sum() if summed else y

    torch.manual_seed(number)
    tensors = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in xs]
    return bool(torch.autograd.gradcheck(called, tensors, fast_mode=fast, raise_exception=False))


def jax_check_grads(forward: Forward, backward: Backward, xs: Arrays, number: int) -> bool:
    import jax
    from jax.test_util import check_grads

    def shaped(arrays: Iterable[Any]) -> Any:
        return tuple(jax.ShapeDtypeStruct(np.shape(a), np.float64) for a in arrays)

    def on_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *values: tuple(np.array(d) for d in function(*(np.array(v) for v in values)))

    @jax.custom_vjp
    def function(*values: Any) -> Any:
        return jax.pure_callback(on_arrays(lambda *v: (forward(*v),)), shaped([forward(*xs)]), *values)[0]

    function.defvjp(
        lambda *values: (function(*values), values),
        lambda values, g: jax.pure_callback(on_arrays(backward), shaped(xs), g, *values),
    )
    # Compiled, every call would cost a second.
    with jax.enable_x64(True), jax.disable_jit():
        try:
            check_grads(function, tuple(jax.numpy.asarray(x) for x in xs), order=1, modes=("rev",))
        except AssertionError:
            return False
    return True


def autograd_check_grads(forward: Forward, backward: Backward, xs: Arrays, number: int) -> bool:
    from autograd.extend import defvjp, primitive
    from autograd.test_util import check_grads

    @primitive
    def function(*values: Array) -> Array:
        return forward(*values)

    def pullback(which: int) -> Callable[..., Any]:
        return lambda _, *values: lambda g: np.array(backward(np.array(g), *values)[which])

    defvjp(function, *(pullback(which) for which in range(len(xs))))
    np.random.seed(number)  # noqa: NPY002 (the one that it draws from)
    try:
        check_grads(function, tuple(range(len(xs))), modes=["rev"], order=1)(*xs)
    except AssertionError:
        return False
    return True


CHECKERS: Mapping[str, Checker] = {
    OURS: ours,
    "torch gradcheck, slow": torch_gradcheck,
    "torch gradcheck, fast": partial(torch_gradcheck, fast=True),
    USUAL: partial(torch_gradcheck, summed=True),
    "jax check_grads": jax_check_grads,
    "autograd check_grads": autograd_check_grads,
}
LIBRARIES = {"torch": "torch", "jax": "jax", "autograd": "autograd"}


def installed() -> dict[str, Checker]:
    """Return the checkers whose library is here."""
    return {name: checker for name, checker in CHECKERS.items() if name == OURS or version(name.split()[0])}


def version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def accepts(checker: Checker, forward: Forward, backward: Backward, xs: Arrays, number: int) -> bool:
    """Return what a checker says, whatever warnings it has."""
    with np.errstate(all="ignore"):
        return checker(forward, backward, xs, number)
