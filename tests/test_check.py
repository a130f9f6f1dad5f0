"""The checks: right gradients pass at any scale, every mutant is rejected with true numbers."""

from itertools import product

import mpmath
import norm_mutants
import numpy as np
import pytest
from norm_mutants import EPS, FAULTS, NORMS, SHAPE
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_norm as tn
from tests.sampling import one_in
from tinygrad_norm import GradientMismatch, check_backward, check_gradients
from tinygrad_norm.check import Verdict
from tinygrad_norm.check.oracle import complex_step
from tinygrad_norm.engine.recording import is_examined

# At one point that cannot be judged there is a verdict, which the tests look at, and a warning.
pytestmark = pytest.mark.filterwarnings("ignore::tinygrad_norm.check.UncheckedGradient")
every_norm = pytest.mark.parametrize("norm", NORMS)
OURS = {
    "batch": lambda x, w, b: tn.batch_norm(x, weight=w, bias=b, eps=EPS),
    "layer": lambda x, w, b: tn.layer_norm(x, 3, w, b, eps=EPS),
    "instance": lambda x, w, b: tn.instance_norm(x, weight=w, bias=b, eps=EPS),
    "group": lambda x, w, b: tn.group_norm(x, 2, w, b, eps=EPS),
    "rms": lambda x, w, b: tn.rms_norm(x, 3, w, eps=EPS),
}


def random(*shape, seed=0, scale=1.0):
    return scale * np.random.default_rng(seed).normal(size=shape)


def inputs(seed=0, scale=1.0):
    return random(*SHAPE, seed=seed, scale=scale), random(SHAPE[1], seed=[seed, 1]), random(SHAPE[1], seed=[seed, 2])


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("seed", one_in(3, range(3)))
def test_the_norms_pass_at_every_scale_also_with_the_seed_of_the_data(name, scale, seed):
    """With a cotangent equal to x the true gradient would vanish, and with it the check."""
    parameters = 3 if name in ("layer", "rms") else SHAPE[1]
    x = random(*SHAPE, seed=seed, scale=scale)
    wanted = (x, random(parameters, seed=[seed, 1]), random(parameters, seed=[seed, 2]))
    fn = OURS[name] if name != "rms" else lambda x, w: OURS[name](x, w, None)
    report = check_gradients(fn, *wanted[: 2 if name == "rms" else 3], seed=seed)
    assert report.oracle == "complex step"
    assert report.largest_relative_error < 1e-10
    assert report.elements == report.elements_checked == sum(v.size for v in wanted[: 2 if name == "rms" else 3])


@every_norm
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("oracle", ["auto", "complex", "differences"])
def test_right_backwards_by_hand_pass(norm, scale, oracle):
    report = check_backward(
        norm_mutants.forward(norm), norm_mutants.backward(norm), *inputs(scale=scale), oracle=oracle, seed=0
    )
    assert report.largest_relative_error < (1e-6 if oracle == "differences" else 1e-10)
    assert report.oracle == ("central differences" if oracle == "differences" else "complex step")


@pytest.mark.parametrize(
    ("fault", "norm", "oracle", "seed"), one_in(17, product(FAULTS, NORMS, ("complex", "differences"), range(3)))
)
def test_every_mutant_is_rejected(norm, fault, oracle, seed):
    """At a spread of a tenth, where eps = 1e-3 is a part of the variance that can be seen."""
    which = 2 if fault == "missing unbroadcast sum" else {"dγ": 1, "dβ": 2}.get(fault[:2], 0)
    points = inputs(seed, scale=0.1)
    name = ("x", "weight", "bias")[which]
    with pytest.raises(GradientMismatch, match=f"the gradient of {name} ") as error:
        check_backward(
            norm_mutants.forward(norm), norm_mutants.backward(norm, fault), *points, oracle=oracle, seed=seed
        )
    if fault == "missing unbroadcast sum":
        assert f"shape {SHAPE}, but the input has shape (4,)" in str(error.value)
        assert error.value.report.verdict is Verdict.WRONG_SHAPE
    else:
        assert error.value.report.verdict is Verdict.WRONG_VALUE
    assert error.value.report.input == which


@pytest.mark.parametrize(
    ("norm", "which", "scale"), one_in(7, product(NORMS, ("mean", "variance", "both"), (1e-3, 1.0, 1e3)))
)
def test_detached_statistics_are_rejected(norm, which, scale):
    with pytest.raises(GradientMismatch):
        check_gradients(norm_mutants.detached(norm, which), random(*SHAPE, scale=scale), seed=0)


