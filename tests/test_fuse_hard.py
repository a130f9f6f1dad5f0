"""Functions and modules that are hard to compile rightly. Each row was wrong once, or could be."""

from __future__ import annotations

import copy
import functools
import pickle
import time
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn

pytest.importorskip("numba", reason="fuse compiles with numba, which the extra `compile` installs")

X = np.random.default_rng(0).standard_normal((4, 6))
CUBE = np.random.default_rng(1).standard_normal((3, 4, 5))
EDGES = np.array([[0.0, -0.0, 1.0, -1.0], [np.inf, -np.inf, np.nan, 2.0]])
Pair = namedtuple("Pair", "a b")


def outputs(y: Any) -> list[Any]:
    return [*y] if isinstance(y, tuple | list) else [y]


def assert_same(fn: Callable[..., Any], *inputs: Any, tolerance: float = 1e-10, compiled: bool | None = None) -> None:
    """Assert that values, types and gradients are those of the function."""
    fused = tn.fuse(fn)
    with np.errstate(all="ignore"):
        for given in (inputs, [tn.tensor(x, requires_grad=True) for x in inputs]):
            ours, theirs = fused(*given), fn(*given)
            assert type(ours) is type(theirs)
            for a, b in zip(outputs(ours), outputs(theirs), strict=True):
                assert type(a) is type(b)
                one, other = (x.data if isinstance(x, tn.Tensor) else np.asarray(x) for x in (a, b))
                assert one.dtype == other.dtype
                np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
                np.testing.assert_array_equal(np.signbit(one[one == 0]), np.signbit(other[one == 0]))
                if isinstance(b, tn.Tensor):
                    assert a.requires_grad == b.requires_grad
                    assert a.name == b.name
                if isinstance(b, tn.Tensor) and b.requires_grad:
                    g = np.random.default_rng(2).standard_normal(b.shape)
                    pairs = zip(tn.grad(a, given, g), tn.grad(b, given, g), strict=True)
                    for p, q in pairs:
                        np.testing.assert_allclose(p.data, q.data, rtol=tolerance, atol=tolerance)
    if compiled is not None:
        assert bool(fused.fallbacks) != compiled, fused.fallbacks


SAME: dict[str, tuple[Callable[..., Any], Any]] = {
    "pooled, then normalized": (lambda x: tn.normalize(x.sum(axis=1), "a -> "), X),
    "pooled, then batch norm": (lambda x: tn.batch_norm(x.mean(axis=2)), CUBE),
    "pooled, then softmax": (lambda x: tn.ops.softmax(x.mean(axis=2), axis=1), CUBE),
    "pooled, then centred": (lambda x: (x.sum(1) - x.sum(1).mean()) ** 2, X),
    "or within and": (lambda x: np.where(((x > 0) | (x < -1)) & (x < 0.5), x, 2 * x), X),
    "not of and": (lambda x: np.where(~((x > 0) & (x < 0.5)), x, 2 * x), X),
    "sum of conditions": (lambda x: np.where(((x > 0) + (x > -1)) == (x > -0.5), x, 2 * x), X),
    "largest of conditions": (lambda x: np.where((x > 0).max(axis=1, keepdims=True), x, 2 * x), X),
    "negative base": (lambda x: (-2.0) ** x, np.array([2.0, 4.0])),
    "a power of a power": (lambda x: (abs(x) ** 1.3) ** 0.7, X),
    "a power of powers": (lambda x: (x**x) ** (x**0.5), abs(X) + 1),
    "by minus zero": (lambda x: x / -0.0, X),
    "plus zero": (lambda x: 1 / (x + 0.0), EDGES),
    "a constant that is no number": (lambda x: np.where(x > 0, x, np.nan), X),
    "times no number": (lambda x: x * np.nan, X),
    "times infinity": (lambda x: tn.normalize(x, "n c -> c") * float("inf"), X),
    "constant rows over a zero deviation": (
        lambda x: (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True),
        np.ones((3, 4)),
    ),
    "NumPy's numbers": (lambda x: x.sum(), X),
    "a pair": (lambda x: Pair(x * 2, x.sum(axis=0)), X),
    "detached": (lambda x: [x.detach() * 2 if isinstance(x, tn.Tensor) else x * 2, x * 3], X),
    "a name that is a keyword": (lambda x: tn.named("class", x * 2), X),
    "a name of a loop": (lambda x: tn.named("n", x * 2) + 0.5, X),
    "a name of a function": (lambda x: tn.named("exp", np.exp(x)), X),
    "only repeated": (lambda x: x.sum(axis=0) + np.zeros((4, 6)), X),
    "a product of several sums": (lambda x: (x.sum(0) * x.mean(0) + x.max(0)) * x, X),
}


