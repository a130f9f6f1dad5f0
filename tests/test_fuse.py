"""`fuse`: what is compiled is the composition, in values and gradients; what is not falls back, and is counted."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_norm as tn
from tests.fused_cases import CASES, IMAGES, ROWS, C, Case, inputs_for
from tinygrad_norm.engine.tensor import backpropagate
from tinygrad_norm.fusing.run import Fused

pytest.importorskip("numba", reason="fuse compiles with numba, which the extra `compile` installs")

TOLERANCE = {"float32": 2e-6, "float64": 1e-13}
EACH = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
NORM = CASES["batch norm, images"]


def leaves_for(case: Case, dtype: str = "float32") -> list[tn.Tensor]:
    return [tn.tensor(x, requires_grad=True) for x in inputs_for(case, dtype)]


def cotangent(y: Any, seed: int = 7) -> Any:
    return np.random.default_rng(seed).standard_normal(y.shape).astype(y.dtype)


def close(ours: Any, theirs: Any, tolerance: float | None = None) -> None:
    """Assert that arrays, or Tensors, are the same to rounding, in shape and dtype, too."""
    a, b = (x.data if isinstance(x, tn.Tensor) else np.asarray(x) for x in (ours, theirs))
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    tolerance = TOLERANCE[str(b.dtype)] if tolerance is None else tolerance
    assert abs(a - b).max(initial=0) <= tolerance * max(abs(b).max(initial=0), 1e-3)


# What is compiled.


@DTYPES
@EACH
def test_values_and_gradients_are_the_compositions(case: Case, dtype: str) -> None:
    fused, leaves = tn.fuse(case.fn), leaves_for(case, dtype)
    y, z = fused(*leaves), case.fn(*leaves)
    close(y, z)
    for ours, theirs in zip(tn.grad(y, leaves, cotangent(y)), tn.grad(z, leaves, cotangent(y)), strict=True):
        close(ours, theirs)
    assert not fused.fallbacks
    assert y.node.primitive.name == fused.__name__


@EACH
def test_sweeps(case: Case) -> None:
    """Two sweeps backward, where papers derive them by hand; three forward, where a variance needs its mean."""
    for dtype, more in (("float32", 0), ("float64", 1)):
        fused = tn.fuse(case.fn)
        fused(*inputs_for(case, dtype))
        sweeps = fused.sweeps
        corrected = more if "first_" in fused.source else 0
        assert sweeps.forward.sweeps == case.forward + corrected
        assert sweeps.backward.sweeps == case.backward
        assert sweeps.forward.least <= sweeps.forward.fused
        assert sweeps.backward.least <= sweeps.backward.fused <= sweeps.backward.composition


def test_arrays_read_and_written_by_batch_norm() -> None:
    sweeps = tn.fuse(tn.batch_norm).sweeps
    assert (sweeps.forward.reads, sweeps.forward.writes) == ({"x": 3}, {"y": 1})
    assert (sweeps.backward.reads, sweeps.backward.writes) == ({"x": 2, "g_y": 2}, {"g_x": 1})
    assert (sweeps.forward.composition, sweeps.backward.composition) == (12, 25)
    assert "backward  2" in str(sweeps)


@DTYPES
@EACH
def test_several_threads_compute_the_same(case: Case, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinygrad_norm.fusing.kernels._WORTH_SHARING", 1)
    alone, shared, leaves = tn.fuse(case.fn), tn.fuse(case.fn, threads=3), leaves_for(case, dtype)
    y, z = alone(*leaves), shared(*leaves)
    close(z, y)
    for ours, theirs in zip(tn.grad(z, leaves, cotangent(y)), tn.grad(y, leaves, cotangent(y)), strict=True):
        close(ours, theirs)


@EACH
def test_higher_derivatives_are_the_compositions(case: Case) -> None:
    """To any order, and bit for bit: under ``create_graph`` it is the composition that is differentiated."""
    leaves = leaves_for(case, "float64")
    found = []
    for fn in (tn.fuse(case.fn), case.fn):
        y = fn(*leaves)
        first = tn.grad(y, leaves, cotangent(y), create_graph=True)
        weighted = [(g * cotangent(g, 1)).sum() for g in first if g.requires_grad]
        second = tn.grad(sum(weighted), leaves) if weighted else []
        found.append([*first, *second])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours.data, theirs.data)


def test_third_derivatives_and_hessians() -> None:
    def fn(x: Any) -> Any:
        return (tn.layer_norm(x, 3) ** 3).sum()

    x, v = np.random.default_rng(0).standard_normal((2, 2, 3))
    close(tn.hvp(tn.fuse(fn), x, v), tn.hvp(fn, x, v))
    close(tn.jacobian(tn.fuse(tn.ops.softmax), x), tn.jacobian(tn.ops.softmax, x))


def test_what_is_given_is_what_comes_back() -> None:
    """Arrays for arrays, Tensors for Tensors, several results as the function returns them."""
    fused, (x, w, b) = tn.fuse(NORM.fn), inputs_for(NORM, "float32")
    assert type(fused(x, w, b)) is np.ndarray
    assert type(fused(tn.tensor(x), w, b)) is tn.Tensor
    assert not fused(tn.tensor(x), w, b).requires_grad
    layer = tn.nn.LayerNorm(5)
    always = tn.fuse(lambda x, w: layer(x) if w is None else tn.tensor(0.0) + tn.layer_norm(x, 5, w))
    assert type(always.fn(x, np.ones(5, np.float32))) is type(always(x, np.ones(5, np.float32)))
    both = tn.fuse(lambda x: [tn.normalize(x, "n c h w -> c"), x.mean((0, 2, 3))])
    assert isinstance(both(x), list)
    assert len(both(x)) == 2
    assert not fused.fallbacks


def test_statistics_have_gradients_of_their_own() -> None:
    fused = tn.fuse(lambda x, w, b: tn.batch_norm(x, weight=w, bias=b, return_statistics=True))
    leaves = leaves_for(NORM)
    ours, theirs = fused(*leaves), fused.fn(*leaves)
    for a, b in zip(ours, theirs, strict=True):
        close(a, b)
        for p, q in zip(tn.grad(a, leaves, cotangent(a)), tn.grad(b, leaves, cotangent(a)), strict=True):
            close(p, q)
    total, other = (sum((part * cotangent(part)).sum() for part in each) for each in (ours, theirs))
    for p, q in zip(tn.grad(total, leaves), tn.grad(other, leaves), strict=True):
        close(p, q)
    assert not fused.fallbacks


def test_only_what_is_wanted_is_computed() -> None:
    fused, (x, w, b) = tn.fuse(NORM.fn), leaves_for(NORM)
    frozen = tn.tensor(x.data)
    y, z = fused(frozen, w, b), NORM.fn(frozen, w, b)
    for ours, theirs in zip(tn.grad(y, [w, b], cotangent(y)), tn.grad(z, [w, b], cotangent(y)), strict=True):
        close(ours, theirs)
    y.backward(cotangent(y))
    assert frozen.grad is None
    (launch, _) = next(iter(y.node.static["one"].call.plan._backward.values()))
    assert set(launch.kernel.outputs) == {"g_weight", "g_bias"}


def test_one_tensor_given_twice_and_inputs_that_depend_on_each_other() -> None:
    def fn(a: Any, b: Any) -> Any:
        return tn.layer_norm(a * b, 6) + b

    fused, x = tn.fuse(fn), tn.tensor(inputs_for(Case(fn, (ROWS,), 0, 0), "float64")[0], requires_grad=True)
    for second in (x, np.tanh(x)):
        y, z = fused(x, second), fn(x, second)
        close(tn.grad(y, x, cotangent(y)), tn.grad(z, x, cotangent(y)))
        ours, theirs = (tn.grad(out, x, cotangent(y), create_graph=True) for out in (y, z))
        close(ours, theirs)
        close(tn.grad(ours, x, cotangent(x)), tn.grad(theirs, x, cotangent(x)))


def test_gradients_own_their_memory_and_a_graph_can_be_walked_again() -> None:
    fused, leaves = tn.fuse(NORM.fn), leaves_for(NORM)
    y = fused(*leaves)
    g = cotangent(y)
    first, second = (tn.grad(y, leaves, g) for _ in range(2))
    arrays = [a.data for a in (*first, *second)]
    for i, a in enumerate(arrays):
        assert a.base is None
        assert not any(np.shares_memory(a, b) for b in (*arrays[:i], g, y.data, *(x.data for x in leaves)))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.data, b.data)
    y.backward(g)
    y.backward(g)
    close(leaves[0].grad, first[0] * 2)


def test_an_array_that_is_changed_later_does_not_reach_the_gradient() -> None:
    fused, (x, w, b) = tn.fuse(NORM.fn), inputs_for(NORM, "float32")
    weight = tn.tensor(w, requires_grad=True)
    y, z = fused(x, weight, b), NORM.fn(x, weight, b)
    wanted = tn.grad(z, weight, cotangent(y))
    x[:] = 0
    close(tn.grad(y, weight, cotangent(y)), wanted)


def test_new_data_in_a_leaf_does_not_reach_the_gradient() -> None:
    fused, leaves = tn.fuse(NORM.fn), leaves_for(NORM)
    y, z = fused(*leaves), NORM.fn(*leaves)
    wanted = tn.grad(z, leaves, cotangent(y))
    leaves[1].data = leaves[1].data * 3
    close(tn.grad(y, leaves, cotangent(y))[0], wanted[0])
    with pytest.raises(RuntimeError, match="new data"):
        tn.grad(y, leaves, cotangent(y), create_graph=True)


def test_a_visitor_is_told_each_operand() -> None:
    fused, leaves = tn.fuse(NORM.fn), leaves_for(NORM)
    y, seen = fused(*leaves), []
    backpropagate([(y, cotangent(y))], visit=lambda node, operand, g: seen.append((node, operand, g.shape)))
    assert [(operand, shape) for _, operand, shape in seen] == [(i, x.shape) for i, x in enumerate(leaves)]


def test_checkers_see_the_kernel() -> None:
    x = np.random.default_rng(0).standard_normal((5, 4))
    assert tn.check_gradients(tn.fuse(lambda x: tn.layer_norm(x, 4)), x)
    fused = tn.fuse(lambda x: tn.layer_norm(x, 4))
    fused(tn.tensor(x, requires_grad=True))
    plan = fused.latest().plan
    right = plan.backward
    plan.backward = lambda *args: [g * 1.01 for g in right(*args)]
    with pytest.raises(tn.GradientMismatch):
        tn.check_gradients(fused, x)


def test_nothing_is_recorded_where_nothing_is_wanted() -> None:
    fused, leaves = tn.fuse(NORM.fn), leaves_for(NORM)
    with tn.no_grad():
        assert not fused(*leaves).requires_grad
    assert fused(*leaves).requires_grad
    assert fused(*[x.detach() for x in leaves]).node is None


# Given results, constants, shapes.


def test_results_can_be_given() -> None:
    fused, arrays = tn.fuse(NORM.fn), inputs_for(NORM, "float32")
    out = np.empty(IMAGES, np.float32)
    assert fused(*arrays, out=out) is out
    np.testing.assert_array_equal(out, fused(*arrays))
    for wrong in (np.empty(IMAGES), np.empty((2, 2), np.float32), np.empty(IMAGES[::-1], np.float32).T, [out, out]):
        with pytest.raises(ValueError, match="out= expects"):
            fused(*arrays, out=wrong)
    with pytest.raises(ValueError, match="must not share memory"):
        fused(*arrays, out=arrays[0])
    with pytest.raises(TypeError, match="out= is for arrays"):
        fused(*map(tn.tensor, arrays), out=out)
    shut = np.empty(IMAGES, np.float32)
    shut.flags.writeable = False
    with pytest.raises(ValueError, match="writeable"):
        fused(*arrays, out=shut)


def test_a_fallback_fills_given_results_too() -> None:
    fused = tn.fuse(lambda x: x @ x)
    x, out = np.arange(9.0).reshape(3, 3), np.empty((3, 3))
    assert fused(x, out=out) is out
    np.testing.assert_array_equal(out, x @ x)


def test_one_compilation_serves_all_shapes_of_a_structure() -> None:
    from tinygrad_norm.fusing import kernels

    fused = tn.fuse(lambda x, w: tn.layer_norm(x, w.shape, w) / x.shape[0])
    fused(*(np.ones(s, np.float32) for s in ((3, 5), (5,))))
    before = len(kernels._made)
    for n, c in ((4, 7), (20, 30), (200, 11)):
        x, w = (np.random.default_rng(n).standard_normal(s).astype(np.float32) for s in ((n, c), (c,)))
        close(fused(x, w), fused.fn(x, w))
    assert len(kernels._made) == before
    fused(np.ones((3, 5)), np.ones(5))
    assert len(kernels._made) == before + 1


def test_constants_are_part_of_the_call() -> None:
    fused, x = tn.fuse(tn.layer_norm), np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    for eps in (1e-5, 1.0, 1e-3):
        close(fused(x, 4, eps=eps), tn.layer_norm(x, 4, eps=eps))
    power = tn.fuse(lambda x, p: np.abs(x) ** p)
    for p in (1, True, 1.0, 2, 2.5, 3):
        close(power(x, p), np.abs(x) ** p)
    assert not power.fallbacks + fused.fallbacks


def test_names_that_kernels_use_themselves() -> None:
    """As parameters, and as names of Tensors."""
    for names in (
        "n c s",
        "N C x",
        "exp one y",
        "float32 start range",
        "g_x saved_mu x_hat",
        "sum_x count k1",
        "µ lambda_ t",
    ):
        a, b, c = names.split()
        fn = eval(f"lambda {a}, {b}, {c}: layer_norm({a} + {b}, 6, {c})", {"layer_norm": tn.layer_norm})
        fused, xs = tn.fuse(fn), inputs_for(Case(fn, (ROWS, ROWS, C), 0, 0), "float32")
        leaves = [tn.tensor(x, requires_grad=True, name=name) for x, name in zip(xs, (c, a, "y"), strict=True)]
        y, z = fused(*leaves), fn(*leaves)
        close(y, z)
        for ours, theirs in zip(tn.grad(y, leaves, cotangent(y)), tn.grad(z, leaves, cotangent(y)), strict=True):
            close(ours, theirs)
        assert not fused.fallbacks


# What falls back.

CAPTURED = tn.tensor(np.arange(1.0, 7.0), requires_grad=True)


def _branching(x: Any) -> Any:
    return x * 2 if x.mean() > 0 else x * 3


FALLBACKS: dict[str, tuple[Callable[..., Any], Callable[[], list[Any]], str]] = {
    "matrix product": (lambda x: x @ x.T, lambda: [np.ones((3, 4))], "matmul is neither elementwise nor"),
    "an index": (lambda x: x[1:], lambda: [np.ones((3, 4))], "an index"),
    "an if": (_branching, lambda: [np.ones((3, 4))], "a question about values"),
    "a float": (lambda x: x * float(x.sum()), lambda: [np.ones((3, 4))], "a question about values"),
    "a Tensor from elsewhere": (lambda x: x * CAPTURED, lambda: [np.ones((3, 6))], "is not among its arguments"),
    "an array from elsewhere": (lambda x: x * np.arange(6.0), lambda: [np.ones((3, 6))], "is not among its arguments"),
    "two axes that meet": (lambda x: x + x.T, lambda: [np.ones((3, 3))], "combines two axes of one array"),
    "statistics over different axes": (
        lambda x: tn.normalize(tn.normalize(x, "n c -> c"), "n c -> n"),
        lambda: [np.eye(3, 4)],
        "different axes",
    ),
    "a reshape across": (lambda x: x.reshape(3, 4) * 2, lambda: [np.ones((4, 3))], "a reshape cuts"),
    "strided": (lambda x: x * 2, lambda: [np.ones((4, 6))[:, ::2]], "is not in C order"),
    "float16": (lambda x: x * 2, lambda: [np.ones((4, 6), np.float16)], "dtype float16"),
    "integers": (lambda x: x * 2, lambda: [np.ones((4, 6), int)], "dtype int64"),
    "big-endian": (lambda x: x * 2, lambda: [np.ones((4, 6), ">f8")], "dtype >f8"),
    "mixed": (
        lambda x, w: x * w,
        lambda: [np.ones((4, 6)), np.ones(6, np.float32)],
        "float32 and float64 arrays are mixed",
    ),
    "no elements": (lambda x: x * 2, lambda: [np.ones((4, 0))], "an array is empty"),
    "no array": (lambda x: np.float64(x) * 2, lambda: [2.0], "given no array"),
    "a list": (lambda x: np.asarray(x) * 2, lambda: [[1.0, 2.0]], "given no array"),
    "an object": (lambda x, s: x * 2, lambda: [np.ones(3), object()], "neither an array nor a plain constant"),
    "an argument as it is": (lambda x: x, lambda: [np.ones((4, 6))], "unchanged"),
    "steps": (np.floor, lambda: [np.ones((4, 6))], "floor is not among"),
    "a cast": (lambda x: tn.ops.astype(x, np.float64) * 2, lambda: [np.ones(4, np.float32)], "several dtypes"),
    "sorting": (np.sort, lambda: [np.ones(4, np.float32)], "sort"),
}


@pytest.mark.parametrize("name", FALLBACKS)
def test_fallbacks_are_right_and_counted(name: str) -> None:
    fn, given, reason = FALLBACKS[name]
    fused, inputs = tn.fuse(fn), given()
    for _ in range(2):
        ours, theirs = fused(*inputs), fn(*inputs)
        assert type(ours) is type(theirs)
        close(ours, theirs, 0)
    ((why, times),) = fused.fallbacks.items()
    assert reason in why
    assert times == 2
    with pytest.raises(ValueError, match="has compiled nothing"):
        fused.source


def test_a_fallback_has_the_gradients_of_the_composition() -> None:
    fused = tn.fuse(lambda x: x * CAPTURED)
    x = tn.tensor(np.ones((3, 6)), requires_grad=True)
    y = fused(x)
    g = cotangent(y)
    by_x, by_captured = tn.grad(y, [x, CAPTURED], g)
    np.testing.assert_array_equal(by_x.data, g * CAPTURED.data)
    np.testing.assert_allclose(by_captured.data, g.sum(axis=0))


def test_what_a_function_holds_may_change() -> None:
    """So it is no part of a kernel: neither Tensors nor arrays, even of one element."""
    held: list[Any] = []
    fused, x = tn.fuse(lambda x: x * held[0]), np.ones(3)
    for value in (tn.tensor(2.0, requires_grad=True), np.full(1, 2.0), tn.tensor([[2.0]])):
        for times in (1, 3):
            held[:] = [value * times]
            result = fused(x)
            found = result.data if isinstance(result, tn.Tensor) else result
            np.testing.assert_array_equal(found.reshape(-1), 2.0 * times * x)


def test_a_function_that_cannot_be_compiled_backward_falls_back_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from tinygrad_norm.fusing import kernels
    from tinygrad_norm.fusing.unknown import UnfusableError

    fused, leaves = tn.fuse(NORM.fn), leaves_for(NORM)
    y, z = fused(*leaves), NORM.fn(*leaves)

    def refuse(*_: Any) -> Any:
        raise UnfusableError("a reason")

    monkeypatch.setattr(kernels, "scheduled_backward", refuse)
    for ours, theirs in zip(tn.grad(y, leaves, cotangent(y)), tn.grad(z, leaves, cotangent(y)), strict=True):
        close(ours, theirs)
    assert fused.fallbacks == {"backward: a reason": 1}


def test_the_functions_own_errors_come_as_they_are() -> None:
    fused = tn.fuse(tn.layer_norm)
    for args in ((np.ones((3, 4), np.float32), 5), (np.ones((3, 4), np.float32), 4, np.ones(3, np.float32))):
        with pytest.raises(ValueError, match=r"expects|shape") as ours:
            fused(*args)
        with pytest.raises(ValueError, match=r"expects|shape") as theirs:
            tn.layer_norm(*args)
        assert str(ours.value) == str(theirs.value)
    assert not fused.fallbacks


def test_complex_steps_take_the_composition_and_are_no_fallback() -> None:
    fused = tn.fuse(lambda x: tn.layer_norm(x, 4))
    x = np.ones((2, 4)) + 1j * np.arange(4)
    np.testing.assert_array_equal(fused(x), fused.fn(x))
    assert not fused.fallbacks


# Without numba.


def test_without_numba_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinygrad_norm.fusing.api.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"tinygrad_norm\[compile\]"):
        tn.fuse(tn.batch_norm)
    fused, x = tn.fuse(tn.batch_norm, missing="compose"), np.eye(3, dtype=np.float32)
    np.testing.assert_array_equal(fused(x), tn.batch_norm(x))
    assert fused.fallbacks == {"numba is not installed": 1}
    layer = tn.fuse(tn.nn.BatchNorm1d(3), missing="compose")
    assert layer(x).shape == (3, 3)
    with pytest.raises(ValueError, match="missing"):
        tn.fuse(tn.batch_norm, missing="ignore")


def test_what_cannot_be_fused() -> None:
    with pytest.raises(TypeError, match="a function or a Module"):
        tn.fuse(np.ones(3))
    for threads in (0, 1.5, True, "2"):
        with pytest.raises(ValueError, match="threads"):
            tn.fuse(tn.batch_norm, threads=threads)


# The text.


def test_the_source_is_python_that_says_what_the_kernel_does() -> None:
    source = tn.fuse(tn.batch_norm).source
    functions: dict[str, Any] = {}
    from tinygrad_norm.fusing.functions import namespace

    exec(source, names := dict(namespace("float32")))
    functions = {name: names[name] for name in ("batch_norm", "batch_norm_backward")}
    rng = np.random.default_rng(0)
    x, g = (rng.standard_normal((4, 3, 5)).astype(np.float32) for _ in range(2))
    w, b = (rng.standard_normal(3).astype(np.float32) for _ in range(2))
    y, mu, rstd = np.empty_like(x), np.empty_like(w), np.empty_like(w)
    functions["batch_norm"](x, w, b, y, mu, rstd, np.float32(1e-5))
    leaves = [tn.tensor(a, requires_grad=True) for a in (x, w, b)]
    z = tn.batch_norm(leaves[0], weight=leaves[1], bias=leaves[2])
    close(y, z)
    found = np.empty_like(x), np.empty_like(w), np.empty_like(w)
    functions["batch_norm_backward"](x, w, g, mu, rstd, *found)
    for ours, theirs in zip(found, tn.grad(z, leaves, g), strict=True):
        close(ours, theirs, 1e-5)


def test_the_names_of_the_graph_stand_in_the_source() -> None:
    for norm in (tn.batch_norm, tn.layer_norm, tn.instance_norm, tn.group_norm):
        source = tn.fuse(norm).source
        for name in ("x", "weight", "bias", "mu", "var", "rstd", "x_hat", "g_y", "g_x", "eps"):
            assert name in source
        assert max(map(len, source.splitlines())) <= 110


def test_a_box_that_opens() -> None:
    x = tn.tensor(np.eye(3, 4), requires_grad=True, name="x")
    y = np.tanh(tn.fuse(tn.layer_norm)(x, 4))
    shut, opened = tn.draw(y), tn.draw(y, open=True)
    plain = tn.draw(np.tanh(tn.layer_norm(x, 4)), open=True)
    assert [v.symbol for v in shut.graph.vertices] == ["", "fused layer_norm", "tanh"]
    assert [v.symbol for v in opened.graph.vertices] == [v.symbol for v in plain.graph.vertices]
    backward = tn.draw(y, backward=True, open=True)
    assert len(backward.graph.vertices) == len(
        tn.draw(np.tanh(tn.layer_norm(x, 4)), backward=True, open=True).graph.vertices
    )


# Threads and processes.


def test_calls_from_several_threads() -> None:
    fused, found = tn.fuse(lambda x, w: tn.layer_norm(x, w.shape, w)), {}
    rng = np.random.default_rng(0)
    given = {
        i: [rng.standard_normal(s).astype(np.float32) for s in ((30 + i, 8 + i % 3), (8 + i % 3,))] for i in range(8)
    }

    def work(i: int) -> None:
        leaves = [tn.tensor(a, requires_grad=True) for a in given[i]]
        for _ in range(20):
            y = fused(*leaves)
            found[i] = [y, *tn.grad(y, leaves, cotangent(y))]

    threads = [threading.Thread(target=work, args=(i,)) for i in given]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, arrays in given.items():
        leaves = [tn.tensor(a, requires_grad=True) for a in arrays]
        z = fused.fn(*leaves)
        for ours, theirs in zip(found[i], [z, *tn.grad(z, leaves, cotangent(z))], strict=True):
            close(ours, theirs, 1e-5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_computes_on() -> None:
    fused = tn.fuse(lambda x: tn.layer_norm(x, 512), threads=2)
    x = np.random.default_rng(0).standard_normal((256, 512)).astype(np.float32)
    wanted = fused(x)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if np.array_equal(fused(x), wanted) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_nothing_is_loaded_before_it_is_needed() -> None:
    import subprocess

    code = "import sys, tinygrad_norm as tn; tn.fuse(tn.batch_norm).source; print('numba' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
    assert isinstance(tn.fuse(tn.batch_norm), Fused)
