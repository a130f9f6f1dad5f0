"""The right gradients are right, and every mutant has the fault that its verdict names: by a complex step of its own.

Nothing of the package's checker is used here: it is what the mutants judge.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from tests import draws
from tests.draws import Arrays
from tests.familiar_mutants import FAMILIAR
from tests.familiar_mutants import RIGHT as FAMILIAR_RIGHT
from tests.held_out_mutants import HELD_OUT, RIGHT
from tests.sampling import one_in
from tinygrad_norm.check.correct import CORRECT, Array, Case
from tinygrad_norm.check.mutants import FAULTS, MUTANTS, Mutant
from tinygrad_norm.check.strategies import Inputs

DRAWS = 20
STEP = 1e-100
EPSILON = np.finfo(np.float64).eps
drawn = cache(draws.drawn)

every_case = pytest.mark.parametrize("case", CORRECT, ids=lambda case: case.name)


def mutants_that(*verdicts: str) -> Any:
    chosen = [mutant for mutant in (*MUTANTS, *FAMILIAR, *HELD_OUT) if mutant.verdict in verdicts]
    return pytest.mark.parametrize("mutant", one_in(3, chosen), ids=lambda mutant: mutant.name)


def cotangent(y: Array, seed: int = 0) -> Array:
    return np.random.default_rng([seed, y.size]).normal(size=y.shape).astype(y.dtype)


def complex_step(forward: Callable[..., Array], g: Array, xs: Arrays) -> list[Array]:
    """The gradient of <g, forward(*xs)>, an element at a time."""
    gradients = []
    for which, x in enumerate(xs):
        slopes = np.zeros(x.shape)
        for index in np.ndindex(x.shape):
            stepped = [x.astype(complex) for x in xs]
            stepped[which][index] += 1j * STEP
            slopes[index] = np.imag(np.sum(g * forward(*stepped))) / STEP
        gradients.append(slopes)
    return gradients


@cache
def wanted(forward: Callable[..., Array], inputs: Inputs, regime: str = "generic") -> list[tuple[Arrays, Array, Any]]:
    """Inputs, a cotangent, and the gradients."""
    triples = []
    for seed, xs in enumerate(drawn(inputs, DRAWS, regime)):
        g = cotangent(forward(*xs), seed)
        triples.append((xs, g, complex_step(forward, g, xs)))
    return triples


def error(got: Array, want: Array) -> float:
    """The largest error beside the largest element."""
    return float(np.max(np.abs(got - want), initial=0) / (np.max(np.abs(want), initial=0) or 1))


def copies(xs: Arrays) -> Arrays:
    return tuple(np.array(x) for x in xs)


# What is right.


@every_case
def test_right_gradients_agree_with_the_complex_step(case: Case) -> None:
    for xs, g, want in wanted(case.forward, case.inputs):
        assert max(map(error, case.backward(g, *xs), want)) < 1e-9


def test_what_the_held_out_mutants_differ_from_is_right() -> None:
    for (forward, inputs), backward in (*FAMILIAR_RIGHT, *RIGHT):
        for xs, g, want in wanted(forward, inputs):
            assert max(map(error, backward(g, *xs), want)) < 1e-9


@every_case
def test_right_gradients_agree_at_the_edges_to_what_rounding_leaves_of_them(case: Case) -> None:
    """What is uncertain is how far the complex step moves when the inputs change in their last place, or in float32."""
    reliable = 0
    for xs, g, want in wanted(case.forward, case.inputs, "edge_cases"):
        rng = np.random.default_rng(0)
        precision = max(np.finfo(x.dtype).eps for x in xs)
        near = tuple(np.asarray(x.astype(float) * (1 + precision * rng.integers(-4, 5, x.shape))) for x in xs)
        unit = precision * float(np.sum(np.abs(g * case.forward(*xs))))
        for x, got, right, moved in zip(
            xs, case.backward(g, *xs), want, complex_step(case.forward, g, near), strict=True
        ):
            scale = np.max(np.abs(right), initial=0)
            noise = 16 * np.max(np.abs(moved - right), initial=0) + unit / (np.max(np.abs(x), initial=0) or 1)
            assert np.max(np.abs(got - right), initial=0) <= max(1e-9, 1e3 * precision) * scale + 16 * noise
            reliable += noise <= 1e-9 * scale
    assert reliable >= 10


@every_case
@pytest.mark.parametrize("regime", ["generic", "edge_cases"])
def test_right_gradients_behave(case: Case, regime: str) -> None:
    """Shapes and dtypes are the inputs', memory is nobody else's, nothing changes, and nothing depends on the call."""
    for xs, g, _ in wanted(case.forward, case.inputs, regime):
        before = copies((g, *xs))
        gradients = case.backward(g, *xs)
        assert [(d.shape, d.dtype) for d in gradients] == [(x.shape, x.dtype) for x in xs]
        assert all(np.isfinite(d).all() for d in gradients)
        assert all(map(np.array_equal, before, (g, *xs)))
        assert not shares_memory(gradients, (g, *xs))
        assert all(map(np.array_equal, gradients, case.backward(g, *xs)))
        assert not departs_from_linear(case.backward, g, xs)


def test_every_edge_is_drawn_for_the_right_gradients() -> None:
    """Empty batches, sides of 1, strides and float32 are among what the last tests look at."""
    arrays = [xs[0] for case in CORRECT for xs in drawn(case.inputs, DRAWS, "edge_cases")]
    assert {np.dtype(np.float32), np.dtype(np.float64)} == {x.dtype for x in arrays}
    for special in (lambda x: x.size == 0, lambda x: 1 in x.shape, lambda x: x.size > 1 and np.ptp(x) == 0):
        assert sum(map(special, arrays)) >= 10
    assert any(x.size > 1 and not x.flags.contiguous for x in arrays)


# What is wrong.


def shares_memory(gradients: Arrays, others: Arrays) -> bool:
    """Whether an array shares memory with another, or its own elements do."""
    pairs = [(a, b) for i, a in enumerate(gradients) for b in (*gradients[:i], *others)]
    repeated = any(s == 0 and n > 1 for d in gradients if d.size for s, n in zip(d.strides, d.shape, strict=True))
    return repeated or any(np.shares_memory(a, b) for a, b in pairs)


def departs_from_linear(backward: Callable[..., Arrays], g: Array, xs: Arrays) -> bool:
    other = cotangent(g, 1234)
    together = backward(-2 * g - other, *xs)
    apart = [-2 * a - b for a, b in zip(backward(g, *xs), backward(other, *xs), strict=True)]
    tolerance = 1e3 * max(np.finfo(x.dtype).eps for x in xs)
    sizes = [np.max(np.abs(d), initial=0) for d in (*together, *apart)]
    return any(np.max(np.abs(a - b), initial=0) > tolerance * max(sizes) for a, b in zip(together, apart, strict=True))


def test_names_are_unique_and_there_are_enough_of_them() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 150
    assert len({mutant.name for mutant in (*FAMILIAR, *HELD_OUT)}) == len(FAMILIAR) + len(HELD_OUT) >= 75
    assert len(CORRECT) >= 22
    assert {mutant.fault for mutant in MUTANTS} == {fault.name for fault in FAULTS}
    assert {case.name for case in CORRECT} == {mutant.name.split(":")[0] for mutant in MUTANTS}


def test_the_diagnoses_to_be_measured_are_all_there() -> None:
    assert {mutant.expected for mutant in HELD_OUT} == {
        "sign", "factor", "n/(n-1)", "batch size", "mean path", "variance path", "statistics as constants", "eps",
        "wrong axis", "unreduced broadcast", "transposed", "unknown",
    }  # fmt: skip


@mutants_that("WRONG_VALUE")
def test_wrong_values_are_wrong(mutant: Mutant) -> None:
    """By more than 1e-4 in at least 90 % of ordinary draws, and in no other way."""
    wrong = []
    for xs, g, want in wanted(mutant.forward, mutant.inputs):
        backward = mutant.backward
        backward(g, *(1.5 * x + 0.25 for x in xs))  # what a stale one keeps
        got = backward(g, *xs)
        assert [(d.shape, d.dtype) for d in got] == [(x.shape, x.dtype) for x in xs]
        assert not shares_memory(got, (g, *xs))
        assert not departs_from_linear(backward, g, xs)
        wrong.append(max(map(error, got, want)) > 1e-4)
    assert np.mean(wrong) >= 0.9


@mutants_that("WRONG_SHAPE")
def test_wrong_shapes_are_wrong(mutant: Mutant) -> None:
    for xs, g, _ in wanted(mutant.forward, mutant.inputs):
        assert [d.shape for d in mutant.backward(g, *xs)] != [x.shape for x in xs]


@mutants_that("NOT_LINEAR_IN_COTANGENT")
def test_what_is_not_linear_is_not(mutant: Mutant) -> None:
    assert all(departs_from_linear(mutant.backward, g, xs) for xs, g, _ in wanted(mutant.forward, mutant.inputs))


# Right values, and something else.


@mutants_that("ALIASED_GRADIENT", "WRONG_DTYPE", "MUTATES_INPUT", "NAN")
def test_other_mutants_are_right_in_value(mutant: Mutant) -> None:
    """Where they are numbers, and to float32."""
    for xs, g, want in wanted(mutant.forward, mutant.inputs):
        for got, right in zip(mutant.backward(g.copy(), *copies(xs)), want, strict=True):
            assert np.nanmax(np.abs(got - right), initial=0) <= 1e-5 * np.max(np.abs(right), initial=0)


@mutants_that("NAN")
def test_nan_is_returned_at_some_edge(mutant: Mutant) -> None:
    """Where the right gradient is finite, as `test_right_gradients_behave` says."""
    draws = [*wanted(mutant.forward, mutant.inputs), *wanted(mutant.forward, mutant.inputs, "edge_cases")]
    assert any(np.isnan(d).any() for xs, g, _ in draws for d in mutant.backward(g, *xs))


@mutants_that("WRONG_DTYPE")
def test_wrong_dtypes_are_wrong_for_float32_or_float64(mutant: Mutant) -> None:
    for xs, g, _ in wanted(mutant.forward, mutant.inputs):
        right = []
        for dtype in (np.float32, np.float64):
            gradients = mutant.backward(g.astype(dtype), *(x.astype(dtype) for x in xs))
            right.append(all(d.dtype == dtype for d in gradients))
        assert sorted(right) == [False, True]


@mutants_that("MUTATES_INPUT")
def test_what_mutates_does(mutant: Mutant) -> None:
    for xs, g, _ in wanted(mutant.forward, mutant.inputs):
        given_arrays = copies((g, *xs))
        mutant.backward(*given_arrays)
        assert not all(map(np.array_equal, given_arrays, (g, *xs)))


@mutants_that("ALIASED_GRADIENT")
def test_what_shares_memory_does(mutant: Mutant) -> None:
    assert all(shares_memory(mutant.backward(g, *xs), (g, *xs)) for xs, g, _ in wanted(mutant.forward, mutant.inputs))


@mutants_that("NONDETERMINISTIC")
def test_what_is_not_deterministic_differs_from_call_to_call_and_not_from_check_to_check(mutant: Mutant) -> None:
    for xs, g, _ in wanted(mutant.forward, mutant.inputs):
        backward, another = mutant.backward, mutant.backward
        first, second = backward(g, *xs), backward(g, *xs)
        assert not all(map(np.array_equal, first, second))
        assert all(map(np.array_equal, first, another(g, *xs)))


def test_what_a_stale_mutant_keeps_does_not_reach_the_next_check() -> None:
    (mutant,) = [mutant for mutant in MUTANTS if mutant.name == "sin: stale inputs"]
    x, y = np.array([[0.0, 1.0]]), np.array([[2.0, 3.0]])
    backward = mutant.backward
    assert np.array_equal(backward(np.ones_like(x), x), backward(np.ones_like(x), y))
    assert np.array_equal(mutant.backward(np.ones_like(y), y)[0], np.cos(y))
