"""NumPy's functions next to HIPS autograd's and PyTorch's: first and second derivatives at random points."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import tinygrad_norm as tn

autograd = pytest.importorskip("autograd", reason="the oracle extra installs it")
torch = pytest.importorskip("torch", reason="PyTorch is the oracle here; the oracle extra installs it")

pytestmark = pytest.mark.oracle


def inputs(*shapes: tuple[int, ...], low: float = 0.2, high: float = 0.9) -> list[Any]:
    rng = np.random.default_rng(11)
    return [rng.uniform(low, high, shape) for shape in shapes]


def contracted(grad: Callable[..., Any], y: Any, xs: Any, rng: Any) -> tuple[Any, Any]:
    """The gradients for a random cotangent, and those of their inner product with random directions."""
    first = grad(y, xs, rng.normal(size=tuple(y.shape)))
    return first, grad(sum((g * rng.normal(size=tuple(g.shape))).sum() for g in first), xs, None)


def ours(function: Callable[..., Any], xs: list[Any]) -> tuple[Any, ...]:
    leaves = [tn.Tensor(x, requires_grad=True) for x in xs]
    y = function(*leaves)
    grad = lambda y, xs, g: tn.grad(y, xs, g, create_graph=True)  # noqa: E731
    return y, *contracted(grad, y, leaves, np.random.default_rng(4))


def of_torch(function: Callable[..., Any], xs: list[Any]) -> tuple[Any, ...]:
    leaves = [torch.tensor(x, requires_grad=True) for x in xs]
    y = function(*leaves)

    def grad(y: Any, xs: Any, g: Any) -> Any:
        found = torch.autograd.grad(y, xs, g, create_graph=True, allow_unused=True, materialize_grads=True)
        # A linear function's gradient is recorded nowhere.
        return [g if g.requires_grad else g + 0 * sum(x.nan_to_num(0, 0, 0).sum() for x in xs) for g in found]

    class Normal:
        rng = np.random.default_rng(4)

        def normal(self, size: Any) -> Any:
            return torch.tensor(self.rng.normal(size=size))

    return y, *contracted(grad, y, leaves, Normal())


def assert_same(found: tuple[Any, ...], wanted: tuple[Any, ...], tolerance: float = 1e-11) -> None:
    for got, want in zip((found[0], *found[1], *found[2]), (wanted[0], *wanted[1], *wanted[2]), strict=True):
        assert_allclose(got.data, want.detach().numpy(), rtol=tolerance, atol=tolerance)


UNARY = [
    "tan", "sinh", "cosh", "arcsin", "arccos", "arctan", "arcsinh", "arctanh", "log2", "log10", "exp2", "reciprocal",
    "sinc",
]  # fmt: skip
ZEROS = np.array([[0.0, 2.0, 0.0, 3.0], [1.5, 0.0, 2.0, -1.0], [1.0, 2.0, 3.0, 4.0]])
TORCH = {
    # name: ours, PyTorch's, inputs
    **{name: (getattr(np, name), getattr(torch, name), inputs((3, 4))) for name in (*UNARY, "rad2deg", "deg2rad")},
    "arccosh": (np.arccosh, torch.arccosh, inputs((3, 4), low=1.1, high=3)),
    "hypot": (np.hypot, torch.hypot, inputs((3, 4), (4,))),
    "arctan2": (np.arctan2, torch.atan2, inputs((3, 4), (4,), low=-2, high=2)),
    "logaddexp": (np.logaddexp, torch.logaddexp, inputs((3, 4), (4,), low=-3, high=3)),
    "logaddexp of equals": (np.logaddexp, torch.logaddexp, [np.ones(3), np.ones(3)]),
    "logaddexp2": (np.logaddexp2, torch.logaddexp2, inputs((3, 4), (4,), low=-3, high=3)),
    "remainder": (np.remainder, torch.remainder, inputs((3, 4), (4,), low=-3, high=-0.5)),
    "fmod": (np.fmod, torch.fmod, inputs((3, 4), (4,), low=-3, high=-0.5)),
    "fmax": (np.fmax, torch.fmax, inputs((3, 4), (4,))),
    "fmin": (np.fmin, torch.fmin, inputs((3, 4), (4,))),
    "prod": (np.prod, torch.prod, [ZEROS]),
    "prod of axis": (lambda x: np.prod(x, axis=1), lambda x: torch.prod(x, 1), [ZEROS]),
    "cumprod": (lambda x: np.cumprod(x, axis=1), lambda x: torch.cumprod(x, 1), inputs((3, 7))),
    "sort": (np.sort, lambda x: torch.sort(x, stable=True).values, [np.array([[2.0, 1, 2, 1], [3, 3, 0, 1]])]),
    "quantile": (lambda x: np.quantile(x, [0.1, 0.6], axis=1),
                 lambda x: torch.quantile(x, torch.tensor([0.1, 0.6], dtype=x.dtype), dim=1), inputs((3, 5))),
    "median": (lambda x: np.median(x, axis=0), lambda x: torch.median(x, 0).values, inputs((5, 3))),
    "nansum": (np.nansum, torch.nansum, [np.array([1.0, np.nan, 3.0])]),
    "nanmean": (np.nanmean, torch.nanmean, [np.array([1.0, np.nan, 3.0])]),
    "nan_to_num": (np.nan_to_num, torch.nan_to_num, [np.array([1.0, np.nan, np.inf])]),
    "var": (lambda x: np.var(x, axis=1, correction=1), lambda x: torch.var(x, 1, correction=1), inputs((3, 5))),
}  # fmt: skip


@pytest.mark.parametrize(("function", "theirs", "xs"), TORCH.values(), ids=list(TORCH))
def test_as_in_pytorch(function: Any, theirs: Any, xs: list[Any]) -> None:
    assert_same(ours(function, xs), of_torch(theirs, xs))


def test_a_running_product_at_zeros_as_in_pytorch() -> None:
    """Only to first order: PyTorch's own second derivative of cumprod at zeros is not to be had."""
    y, first, _ = ours(lambda x: np.cumprod(x, axis=1), [ZEROS])
    want, theirs, _ = of_torch(lambda x: torch.cumprod(x, 1), [np.where(ZEROS == 0, 1e-30, ZEROS)])
    assert_allclose(y.data, want.detach().numpy(), atol=1e-28)
    assert_allclose(first[0].data, theirs[0].detach().numpy(), rtol=1e-12, atol=1e-28)


@pytest.mark.parametrize("name", [*UNARY, "degrees", "radians"])
def test_elementwise_as_in_autograd(name: str) -> None:
    (x,) = inputs((3, 4))
    theirs = getattr(autograd.numpy, name)
    slope = autograd.elementwise_grad(theirs)
    leaf = tn.Tensor(x, requires_grad=True)
    y = getattr(np, name)(leaf)
    first = tn.grad(y, leaf, np.ones(y.shape), create_graph=True)
    assert_allclose(first.data, slope(x), rtol=1e-12)
    if first.requires_grad:
        second = tn.grad(first, leaf, np.ones(y.shape))
        assert_allclose(second.data, autograd.elementwise_grad(slope)(x), rtol=1e-11)
