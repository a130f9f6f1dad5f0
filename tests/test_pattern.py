"""Patterns: what they parse to, how they fit a shape, and that they normalize as a loop over their axes does."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_norm as tn
from tinygrad_norm.norm.pattern import Fitted, parse

few = settings(max_examples=40, deadline=None)

FITS = [
    ("n c -> c", (5, 3), {}, Fitted((5, 3), ("n", "c"), (0,)), 3, 5),
    ("n c ... -> c", (5, 3), {}, Fitted((5, 3), ("n", "c"), (0,)), 3, 5),
    ("n c ... -> c", (5, 3, 2, 4), {}, Fitted((5, 3, 2, 4), ("n", "c", "...0", "...1"), (0, 2, 3)), 3, 40),
    ("n c h w -> n c", (5, 3, 2, 4), {}, Fitted((5, 3, 2, 4), ("n", "c", "h", "w"), (2, 3)), 15, 8),
    ("n (g c) ... -> n g", (2, 6, 5), {"g": 3}, Fitted((2, 3, 2, 5), ("n", "g", "c", "...0"), (2, 3)), 6, 10),
    ("n (g c) ... -> n g", (2, 6, 5), {"c": 3}, Fitted((2, 2, 3, 5), ("n", "g", "c", "...0"), (2, 3)), 4, 15),
    ("(a b c) -> b", (24,), {"a": 2, "b": 3}, Fitted((2, 3, 4), ("a", "b", "c"), (0, 2)), 3, 8),
    ("(a b) -> a", (6,), {"a": 2, "b": 3}, Fitted((2, 3), ("a", "b"), (1,)), 2, 3),
    ("... d -> ...", (2, 3, 4), {}, Fitted((2, 3, 4), ("...0", "...1", "d"), (2,)), 6, 4),
    ("a ... b -> b", (2, 3, 4), {}, Fitted((2, 3, 4), ("a", "...0", "b"), (0, 1)), 4, 6),
    ("... ->", (2, 3), {}, Fitted((2, 3), ("...0", "...1"), (0, 1)), 1, 6),
    ("n c -> c n", (2, 3), {}, Fitted((2, 3), ("n", "c"), ()), 6, 1),
    ("->", (), {}, Fitted((), (), ()), 1, 1),
    ("  n   (g c)->g n ", (2, 6), {"g": 2}, Fitted((2, 2, 3), ("n", "g", "c"), (2,)), 4, 3),
    ("n c -> c", (0, 3), {}, Fitted((0, 3), ("n", "c"), (0,)), 3, 0),
    ("batch channel_1 -> channel_1", (2, 3), {}, Fitted((2, 3), ("batch", "channel_1"), (0,)), 3, 2),
]


@pytest.mark.parametrize(("pattern", "shape", "lengths", "fitted", "means", "values"), FITS)
def test_a_pattern_fits_a_shape(pattern, shape, lengths, fitted, means, values) -> None:
    found = parse(pattern).fit(shape, lengths)
    assert found == fitted
    assert (found.number_of_means, found.values_per_mean) == (means, values)


def test_a_pattern_is_parsed_once() -> None:
    assert parse("n c -> c") is parse("n c -> c")


MALFORMED = [
    ("n c", "one '->'"),
    ("n c -> c -> n", "one '->'"),
    ("n c - > c", "one '->'"),
    ("n (g (c d)) -> n", "parentheses cannot be nested"),
    ("n g) -> n", "')' has no group of axes to close"),
    ("n () -> n", "')' has no group of axes to close"),
    ("n (g c -> n", "'(' is not closed"),
    ("n 1 -> n", "'1' is not a name"),
    ("n c* -> n", "'c*' is not a name"),
    ("n .. -> n", "'..' is not a name"),
    ("n c n -> c", "axis 'n' occurs twice on the left"),
    ("n (n c) -> c", "axis 'n' occurs twice on the left"),
    ("... c ... -> c", "axis '...' occurs twice on the left"),
    ("n (c ...) -> n", "'...' is not allowed inside parentheses"),
    ("n c -> (c)", "parentheses are allowed only on the left"),
    ("n c -> h", "axis 'h' is kept but is not on the left"),
    ("n c -> ...", "axis '...' is kept but is not on the left"),
    ("-> c", "axis 'c' is kept but is not on the left, which has no axes"),
    ("n c -> c c", "axis 'c' occurs twice on the right"),
]


@pytest.mark.parametrize(("pattern", "reason"), MALFORMED)
def test_a_malformed_pattern_is_quoted_and_explained(pattern: str, reason: str) -> None:
    with pytest.raises(ValueError, match="pattern") as caught:
        parse(pattern)
    assert f"pattern {pattern!r}: " in str(caught.value)
    assert reason in str(caught.value)


def test_a_pattern_is_a_string() -> None:
    with pytest.raises(TypeError, match=r"a string such as .* not tuple"):
        parse(("n", "c"))


MISFITS = [
    ("n c -> c", (2, 3, 4), {}, "expected 2 axes, but the input has shape (2, 3, 4)"),
    ("n c -> c", (2,), {}, "expected 2 axes"),
    ("n c ... -> c", (2,), {}, "expected at least 2 axes"),
    ("n (g c) -> g", (2, 6), {}, "axis (g c) of size 6 needs a length for 'g' or 'c'"),
    ("n (g c) -> g", (2, 6), {"g": 4}, "axis (g c) has size 6, which is not divisible by g=4"),
    ("n (g c) -> g", (2, 6), {"g": 2, "c": 4}, "axis (g c) has size 6, which does not match g=2, c=4"),
    ("n c -> c", (2, 3), {"c": 4}, "axis 'c' has size 3, which does not match c=4"),
    ("n c -> c", (2, 3), {"h": 1}, "'h', which is not one of its axes"),
    ("n (g c) -> g", (2, 6), {"g": 0}, "axis 'g' must be a positive integer, not 0"),
    ("n (g c) -> g", (2, 6), {"g": -2}, "axis 'g' must be a positive integer, not -2"),
    ("n (g c) -> g", (2, 6), {"g": 2.0}, "axis 'g' must be a positive integer, not 2.0"),
    ("n (g c) -> g", (2, 6), {"g": True}, "axis 'g' must be a positive integer, not True"),
]


@pytest.mark.parametrize(("pattern", "shape", "lengths", "reason"), MISFITS)
def test_a_pattern_that_does_not_fit_is_quoted_and_explained(pattern, shape, lengths, reason) -> None:
    with pytest.raises(ValueError, match="pattern") as caught:
        parse(pattern).fit(shape, lengths)
    assert f"pattern {pattern!r}: " in str(caught.value)
    assert reason in str(caught.value)


# Any pattern, against a loop.


@st.composite
def fitted_patterns(draw: st.DrawFn) -> tuple[str, tuple[int, ...], dict[str, int], np.ndarray]:
    """A pattern, the lengths it needs, and for each axis of the split shape whether it is kept."""
    groups = draw(st.lists(st.integers(1, 2), min_size=1, max_size=3))
    names = iter("abcdef")
    axes = [[next(names) for _ in range(size)] for size in groups]
    lengths = {name: draw(st.integers(1, 3)) for axis in axes for name in axis}
    kept = draw(st.lists(st.sampled_from(sorted(lengths)), unique=True))
    left = " ".join(f"({' '.join(axis)})" if len(axis) > 1 else axis[0] for axis in axes)
    shape = tuple(int(np.prod([lengths[name] for name in axis])) for axis in axes)
    x = draw(hnp.arrays(np.int64, shape, elements=st.integers(-400, 400), fill=st.nothing(), unique=True)) / 8
    given = {axis[0]: lengths[axis[0]] for axis in axes if len(axis) > 1}
    return f"{left} -> {' '.join(kept)}", tuple(lengths.values()), given, x


def loop(x: np.ndarray, kept: list[bool], eps: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x̂ and its mean and variance, one combination of the kept axes after another."""
    small = tuple(size if keep else 1 for size, keep in zip(x.shape, kept, strict=True))
    normalized, mean, var = np.empty(x.shape), np.empty(small), np.empty(small)
    places = [range(size) if keep else [slice(None)] for size, keep in zip(small, kept, strict=True)]
    for index in itertools.product(*places):
        values = x[index]
        mean[index] = sum(values.ravel().tolist()) / values.size
        var[index] = sum((v - mean[index].item()) ** 2 for v in values.ravel().tolist()) / values.size
        normalized[index] = (values - mean[index].item()) / (var[index].item() + eps) ** 0.5
    return normalized, mean, var


