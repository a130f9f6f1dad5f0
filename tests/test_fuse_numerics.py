"""Compiled norms are as exact as compositions, and put NaN and infinity where those do.

Measured against mpmath with 50 digits, at offsets that make cancellation hurt, at large and tiny scales, in constant
rows. ``fastmath`` flags that would change a NaN or an infinity are not used; these tests would see it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest

import tinygrad_norm as tn

pytest.importorskip("numba", reason="fuse compiles with numba, which the extra `compile` installs")

Array = np.ndarray[Any, np.dtype[Any]]
_root = np.vectorize(mpmath.sqrt, otypes=[object])
_exactly = np.vectorize(mpmath.mpf, otypes=[object])

# Each norm: the function, the axes that its statistics run over, and whether it subtracts the mean.
NORMS: dict[str, tuple[Callable[..., Any], tuple[int, ...], bool]] = {
    "batch": (tn.batch_norm, (0, 2), True),
    "layer": (lambda x: tn.normalize(x, "n c s -> n"), (1, 2), True),
    "instance": (lambda x: tn.normalize(x, "n c s -> n c"), (2,), True),
    "channels": (lambda x: tn.normalize(x, "n c s -> s"), (0, 1), True),
    "rms": (lambda x: tn.rms_norm(x, x.shape[1:], eps=1e-5), (1, 2), False),
}
SHAPE = (6, 5, 16)


def exact(x: Array, g: Array, axes: tuple[int, ...], centred: bool, eps: float = 1e-5) -> tuple[Array, Array]:
    """Return x̂ and dx with 50 digits."""
    with mpmath.workdps(50):
        x, g = _exactly(x.astype(object)), _exactly(g.astype(object))
        n = int(np.prod([x.shape[i] for i in axes]))

        def mean(a: Array) -> Array:
            return a.sum(axis=axes, keepdims=True) / n

        d = x - mean(x) if centred else x
        sigma = _root(mean(d * d) + mpmath.mpf(eps))
        x_hat = d / sigma
        dx = (g - (mean(g) if centred else 0) - x_hat * mean(g * x_hat)) / sigma
        return x_hat.astype(np.longdouble), dx.astype(np.longdouble)


def errors(fn: Callable[..., Any], x: Array, g: Array, wanted: tuple[Array, Array]) -> list[float]:
    """Return the largest error of a norm and of its gradient, relative to the largest value."""
    leaf = tn.tensor(x, requires_grad=True)
    y = fn(leaf)
    found = (y.data, tn.grad(y, leaf, g).data)
    return [float(abs(a.astype(np.longdouble) - b).max() / abs(b).max()) for a, b in zip(found, wanted, strict=True)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("offset", [0.0, 1e2, 1e4])
@pytest.mark.parametrize("norm", NORMS)
def test_offsets(norm: str, offset: float, dtype: str) -> None:
    fn, axes, centred = NORMS[norm]
    fused = tn.fuse(fn)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        x = (rng.standard_normal(SHAPE) + offset).astype(dtype)
        g = rng.standard_normal(SHAPE).astype(dtype)
        wanted = exact(x, g, axes, centred)
        composed, compiled = errors(fn, x, g, wanted), errors(fused, x, g, wanted)
        slack = 1e-6 if dtype == "float32" else 1e-13
        assert all(b <= 2 * a + slack for a, b in zip(composed, compiled, strict=True)), (composed, compiled)
    assert not fused.fallbacks


@pytest.mark.parametrize("scale", [1e-18, 1e-6, 1e6, 1e18])
@pytest.mark.parametrize("norm", NORMS)
def test_large_and_tiny_scales(norm: str, scale: float) -> None:
    fn, axes, centred = NORMS[norm]
    fused = tn.fuse(fn)
    rng = np.random.default_rng(1)
    x = (rng.standard_normal(SHAPE) * scale).astype(np.float32)
    g = rng.standard_normal(SHAPE).astype(np.float32)
    wanted = exact(x, g, axes, centred)
    composed, compiled = errors(fn, x, g, wanted), errors(fused, x, g, wanted)
    assert all(b <= 2 * a + 1e-6 for a, b in zip(composed, compiled, strict=True)), (composed, compiled)
    assert not fused.fallbacks


@pytest.mark.parametrize("value", [0.0, 14.1, 98765.4, -3e5, 1e8 + 0.1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("norm", [name for name, each in NORMS.items() if each[2]])
def test_equal_values_have_no_deviations(norm: str, dtype: str, value: float) -> None:
    """The mean of equal values is that value, also where it rounds; the gradient is then ``(g - mean g) / √ε``."""
    fn, axes, _ = NORMS[norm]
    for shape in ((3, 3, 7), SHAPE):
        x, g = np.full(shape, value, dtype), np.random.default_rng(2).standard_normal(shape).astype(dtype)
        leaf = tn.tensor(x, requires_grad=True)
        y = tn.fuse(fn)(leaf)
        assert abs(y.data).max() <= 1e-6
        wanted = (g - g.mean(axis=axes, keepdims=True)) / np.sqrt(1e-5)
        np.testing.assert_allclose(tn.grad(y, leaf, g).data, wanted, rtol=1e-5, atol=1e-4)


HOSTILE: list[list[float]] = [
    [np.nan, 1, 2, 3],
    [np.inf, 1, 2, 3],
    [np.inf, -np.inf, 0, 1],
    [5, 5, 5, 5],
    [3e20, -3e20, 1e20, 0],
    [0, 0, 0, 0],
    [-0.0, 1e-40, -1e-40, 0],
    [1e-30, 2e-30, 3e-30, -1e-30],
]


@pytest.mark.parametrize("eps", [1e-5, 0.0])
@pytest.mark.parametrize(
    ("name", "fn"),
    [
        ("layer norm", lambda x, eps: tn.layer_norm(x, 4, eps=eps)),
        ("batch norm", lambda x, eps: tn.batch_norm(x.T, eps=eps)),
        ("rms norm", lambda x, eps: tn.rms_norm(x, 4, eps=eps)),
        ("norm, then ReLU", lambda x, eps: tn.ops.relu(tn.layer_norm(x, 4, eps=eps))),
        ("softmax", lambda x, eps: tn.ops.softmax(x)),
        ("log-softmax", lambda x, eps: tn.ops.log_softmax(x)),
        ("SiLU", lambda x, eps: tn.ops.silu(x)),
        ("GELU", lambda x, eps: tn.ops.gelu(x, approximate="tanh")),
        ("softplus", lambda x, eps: tn.ops.softplus(x)),
        ("largest", lambda x, eps: x - x.max(axis=1, keepdims=True)),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nan_and_infinity_stand_where_the_composition_has_them(name: str, fn: Any, eps: float, dtype: str) -> None:
    x = tn.tensor(np.array(HOSTILE, dtype), requires_grad=True)
    g = np.random.default_rng(3).standard_normal(np.shape(HOSTILE)).astype(dtype)
    g = g.T.copy() if name == "batch norm" else g
    fused = tn.fuse(fn)
    with np.errstate(all="ignore"):
        y, z = fused(x, eps), fn(x, eps)
        pairs = [(y.data, z.data), (tn.grad(y, x, g).data, tn.grad(z, x, g).data)]
    assert not fused.fallbacks
    for ours, theirs in pairs:
        for kind in (np.isnan, np.isposinf, np.isneginf):
            np.testing.assert_array_equal(kind(ours), kind(theirs))
        finite = np.isfinite(theirs)
        np.testing.assert_allclose(ours[finite], theirs[finite], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "limit"), [("exp", 1.5), ("tanh", 4.0), ("sigmoid", 3.0)])
def test_functions_that_compute_several_elements_at_once(name: str, limit: float, dtype: str) -> None:
    """In units in the last place, against long doubles; each at its edges, too."""
    rng = np.random.default_rng(4)
    edges = {"float32": (-105, 90), "float64": (-750, 712)}[dtype]
    parts = [rng.uniform(*edges, 20000), rng.standard_normal(20000), rng.standard_normal(5000) * 1e-3]
    x = np.concatenate([*parts, [0.0, -0.0, np.inf, -np.inf, np.nan, *edges]]).astype(dtype)
    function = getattr(tn.ops, name)
    with np.errstate(all="ignore"):
        ours = tn.fuse(function)(x)
        wide = x.astype(np.longdouble)
        wanted = {"exp": np.exp, "tanh": np.tanh, "sigmoid": lambda a: 1 / (1 + np.exp(-a))}[name](wide)
        rounded = wanted.astype(dtype)
    for kind in (np.isnan, np.isposinf, np.isneginf):
        np.testing.assert_array_equal(kind(ours), kind(rounded))
    usual = np.isfinite(rounded) & (abs(rounded) > np.finfo(dtype).tiny)
    units = abs(ours[usual].astype(np.longdouble) - wanted[usual]) / np.spacing(abs(rounded[usual]))
    assert units.max() <= limit


def test_the_same_inputs_give_the_same_bits() -> None:
    x, w = (np.random.default_rng(5).standard_normal(shape).astype(np.float32) for shape in ((300, 700), (700,)))
    for threads in (1, 2):
        runs = []
        for _ in range(3):
            fused = tn.fuse(lambda x, w: tn.layer_norm(x, 700, w), threads=threads)
            leaves = [tn.tensor(a, requires_grad=True) for a in (x, w)]
            y = fused(*leaves)
            runs.append(b"".join(a.data.tobytes() for a in (y, *tn.grad(y, leaves, x))))
        assert len(set(runs)) == 1


def test_products_of_constants_keep_all_digits() -> None:
    """Factors that the passes multiply with each other are written into the text of a kernel."""

    def fn(x: Any) -> Any:
        return 0.1234567 * (0.7654321 * x.mean(axis=0) + 0.8123456 * x)

    rng = np.random.default_rng(0)
    x, g = (rng.standard_normal((7, 6)).astype(np.float32) for _ in range(2))
    fused = tn.fuse(fn)
    leaf = tn.tensor(x, requires_grad=True)
    exact_leaf = tn.tensor(x.astype(np.float64), requires_grad=True)
    wanted = tn.grad(fn(exact_leaf), exact_leaf, g.astype(np.float64)).data
    assert abs(tn.grad(fused(leaf), leaf, g).data - wanted).max() < 3e-7 * abs(wanted).max()
    assert not fused.fallbacks