@pytest.mark.parametrize("name", SAME)
def test_functions(name: str) -> None:
    fn, x = SAME[name]
    assert_same(fn, x)


LARGEST: dict[str, tuple[Callable[..., Any], bool]] = {
    "of an argument": (lambda x: x.max(axis=0) * x, True),
    "of what is exact": (lambda x: x / abs(x).max(axis=1, keepdims=True), True),
    "of a product": (lambda x: (x * (x - x.mean(axis=1, keepdims=True)) / 3).max(axis=1), False),
    "smallest of a norm": (lambda x: tn.layer_norm(x, 6).min(axis=1, keepdims=True) * x, False),
    "as a mask": (lambda x: np.where(x / 3 >= (x / 3).max(axis=1, keepdims=True), x, 0), False),
    "as a distance": (lambda x: abs(x / 3 - (x / 3).max(axis=1, keepdims=True)), False),
    "subtracted alone": (lambda x: tn.ops.log_softmax(x / 3, axis=1), True),
}


@pytest.mark.parametrize("name", LARGEST)
def test_no_value_is_compared_with_the_largest_of_rounded_ones(name: str) -> None:
    """Computed again in the backward pass, a value need not have the bits of the largest that was saved."""
    fn, compiled = LARGEST[name]
    assert_same(fn, X, compiled=compiled)


def exp(x: Any) -> Any:
    return np.exp(x) * 2


def test_functions_called_like_those_in_kernels() -> None:
    assert_same(exp, X, compiled=True)
    assert_same(np.exp, X, compiled=True)
    assert_same(functools.partial(tn.layer_norm, normalized_shape=6), X, compiled=True)


def test_signed_zeros_and_types_tell_constants_apart() -> None:
    fused, x = tn.fuse(lambda x, s: x / s), np.ones(2)
    with np.errstate(all="ignore"):
        assert (fused(x, 0.0) == np.inf).all()
        assert (fused(x, -0.0) == -np.inf).all()
    assert tn.fuse(lambda x, s: x * s)(X.astype("f4"), np.float64(2.5)).dtype == np.float64


SCALE = 2.0


class Scaled:
    scale = 2.0

    def times(self, x: Any) -> Any:
        return x * self.scale


def test_what_is_read_from_elsewhere_is_never_stale() -> None:
    """A number in a list, a global, an attribute, an array without axes; a random number; a count of calls."""
    global SCALE  # noqa: PLW0603 (that is what is tested)
    numbers, array, settings = [2.0], np.array(2.0), Scaled()
    functions = [
        (lambda x: x * numbers[0], lambda value: numbers.__setitem__(0, value)),
        (lambda x: x * array, lambda value: array.__setitem__((), value)),
        (settings.times, lambda value: setattr(settings, "scale", value)),
        (lambda x: x * settings.scale, lambda value: setattr(settings, "scale", value)),
        (lambda x: 0 + settings.times(x), lambda value: setattr(settings, "scale", value)),
    ]
    for fn, change in functions:
        fused = tn.fuse(fn)
        for value in (2.0, 3.0, -0.5):
            change(value)
            np.testing.assert_array_equal(fused(X), X * value)
    by_global = tn.fuse(lambda x: x * SCALE)
    for value in (2.0, 5.0):
        SCALE = value
        np.testing.assert_array_equal(by_global(X), X * value)
    assert not by_global.fallbacks
    with_object = tn.fuse(lambda x, s: x * s.scale)
    for value in (2.0, 7.0):
        settings.scale = value
        np.testing.assert_array_equal(with_object(X, settings), X * value)
    rng, calls = np.random.default_rng(0), []
    random = tn.fuse(lambda x: x * rng.random())
    assert not np.array_equal(random(X), random(X))
    counted = tn.fuse(lambda x: x * float(calls.append(1) or len(calls)))
    assert not np.array_equal(counted(X), counted(X))


