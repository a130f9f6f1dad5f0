"""The losses beside their formulas: to 50 digits far from zero, in every dtype, what they refuse, and as layers."""

import math
from typing import Any

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_norm as tn
from tinygrad_norm import nn


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def exact_bce(x: float, t: float, positive: float = 1.0) -> float:
    with mpmath.workdps(60):
        x, t = mpmath.mpf(x), mpmath.mpf(t)
        return float(positive * t * mpmath.log1p(mpmath.exp(-x)) + (1 - t) * mpmath.log1p(mpmath.exp(x)))


def exact_bce_slope(x: float, t: float, positive: float = 1.0) -> float:
    with mpmath.workdps(60):
        sigmoid = 1 / (1 + mpmath.exp(-mpmath.mpf(x)))
        return float((1 - mpmath.mpf(t)) * sigmoid - positive * mpmath.mpf(t) * (1 - sigmoid))


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-14), (np.float32, 4e-7)])
@pytest.mark.parametrize("positive", [None, 2.5])
def test_binary_cross_entropy_of_logits_is_exact_from_0_to_10_000(dtype, tolerance, positive):
    """Also where x and log(1 + exp(x)) nearly cancel, and where exp overflows."""
    x, t = (
        a.ravel() for a in np.meshgrid([0.0, 1e-3, 1, 10, 30, 80, 1e4, -1e-3, -1, -10, -30, -80, -1e4], [0, 1, 0.25])
    )
    leaf, g = tn.tensor(x, dtype=dtype, requires_grad=True), random(x.size).astype(dtype)
    weight = None if positive is None else np.array(positive)
    y = nn.binary_cross_entropy_with_logits(leaf, t.astype(dtype), reduction="none", pos_weight=weight)
    y.backward(g)
    points = list(zip(leaf.data.tolist(), t.tolist(), strict=True))
    assert (y.dtype, leaf.grad.dtype) == (dtype, dtype)
    want = [exact_bce(*point, positive or 1.0) for point in points]
    assert_allclose(y.data, want, rtol=tolerance, atol=np.finfo(dtype).tiny)
    slopes = np.array([exact_bce_slope(*point, positive or 1.0) for point in points])
    assert_allclose(leaf.grad.data, g * slopes, rtol=10 * tolerance, atol=np.finfo(dtype).tiny)


def test_second_derivatives_of_binary_cross_entropies():
    x, t, v = random(9), np.linspace(0, 1, 9), random(9, seed=1)
    p = 1 / (1 + np.exp(-x))
    found = tn.hvp(lambda x: nn.binary_cross_entropy_with_logits(x, t, reduction="sum"), x, v)
    assert_allclose(found, p * (1 - p) * v, rtol=1e-12)
    found = tn.hvp(lambda p: nn.binary_cross_entropy(p, t, reduction="sum"), p, v)
    assert_allclose(found, (t / p**2 + (1 - t) / (1 - p) ** 2) * v, rtol=1e-12)
    slope = tn.vjp(lambda p: nn.binary_cross_entropy(p, t, reduction="sum"), p)[1](np.array(0.7))
    assert_allclose(slope, 0.7 * (-t / p + (1 - t) / (1 - p)), rtol=1e-12)


def test_binary_cross_entropy_is_precise_for_small_probabilities():
    p = np.array([1e-20, 1e-9], np.float32)
    assert_allclose(nn.binary_cross_entropy(p, np.zeros(2, int), reduction="none"), p, rtol=1e-6)


@pytest.mark.parametrize("p", [0.0, 1.0])
@pytest.mark.parametrize("t", [0.0, 1.0, 0.5])
def test_at_certainty_gradients_are_finite(p, t):
    leaf = tn.tensor([p], requires_grad=True)
    nn.binary_cross_entropy(leaf, np.array([t])).backward()
    # Of log p where p is 1 and of log(1 - p) where it is 0; the other is bounded, and so constant.
    assert_array_equal(leaf.grad.data, [1 - t] if p == 0 else [-t])