@every_norm
def test_what_is_not_wrong_to_first_order_passes(norm):
    """A mean detached inside the variance alone: deviations sum to zero, so its route carries nothing."""
    check_gradients(norm_mutants.detached(norm, "nothing"), random(*SHAPE), seed=0)
    check_gradients(norm_mutants.detached(norm, "mean inside the variance"), random(*SHAPE), seed=0)


def test_a_cotangent_of_ones_would_accept_dx_zero():
    """The reason for random cotangents: normalized outputs sum to zero, so with ones dx = 0 is not even wrong."""
    x, index = random(6, 3), np.eye(18).reshape(18, 6, 3)
    slopes = {}
    for name, cotangent in (("ones", np.ones((6, 3))), ("random", random(6, 3, seed=4))):
        slopes[name] = [complex_step(tn.batch_norm, [x], 0, direction, cotangent) for direction in index]
        assert_allclose(tn.vjp(tn.batch_norm, x)[1](cotangent).ravel(), slopes[name], atol=1e-13)
    assert_allclose(slopes["ones"], 0, atol=1e-14)
    assert np.abs(slopes["random"]).max() > 0.1
    with pytest.raises(GradientMismatch, match="the gradient of x"):
        check_backward(tn.batch_norm, lambda g, x: np.zeros_like(x), x, seed=0)


def test_a_gradient_that_vanishes_by_cancellation_is_right():
    """Of a bias before a norm, and of the sum of what a norm gives: both sides are rounding noise."""
    x, b = random(6, 3), random(3, seed=1)
    for oracle in ("complex", "differences"):
        for seed in range(3):
            check_gradients(lambda b: tn.batch_norm(b + x), b, oracle=oracle, seed=seed)
            check_gradients(lambda x: tn.batch_norm(x).sum(), x, oracle=oracle, seed=seed)


@pytest.mark.parametrize("oracle", ["complex", "differences"])
@pytest.mark.parametrize("seed", one_in(3, range(3)))
def test_the_blame_falls_on_the_input_that_is_wrong(oracle, seed):
    """Not on one before it whose gradient is null, where noise over noise is a large relative error."""
    x, b = random(6, 3), random(3, seed=1)

    def backward(g, b, x):
        db, dx = tn.vjp(lambda b, x: tn.batch_norm(b + x), b, x)[1](g)
        return db, dx * (1 + 5e-6)

    with pytest.raises(GradientMismatch, match="the gradient of x ") as error:
        check_backward(lambda b, x: tn.batch_norm(b + x), backward, b, x, oracle=oracle, seed=seed)
    assert error.value.report.input == 1


@pytest.mark.parametrize("oracle", ["complex", "differences"])
def test_the_message_names_input_index_and_both_values(oracle):
    """The numbers are re-computed: with cotangent g, d(g tanh(a) b)/db = g tanh(a)."""
    a, b = random(3, 2), random(3, 2, seed=1)

    def backward(g, a, b):
        wrong = g * np.tanh(a)
        wrong[2, 1] *= 1.5
        return g * b * (1 - np.tanh(a) ** 2), wrong

    with pytest.raises(GradientMismatch, match=r"the gradient of b is wrong[^Q]*b +3×2 +\[2, 1\] ") as error:
        check_backward(lambda a, b: np.tanh(a) * b, backward, a, b, oracle=oracle, seed=3)
    report = error.value.report
    want = report.cotangent[2, 1] * np.tanh(a[2, 1])
    assert (report.input, report.index) == (1, (2, 1))
    assert_allclose([report.got, report.want], [1.5 * want, want], rtol=1e-9)
    assert_allclose(report.largest_relative_error, abs(want / 2) / abs(report.cotangent * np.tanh(a)).max(), rtol=1e-7)
    assert report.oracle in str(error.value)
    assert isinstance(error.value, AssertionError)


def test_kinks_are_left_alone_and_elsewhere_kinked_functions_pass():
    x = random(4, 3)
    x = x + np.sign(x) * 0.1
    for fn in (
        tn.ops.relu,
        np.abs,
        lambda x: np.maximum(x, 0.3 * x),
        lambda x: np.clip(x, -9, 9),
        lambda x: x.max(axis=1),
    ):
        assert check_gradients(fn, x, seed=0).largest_relative_error < 1e-6


