"""Products, norms and LAPACK's functions next to PyTorch's: values, gradients and second derivatives."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_norm as tn

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here; the oracle extra installs it")

pytestmark = pytest.mark.oracle

INF = float("inf")
MATRIX, STACK, VECTOR = (3, 3), (2, 3, 3), (5,)


def definite(x: Any) -> Any:
    """A symmetric positive definite matrix, for arrays of both kinds."""
    return x @ x.mT + 2


# Ours, PyTorch's, and the shapes of the operands.
CASES: dict[str, tuple[Callable[..., Any], Callable[..., Any], list[tuple[int, ...]]]] = {
    "inv": (np.linalg.inv, torch.linalg.inv, [STACK]),
    "det": (np.linalg.det, torch.linalg.det, [STACK]),
    "slogdet": (lambda x: np.linalg.slogdet(x)[1], lambda x: torch.linalg.slogdet(x)[1], [STACK]),
    "solve": (np.linalg.solve, torch.linalg.solve, [MATRIX, (2, 3, 2)]),
    "solve a vector": (np.linalg.solve, torch.linalg.solve, [MATRIX, (3,)]),
    "cholesky": (lambda x: np.linalg.cholesky(definite(x)), lambda x: torch.linalg.cholesky(definite(x)), [STACK]),
    "matrix_power": (lambda x: np.linalg.matrix_power(x, -3), lambda x: torch.linalg.matrix_power(x, -3), [STACK]),
    "norm": (np.linalg.norm, torch.linalg.norm, [VECTOR]),
    "norm of order 3": (lambda x: np.linalg.norm(x, 3), lambda x: torch.linalg.norm(x, 3), [VECTOR]),
    "norm of order 0.5": (lambda x: np.linalg.norm(x, 0.5), lambda x: torch.linalg.norm(x, 0.5), [VECTOR]),
    "largest": (lambda x: np.linalg.norm(x, INF, 1), lambda x: torch.linalg.norm(x, INF, 1), [MATRIX]),
    "largest column": (lambda x: np.linalg.norm(x, 1), lambda x: torch.linalg.norm(x, 1), [MATRIX]),
    "einsum": (
        lambda a, b: np.einsum("bii,...i->b...", a, b),
        lambda a, b: torch.einsum("bii,...i->b...", a, b),
        [STACK, (2, 3)],
    ),
    "tensordot": (
        lambda a, b: np.tensordot(a, b, ([1, 2], [0, 1])),
        lambda a, b: torch.tensordot(a, b, ([1, 2], [0, 1])),
        [STACK, MATRIX],
    ),
    "kron": (np.kron, torch.kron, [(2, 3), (3, 2)]),
    "cross": (np.linalg.cross, torch.linalg.cross, [(2, 3), (2, 3)]),
    "gradient": (lambda x: np.gradient(x, 0.5), lambda x: torch.gradient(x, spacing=0.5)[0], [VECTOR]),
    "trapezoid": (np.trapezoid, torch.trapezoid, [(2, 4), (2, 4)]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_derivatives_are_pytorchs(name: str) -> None:
    ours, theirs, shapes = CASES[name]
    rng = np.random.default_rng(4)
    arrays = [rng.normal(size=shape) for shape in shapes]
    xs = [tn.tensor(x, requires_grad=True) for x in arrays]
    ts = [torch.tensor(x, requires_grad=True) for x in arrays]
    y, t = ours(*xs), theirs(*ts)
    np.testing.assert_allclose(y.data, t.detach(), rtol=1e-9, atol=1e-10)
    g, vs = rng.normal(size=y.shape), [rng.normal(size=shape) for shape in shapes]
    first = tn.grad(y, xs, g, create_graph=True)
    expected = torch.autograd.grad(t, ts, torch.tensor(g), create_graph=True)
    for ours_, theirs_ in zip(first, expected, strict=True):
        np.testing.assert_allclose(ours_.data, theirs_.detach(), rtol=1e-8, atol=1e-9)
    kept = [i for i, gradient in enumerate(first) if gradient.requires_grad]
    if not kept:
        return
    second = tn.grad([first[i] for i in kept], xs, [vs[i] for i in kept])
    theirs_second = torch.autograd.grad(
        [expected[i] for i in kept], ts, [torch.tensor(vs[i]) for i in kept], allow_unused=True
    )
    for ours_, theirs_ in zip(second, theirs_second, strict=True):
        want = np.zeros(ours_.shape) if theirs_ is None else theirs_.numpy(force=True)
        np.testing.assert_allclose(ours_.data, want, rtol=1e-7, atol=1e-7 * max(1, np.abs(want).max()))


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_the_gradient_of_a_singular_determinant_is_pytorchs(rank: int) -> None:
    rng = np.random.default_rng(rank)
    x = rng.integers(-3, 4, (3, rank)) @ rng.integers(-3, 4, (rank, 3)).astype(float)
    leaf, twin = tn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    gradient = tn.grad(np.linalg.det(leaf), leaf)
    (want,) = torch.autograd.grad(torch.linalg.det(twin), twin)
    np.testing.assert_allclose(gradient.data, want, atol=1e-10)
