"""The property check: it finds the smallest witness, names the fault, and leaves everything as it was."""

import random as python_random
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import configuration, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_norm as tn
from tests.benchmarks.searches import category
from tests.familiar_mutants import FAMILIAR
from tests.held_out_mutants import HELD_OUT
from tests.sampling import one_in, one_of_each
from tinygrad_norm import GradientMismatch, cli
from tinygrad_norm.check import Verdict, gradient_property, inputs
from tinygrad_norm.check.correct import CORRECT
from tinygrad_norm.check.mutants import MUTANTS
from tinygrad_norm.check.report import MISMATCHES
from tinygrad_norm.check.search import _noting_elsewhere

# At one point that cannot be judged there is a verdict, which the tests look at, and a warning.
pytestmark = pytest.mark.filterwarnings("ignore::tinygrad_norm.check.UncheckedGradient")
EPS = 1e-3


def layer_norm(x, weight, bias):
    centred = x - x.mean(axis=1, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(axis=1, keepdims=True) + EPS) * weight + bias


def without_the_variance_path(g, x, weight, bias):
    centred = x - x.mean(axis=1, keepdims=True)
    inverse = 1 / np.sqrt((centred * centred).mean(axis=1, keepdims=True) + EPS)
    slope = g * weight
    dx = (slope - slope.mean(axis=1, keepdims=True)) * inverse
    return dx, (g * centred * inverse).sum(axis=0), g.sum(axis=0)


def rejected(check, *arguments, **options):
    with pytest.raises(GradientMismatch) as error:
        check(*arguments, **options)
    assert type(error.value) is MISMATCHES[error.value.report.verdict]
    return error.value.report


def settled(check, *arguments, **options):
    """The report, whether it is raised or returned."""
    try:
        return check(*arguments, **options)
    except GradientMismatch as error:
        return error.report


WIDE = inputs("n c", "c", "c", least={"c": 3})


def test_the_report_of_a_wrong_layer_norm_fits_a_screen_and_says_what_to_do():
    report = rejected(tn.check_backward, layer_norm, without_the_variance_path, WIDE, seed=0)
    assert report.verdict is Verdict.WRONG_VALUE
    assert report.regime == "generic"
    (looks,) = report.diagnosis
    assert looks.startswith("the mismatch is parallel to x̂ over axis 1")
    lines = report.text().splitlines()
    assert len(lines) <= 24
    # What is to be pasted makes the failure again.
    code = "\n".join(line.strip() for line in lines if " = np." in line)
    scope = {"np": np}
    exec(code, scope)
    x, weight, bias, g = (scope[name] for name in ("x", "weight", "bias", "g"))
    wrong, right = without_the_variance_path(g, x, weight, bias), tn.vjp(layer_norm, x, weight, bias)[1](g)
    assert np.isclose(wrong[0][report.index], report.got)
    assert np.isclose(right[0][report.index], report.want)
    # As small as it can be: two rows of three, or fewer.
    assert x.size <= 9


