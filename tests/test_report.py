"""A report fits a screen, says where a gradient is wrong, and prints arrays that are exactly the witness."""

import re
from dataclasses import replace

import numpy as np
import pytest

import tinygrad_norm as tn
from tests.sampling import one_of_each
from tinygrad_norm.check import GradientMismatch, GradientReport, Verdict, inputs
from tinygrad_norm.check.mutants import MUTANTS
from tinygrad_norm.check.report import EDGES, Argument, UncheckedGradient, assigned, identifiers, summed_up
from tinygrad_norm.check.simplify import simplified
from tinygrad_norm.check.strategies import EDGES as DRAWN_EDGES


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def rejected(forward, backward, *arguments, **options):
    with pytest.raises(GradientMismatch) as error:
        tn.check_backward(forward, backward, *arguments, **options)
    return error.value.report


def fits(report):
    lines = report.text().splitlines()
    assert max(map(len, lines)) <= 100
    assert len(lines) <= 20
    return lines


def pasted(report):
    """The arrays that the code in a report makes, by name."""
    code = re.search(r"to paste \(g is dL/dy\):\n(.*?)\n+(Worth|Not checked|Judged|Seen)", report.text(), re.DOTALL)[1]
    scope = {"np": np, "report": report}
    exec(code, scope)
    return {name: array for name, array in scope.items() if isinstance(array, np.ndarray)}


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


WRONG = GradientReport(
    Verdict.WRONG_VALUE,
    "the gradient of gamma is wrong",
    elements_checked=3,
    elements=3,
    arguments=(Argument("gamma", (3,), (1,), 1.0, 2.0, 1e-6, wrong=1, checked=3),),
    regime="edges",
    examples=140,
    ordinary=100,
    seed=0,
    names=("gamma",),
    witness=(np.array([1e6, 1e6, 1e6 + 1]),),
    cotangent=np.array([0.0, 1.0, 0.0]),
)


def first_sentence(report):
    return " ".join(report.text().split("\n\n")[0].split())


# How large it is, and what is in it.


@pytest.mark.parametrize("mutant", one_of_each(lambda mutant: mutant.verdict, MUTANTS), ids=lambda mutant: mutant.name)
def test_reports_of_mutants_fit_a_screen_and_make_their_witness_again(mutant):
    report = rejected(mutant.forward, mutant.backward, mutant.inputs, budget="quick", seed=0, strict=True)
    fits(report)
    assert report.text().startswith((f"{mutant.verdict}: the gradient of", f"{mutant.verdict}: the backward pass"))
    for array, one in zip((*report.witness, report.cotangent), pasted(report).values(), strict=True):
        assert same(array, one)
    # Of an ordinary size, so nothing is cut; the cotangent is one that can be read.
    assert "report.witness" not in report.text()
    # Of other faults a random one may stay.
    if report.verdict is Verdict.WRONG_VALUE:
        assert np.array_equal(np.round(report.cotangent, 1), report.cotangent)


def test_whatever_is_long_is_wrapped_or_cut():
    long = "a_very_long_name_" * 20
    wrong = Argument(long, (10,) * 12, (9,) * 12, -1.23456789e-300, 1.23456789e-300, 1e-300, wrong=1, checked=256)
    words = ("many words " * 60,)
    report = replace(
        WRONG, message=f"the gradient of {long * 5} is wrong", arguments=(wrong,) * 9, diagnosis=words, notes=words,
        not_checked=("and others " * 60,), witness=(random(9, 9),) * 7, names=tuple(f"{long}{i}" for i in range(7)),
        input=5,
    )  # fmt: skip
    lines = fits(report)
    assert sum("…" in line for line in lines) >= 6
    assert any(line.startswith("# and ") and "report.witness" in line for line in lines)
    assert any(line.startswith("g = np.array") for line in lines)
    assert any(line.startswith("Worth knowing: many words") for line in lines)
    assert lines[-1] == "Judged by complex step: 3 of 3 entries; example 140, seed 0."


def test_large_arrays_are_cut_with_shape_and_dtype_and_small_ones_are_shown():
    x, w = random(8, 16, 6), random(3)
    report = rejected(lambda x, w: x * w.sum(), lambda g, x, w: (-g * w.sum(), (g * x).sum() + 0 * w), x, w, seed=0)
    lines = fits(report)
    assert "x = report.witness[0]  # float64 of shape (8, 16, 6)" in lines
    found = pasted(report)
    assert same(found["w"], w)
    assert same(found["x"], x)
    assert same(found["g"], report.cotangent)


