"""What the checker must not call wrong, and what it must not let pass: kinks, rounding, shared memory, large inputs."""

import warnings

import numpy as np
import pytest

import tinygrad_norm as tn
from tests.sampling import one_in
from tinygrad_norm.check import GradientMismatch, UncheckedGradient, Verdict, check_backward, inputs

SEEDS = range(5)


def relu(x):
    return np.maximum(x, 0)


def relu_back(g, x):
    return g * (x > 0)


def leaky(x):
    return np.where(x > 0, x, 0.1 * x)


def leaky_back(g, x):
    return np.where(x > 0, g, 0.1 * g)


def largest_first(x):
    return x.max(-1)


def to_the_first(g, x):
    first = x.argmax(-1)[..., None] == np.arange(x.shape[-1])
    return g[..., None] * first


def split_equally(g, x):
    at = x == x.max(-1, keepdims=True)
    return g[..., None] * at / at.sum(-1, keepdims=True)


def pooled(x):
    n, c, h, w = x.shape
    return x[:, :, : h // 2 * 2, : w // 2 * 2].reshape(n, c, h // 2, 2, w // 2, 2).max(axis=(3, 5))


def unpooled(g, x):
    _, _, h, w = x.shape
    dx = np.zeros_like(x)
    y = pooled(x)
    for i in range(h // 2):
        for j in range(w // 2):
            window = x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            at = window == y[:, :, i : i + 1, j : j + 1]
            dx[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = (
                g[:, :, i : i + 1, j : j + 1] * at / at.sum((2, 3), keepdims=True)
            )
    return dx


def accepted(forward, backward, *given, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return check_backward(forward, backward, *given, **options)


def rejected(forward, backward, *given, **options):
    with pytest.raises(GradientMismatch) as caught:
        check_backward(forward, backward, *given, **options)
    return caught.value.report


# Many kinks.


@pytest.mark.parametrize("shape", [(65,), (300,), (5, 7, 11)])
@pytest.mark.parametrize(("forward", "backward"), [(relu, relu_back), (leaky, leaky_back)])
def test_any_number_of_kinks_is_no_fault(forward, backward, shape):
    accepted(forward, backward, np.zeros(shape), seed=0)


@pytest.mark.parametrize("backward", [to_the_first, split_equally])
def test_ties_are_no_fault(backward):
    accepted(largest_first, backward, np.zeros((18, 4)), seed=0)


@pytest.mark.parametrize("seed", one_in(2, range(2)))
@pytest.mark.parametrize(("forward", "backward"), [(relu, relu_back), (leaky, leaky_back), (pooled, unpooled)])
def test_images_with_kinks_pass(forward, backward, seed, budget):
    accepted(forward, backward, inputs("n c h w"), seed=seed, budget=budget)


def test_ordinary_values_are_distinct_however_many_there_are():
    seen = []
    accepted(
        lambda x: seen.append(x) or x * 2.0,
        lambda g, x: 2 * g,
        inputs("n c h w", edges=(), smallest=4, largest=6),
        seed=0,
    )
    assert max(x.size for x in seen) > 300
    real = [x for x in seen if x.dtype == np.float64]
    assert np.mean([len(np.unique(x)) == x.size for x in real]) > 0.95  # all but those moved along a direction


def test_each_output_may_take_its_own_side_at_a_kink():
    def both(x):
        return np.stack([relu(x), relu(-x)])

    accepted(both, lambda g, x: g[0] * (x > 0) - g[1] * (x < 0), np.zeros(3), seed=0)
    accepted(both, lambda g, x: g[0] * (x > 0) - g[1] * (x < 0), inputs("n c"), seed=0)
    rejected(both, lambda g, x: g[0] * (x > 0) - 2 * g[1] * (x <= 0), np.zeros(3), seed=0)


@pytest.mark.parametrize("seed", one_in(2, range(2)))
def test_a_wrong_value_among_many_kinks_is_found(seed):
    def mixed(x):
        return np.concatenate([relu(x), x**2])

    x = np.zeros(70)
    accepted(mixed, lambda g, x: g[:70] * (x > 0) + 2 * g[70:] * x, x, seed=seed)
    rejected(mixed, lambda g, x: 3 * g[:70] + 2 * g[70:] * x, x, seed=seed)


# Kinks beside the point.


@pytest.mark.parametrize("near", [1e-7, 1e-9, 1e-11])
def test_a_kink_beside_the_point_excuses_nothing(near):
    report = rejected(relu, lambda g, x: 0 * g, np.array([near, 1.0, -2.0]), seed=0)
    assert report.index == (0,) or report.verdict is Verdict.WRONG_VALUE
    only = np.array([1.0, 0.0, 0.0])
    rejected(relu, lambda g, x: g * (x > 0) * (1 - only), np.array([near, 1.0, -2.0]), seed=0)
    accepted(relu, relu_back, np.array([near, 1.0, -2.0]), seed=0)


@pytest.mark.parametrize("size", [3e-13, 1e-10, 1e-7])
def test_a_small_cone_is_no_kink(size):
    x = size * np.array([3.0, -2.0, 1.0])
    rejected(np.linalg.norm, lambda g, x: 0 * x, x, seed=0)
    accepted(np.linalg.norm, lambda g, x: g * x / np.linalg.norm(x), x, seed=0)


def test_the_tip_of_a_cone_is_a_kink():
    with pytest.warns(UncheckedGradient):
        report = check_backward(np.linalg.norm, lambda g, x: 0 * x, np.zeros(3), seed=0)
    assert report.verdict in (Verdict.KINK, Verdict.VACUOUS)
    rejected(np.linalg.norm, lambda g, x: 5 * g + 0 * x, np.zeros(3), seed=0)


# Memory and dtypes.

MOVES = {
    "flatten": (lambda x: x.reshape(-1), lambda g, x: g.reshape(x.shape), ("n c",)),
    "transpose": (lambda x: x.T, lambda g, x: g.T, ("n c",)),
    "identity": (lambda x: x, lambda g, x: g, ("n c",)),
    "residual": (lambda x, y: x + y, lambda g, x, y: (g, g), ("n c", "n c")),
    "sum": (lambda x: x.sum(0), lambda g, x: np.broadcast_to(g, x.shape), ("n c",)),
    "stack": (lambda x, y: np.stack([x, y]), lambda g, x, y: (g[0], g[1]), ("n c", "n c")),
}


@pytest.mark.parametrize("name", MOVES)
def test_shared_memory_is_a_note_and_a_failure_if_strict(name, budget):
    forward, backward, axes = MOVES[name]
    report = accepted(forward, backward, inputs(*axes), seed=0, budget=budget)
    assert report.verdict is Verdict.PASSED
    assert any("memory" in note for note in report.notes)
    assert rejected(forward, backward, inputs(*axes), seed=0, strict=True).verdict is Verdict.ALIASED_GRADIENT
    x = [np.random.default_rng(i).normal(size=(3, 2)) for i in range(len(axes))]
    assert any("memory" in note for note in accepted(forward, backward, *x, seed=0).notes)


def test_float64_out_of_float32_is_a_note_after_all_values_were_judged():
    mask = np.random.default_rng(0).random((4, 3)) > 0.5

    def wide(g, x):
        return g * np.asarray(mask, np.float64)

    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    report = accepted(lambda x: x * mask, wide, x, seed=0)
    assert any("float64" in note for note in report.notes)
    assert rejected(lambda x: x * mask, wide, x, seed=0, strict=True).verdict is Verdict.WRONG_DTYPE
    assert rejected(lambda x: x * mask, lambda g, x: 2 * wide(g, x), x, seed=0).verdict is Verdict.WRONG_VALUE


def test_a_backward_pass_may_not_change_its_cache():
    def loss(scores, labels):
        p = np.exp(scores - scores.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        return -np.log(p[np.arange(len(p)), labels]).mean(), (p, labels)

    def back(g, cache, copy=np.array):
        p, labels = copy(cache[0]), cache[1]
        p[np.arange(len(p)), labels] -= 1
        return g * p / len(p)

    given = inputs(scores="n c", labels="n", domains={"labels": "labels:c"})
    accepted(loss, back, given, seed=0)
    report = rejected(loss, lambda g, cache: back(g, cache, copy=np.asarray), given, seed=0)
    assert (report.verdict, "cache" in report.message) == (Verdict.MUTATES_INPUT, True)


# Rounding that the oracle cannot see.


def contrastive(a, b):
    s = 2 * a @ b.T
    return (np.log(np.exp(s - s.max(1, keepdims=True)).sum(1)) + s.max(1) - np.diag(s)).mean()


def contrastive_back(g, a, b):
    s = 2 * a @ b.T
    p = np.exp(s - s.max(1, keepdims=True))
    p = p / p.sum(1, keepdims=True)
    ds = g * (p - np.eye(len(a))) / len(a)
    # The diagonal without cancellation.
    np.fill_diagonal(ds, -g * (p.sum(1) - np.diag(p)) / len(a))
    off = p * (1 - np.eye(len(a)))
    np.fill_diagonal(ds, -g * off.sum(1) / len(a))
    return 2 * ds @ b, 2 * ds.T @ a


@pytest.mark.parametrize("seed", one_in(10, range(10)))
def test_saturated_logsumexp_passes(seed):
    accepted(contrastive, contrastive_back, inputs("n c", "n c"), seed=seed)


@pytest.mark.parametrize("seed", one_in(10, range(10)))
def test_cross_entropy_of_large_logits_passes(seed):
    def loss(x):
        z = 12 * x
        top = z.max(1, keepdims=True)
        return (np.log(np.exp(z - top).sum(1)) + top[:, 0] - z[:, 0]).mean()

    def back(g, x):
        z = 12 * x
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        p[:, 0] = -p[:, 1:].sum(1)
        return 12 * g * p / len(x)

    accepted(loss, back, inputs("n c"), seed=seed)


@pytest.mark.parametrize("seed", one_in(10, range(10)))
def test_differences_of_squares_far_from_zero_pass(seed):
    def triplet(a, p, n):
        gaps = ((a - p) ** 2).sum(1) - ((a - n) ** 2).sum(1) + 1
        return np.maximum(gaps, 0).mean()

    def back(g, a, p, n):
        gaps = ((a - p) ** 2).sum(1) - ((a - n) ** 2).sum(1) + 1
        on = (g * (gaps > 0) / len(a))[:, None]
        return 2 * on * (n - p), -2 * on * (a - p), 2 * on * (a - n)

    accepted(triplet, back, inputs("n c", "n c", "n c"), seed=seed)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e3])
@pytest.mark.parametrize("seed", range(3))
def test_cholesky_is_judged_by_differences(scale, seed):
    rng = np.random.default_rng(seed)
    b = rng.normal(size=(3, 3))
    a = scale * (b @ b.T + np.eye(3))

    def back(g, a):
        lower = np.linalg.cholesky(a)
        phi = np.tril(lower.T @ np.tril(g))
        phi[np.diag_indices(3)] /= 2
        inverse = np.linalg.inv(lower)
        s = inverse.T @ phi @ inverse
        full = (s + s.T) / 2
        # Only the lower triangle is read.
        return np.tril(full + full.T) - np.diag(np.diag(full))

    accepted(np.linalg.cholesky, back, a, seed=seed)


# Single points, and searches in which nothing can be judged.


@pytest.mark.parametrize(
    ("forward", "backward", "x"),
    [
        (np.tanh, lambda g, x: g * (1 - np.tanh(x) ** 2), 25.0),
        (lambda x: 1 / (1 + np.exp(-x)), lambda g, x: g * np.exp(-x) / (1 + np.exp(-x)) ** 2, 40.0),
        (lambda x: x / x, lambda g, x: 0 * g, 3.0),
    ],
)
def test_what_cannot_be_judged_at_a_point_is_a_warning(forward, backward, x):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = check_backward(forward, backward, np.array([x]), seed=0)
    judged = report.verdict is Verdict.PASSED
    assert [w.category for w in caught] == ([] if judged else [UncheckedGradient])
    if not judged:
        assert rejected(forward, backward, np.array([x]), seed=0, strict=True).verdict is report.verdict


def test_a_search_in_which_next_to_nothing_was_judged_fails():
    report = rejected(lambda x: np.tanh(x + 40), lambda g, x: 5 * g * (1 - np.tanh(x + 40) ** 2), inputs("n c"), seed=0)
    assert report.verdict in (Verdict.VACUOUS, Verdict.ORACLE_UNRELIABLE)


# Large inputs.


def test_one_wrong_entry_of_ten_thousand_is_found():
    x = np.random.default_rng(0).normal(size=(100, 100))
    last = np.arange(10_000).reshape(100, 100) == 4321

    for seed in SEEDS:
        report = rejected(lambda x: x**2, lambda g, x: 2 * g * x * np.where(last, 1.01, 1), x, seed=seed)
        assert report.index == (43, 21)
    report = accepted(lambda x: x**2, lambda g, x: 2 * g * x, x, seed=0)
    assert (report.elements_checked, report.projected) == (256, 10_000)


def test_an_automatic_gradient_of_large_arrays_with_kinks_passes():
    x = np.random.default_rng(0).normal(size=(60, 50))
    tn.check_gradients(tn.ops.relu, np.where(x > 1, x, 0), seed=0)


# float32 only.


def test_code_that_takes_nothing_but_float32_is_judged_in_float32():
    def scale(x, w):
        assert x.dtype == w.dtype == np.float32
        return x * w

    def back(g, x, w):
        assert g.dtype == np.float32
        return g * w, (g * x).sum(0)

    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(5, 4)).astype(np.float32), rng.normal(size=4).astype(np.float32)
    assert accepted(scale, back, x, w, seed=0).verdict is Verdict.PASSED
    rejected(scale, lambda g, x, w: (g * w, 1.01 * (g * x).sum(0)), x, w, seed=0)
    rejected(scale, lambda g, x, w: (g * w * np.float32(1.01), (g * x).sum(0)), x, w, seed=0)
    with pytest.raises(AssertionError):
        check_backward(scale, back, x.astype(np.float64), w.astype(np.float64), seed=0)


def test_whatever_a_function_says_to_complex_numbers_differences_judge_it():
    def picky(x):
        if x.dtype != np.float64:
            raise RuntimeError("not for me")
        return np.sin(x)

    accepted(picky, lambda g, x: g * np.cos(x), inputs("n c"), seed=0)
    rejected(picky, lambda g, x: g * np.sin(x), inputs("n c"), seed=0)