@pytest.mark.parametrize("oracle", ["auto", "differences"])
def test_functions_that_are_not_analytic_fall_back_to_differences(oracle):
    """Each of these misleads or stops a complex step."""
    forwards = {
        "modulus": (lambda x: np.abs(x) ** 2, lambda g, x: 2 * g * x),
        "conjugate": (lambda x: x * np.conj(x), lambda g, x: 2 * g * x),
        "real part": (lambda x: np.real(x) ** 3, lambda g, x: 3 * g * x**2),
        "refuses": (lambda x: np.square([[float(v) for v in row] for row in x.tolist()]), lambda g, x: 2 * g * x),
        "norm": (lambda x: np.sqrt(np.linalg.norm(x) ** 2), lambda g, x: g * x / np.linalg.norm(x)),
    }
    x = random(3, 2)
    for forward, backward in forwards.values():
        report = check_backward(forward, backward, x, oracle=oracle, seed=0)
        assert report.oracle == "central differences"
        assert report.largest_relative_error < 1e-6
        with pytest.raises(GradientMismatch, match="central differences"):
            check_backward(forward, lambda g, x, b=backward: b(g, x) * 1.001, x, oracle=oracle, seed=0)


def test_functions_that_cast_to_real_fall_back_in_silence():
    """NumPy warns of a discarded imaginary part; the attempt is the checker's, so nobody else should hear of it."""
    report = check_backward(lambda x: x.astype(float) ** 2, lambda g, x: 2 * g * x, random(3, 2), seed=0)
    assert report.oracle == "central differences"


def test_the_oracle_can_be_chosen_and_a_forced_complex_step_trusts_you():
    x = random(3)
    assert check_gradients(np.exp, x, oracle="complex", seed=0).oracle == "complex step"
    assert check_gradients(np.exp, x, oracle="differences", seed=0).oracle == "central differences"
    with pytest.raises(GradientMismatch):
        check_backward(lambda x: x * np.conj(x), lambda g, x: 2 * g * x, x, oracle="complex", seed=0)
    for check in (lambda **k: check_gradients(np.exp, x, **k), lambda **k: check_backward(np.exp, np.exp, x, **k)):
        with pytest.raises(ValueError, match="'auto', 'complex', 'differences' or a function, not 'magic'"):
            check(oracle="magic")


@pytest.mark.parametrize("oracle", ["complex", "differences"])
def test_oracles_agree_with_fifty_digits(oracle):
    """log-sum-exp, whose gradient is softmax; got, want and mpmath are three computations."""
    x = random(5)

    def backward(g, x):
        with mpmath.workdps(50):
            exponentials = [mpmath.exp(mpmath.mpf(v)) for v in x.tolist()]
            return float(g) * np.array([float(e / sum(exponentials)) for e in exponentials])

    report = check_backward(lambda x: np.log(np.sum(np.exp(x))), backward, x, oracle=oracle, seed=0)
    assert report.largest_relative_error < (1e-14 if oracle == "complex" else 1e-9)


def test_inputs_are_not_changed_and_cannot_be():
    points = inputs()
    before = [x.copy() for x in points]

    for oracle in ("complex", "differences"):
        check_backward(norm_mutants.forward("batch"), norm_mutants.backward("batch"), *points, oracle=oracle, seed=0)
    for x, old in zip(points, before, strict=True):
        assert x.flags.writeable
        assert_array_equal(x, old)

    def meddles(g, x):
        x += 1
        return g * 1

    def meddles_with_g(g, x):
        g *= 2
        return g * 0.5

    for backward, words in ((meddles, "changes x in place"), (meddles_with_g, "changes the cotangent in place")):
        with pytest.raises(GradientMismatch, match=words) as error:
            check_backward(lambda x: x * 1, backward, random(2), seed=0)
        assert error.value.report.verdict is Verdict.MUTATES_INPUT


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("oracle", ["complex", "differences"])
def test_a_gradient_that_is_not_finite_is_a_mismatch(poison, oracle):
    def backward(g, x):
        dx = 2 * g * x
        dx[1] = poison
        return dx

    with pytest.raises(GradientMismatch, match=rf"is not finite[^Q]*\[1\] +{poison}"):
        check_backward(lambda x: x * x, backward, random(3), oracle=oracle, seed=0)