@few
@given(fitted_patterns())
def test_any_pattern_normalizes_as_a_loop_over_its_kept_axes_does(case: Any) -> None:
    pattern, split, lengths, x = case
    left, right = pattern.split("->")
    kept = [name in right.split() for name in left.replace("(", " ").replace(")", " ").split()]
    normalized, mean, var = loop(x.reshape(split), kept, 1e-5)
    assert_allclose(tn.normalize(x, pattern, **lengths), normalized.reshape(x.shape), rtol=1e-10, atol=1e-10)
    found_mean, found_var = tn.moments(x, pattern, **lengths)
    assert_allclose(found_mean, mean, rtol=1e-13, atol=1e-13)
    assert_allclose(found_var, var, rtol=1e-11, atol=1e-13)
    assert found_mean.shape == found_var.shape == mean.shape
    fitted = parse(pattern).fit(x.shape, lengths)
    assert (fitted.number_of_means, fitted.values_per_mean) == (mean.size, x.size // mean.size)


@few
@given(fitted_patterns(), st.integers(0, 2**32 - 1))
def test_the_gradient_of_any_pattern_sums_to_zero_over_what_shares_a_mean(case: Any, seed: int) -> None:
    pattern, split, lengths, x = case
    leaf = tn.tensor(x, requires_grad=True)
    y = tn.normalize(leaf, pattern, **lengths)
    dx = tn.grad(y, leaf, np.random.default_rng(seed).standard_normal(x.shape)).data.reshape(split)
    axes = parse(pattern).fit(x.shape, lengths).axes
    # A value without company is its own mean: its gradient is 0 over sqrt(eps), 316 times a rounding error.
    assert_allclose(dx.sum(axes), 0, atol=1e-11)


NAMED = [
    ("n c ... -> c", {}, tn.batch_norm),
    ("n ... -> n", {}, lambda x: tn.layer_norm(x, x.shape[1:])),
    ("n c h w -> n c h", {}, lambda x: tn.layer_norm(x, x.shape[3:])),
    ("n c ... -> n c", {}, tn.instance_norm),
    ("n (g c) ... -> n g", {"g": 2}, lambda x: tn.group_norm(x, 2)),
]


@pytest.mark.parametrize(("pattern", "lengths", "norm"), NAMED)
def test_the_named_norms_are_patterns(pattern: str, lengths: dict[str, int], norm: Callable[..., Any]) -> None:
    rng = np.random.default_rng(0)
    leaf, g = tn.tensor(rng.standard_normal((3, 4, 2, 5)), requires_grad=True), rng.standard_normal((3, 4, 2, 5))
    by_pattern, by_name = tn.normalize(leaf, pattern, **lengths), norm(leaf)
    assert_array_equal(by_pattern.data, by_name.data)
    assert_array_equal(tn.grad(by_pattern, leaf, g).data, tn.grad(by_name, leaf, g).data)


@pytest.mark.parametrize(
    ("pattern", "lengths", "shape"),
    [
        ("n c h w -> c", {}, (1, 4, 1, 1)),
        ("n c ... -> n c", {}, (3, 4, 1, 1)),
        ("n (g c) ... -> n g", {"g": 2}, (3, 2, 1, 1, 1)),
        ("... w -> ...", {}, (3, 4, 2, 1)),
        ("n c h w ->", {}, (1, 1, 1, 1)),
    ],
)
def test_moments_keep_reduced_axes_with_size_one(pattern: str, lengths: dict[str, int], shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(14).standard_normal((3, 4, 2, 2))
    mean, var = tn.moments(x, pattern, **lengths)
    assert mean.shape == var.shape == shape
    split = x.reshape(3, 2, 2, 2, 2) if lengths else x
    axes = tuple(i for i, size in enumerate(shape) if size == 1)
    assert_allclose(mean, split.mean(axes, keepdims=True), atol=1e-15)
    assert_allclose(var, split.var(axes, keepdims=True), rtol=1e-13)


X2, BAD_EPS = np.arange(12.0).reshape(3, 4), [-1e-5, np.nan, np.inf]
ERRORS = [
    *((partial(tn.normalize, X2, "n c -> c", eps=eps), ValueError, "eps must be finite") for eps in BAD_EPS),
    (partial(tn.normalize, np.ones((2, 2), int), "n c -> c"), TypeError, "floating input, not int64"),
    (partial(tn.normalize, X2, "n c -> c", stats_dtype=int), TypeError, "stats_dtype must be a floating dtype"),
    (partial(tn.normalize, X2, "n c -> h"), ValueError, "'n c -> h'.*'h'"),
    (partial(tn.normalize, X2, "n c h -> c"), ValueError, r"'n c h -> c'.*\(3, 4\)"),
    (partial(tn.moments, np.ones((2, 2), int), "n c -> c"), TypeError, "floating input, not int64"),
    (partial(tn.moments, X2[:0], "n c -> c"), ValueError, r"zero elements: shape \(0, 4\)"),
    (partial(tn.moments, X2, "n c h -> c"), ValueError, "'n c h -> c'"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_errors_name_the_argument(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("pattern", "shape", "lengths", "words"),
    [
        ("n c ... -> c", (4, 3, 8, 8), {}, "one mean and variance per c; 4 × 8 × 8 = 256 values each"),
        ("n (g c) ... -> n g", (2, 6, 5), {"g": 3}, "one mean and variance per n, g; 2 × 5 = 10 values each"),
        ("n d -> n", (2, 6), {}, "one mean and variance per n; 6 values each"),
        ("n d -> n d", (2, 6), {}, "one mean and variance per n, d; 1 value each"),
        ("n d ->", (2, 6), {}, "one mean and variance in all; 2 × 6 = 12 values each"),
    ],
)
def test_a_pattern_describes_itself(pattern, shape, lengths, words):
    assert tn.describe(pattern, shape, **lengths) == words


def test_describing_what_does_not_fit_is_the_pattern_s_own_error():
    with pytest.raises(ValueError, match="'n c -> c': expected 2 axes"):
        tn.describe("n c -> c", (1, 2, 3))


# Names and kinds of arguments.


def test_axes_may_have_any_name_that_is_not_an_argument() -> None:
    x = np.random.default_rng(0).standard_normal((6, 4))
    expected = tn.normalize(x, "(a b) c -> a", a=2)
    for name in ("x", "pattern", "shape", "self"):
        pattern = f"({name} b) c -> {name}"
        assert_array_equal(tn.normalize(x, pattern, **{name: 2}), expected)
        assert_array_equal(tn.moments(x, pattern, **{name: 2})[0], tn.moments(x, "(a b) c -> a", a=2)[0])
        assert tn.describe(pattern, (6, 4), **{name: 2}).endswith("3 × 4 = 12 values each")
    for function in (tn.normalize, tn.moments):
        with pytest.raises(ValueError, match="'eps' is the name of an argument; rename the axis"):
            function(x, "(eps b) c -> eps", eps=2)
    assert tn.describe("n eps -> n", (2, 3)) == "one mean and variance per n; 3 values each"


@pytest.mark.parametrize("wrong", [("n", "c"), ["n", "c"], None, 3, b"n c -> c", {}])
def test_whatever_is_not_a_string_is_no_pattern(wrong: Any) -> None:
    for call in (parse, partial(tn.normalize, X2), lambda pattern: tn.describe(pattern, (3, 4))):
        with pytest.raises(TypeError, match=rf"a pattern is a string such as .* not {type(wrong).__name__}"):
            call(wrong)


@pytest.mark.parametrize("wrong", [2.0, True, "2", [2], {}, None, np.float64(2), np.bool_(True)])
def test_lengths_are_integers_whatever_was_asked_before(wrong: Any) -> None:
    for right in (1, 2, np.int64(2), np.uint8(1)):
        assert parse("n (g c) -> g").fit((2, 6), {"g": right}).shape == (2, right, 6 // right)
    with pytest.raises(ValueError, match="axis 'g' must be a positive integer, not"):
        parse("n (g c) -> g").fit((2, 6), {"g": wrong})


@pytest.mark.parametrize("wrong", [3, None, "34", (3.0, 4), (3, -4), (True, 4), (3, None), ([3], 4)])
def test_a_shape_is_a_sequence_of_sizes(wrong: Any) -> None:
    for call in (partial(tn.describe, "a b -> a"), parse("a b -> a").fit):
        call((3, 4))
        with pytest.raises(TypeError, match="a shape must be a sequence of non-negative integers"):
            call(wrong)
    assert tn.describe("a b -> a", [np.int64(3), 4]) == tn.describe("a b -> a", (3, 4))