@pytest.mark.parametrize("scale", [1.0, 1e4, 1e6])
@pytest.mark.parametrize("seed", one_in(3, range(3)))
def test_the_wrong_layer_norm_is_rejected_at_every_scale(scale, seed):
    x = np.random.default_rng(seed).normal(size=(4, 5)) * scale
    report = rejected(tn.check_backward, layer_norm, without_the_variance_path, x, np.ones(5), np.zeros(5), seed=seed)
    assert report.verdict is Verdict.WRONG_VALUE
    assert "variance" in report.diagnosis[0]


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("offset", [0.0, 1e4, 1e8])
def test_the_right_ones_pass_or_are_lost_in_rounding(scale, offset):
    """Where the offset has eaten the values, nothing is said to have passed."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4, 5)) * scale + offset
    spread_in_ulps = scale / (np.finfo(float).eps * max(offset, scale))
    for fn in (tn.batch_norm, lambda x: tn.layer_norm(x, 5), lambda x: np.var(x, axis=0)):
        if spread_in_ulps > 1e5:
            assert tn.check_gradients(fn, x, seed=0).verdict is Verdict.PASSED
        else:
            verdicts = (Verdict.PASSED, Verdict.VACUOUS, Verdict.ORACLE_UNRELIABLE)
            assert settled(tn.check_gradients, fn, x, seed=0).verdict in verdicts


BIASED = tn.nn.Sequential(tn.nn.Linear(2, 3, rng=0), tn.nn.BatchNorm1d(3), tn.nn.Tanh())
HOSTILE = {
    "subnormal": (lambda x: tn.layer_norm(x, 2), np.full((2, 2), 2e-313)),
    "lost beside a bias": (BIASED, np.array([[4e-23, 0.0], [0.0, 0.0]])),
    "less than a bias's last place": (BIASED, np.full((2, 2), 3e-251)),
    "tiny squares": (np.square, np.full((2, 2), 1.1e-140)),
    "zeros beside millions": (lambda x: tn.rms_norm(x, 2), np.array([[0.0, 0.0], [4e6, 4e6]])),
    "ones beside billions": (lambda x: tn.ops.gelu(x, approximate="tanh"), np.array([3.8e12, 1.0, 1.0])),
    "at kinks, beside billions": (tn.ops.relu, np.array([[4e10, 0.0], [-4e10, 0.0]])),
    "near a kink, beside billions": (tn.ops.relu, np.array([-8e9, 2.0, 6e-5, 6e-5])),
    "zeros beside what has no last places left": (np.tanh, np.array([2.5e16, 0.0, 0.0])),
    "periods beyond the last place": (np.sin, np.full(3, 9e15)),
    "periods within few last places": (np.sin, np.full(3, 3.9e11)),
    "periods that steps jump over": (
        lambda x: abs(np.sin(x)),
        np.array([1611632708589.3, 177018406589.9, -2615507854261.5]),
    ),
    "steps of whole periods": (np.sin, np.array([10000.0, 1885000.0, -3990000.0])),
    "a corner from afar": (
        lambda x: tn.ops.logsumexp(x, -1),
        1e8 + np.array([[3.25, 2.37], [-0.75, -0.12], [-2.25, 1.88], [-3.87, -3.25]]) * 1e-6,
    ),
    "a constant far away": (tn.ops.softmax, np.full((2, 2), 9e16)),
    "saturated": (tn.ops.softmax, np.array([[0.0, 0.0, 38.0], [0.0, 0.0, 373.0]])),
    "reciprocal squares": (lambda x: tn.rms_norm(x, 2), np.full((2, 2), 1e70)),
    "overflowing squares": (lambda x: tn.layer_norm(x, 2), np.array([[0.0, 1.3e308], [0.0, 0.0]])),
    "almost infinite": (np.abs, np.full(2, 1.7e308)),
}


@pytest.mark.parametrize(("fn", "x"), HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("oracle", ["auto", "differences"])
@pytest.mark.parametrize("seed", one_in(3, range(3)))
def test_no_right_gradient_is_rejected_at_any_numbers(fn, x, oracle, seed):
    """Where an oracle cannot know, it says so: steps that are lost, or jump over what is there, are no proof."""
    report = settled(tn.check_gradients, fn, x, oracle=oracle, seed=seed)
    assert report.verdict.name in ("PASSED", "KINK", "VACUOUS", "ORACLE_UNRELIABLE")


@pytest.mark.parametrize(
    "name", ["subnormal", "lost beside a bias", "near a kink, beside billions", "reciprocal squares"]
)
def test_wrong_gradients_are_still_rejected_there(name):
    fn, x = HOSTILE[name]
    backward = lambda g, x: 1.001 * tn.vjp(fn, x)[1](g)  # noqa: E731
    assert rejected(tn.check_backward, fn, backward, x, seed=0).verdict is Verdict.WRONG_VALUE


# By functions of NumPy that take absolute values of complex numbers, or compare them: a complex step lies about these.


def with_variance(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def with_variance_backward(g, x):
    y = with_variance(x)
    inner = (g * y).mean(-1, keepdims=True)
    return (g - g.mean(-1, keepdims=True) - y * inner) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def unit_rows(x):
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def unit_rows_backward(g, x):
    length = np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
    return (g - x / length * (g * x / length).sum(-1, keepdims=True)) / length


def stable_sigmoid(x):
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


NUMPYS = {
    "variance": (with_variance, with_variance_backward),
    "length": (unit_rows, unit_rows_backward),
    "softsign": (lambda x: x / (1 + abs(x)), lambda g, x: g / (1 + abs(x)) ** 2),
    "stable sigmoid": (stable_sigmoid, lambda g, x: g * stable_sigmoid(x) * (1 - stable_sigmoid(x))),
    "float32 inside": (lambda x: (x * x).astype(np.float32), lambda g, x: (2 * g * x).astype(x.dtype)),
    "float32 inside, float64 outside": (
        lambda x: np.tanh(x).astype(np.float32).astype(np.float64),
        lambda g, x: g * (1 - np.tanh(x) ** 2),
    ),
    "complex64 inside": (
        lambda x: (x * x).astype(np.complex64 if np.iscomplexobj(x) else np.float32),
        lambda g, x: (2 * g * x).astype(x.dtype),
    ),
    "stable softplus": (
        lambda x: np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0),
        lambda g, x: g * stable_sigmoid(x),
    ),
    "Cauchy": (lambda x: 1 / (1 + x * x), lambda g, x: -2 * g * x / (1 + x * x) ** 2),
    "rest": (lambda x: x - np.floor(x), lambda g, x: 1 * g),
}


@pytest.mark.parametrize("name", NUMPYS)
@pytest.mark.parametrize("seed", one_in(3, range(3)))
def test_right_gradients_of_what_is_not_analytic_pass(name, seed, budget):
    given = inputs("n c", least={"c": 2})
    assert tn.check_backward(*NUMPYS[name], given, seed=seed, budget=budget).verdict is Verdict.PASSED
    for x in (
        [[0.0, 125000.0]],
        [[1.0], [101.0]],
        [[0.0, 1, 1], [0, 1, 0]],
        [[3.0, 2771913201161.0]],
        [[74008.0, 0, 0]],
        [[1.0, 33752104329.37181]],
        [[1.6868697468997838, 8.809998828648459e-08], [-1.4164966062431262e-08, -6.837081809200701e-08]],
        [[6470482138.0, -827808.0, -57038785038.0], [2e-8, -1.7e-12, 2275020.0]],
        [[31.5, 30.5], [29.5, 31.25]],
        [[-201601571.4883587, -20501588035.467075]],
    ):
        report = settled(tn.check_backward, *NUMPYS[name], np.array(x), seed=seed)
        assert report.verdict.name in ("PASSED", "KINK", "VACUOUS", "ORACLE_UNRELIABLE")


@pytest.mark.parametrize("name", one_in(3, NUMPYS))
def test_wrong_ones_do_not(name):
    forward, backward = NUMPYS[name]
    report = rejected(
        tn.check_backward, forward, lambda g, x: backward(1.01 * g, x), inputs("n c", least={"c": 2}), seed=0
    )
    assert report.verdict is Verdict.WRONG_VALUE


def test_what_the_complex_step_says_of_them_is_rejected():
    """Also of small values beside large ones, which go round as they should."""
    softplus, _ = NUMPYS["stable softplus"]

    def lie(g, x):
        return g * np.imag(softplus(x + 1e-100j)) / 1e-100

    for x in ([0.25, -0.375, 1.5], [0.25, -0.375, 3e6]):
        assert rejected(tn.check_backward, softplus, lie, np.array([x]), seed=0).verdict is Verdict.WRONG_VALUE
    # A hundredth of a slope, which the smallest circle cannot tell from rounding.
    report = rejected(
        tn.check_backward, lambda x: 1e6 + x + 0.01 * abs(x), lambda g, x: 1 * g, np.array([0.25, -0.375, 1.5]), seed=0
    )
    assert report.verdict is Verdict.WRONG_VALUE


def test_the_complex_step_is_kept_where_it_is_right():
    for fn, x in (
        HOSTILE["steps of whole periods"],
        HOSTILE["a corner from afar"],
        (np.sin, np.array([1e9, 1.3e9, -2.7e9])),
        (lambda x: tn.layer_norm(x, 3), 1e6 + np.array([[0.5, -1.0, 0.25], [2.0, 0.75, 0.0]])),
        (lambda x: tn.layer_norm(x, 3, eps=1e-12), 1 + 1e-9 * np.array([[0.5, -1.0, 0.25], [2.0, 0.75, 0.0]])),
    ):
        assert tn.check_gradients(fn, x, seed=0).oracle == "complex step"


def test_inputs_that_are_no_numbers_are_taken():
    x = np.array([1.0, np.nan, 0.5])
    report = settled(
        tn.check_backward, lambda x: np.where(np.isnan(x), 0, x), lambda g, x: np.where(np.isnan(x), 0, g), x, seed=0
    )
    assert report.verdict.name in ("PASSED", "ORACLE_UNRELIABLE")


def test_of_whole_numbers_no_slope_is_found():
    for fn in (np.floor, np.round):
        report = rejected(tn.check_backward, fn, lambda g, x: 0 * g, inputs("n c"), seed=0)
        assert report.verdict in (Verdict.VACUOUS, Verdict.ORACLE_UNRELIABLE)


def test_what_is_wrong_with_the_call_is_said():
    identity = (lambda x: 1 * x, lambda g, x: 1 * g)
    for returned in (None, [1.0], {}, "words", 1j):
        with pytest.raises(TypeError, match="expected an array of real numbers"):
            tn.check_backward(lambda x, r=returned: r, identity[1], np.ones(2))
    with pytest.raises(TypeError, match="expected real inputs, got complex128"):
        tn.check_backward(*identity, np.array([1j]))
    with pytest.raises(ValueError, match="nothing would be checked"):
        tn.check_backward(*identity, np.ones(2), wrt=[])
    with pytest.raises(TypeError, match="expected a function, got 3"):
        tn.check_backward(3, identity[1], np.ones(2))
    assert "None" in rejected(tn.check_backward, identity[0], lambda g, x: None, np.ones(2)).message
    with pytest.raises(ValueError, match="matmul") as error:
        tn.check_backward(lambda x: x @ np.ones((9, 9)), identity[1], inputs("n c"), seed=0)
    assert re.fullmatch(r"raised for inputs float64 \(\d, \d\)", *error.value.__notes__)
    for axes, options in (
        (["n,c"], {}), (["c3!"], {}), (["n"], {"least": {"z": 3}}), (["n"], {"multiples": {"n": 0}}),
        (["n"], {"edges": ("none such",)}), (["n"], {"domains": ("imaginary",)}), (["n"], {"smallest": 5}),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"an axis must|least and|edges must|a domain must|no size lies"):
            inputs(*axes, **options)


def test_gradients_that_refuse_an_edge_and_scalars():
    report = tn.check_backward(lambda x: x * x / 2, lambda g, x: 2 / len(x) * g * x * len(x) / 2, inputs("n c"), seed=0)
    assert any("or its gradient raises ZeroDivisionError" in note for note in report.not_checked)
    assert tn.check_backward(lambda x: 2 * x, lambda g, x: 2 * g, inputs(""), seed=0).verdict is Verdict.PASSED


def test_float32_witnesses_are_pasted_as_what_they_are():
    backward = lambda g, x: g * np.where(x > 0, 1.0, 0.5)  # noqa: E731
    fn = lambda x: np.where(x > 0, x, x / 2)  # noqa: E731
    report = rejected(tn.check_backward, fn, backward, inputs("n c"), seed=0, strict=True)
    assert report.verdict is Verdict.WRONG_DTYPE
    assert report.witness[0].dtype == np.float32
    assert "np.float32)" in report.text()
    # Where the function itself makes float64 of float32, its gradient may.
    two = np.float64(2)
    assert tn.check_backward(lambda x: x * two, lambda g, x: g * two, inputs("n c"), seed=0).verdict is Verdict.PASSED


def test_nothing_is_left_in_the_working_directory(tmp_path):
    code = (
        "import numpy as np, tinygrad_norm as tn; tn.check_gradients(np.tanh, tn.check.inputs('n c'), budget='quick')"
    )
    subprocess.run([sys.executable, "-B", "-c", code], cwd=tmp_path, check=True)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("fn", [tn.ops.relu, lambda x: tn.layer_norm(x, 3), lambda x: np.var(x, axis=0)])
def test_any_finite_floats_may_be_drawn(fn):
    arrays = hnp.arrays(float, (2, 3), elements=st.floats(allow_nan=False, allow_infinity=False))
    settled(tn.check_gradients, fn, arrays, budget="quick", seed=0)


@pytest.mark.parametrize("case", one_in(2, CORRECT), ids=lambda case: case.name)
def test_no_right_gradient_is_rejected(case):
    report = tn.check_backward(case.forward, case.backward, case.inputs, budget="quick", seed=3)
    assert report.verdict is Verdict.PASSED
    assert report.examples >= 45


@pytest.mark.parametrize(
    "mutant", one_of_each(lambda mutant: mutant.verdict, MUTANTS[::7]), ids=lambda mutant: mutant.name
)
def test_known_wrong_gradients_are_rejected_for_what_they_are(mutant):
    report = rejected(tn.check_backward, mutant.forward, mutant.backward, mutant.inputs, seed=1, strict=True)
    assert report.verdict.name == mutant.verdict


@pytest.mark.parametrize("mutant", one_in(9, HELD_OUT), ids=lambda mutant: mutant.name)
def test_mutants_that_were_held_out_are_rejected_too(mutant):
    report = rejected(tn.check_backward, mutant.forward, mutant.backward, mutant.inputs, seed=0)
    assert report.verdict.name == mutant.verdict


@pytest.mark.parametrize(
    "mutant", one_of_each(lambda mutant: mutant.expected, FAMILIAR), ids=lambda mutant: mutant.name
)
def test_familiar_faults_are_called_by_their_names(mutant):
    report = rejected(tn.check_backward, mutant.forward, mutant.backward, mutant.inputs, seed=0)
    assert report.verdict.name == mutant.verdict
    # Twice the projection is no missing path, but the mismatch is parallel to x, as it says.
    expected = "variance path" if mutant.name == "weight norm: projected out twice" else mutant.expected
    assert category(report.diagnosis) == expected


@pytest.mark.parametrize(
    ("of_mean", "of_variance", "words"),
    [
        (0, 1, "the mismatch is constant over axis 1, as when the path through the mean is missing"),
        (-1, 1, "through the mean has the wrong sign"),
        (1, 4 / 3, "the path through the variance is 1.33333 times as large as it should be"),
        (0, 0, "a constant plus a multiple of x̂ over axis 1, as when the statistics are treated as constants"),
        (0.5, 2, "the path through the mean is 0.5 times as large as it should be and the path through the variance"),
    ],
)
def test_the_diagnosis_tells_how_large_a_path_is(of_mean, of_variance, words):
    def backward(g, x, weight, bias):
        centred = x - x.mean(axis=1, keepdims=True)
        inverse = 1 / np.sqrt((centred * centred).mean(axis=1, keepdims=True) + EPS)
        x_hat, slope = centred * inverse, g * weight
        of_x_hat = (slope * x_hat).mean(axis=1, keepdims=True) * x_hat
        dx = (slope - of_mean * slope.mean(axis=1, keepdims=True) - of_variance * of_x_hat) * inverse
        return dx, (g * x_hat).sum(axis=0), g.sum(axis=0)

    (looks,) = rejected(tn.check_backward, layer_norm, backward, WIDE, seed=0).diagnosis
    assert words in looks
    # Not n / (n - 1), which 4 / 3 is for one of the sizes alone.
    assert "n - 1" not in looks
    assert looks.endswith("(as seen on inputs of 3×5, 5, 5)")


def test_a_fault_that_larger_inputs_do_not_show_is_told_from_the_witness():
    """Here x itself has the fault, at zeros alone, which no larger input holds."""
    backward = lambda g, x: np.where(x == 0, -g, g)  # noqa: E731
    report = rejected(tn.check_backward, lambda x: 1 * x, backward, np.zeros((2, 2)), seed=0)
    assert report.diagnosis == ("it is the right gradient with its sign flipped",)
    found = rejected(tn.check_backward, lambda x: 1 * x, backward, inputs("n c"), seed=0)
    assert not any("as seen on" in words for words in found.diagnosis)


@pytest.mark.parametrize("seed", range(6, 9))
def test_every_edge_is_tried_whatever_the_seed(seed):
    """With edges left to chance, in two of 110 searches no array of float32 came, and a wrong dtype was missed."""
    seen = set()

    def forward(x):
        constant = x.size > 2 and np.ptp(x[:1]) == 0 != x.flat[0]
        offset = x.size and np.abs(x).min() > 5e3 and np.ptp(x) < 10
        seen.update(edge for edge, there in (
            ("float32", x.dtype == np.float32), ("empty", x.size == 0), ("size 1", 1 in x.shape), ("offset", offset),
            ("constant", constant), ("zeros", x.size and not x.any()), ("huge", x.size and 1e5 < np.abs(x).max() < 5e6),
            ("tiny", x.size and 0 < np.abs(x).max() < 5e-6),
        ) if there)  # fmt: skip
        return 2 * x

    tn.check_backward(forward, lambda g, x: 2 * g, inputs("n c"), seed=seed)
    assert seen >= {"float32", "empty", "size 1", "offset", "constant", "zeros", "huge", "tiny"}


def test_another_seed_draws_other_points_and_the_same_seed_the_same():
    def drawn(seed):
        seen = []
        tn.check_backward(
            lambda x: [seen.append(x), 2 * x][1], lambda g, x: 2 * g, inputs("n"), seed=seed, budget="quick"
        )
        return [x.tolist() for x in seen]

    assert drawn(0) == drawn(0)
    assert drawn(0)[0] != drawn(7)[0]


def test_a_null_gradient_everywhere_is_vacuous_and_at_one_point_is_not_a_fault(budget):
    total = lambda x: tn.layer_norm(x, x.shape[1:]).sum()  # noqa: E731
    report = rejected(tn.check_gradients, total, inputs("n c"), seed=0, budget=budget)
    assert report.verdict is Verdict.VACUOUS
    assert "nothing was checked" in report.message
    x = np.random.default_rng(0).normal(size=(3, 4))
    assert tn.check_gradients(lambda x: tn.layer_norm(x, 4).sum(), x, seed=0).verdict is Verdict.VACUOUS


def test_kinks_are_no_failure_and_are_counted(budget):
    # These take the mean of both sides, as central differences do.
    for fn in (lambda x: x.max(axis=1), np.abs, lambda x: np.maximum(x, 0.0)):
        assert tn.check_gradients(fn, inputs("n c"), seed=0, budget=budget).verdict is Verdict.PASSED
    report = tn.check_gradients(tn.ops.relu, inputs("n c"), seed=0, budget=budget)
    assert report.verdict is Verdict.PASSED
    assert any("at kinks" in note for note in report.not_checked)
    report = tn.check_gradients(tn.ops.relu, np.array([0.0, 1.0, -1.0]), seed=0)
    assert report.arguments[0].kinks == 1
    # One side or anything between is right at a kink; outside it is wrong.
    for slope, right in ((0.0, True), (0.5, True), (1.0, True), (1.5, False), (-0.2, False)):
        backward = lambda g, x, s=slope: np.where(x == 0, s * g, np.where(x > 0, g, 0))  # noqa: E731
        point = np.array([0.0, 2.0])
        if right:
            tn.check_backward(lambda x: np.maximum(x, 0.0), backward, point, seed=1)
        else:
            rejected(tn.check_backward, lambda x: np.maximum(x, 0.0), backward, point, seed=1)


@pytest.mark.parametrize("seed", one_in(3, range(3)))
def test_a_sort_may_take_equal_values_in_any_order(seed):
    def backward(g, x):
        dx = np.empty_like(x)
        dx[x.argsort()] = g
        return dx

    assert tn.check_backward(np.sort, backward, np.ones(3), seed=seed).verdict is Verdict.PASSED
    assert tn.check_backward(np.sort, backward, inputs("n"), seed=seed).verdict is Verdict.PASSED
    rejected(tn.check_backward, np.sort, lambda g, x: 1.5 * backward(g, x), np.ones(3), seed=seed)


def test_a_stochastic_function_is_reported_and_not_blamed_on_its_gradient():
    rng = np.random.default_rng(0)
    report = rejected(tn.check_gradients, lambda x: x * rng.random(), np.ones(3), seed=0)
    assert report.verdict is Verdict.NONDETERMINISTIC
    assert "the function itself" in report.message
    report = rejected(tn.check_gradients, tn.nn.Dropout(0.5, rng=0), np.ones(8), seed=0)
    assert report.verdict is Verdict.NONDETERMINISTIC


def test_a_user_given_oracle_judges():
    right = lambda g, x: 2 * g * x  # noqa: E731
    assert tn.check_backward(np.square, right, np.ones(3), oracle=right, seed=0).oracle == "given"
    rejected(tn.check_backward, np.square, lambda g, x: g * x, np.ones(3), oracle=right, seed=0)
    rejected(tn.check_backward, np.square, right, np.ones(3), oracle=lambda g, x: 3 * g * x, seed=0)


def test_higher_orders_are_checked_too():
    assert tn.check_gradients(tn.batch_norm, np.random.default_rng(0).normal(size=(3, 2)), order=3, seed=0)

    def detached_in_the_slope(x):
        """Right in value and first derivative, wrong in the second: the square's slope is held constant."""
        return tn.ops.where(np.ones(x.shape, bool), x * x.detach() * 2 - (x * x).detach(), 0)

    x = np.array([1.0, 2.0])
    # To first order the function is not what its gradient says, so a given oracle stands in for it.
    oracle = lambda g, x: 2 * g * x  # noqa: E731
    tn.check_gradients(detached_in_the_slope, x, oracle=oracle, seed=0)
    with pytest.raises(GradientMismatch):
        tn.check_gradients(detached_in_the_slope, x, order=2, oracle=oracle, seed=0)
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="order must be a positive integer"):
            tn.check_gradients(np.tanh, x, order=wrong)