HUBERS = [(1.0, 1.0), (0.3, 1.0), (2.0, 0.5)]


@pytest.mark.parametrize(("delta", "scale"), HUBERS)
def test_huber_and_smooth_l1_are_their_pieces(delta, scale):
    d = np.array([-3.0, -1, -0.5, -1e-3, 0, 0.25, 0.75, 2, 1e3]) * scale
    want = np.where(abs(d) <= delta, d**2 / 2, delta * (abs(d) - delta / 2))
    zero, g = np.zeros_like(d), random(d.size)
    x = tn.tensor(d, requires_grad=True)
    y = nn.huber_loss(x, zero, "none", delta)
    assert_allclose(y.data, want, rtol=1e-14)
    slope, second = np.clip(d, -delta, delta), (abs(d) <= delta).astype(float)
    (first,) = tn.grad(y, [x], tn.tensor(g), create_graph=True)
    assert_allclose(first.data, g * slope, rtol=1e-14)
    v = random(d.size, seed=1)
    assert_allclose(tn.grad(first, x, v).data, g * v * second, rtol=1e-14)
    assert_allclose(nn.smooth_l1_loss(d, zero, "none", delta), want / delta, rtol=1e-14)
    assert_array_equal(nn.smooth_l1_loss(d, zero, "none", 0), abs(d))


def losses_of(x: Any, labels: Any, other: Any) -> dict[str, Any]:
    """Every loss and option, of logits in 3 classes, labels, and numbers from 0 to 1."""
    w = np.array([0.5, 2.0, 1.0])
    return {
        "cross_entropy": nn.cross_entropy(x, labels),
        "smoothed": nn.cross_entropy(x, labels, weight=w, label_smoothing=0.1, ignore_index=1),
        "probabilities": nn.cross_entropy(x, other, weight=[0.5, 2.0, 1.0], label_smoothing=0.1),
        "nll_loss": nn.nll_loss(x, labels, weight=w, reduction="sum"),
        "mse_loss": nn.mse_loss(x, other, "none"),
        "of integers": nn.mse_loss(x, np.arange(12).reshape(4, 3)),
        "in integers": nn.mse_loss(np.arange(12).reshape(4, 3), x),
        "l1_loss": nn.l1_loss(x, other),
        "huber_loss": nn.huber_loss(x, other, delta=np.float64(0.5)),
        "smooth_l1_loss": nn.smooth_l1_loss(x, other, "sum", np.float64(0.5)),
        "logits": nn.binary_cross_entropy_with_logits(x, other, weight=w, pos_weight=w),
        "bits": nn.binary_cross_entropy_with_logits(x, np.ones((4, 3), bool), pos_weight=np.float64(3)),
        "binary": nn.binary_cross_entropy(tn.ops.sigmoid(x), np.ones((4, 3), int), weight=w),
    }


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_losses_and_gradients_keep_the_dtype(dtype):
    """With weights in float64 and targets in integers, too."""
    labels, other = np.array([0, 2, 1, 1]), (abs(random(4, 3, seed=1)) % 1).astype(dtype)
    exact = losses_of(random(4, 3).astype(dtype).astype(np.float64), labels, other.astype(np.float64))
    for name in exact:
        x = tn.tensor(random(4, 3), dtype=dtype, requires_grad=True)
        loss = losses_of(x, labels, other)[name]
        loss.backward(random(*loss.shape))
        assert (loss.dtype, x.grad.dtype) == (dtype, dtype), name
        assert_allclose(loss.data, exact[name], rtol=20 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).eps)