def test_an_unsteady_gradient_is_no_excuse_for_itself():
    """What rounding may explain is the oracle's to say: a gradient that changes with every call is not right."""
    rng, x = np.random.default_rng(1), random(6, 3)

    def by_cancellation(g, x):
        """A variance computed as E[x²] - E[x]², where x is 1e7 and its spread 1."""
        mean = x.mean(axis=0)
        inverse = 1 / np.sqrt(np.abs((x * x).mean(axis=0) - mean * mean) + EPS)
        y = (x - mean) * inverse
        return (g - g.mean(axis=0) - y * (g * y).mean(axis=0)) * inverse

    for fn, backward, point in (
        (np.tanh, lambda g, x: rng.normal(size=x.shape), x),
        (np.tanh, lambda g, x: g * (1 - np.tanh(x) ** 2) * (rng.random(x.shape) < 0.9), x),
        (lambda x: tn.batch_norm(x, eps=EPS), by_cancellation, x + 1e7),
    ):
        with pytest.raises(GradientMismatch):
            check_backward(fn, backward, point, seed=0)


def test_a_function_that_is_not_finite_is_a_mismatch_not_a_pass():
    with np.errstate(all="ignore"), pytest.raises(GradientMismatch):
        check_backward(np.log, lambda g, x: g / x, np.array([1.0, -1.0]), oracle="differences", seed=0, strict=True)


def test_shapes_and_numbers_of_gradients():
    x = random(3, 2)
    with pytest.raises(GradientMismatch, match="expected 2 gradients, one for each input, got 1"):
        check_backward(lambda a, b: a * b, lambda g, a, b: g * b, x, x, seed=0)
    with pytest.raises(GradientMismatch, match=r"shape \(2, 3\), but the input has shape \(3, 2\)"):
        check_backward(lambda a: a * 2, lambda g, a: 2 * g.T, x, seed=0)
    for check in (lambda: check_gradients(np.exp), lambda: check_backward(np.exp, np.exp)):
        with pytest.raises(ValueError, match="at least one input"):
            check()
    for scalar in (np.float64(2.0), tn.tensor(2.0)):
        assert check_gradients(lambda x: x * x, scalar, seed=0).index == ()


def test_low_precision_is_checked_in_float64():
    for dtype in (np.float32, np.float16):
        kinds = []
        check_gradients(lambda x, k=kinds: [k.append(x.dtype), x * x][1], np.array([1, 2, 3], dtype), seed=0)
        # In the given dtype only to see that gradients keep it.
        assert {kind.kind for kind in kinds if kind != dtype} <= {"f", "c"}
        assert all(kind.itemsize // (2 if kind.kind == "c" else 1) == 8 for kind in kinds if kind != dtype)


def test_seeds_make_checks_repeatable_and_none_draws_afresh():
    def cotangent(seed, x):
        seen = []
        check_backward(lambda x: x * x, lambda g, x: [seen.append(g), 2 * g * x][1], x, seed=seed)
        return seen[0]

    drawn = [cotangent(seed, random(4)) for seed in (5, 5, 6, None, None)]
    assert_array_equal(drawn[0], drawn[1])
    assert len({tuple(g) for g in drawn}) == 4
    for seed in range(5):  # never the numbers that the data were made of
        assert not np.allclose(cotangent(seed, random(4, seed=seed)), random(4, seed=seed))


@pytest.mark.parametrize("seed", one_in(4, range(4)))
def test_of_large_inputs_256_entries_are_checked_and_all_others_along_one_direction(seed):
    x = random(30, 20)
    report = check_gradients(lambda x, b: x * b, x, random(20, seed=1), seed=seed)
    assert (report.elements, report.elements_checked, report.projected) == (620, 276, 600)
    last = np.arange(600).reshape(x.shape) == 599
    with pytest.raises(GradientMismatch) as error:
        check_backward(lambda x: x * 1, lambda g, x: np.where(last, -g, g), x, seed=seed)
    assert error.value.report.index == (29, 19)


def test_functions_without_inputs_effect_and_empty_inputs():
    report = check_gradients(lambda x: tn.tensor([1.0, 2.0]), random(3), seed=0)
    assert (report.largest_relative_error, report.elements_checked) == (0, 3)
    assert check_gradients(lambda x: x * 2, np.zeros((0, 3)), seed=0).elements == 0
    with pytest.raises(GradientMismatch):
        check_backward(lambda x: np.array([1.0, 2.0]), lambda g, x: np.full(3, 1e-3), random(3), seed=0)


def test_layers_know_that_they_are_being_examined():
    seen = []
    check_gradients(lambda x: [seen.append(is_examined()), x * 2][1], random(2), seed=0)
    assert set(seen) == {True}
    assert not is_examined()
    with pytest.raises(ZeroDivisionError):
        check_gradients(lambda x: 1 // 0, random(2), seed=0)
    assert not is_examined()