def test_wrt_chooses_inputs_by_position_or_name():
    def backward(g, a, b):
        return g * b, g * b  # the second is wrong

    a, b = np.array([1.0, 2.0]), np.array([3.0, 5.0])
    for wrt in (0, "a", [0], ["a"]):
        report = tn.check_backward(lambda a, b: a * b, backward, a, b, wrt=wrt, seed=0)
        assert [argument.name for argument in report.arguments] == ["a"]
    assert rejected(tn.check_backward, lambda a, b: a * b, backward, a, b, seed=0).input == 1
    for wrt in (2, "c", -1, 1.0, True):
        with pytest.raises(ValueError, match=r"wrt must name inputs by position or name \(a, b\)"):
            tn.check_backward(lambda a, b: a * b, backward, a, b, wrt=[wrt], seed=0)


def test_modules_are_checked_in_both_modes_and_left_as_they_were():
    model = tn.nn.Sequential(tn.nn.Linear(3, 4, rng=0), tn.nn.BatchNorm1d(4), tn.nn.Tanh(), tn.nn.LayerNorm(4))
    model[1].eval()
    before, modes = model.state_dict(), [m.training for m in model.modules()]
    parameters = list(model.parameters())
    reports = tn.check_module(model, np.random.default_rng(0).normal(size=(5, 3)), seed=0)
    assert set(reports) == {"train", "eval"}
    assert [a.name for a in reports["train"].arguments][:2] == ["0.weight", "0.bias"]
    assert [m.training for m in model.modules()] == modes
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[key])

    class Wrong(tn.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = tn.nn.Parameter(np.array([2.0, 3.0]))

        def forward(self, x):
            return x * self.weight * self.weight.detach() if self.training else x * self.weight

    wrong = Wrong()
    report = rejected(tn.check_module, wrong, np.array([[1.0, 2.0]]), seed=0)
    assert "the gradient of weight is wrong" in report.message
    assert wrong.training
    assert list(wrong.state_dict()) == ["weight"]
    arrays = hnp.arrays(float, (2, 3), elements=st.floats(-2, 2))
    assert tn.check_module(tn.nn.LayerNorm(3), arrays, budget="quick", seed=0)


def test_of_two_searches_at_once_either_may_end_first():
    home = lambda: vars(configuration)["__hypothesis_home_directory"]  # noqa: E731
    before, first, second = home(), _noting_elsewhere(), _noting_elsewhere()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert home() != before
    assert home().is_dir()
    second.__exit__(None, None, None)
    assert home() == before


@gradient_property("n c", "c", budget="quick", seed=0)
def test_a_decorated_function_is_a_test(x, weight):
    return tn.batch_norm(x, weight=weight)


def test_a_decorated_function_fails_where_its_gradient_is_wrong():
    @gradient_property("n c", seed=0)
    def wrong(x):
        return x - x.mean(0).detach()

    with pytest.raises(GradientMismatch, match=r"through the mean|x = np"):
        wrong()


def test_strategies_of_the_users_own():
    arrays = hnp.arrays(float, (3,), elements=st.floats(-2, 2), unique=True)
    assert tn.check_gradients(np.tanh, arrays, budget="quick", seed=0).regime == "given"
    pairs = st.tuples(arrays, arrays)
    assert tn.check_gradients(lambda a, b: a * b, pairs, budget="quick", seed=0).examples >= 45
    assert tn.check_gradients(lambda a, b: a * b, arrays, np.ones(3), budget="quick", seed=0).verdict is Verdict.PASSED
    with pytest.raises(ValueError, match="budget must be one of quick, normal, thorough, not 'huge'"):
        tn.check_gradients(np.tanh, arrays, budget="huge")


def test_generic_draws_hide_nothing():
    """Distinct values in every array, and no array equal to another."""
    seen = []

    @settings(max_examples=100, database=None)
    @given(inputs("n c", "n c").generic())
    def look(arrays):
        a, b = arrays
        seen.append(a.shape)
        assert len(np.unique(a)) == a.size
        assert min(a.shape) >= 2
        assert not np.array_equal(a, b)

    look()
    assert len(set(seen)) > 4


def test_edges_are_what_they_are_called():
    found = set()

    @settings(max_examples=300, database=None)
    @given(inputs("n c").edge_cases())
    def look(arrays):
        (a,) = arrays
        found.update(
            name
            for name, holds in {
                "empty": a.size == 0, "size 1": 1 in a.shape, "float32": a.dtype == np.float32,
                "zeros": a.size > 0 and not a.any(), "strided": not a.flags.c_contiguous and a.size > 1,
                "constant": a.size > 0 and a.ndim == 2 and np.ptp(a[0]) == 0 and a.shape[1] > 1,
                "huge": a.size > 0 and np.abs(a).max() > 1e5, "tiny": a.size > 0 and 0 < np.abs(a).max() < 1e-4,
                "offset": a.size > 0 and np.abs(a).min() > 5e3 and np.ptp(a) < 10,
                "ties": a.size > len(np.unique(a)) > 1,
            }.items()
            if holds
        )  # fmt: skip

    look()
    assert found == {"empty", "size 1", "float32", "zeros", "strided", "constant", "huge", "tiny", "offset", "ties"}


# Manners.


@given(st.integers(0, 3))
@settings(max_examples=3, database=None)
def test_it_works_inside_a_given_test(number):
    assert tn.check_gradients(np.tanh, inputs("n"), budget="quick", seed=number).verdict is Verdict.PASSED


def test_the_same_seed_gives_the_same_report_and_nothing_else_is_touched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    python_random.seed(5)
    np.random.seed(6)  # noqa: NPY002 (the global state is what must not change)
    states = python_random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    profile = settings.default
    reports = [
        rejected(tn.check_backward, layer_norm, without_the_variance_path, WIDE, seed=4).text() for _ in range(2)
    ]
    assert reports[0] == reports[1]
    assert rejected(tn.check_backward, layer_norm, without_the_variance_path, WIDE, seed=5).text() != reports[0]
    assert (python_random.getstate(), np.random.get_state()[1].tolist()) == states  # noqa: NPY002
    assert settings.default is profile
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("profile", ["default", "ci", "strict"])
def test_it_works_under_any_hypothesis_profile(profile):
    settings.register_profile("strict", max_examples=1, deadline=1, derandomize=True)
    before = settings.get_current_profile_name()
    try:
        settings.load_profile(profile)
        assert tn.check_gradients(np.tanh, inputs("n c"), budget="quick", seed=0).examples >= 45
    finally:
        settings.load_profile(before)


def test_arrays_of_the_user_stay_as_they_are_and_overlapping_ones_are_copied():
    x = np.broadcast_to(np.array([1.0, 2.0]), (3, 2))
    assert tn.check_gradients(lambda x: (x * x).sum(0), x, seed=0).verdict is Verdict.PASSED
    assert x.strides[0] == 0


def test_a_function_that_refuses_edges_is_checked_on_the_others():
    report = tn.check_gradients(tn.batch_norm, inputs("n c"), seed=0)
    assert any(
        "edge cases for which the function or its gradient raises ValueError" in note for note in report.not_checked
    )

    def refuses(x):
        raise ZeroDivisionError("always")

    with pytest.raises(ZeroDivisionError, match="always"):
        tn.check_gradients(refuses, inputs("n c"), seed=0)
    with pytest.raises(ZeroDivisionError, match="always"):
        tn.check_gradients(refuses, np.ones(2), seed=0)


# Commands and the plugin.

MINE = """
import numpy as np
def forward(x): return np.tanh(x)
def backward(g, x): return g * (1 - np.tanh(x))
def square(x): return x * x
"""


@pytest.fixture
def here(own_module):
    return own_module("mine_to_check", MINE)


def test_the_command_prints_the_report(here, capsys):
    assert cli.main(["check", "mine_to_check:square", "--axes", "n c"]) == 0
    assert capsys.readouterr().out.startswith("PASSED: right")
    assert cli.main(["check", "mine_to_check:square", "--shape", "3,2", "--order", "2"]) == 0
    capsys.readouterr()
    assert cli.main(["check", "mine_to_check:forward,backward", "--axes", "n"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("WRONG_VALUE: the gradient of x is wrong")
    assert "x = np.array(" in out
    assert cli.main(["check"]) == 1
    assert "TARGET must be module:function" in capsys.readouterr().err
    assert cli.main(["check", "nowhere:fn", "--axes", "n"]) == 1
    assert "No module named 'nowhere'" in capsys.readouterr().err


def test_the_self_test_says_what_it_found(monkeypatch, capsys):
    monkeypatch.setattr(cli, "MUTANTS", MUTANTS[:3])
    monkeypatch.setattr(cli, "CORRECT", CORRECT[:2])
    assert cli.main(["check", "--self-test", "--budget", "quick"]) == 0
    out = capsys.readouterr().out
    assert "3 of 3 known-wrong gradients were rejected" in out
    assert "2 of 2 correct gradients were accepted" in out
    # And that it can fail: a right gradient among the wrong ones, a wrong one among the right.
    right = CORRECT[0]
    harmless = replace(
        MUTANTS[0], name="harmless", forward=right.forward, inputs=right.inputs, make=lambda: right.backward
    )
    monkeypatch.setattr(cli, "MUTANTS", (harmless,))
    assert cli.main(["check", "--self-test", "--budget", "quick"]) == 1
    assert "WRONGLY ACCEPTED: harmless" in capsys.readouterr().out


def test_the_plugin_shows_a_report_in_the_place_of_a_traceback(tmp_path):
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["tinygrad_norm.check.pytest_plugin"]\n', encoding="utf-8")
    (tmp_path / "test_mine.py").write_text(
        "import numpy as np, tinygrad_norm as tn\n"
        "def test_right(gradient_check):\n"
        "    assert gradient_check(np.tanh, tn.check.inputs('n c')).examples <= 50\n"
        "def test_wrong(gradient_check):\n"
        "    gradient_check(lambda x: x - x.mean(0).detach(), tn.check.inputs('n c'))\n"
        "@tn.check.gradient_property('n c', seed=0)\n"
        "def test_decorated(x):\n"
        "    return x - x.mean(0).detach()\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--gradient-budget", "quick", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, encoding="utf-8")
    assert "2 failed, 1 passed" in done.stdout
    assert "WRONG_VALUE: the gradient of x is wrong" in done.stdout
    assert "test_mine.py:4: test_wrong" in done.stdout
    assert "test_mine.py:6: test_decorated" in done.stdout
    assert "Traceback" not in done.stdout
    assert "point.py" not in done.stdout