def test_losses_of_arrays_are_plain_and_gradients_are_their_slopes():
    """Along one random direction of both inputs, with a random cotangent; central differences are the judge."""
    labels, x, other = np.array([0, 2, 1, 1]), random(4, 3), 0.1 + abs(random(4, 3, seed=1)) % 0.8
    v, w = random(4, 3, seed=2), random(4, 3, seed=3)
    for name, loss in losses_of(x, labels, other).items():
        assert not isinstance(loss, tn.Tensor)
        _, pullback = tn.vjp(lambda x, t, name=name: losses_of(x, labels, t)[name], x, other)
        g = random(*np.shape(loss), seed=4)
        slope = sum((a * b).sum() for a, b in zip(pullback(g), (v, w), strict=True))
        plus, minus = (losses_of(x + h * v, labels, other + h * w)[name] for h in (1e-6, -1e-6))
        assert_allclose(slope, (g * (plus - minus)).sum() / 2e-6, rtol=1e-7, err_msg=name)


@pytest.mark.parametrize("axes", [(), (2,), (2, 3)])
def test_cross_entropy_with_everything_is_its_formula(axes):
    """Smoothed labels are the distribution (1 - s) * one hot + s / C; the mean is over the weights of the labels."""
    x, w, s = random(5, 4, *axes), np.array([0.5, 2.0, 1.0, 0.1]), 0.3
    labels = np.random.default_rng(1).integers(0, 4, (5, *axes))
    labels[0], labels[1] = 2, 1
    log_p = np.moveaxis(x - np.log(np.exp(x).sum(axis=1, keepdims=True)), 1, -1)
    terms = -w * log_p * ((1 - s) * np.eye(4)[labels] + s / 4)
    losses, counts = terms.sum(axis=-1), labels != 2
    options: dict[str, Any] = {"weight": w, "ignore_index": 2, "label_smoothing": s}
    assert_allclose(nn.cross_entropy(x, labels, reduction="none", **options), np.where(counts, losses, 0), rtol=1e-13)
    assert_allclose(nn.cross_entropy(x, labels, reduction="sum", **options), losses[counts].sum(), rtol=1e-13)
    assert_allclose(nn.cross_entropy(x, labels, **options), losses[counts].sum() / w[labels][counts].sum(), rtol=1e-13)
    soft = np.moveaxis(np.eye(4)[labels], -1, 1)
    options = {"weight": w, "label_smoothing": s}
    assert_allclose(nn.cross_entropy(x, soft, **options), losses.mean(), rtol=1e-13)
    assert_allclose(
        nn.nll_loss(np.moveaxis(log_p, -1, 1), labels), -(log_p * np.eye(4)[labels]).sum(-1).mean(), rtol=1e-13
    )


def test_differences_that_overflow_when_squared_do_no_harm_where_they_are_not_squared():
    x = tn.tensor([300.0, -300.0, 0.5], dtype=np.float16, requires_grad=True)
    y = nn.huber_loss(x, np.zeros(3, np.float16), "none")
    assert_array_equal(y.data, np.array([299.5, 299.5, 0.125], np.float16))
    y.backward(np.array([1, 2, 4], np.float16))
    assert_array_equal(x.grad.data, [1, -2, 2])


def test_means_over_many_labels_in_float16_do_not_overflow():
    x, labels = tn.tensor(np.zeros((70_000, 2)), dtype=np.float16, requires_grad=True), np.zeros(70_000, int)
    labels[:10] = -100
    assert_allclose(nn.cross_entropy(x, labels).item(), math.log(2), rtol=1e-3)


def test_ignored_samples_take_no_part_even_where_they_are_not_finite():
    x = tn.tensor([[1.0, 2.0], [np.nan, np.inf], [0.0, -1.0]], requires_grad=True)
    loss = nn.cross_entropy(x, np.array([0, 7, 1]), ignore_index=7)
    want = tn.tensor(x.data[::2], requires_grad=True)
    kept = nn.cross_entropy(want, np.array([0, 1]))
    assert_allclose(loss.item(), kept.item(), rtol=1e-14)