def test_rows_are_kept_together_where_they_fit():
    report = replace(WRONG, witness=(np.arange(40.0).reshape(5, 8) / 8,))
    lines = fits(report)
    start = next(i for i, line in enumerate(lines) if line.startswith("gamma = "))
    following = [line for line in lines[start + 1 :] if line.startswith("  ")]
    assert following
    assert all(line.startswith("  [") for line in following)
    assert same(pasted(report)["gamma"], report.witness[0])


def test_of_many_inputs_the_wrong_one_comes_first():
    right = [Argument(f"x{i}", (3,), (0,), 1.0, 1.0, 1e-6, wrong=0, checked=3) for i in range(11)]
    lines = fits(replace(WRONG, arguments=(*right, *WRONG.arguments)))
    assert [line.split()[0] for line in lines[3:6]] == ["gamma", "x0", "x1"]
    assert lines[6] == "and 9 more inputs that are right"
    assert "and 1 more input that is right" in fits(replace(WRONG, arguments=(*right[:3], *WRONG.arguments)))
    assert "and 3 more inputs, 1 of them wrong" in fits(replace(WRONG, arguments=(*right[:2], *WRONG.arguments * 4)))


def test_ratios_beside_zero_are_left_out_and_zeros_have_no_sign():
    zero = Argument("gamma", (3,), (1,), -0.0, 0.0, 1e-6, wrong=1, checked=3)
    assert " ".join(fits(replace(WRONG, arguments=(zero,)))[3].split()) == "gamma 3 [1] 0 0 ± 1e-06 1 of 3"


# Where it is wrong.


@pytest.mark.parametrize(
    ("edge", "words"),
    [
        ("offset", "where values are far from zero (offset 1e6)"),
        ("huge", "where values are huge (up to 1e6)"),
        ("tiny", "where values are tiny (a millionth of ordinary ones)"),
        ("zeros", "where all values are zero"),
        ("size 1", "where an axis has size 1"),
        ("float32", "where the inputs are float32"),
    ],
)
def test_the_first_sentence_says_where_it_is_right_and_where_wrong(edge, words):
    said = f"WRONG_VALUE: the gradient of gamma is wrong: right on all 100 ordinary inputs; wrong {words}."
    assert first_sentence(replace(WRONG, edge=edge)) == said


def test_every_edge_that_is_drawn_has_its_words():
    assert {*EDGES} == {*DRAWN_EDGES}


def test_ordinary_inputs_and_points_have_their_sentences_too():
    ordinary = replace(WRONG, regime="generic", ordinary=0)
    assert first_sentence(ordinary) == "WRONG_VALUE: the gradient of gamma is wrong on ordinary inputs."
    later = first_sentence(replace(ordinary, ordinary=7))
    assert later.endswith("is wrong: right on 7 ordinary inputs, wrong on the next.")
    mine = first_sentence(replace(ordinary, regime="given", examples=4))
    assert mine.endswith("is wrong: right on 3 inputs, wrong on the next.")
    assert first_sentence(replace(ordinary, regime="point")).endswith("the gradient of gamma is wrong.")
    # A message with a colon of its own goes on after a semicolon.
    shared = replace(WRONG, verdict=Verdict.ALIASED_GRADIENT, message="shares memory: bad", edge="empty")
    assert "shares memory: bad; right on all 100 ordinary inputs; wrong where an array is empty." in first_sentence(
        shared
    )
    passed = GradientReport(ordinary=100, examples=196, regime="generic and edges")
    assert first_sentence(passed) == "PASSED: right on 100 ordinary inputs and 96 at the edges."
    assert first_sentence(GradientReport()) == "PASSED: right at this point."


def test_a_search_tells_the_edge_and_how_many_ordinary_inputs_were_right():
    square = lambda x: x * x  # noqa: E731
    report = rejected(square, lambda g, x: 2 * g * np.clip(x, -100, 100), inputs("n c"), seed=0)
    assert (report.edge, report.ordinary) in (("huge", 100), ("offset", 100))
    assert "right on all 100 ordinary inputs; wrong where values are" in first_sentence(report)
    often = rejected(square, lambda g, x: 2 * g * np.where(x > 3, 3, x), inputs("n c"), seed=0)
    assert often.edge == ""
    assert often.ordinary == often.examples - 1
    passed = tn.check_backward(square, lambda g, x: 2 * g * x, inputs("n c"), budget="quick", seed=0)
    assert first_sentence(passed) == "PASSED: right on 25 ordinary inputs and 25 at the edges."


