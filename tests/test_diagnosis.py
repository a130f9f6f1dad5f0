"""What a diagnosis says of faults: by words that were fixed before, and nothing of what it does not know."""

from collections.abc import Callable

import numpy as np
import pytest

from tests import diagnosis_layers, diagnosis_losses, diagnosis_sequences, diagnosis_terms  # noqa: F401 (they add cases)
from tests.diagnosis_cases import CASES, Array, Case, drawn
from tests.sampling import one_in
from tinygrad_norm.check.evidence import explained
from tinygrad_norm.check.point import examine
from tinygrad_norm.check.scales import generator
from tinygrad_norm.check.subject import Subject

UNHELPFUL = ("linear: dw of w", "division: b not squared")


def subject(case: Case) -> Subject:
    def backward(g: Array, *xs: Array) -> list[Array]:
        returned = case.backward(g, *xs)
        return [np.array(d, float) for d in (returned if isinstance(returned, tuple) else (returned,))]

    wrt = tuple(i for i, axes in enumerate(case.inputs.values()) if not axes.startswith(("labels", "mask")))
    return Subject(case.forward, backward, tuple(case.inputs), wrt)


def said(case: Case, seeds: tuple[int, ...] = (2, 1, 4)) -> str:
    made = subject(case)
    report = examine(made, drawn(case, 0), generator(0))
    return "".join(explained(made, report, [drawn(case, seed) for seed in seeds]).diagnosis)


@pytest.mark.parametrize("case", one_in(3, CASES), ids=lambda case: case.name)
def test_faults_are_told_by_the_words_that_were_fixed(case):
    words = said(case)
    assert not [word for word in case.forbidden if word in words], words
    assert any(word in words for word in case.accepted) or case.name in UNHELPFUL, words


@pytest.mark.parametrize("case", one_in(3, CASES[::5]), ids=lambda case: case.name)
def test_one_point_is_enough_not_to_mislead(case):
    words = said(case, ())
    assert not [word for word in case.forbidden if word in words], words


def noisy(backward: Callable[..., Array]) -> Callable[..., Array]:
    """A gradient that is wrong in no way that has a name: a fixed random map of the cotangent is added."""

    def wrong(g: Array, x: Array) -> Array:
        rng = np.random.default_rng(x.size)
        return backward(g, x) + (rng.normal(size=(x.size, g.size)) @ g.ravel()).reshape(x.shape)

    return wrong


RIGHT = {
    "tanh": (np.tanh, lambda g, x: g * (1 - np.tanh(x) ** 2)),
    "softmax": (
        diagnosis_losses.softmax,
        lambda g, x: diagnosis_losses.softmax(x) * (g - (g * diagnosis_losses.softmax(x)).sum(-1, keepdims=True)),
    ),
    "square": (lambda x: (x**2).sum(), lambda g, x: 2 * g * x),
    "cumulative sum": (lambda x: np.cumsum(x, 1), lambda g, x: np.cumsum(g[:, ::-1], 1)[:, ::-1]),
    "mean": (lambda x: x.mean(1), lambda g, x: np.repeat(g[:, None], x.shape[1], 1) / x.shape[1]),
}


@pytest.mark.parametrize("name", RIGHT)
def test_nothing_is_said_of_what_has_no_name(name):
    forward, backward = RIGHT[name]
    assert said(Case(name, forward, noisy(backward), {"x": "n c"}, ())) == ""


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("factor", [1 + 5.38e-8, 1 + 1e-5])
def test_a_factor_of_about_1_is_not_told(name, factor):
    forward, backward = RIGHT[name]
    assert "times" not in said(Case(name, forward, lambda g, x: factor * backward(g, x), {"x": "n c"}, ()))


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize(
    ("factor", "words"), [(3, "3 times"), (1 / 7, "0.1429 times"), (2**0.5, "the square root of 2")]
)
def test_a_factor_that_is_no_size_is_told_by_its_number(name, factor, words):
    forward, backward = RIGHT[name]
    assert words in said(Case(name, forward, lambda g, x: factor * backward(g, x), {"x": "n c"}, ()))


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize(("factor", "words"), [
    (len, "multiplied by the batch size"), (lambda x: 1 / len(x), "divided by the batch size"),
    (lambda x: x.size, "multiplied by the number of elements"), (lambda x: x.shape[1], "the size of axis 1"),
    (lambda x: x.shape[1] ** -0.5, "divided by the square root of the size of axis 1"),
    (lambda x: x.shape[1] / (x.shape[1] - 1), "n / (n - 1) for the size of axis 1"), (lambda x: 2 / len(x), "by 2 and"),
])  # fmt: skip
def test_sizes_are_told_from_each_other_and_from_numbers(name, factor, words):
    forward, backward = RIGHT[name]
    case = Case(name, forward, lambda g, x: factor(x) * backward(g, x), {"x": "n c"}, ())
    assert words in said(case)


# What is not of values.


def told(forward, backward, *inputs):
    made = Subject(forward, lambda *xs: [np.asarray(backward(*xs))], ("x",), (0,))
    return "".join(explained(made, examine(made, inputs, generator(0))).diagnosis)


def test_a_gradient_that_adds_up_over_calls_is_told():
    kept = np.zeros((3, 4))

    def backward(g, x):
        kept[...] += g
        return kept.copy()

    assert "accumulates over calls" in told(lambda x: 1 * x, backward, np.ones((3, 4)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (np.ones_like, "does not depend on the cotangent"),
        (np.square, "quadratic in the cotangent"),
        (np.sign, "does not change with the size of g"),
        (lambda g: np.maximum(g, 0), "treats positive and negative cotangents g differently"),
        (lambda g: g + 1, "a term is added that does not depend on the cotangent"),
        (np.abs, "the absolute value"),
        (np.tanh, "not linear in the cotangent"),
    ],
)
def test_what_is_done_to_the_cotangent_is_told(change, words):
    assert words in told(lambda x: 2 * x, lambda g, x: 2 * change(g), np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize(
    ("backward", "words"),
    [
        (lambda g, x: g * np.ones((5, 3)), "a sum over axis 0 is missing"),
        (lambda g, x: g.sum(axis=0, keepdims=True), "keepdims left over"),
        (lambda g, x: g.sum(), "summed over an axis that the input has"),
    ],
)
def test_shapes_are_told(backward, words):
    assert words in told(lambda x: x * np.ones((5, 1)), backward, np.arange(3.0))


@pytest.mark.parametrize(
    ("x", "words"), [([0.0, 1.0], "the input is 0"), ([-2.0, -1.0], "negative"), ([500.0, 900.0], "overflow")]
)
def test_where_a_gradient_is_not_finite_is_told(x, words):
    def backward(g, x):
        with np.errstate(all="ignore"):
            return g * np.where(x < 50, x / x, np.exp(x) - np.exp(x)) * np.where(x < 0, np.nan, 1)

    assert words in told(lambda x: 1 * x, backward, np.array(x))