@pytest.mark.parametrize(
    "look",
    [
        lambda x: float(np.asarray(x.data).max()), lambda x: float(np.array(x.data)[0, 0]), lambda x: x.data.flat[0],
        lambda x: float(x.data.view(np.ndarray)[0, 0]), lambda x: np.frombuffer(x.data.tobytes())[0],
        lambda x: int(x.data.argmax()), lambda x: complex(x.data.sum()).real, lambda x: x.numpy().mean(),
        lambda x: tn.tensor(x.numpy()).mean().item(), lambda x: 1.0 if x.data.any() else 0.0,
    ],
)  # fmt: skip
def test_values_are_not_looked_at(look: Callable[[Any], float]) -> None:
    fused = tn.fuse(lambda x: x * look(x))
    x = tn.tensor(X)
    np.testing.assert_allclose(fused(x).data, X * look(x))
    assert fused.fallbacks


def test_what_only_arrays_with_values_can_do() -> None:
    fused = tn.fuse(lambda x: x * getattr(x, "ctypes", x).shape[0])
    np.testing.assert_array_equal(fused(X), X * X.ctypes.shape[0])


def test_a_function_that_catches_exceptions() -> None:
    def guarded(x: Any) -> Any:
        try:
            return x * 2 if float(x.mean()) > 100 else x * 3
        except Exception:
            return x * 7

    assert_same(guarded, X, compiled=False)


def test_functions_that_ask_what_needs_a_gradient() -> None:
    def fn(x: Any) -> Any:
        return x * 2 if x.requires_grad else x * 3

    fused = tn.fuse(fn)
    for needed in (True, False, True):
        x = tn.tensor(X, requires_grad=needed)
        np.testing.assert_array_equal(fused(x).data, fn(x).data)
    two = tn.fuse(lambda x, y: (x * 2, y * 3))
    a, b = two(tn.tensor(X, requires_grad=True), tn.tensor(X))
    assert a.requires_grad
    assert not b.requires_grad


def test_results_given_on_the_way_of_a_fallback() -> None:
    fused = tn.fuse(lambda x: np.cumsum(x, axis=1)[0])
    for wrong in (np.zeros((4, 6)), np.zeros(6, np.float32)):
        with pytest.raises(ValueError, match="out= expects"):
            fused(X, out=wrong)
    with pytest.raises(TypeError, match="out= is for arrays"):
        fused(tn.tensor(X), out=np.zeros(6))
    both, out = tn.fuse(lambda x: (x * 2, x * 3)), np.zeros_like(X)
    with pytest.raises(ValueError, match="another result"):
        both(X, out=(out, out))


def test_long_functions_fall_back_in_time() -> None:
    def long(x: Any) -> Any:
        for _ in range(300):
            x = x * 1.01 + 0.3
        return x

    def growing(x: Any, w: Any) -> Any:
        y = x
        for _ in range(10):
            y = (y * w + x) * (y - w) + np.tanh(y * w)
        return np.tanh(y)

    def stacked(x: Any) -> Any:
        for _ in range(10):
            x = np.tanh(tn.layer_norm(x, 6)) + x
        return x

    for fn, inputs in ((long, [X]), (growing, [X * 0.1, X[0] * 0.1]), (stacked, [X])):
        start = time.perf_counter()
        assert_same(fn, *inputs, tolerance=1e-8)
        assert time.perf_counter() - start < 30