def test_what_was_seen_is_told():
    last = lambda **fields: replace(WRONG, **fields).text().split("\n\n")[-1]  # noqa: E731
    seen = last(elements_checked=256, elements=10_000, projected=10_000)
    assert seen.startswith(
        "Judged by complex step: 256 of 10,000 entries one by one, all 10,000 by a random projection;"
    )
    assert "256 of 10,000 entries; " in last(elements_checked=256, elements=10_000)
    assert last(elements_checked=0) == "Seen: example 140, seed 0."
    assert last(elements_checked=0, regime="point", seed=None) == "Seen: no seed given."
    assert last(regime="point") == "Judged by complex step: 3 of 3 entries; seed 0."
    assert last(verdict=Verdict.PASSED) == "Judged by complex step: 3 of 3 entries; 140 examples, seed 0."
    assert summed_up([replace(WRONG, projected=5)] * 2)["projected"] == 10


def test_notes_and_what_was_not_checked_are_shown_once():
    report = replace(WRONG, notes=("the gradient of x shares memory with g",), not_checked=("3 elements at kinks",))
    assert "Worth knowing: the gradient of x shares memory with g." in fits(report)
    assert "Not checked: 3 elements at kinks." in fits(report)
    with pytest.warns(UncheckedGradient, match="zero within rounding"):
        null = tn.check_backward(lambda x: x - x, lambda g, x: 0 * g, np.ones(3), seed=0)
    assert null.verdict is Verdict.VACUOUS
    assert null.text().count("zero within rounding") == 1


def test_a_wrong_dtype_is_shown_with_the_cotangent_of_that_dtype():
    report = rejected(lambda x: 2 * x, lambda g, x: g * np.full(x.shape, 2.0), inputs("n c"), seed=0, strict=True)
    assert report.verdict is Verdict.WRONG_DTYPE
    assert report.cotangent.dtype == report.witness[0].dtype == np.float32


# Code to paste.


def test_names_become_identifiers_of_their_own():
    names = ["params['W1']", "0.weight", "1.weight", "input 0", "lambda", "γ", "g", "", "np", "grads['W1']", "g"]
    found = identifiers(names)
    assert found[:6] == ["W1", "weight", "weight_2", "input_0", "lambda_4", "γ"]
    assert len({*found}) == len(names)
    assert all(name.isidentifier() and name not in ("np", "lambda") for name in found)


SPARSE = np.zeros((50, 40, 3))
SPARSE[7, 3, 1] = -0.1
ARRAYS = [
    random(3, 4), random(2, 3).astype(np.float32), random(5).astype(np.float16), np.array(0.1), np.array(0.0),
    np.array([-0.0, 0.0, 1.0]), np.full(12, -0.0), np.zeros((2, 3), np.float32), np.ones((3, 2)),
    np.full((2, 2), np.nan),
    np.array([[np.nan, np.inf], [-np.inf, 1e22]]), np.array([1e-320, 5e-324, 1.7e308, 1 / 3]), np.zeros((0, 3)),
    np.zeros((2, 0), np.int64), np.array([2, 0, 1]), np.array([2, 0, 1], np.int8), np.array([True, False]),
    np.ones(5, bool), np.array(3), SPARSE, SPARSE.astype(np.float32), np.eye(3, dtype=np.int64)[:1] * np.int64(2**62),
    1e6 + random(4, 2), np.where(SPARSE, 1.0, -0.0), np.float32(0.1) * np.arange(64, dtype=np.float32),
]  # fmt: skip


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_pasted_code_makes_exactly_the_same_array(array):
    code = assigned("x", array)
    scope = {"np": np}
    exec(code, scope)
    assert same(scope["x"], array)
    if array.size > 100 and np.signbit(array).sum() <= 1:
        assert len(code) < 70