def test_labels_may_be_tensors_lists_and_any_integers():
    x = random(3, 4)
    want = nn.cross_entropy(x, np.array([0, 3, 1]))
    for labels in ([0, 3, 1], tn.tensor([0, 3, 1]), np.array([0, 3, 1], np.uint8), np.array([0, 3, 1], np.int16)):
        assert float(nn.cross_entropy(x, labels)) == want
        assert_array_equal(nn.CrossEntropyLoss()(x, labels).data, want)
    for label in (3, np.int64(3), np.array(3), tn.tensor(3)):
        assert_allclose(float(nn.cross_entropy(x[1], label)), nn.cross_entropy(x[1:2], [3]), rtol=1e-15)
        assert_allclose(nn.CrossEntropyLoss()(x[1], label).data, nn.cross_entropy(x[1:2], [3]), rtol=1e-15)


def test_weights_carry_gradients_too():
    x, labels = random(4, 3), np.array([0, 2, 1, 1])
    tn.check_gradients(
        lambda w: nn.cross_entropy(x, labels, weight=w, label_smoothing=0.2), np.array([0.5, 2, 1]), seed=0
    )
    tn.check_gradients(lambda w: nn.binary_cross_entropy_with_logits(x, x * 0, weight=w), abs(random(3)), seed=0)


@pytest.mark.parametrize(
    ("refused", "error", "words"),
    [
        (lambda: nn.cross_entropy(random(3, 2, 4), np.zeros((3, 2), int)), ValueError, r"\(3, 2, 4\) and \(3, 2\)"),
        (lambda: nn.nll_loss(np.array(1.0), np.array(0)), ValueError, r"\(classes,\)"),
        (lambda: nn.cross_entropy(random(2, 3), [0, 1], weight=np.ones(2)), ValueError, r"shape \(3,\), a factor"),
        (lambda: nn.cross_entropy(random(2, 3), random(2, 3), weight=np.ones(2)), ValueError, r"shape \(3,\)"),
        (lambda: nn.cross_entropy(random(2, 3), [0, 1], reduction="avg"), ValueError, "'mean', 'sum' or 'none'"),
        (lambda: nn.cross_entropy(random(2, 3), [0, -1], ignore_index=-2), ValueError, "got -1 to 0"),
        (lambda: nn.cross_entropy(random(2, 3), [0, 1], label_smoothing=-0.1), ValueError, "label_smoothing"),
        (lambda: nn.cross_entropy(random(2, 3), random(2)), TypeError, r"integers, not float64; probabilities"),
        (lambda: nn.cross_entropy(random(0, 3), np.zeros(0, int)), ValueError, "zero elements"),
        (lambda: nn.l1_loss(random(3), random(3, 1)), ValueError, r"l1_loss expects input and target of the same"),
        (lambda: nn.huber_loss(random(3), random(3), delta=-1), ValueError, "delta must be positive"),
        (lambda: nn.huber_loss(random(3), random(3), delta=math.inf), ValueError, "delta must be finite"),
        (lambda: nn.smooth_l1_loss(random(3), random(3), beta=-1), ValueError, "beta must not be negative"),
        (lambda: nn.binary_cross_entropy(np.array([1.1]), np.array([1])), ValueError, "from 0 to 1; for logits"),
        (lambda: nn.MSELoss(delta=1), TypeError, "delta"),
        (lambda: nn.CrossEntropyLoss(reduction="sum", smoothing=1), TypeError, "smoothing"),
    ],
)  # fmt: skip
def test_what_losses_refuse(refused, error, words):
    with pytest.raises(error, match=words):
        refused()


def test_a_loss_as_a_layer_is_part_of_a_model():
    model = nn.Sequential(nn.Linear(2, 3), nn.CrossEntropyLoss(weight=[1.0, 2.0, 3.0]))
    assert list(model.state_dict()) == ["0.weight", "0.bias", "1.weight"]
    assert list(nn.BCEWithLogitsLoss().state_dict()) == []
    loss = nn.HuberLoss(delta=2.0)
    loss.delta = 0.5
    assert_allclose(loss(np.array([3.0]), np.array([0.0])).item(), 0.5 * (3 - 0.25))
    assert loss.reduction == "mean"