def test_a_fused_function_can_be_copied() -> None:
    fused = tn.fuse(tn.ops.silu)
    np.testing.assert_array_equal(copy.deepcopy(fused)(X), fused(X))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fused))(X), fused(X))


# Modules.


class Forward(nn.Module):
    """A norm, and any function of the module and its input."""

    def __init__(self, fn: Callable[[Any, Any], Any], norm: nn.Module | None = None) -> None:
        super().__init__()
        self.n = norm or nn.LayerNorm(6, dtype=np.float64)
        self.fn = fn

    def forward(self, x: Any) -> Any:
        return self.fn(self, x)


def pair(fn: Callable[[Any, Any], Any], norm: nn.Module | None = None) -> tuple[Any, Any]:
    model = Forward(fn, norm)
    return model, tn.fuse(copy.deepcopy(model))


def test_gradients_by_results_inside() -> None:
    def both(m: Any, x: Any) -> Any:
        h = m.n(x)
        m.held = h * 2
        return h, m.held + x, tn.ops.relu(m.held) * h

    found = []
    for model in pair(both):
        x = tn.tensor(X, requires_grad=True)
        h, z, r = model(x)
        found.append([*tn.grad((z * X).sum() + (r * X).sum(), [model.held, h, x]), z, r])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b.data, a.data, atol=1e-10)


def test_no_gradient_through_a_norm_that_is_not_recorded() -> None:
    def partly(m: Any, x: Any) -> Any:
        with tn.no_grad():
            h = m.n(x)
        return h * 2 + x

    for model in pair(partly):
        x = tn.tensor(X, requires_grad=True)
        model(x).backward(X)
        np.testing.assert_allclose(x.grad.data, X)
        assert model.n.weight.grad is None


def test_weights_and_buffers_as_they_are_at_each_line() -> None:
    def rebound(m: Any, x: Any) -> Any:
        h = m.n(x)
        m.n.weight.data = m.n.weight.data * 2
        return h * 1.0

    def read(m: Any, x: Any) -> Any:
        y = m.n(x)
        return y + m.n.running_mean + int(m.n.num_batches_tracked)

    for fn, norm in ((rebound, None), (read, nn.BatchNorm1d(6, dtype=np.float64))):
        model, fused = pair(fn, norm)
        np.testing.assert_allclose(fused(X).data, model(X).data, atol=1e-10)
        assert np.array_equal(fused.n.weight.data, model.n.weight.data)


def test_running_statistics_move_though_what_follows_fails() -> None:
    def failing(m: Any, x: Any) -> Any:
        m.n(x)
        raise RuntimeError("what follows")

    model, fused = pair(failing, nn.BatchNorm1d(6, dtype=np.float64))
    for each in (model, fused):
        with pytest.raises(RuntimeError, match="what follows"):
            each(X)
    np.testing.assert_allclose(fused.n.running_mean, model.n.running_mean)
    assert fused.n.num_batches_tracked == 1


def test_names_and_infinite_factors() -> None:
    model, fused = pair(lambda m, x: m.n(x))
    assert fused(X).name == model(X).name
    model, fused = pair(lambda m, x: m.n(x) * float("inf"))
    with np.errstate(all="ignore"):
        for each in (model, fused):
            each(tn.tensor(X)).backward(X)
    np.testing.assert_array_equal(np.isnan(fused.n.weight.grad.data), np.isnan(model.n.weight.grad.data))


def test_a_factor_that_changes_does_not_gather_functions() -> None:
    _, fused = pair(lambda m, x: m.n(x) * m.factor)
    for i in range(300):
        fused.factor = 1.0 + i
        fused(X)
    assert len(fused.fuser.functions) <= 256