def test_labels_and_masks_are_printed_as_such():
    assert assigned("y", np.array([2, 0])) == "y = np.array([2, 0])"
    assert assigned("mask", np.array([True, False])) == "mask = np.array([True, False])"
    assert assigned("x", np.array([0.5, 2.0], np.float32)) == "x = np.array([0.5, 2.], np.float32)"


# A cotangent that can be read.


def test_a_fault_of_one_entry_keeps_a_single_one():
    def backward(g, x):
        dx = 2 * g * x
        dx[2, 1] *= 3
        return dx

    for given in (random(4, 3), inputs("n c", least={"n": 3})):
        report = rejected(lambda x: x * x, backward, given, seed=0)
        assert report.index == (2, 1)
        assert np.argwhere(report.cotangent).tolist() == [[2, 1]]
        assert report.cotangent[2, 1] == 1
        assert np.isclose(report.got, 6 * report.witness[0][2, 1])
        assert np.isclose(report.want, 2 * report.witness[0][2, 1])


def test_how_many_entries_are_wrong_for_a_random_cotangent_is_told():
    report = rejected(lambda x: x * x, lambda g, x: 3 * g * x, random(4, 3), seed=0)
    assert report.arguments[0].wrong == 1
    assert report.notes == ("12 of 12 entries of the gradient of x are wrong for a random g",)


def of_cotangents(fault, size=16, **fields):
    """Simplify a cotangent, where a fault shows as ``fault(g)``, a relative error, and return what was tried, too."""
    tried = []

    def examine(g):
        tried.append(g)
        error = fault(g)
        verdict = Verdict.WRONG_VALUE if error else Verdict.PASSED
        return replace(
            WRONG, verdict=verdict, largest_relative_error=float(error), cotangent=g, diagnosis=(), seed=None
        )

    report = replace(
        WRONG, cotangent=random(size), largest_relative_error=0.5, diagnosis=("why",), edge="zeros", **fields
    )
    return simplified(report, examine), report, tried


def test_a_cotangent_is_halved_as_far_as_the_fault_stays():
    found, report, tried = of_cotangents(lambda g: 0.4 * (g[3] != 0 and g[12] != 0))
    assert np.flatnonzero(found.cotangent).tolist() == [*range(16)]
    found, report, tried = of_cotangents(lambda g: 0.4 * bool(g[5]))
    assert np.flatnonzero(found.cotangent).tolist() == [5]
    assert len(tried) <= 11
    told = ("diagnosis", "edge", "ordinary", "examples", "seed", "regime")
    assert [getattr(found, name) for name in told] == [getattr(report, name) for name in told]
    assert found.largest_relative_error == 0.4


def test_a_cotangent_that_alone_shows_a_fault_is_kept():
    found, report, _ = of_cotangents(lambda g: False)
    assert found.cotangent is report.cotangent
    # Signs alone may hide one; numbers of one digit are next.
    found, *_ = of_cotangents(lambda g: 0.4 * (np.unique(np.abs(g)).size > 3))
    assert same(found.cotangent, np.round(10 * found.cotangent) / 10)
    assert np.count_nonzero(found.cotangent) >= 3
    # What is no longer clear is not taken.
    found, report, _ = of_cotangents(lambda g: 1e-3)
    assert found.cotangent is report.cotangent


def test_another_fault_is_not_taken_for_the_same():
    report = replace(WRONG, cotangent=random(4), largest_relative_error=0.5)
    for other in ({"verdict": Verdict.NAN}, {"input": 1}):
        found = simplified(report, lambda g, other=other: replace(report, cotangent=g, **other))
        assert found.cotangent is report.cotangent


def test_simplifying_has_its_bounds():
    count = lambda elements: len(of_cotangents(lambda g: 0.4 * (np.abs(g) != 0).all(), 64, elements=elements)[2])  # noqa: E731
    assert 1 <= count(10) <= 30
    assert count(1000) <= 3
    assert count(10_000) == 0
    empty = replace(WRONG, cotangent=np.zeros((0, 3)))
    assert simplified(empty, None) is empty
    assert simplified(replace(WRONG, cotangent=None), None).cotangent is None


def test_what_is_not_linear_stays_so():
    report = rejected(lambda x: x * x, lambda g, x: 2 * g * np.abs(g) * x, random(3, 2), seed=0)
    assert report.verdict is Verdict.NOT_LINEAR_IN_COTANGENT
    assert np.count_nonzero(report.cotangent) == 1
