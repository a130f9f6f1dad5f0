"""Losses, optimizers, and a small network that learns digits."""

import gc
import math

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.datasets import load_digits, split_digits
from tinygrad_norm.engine.primitive import Node
from tinygrad_norm.tour.models import accuracy, batches, tanh_network, train


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def exact_cross_entropy(logits, labels):
    with mpmath.workdps(50):
        losses = []
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
            losses.append(mpmath.log(sum(mpmath.exp(mpmath.mpf(v)) for v in row)) - mpmath.mpf(row[label]))
        return float(sum(losses) / len(losses))


@pytest.mark.parametrize("scale", [1.0, 1e-3, 30.0, 1e4])
def test_cross_entropy_is_exact_and_stable(scale):
    """Value against 50 digits; the gradient is (softmax - one hot) / N, also at logits of 10,000."""
    logits, labels = random(7, 5) * scale, np.array([0, 4, 2, 2, 1, 3, 0])
    x = tn.tensor(logits, requires_grad=True)
    loss = nn.cross_entropy(x, labels)
    assert_allclose(loss.item(), exact_cross_entropy(logits, labels), rtol=1e-13)
    loss.backward(-1.7)
    softmax = np.exp(logits - logits.max(axis=1, keepdims=True))
    softmax /= softmax.sum(axis=1, keepdims=True)
    assert_allclose(x.grad.data, -1.7 * (softmax - np.eye(5)[labels]) / 7, rtol=1e-10, atol=1e-15)


def test_cross_entropy_of_huge_logits_in_float32_is_finite():
    x = tn.tensor(np.array([[1e4, -1e4, 0], [-1e4, 1e4, 1e4]], np.float32), requires_grad=True)
    loss = nn.cross_entropy(x, [1, 2])
    assert loss.dtype == np.float32
    assert_allclose(loss.item(), (2e4 + math.log(2)) / 2, rtol=1e-6)
    loss.backward()
    assert x.grad.dtype == np.float32
    assert_allclose(x.grad.data, [[0.5, -0.5, 0], [0, 0.25, -0.25]], atol=1e-7)


def test_the_losses_pass_their_own_check_to_second_order():
    labels, logits, v = np.array([2, 0, 1, 1]), random(4, 3), random(4, 3, seed=2)
    tn.check_gradients(lambda x: nn.cross_entropy(x, labels), logits, seed=0)
    tn.check_gradients(nn.mse_loss, logits, v, seed=0)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    along = softmax * v - softmax * (softmax * v).sum(axis=1, keepdims=True)
    assert_allclose(tn.hvp(lambda x: nn.cross_entropy(x, labels), logits, v), along / 4, rtol=1e-12)
    assert_allclose(tn.hvp(lambda x: nn.mse_loss(x, v), logits, v), v * 2 / 12, rtol=1e-12)


@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (2, 3, 1)])
def test_mse_is_the_mean_of_squared_differences(shape):
    a, b = random(*shape), random(*shape, seed=1)
    x, target = tn.tensor(a, requires_grad=True), tn.tensor(b, requires_grad=True)
    loss = nn.mse_loss(x, target)
    assert_allclose(loss.item(), np.mean((a - b) ** 2), rtol=1e-14)
    loss.backward(0.3)
    assert_allclose(x.grad.data, 0.3 * 2 * (a - b) / max(a.size, 1), rtol=1e-13)
    assert_array_equal(target.grad.data, -x.grad.data)


def test_losses_of_arrays_are_plain():
    for loss in (nn.cross_entropy(random(3, 2), np.array([0, 1, 1])), nn.mse_loss(random(3), random(3, seed=1))):
        assert not isinstance(loss, tn.Tensor)
        assert np.shape(loss) == ()


@pytest.mark.parametrize(
    ("logits", "labels", "error", "words"),
    [
        ((3, 2), [0, 1], ValueError, r"\(3, 2\) and \(2,\)"), ((3,), [0, 1, 1], ValueError, r"\(N, classes\)"),
        ((3, 2), [0.0, 1.0, 1.0], TypeError, "integers, not float64"), ((3, 2), [0, 1, 2], ValueError, "from 0 to 1"),
        ((3, 2), [0, -1, 1], ValueError, "got -1 to 1"), ((3, 2), [True, False, True], TypeError, "integers, not bool"),
    ],
)  # fmt: skip
def test_cross_entropy_refuses_bad_labels(logits, labels, error, words):
    with pytest.raises(error, match=words):
        nn.cross_entropy(random(*logits), np.array(labels))


def test_mse_refuses_to_broadcast():
    with pytest.raises(ValueError, match=r"\(3,\) and \(3, 1\)"):
        nn.mse_loss(random(3), random(3, 1))


def plain_sgd(p, gradients, lr, momentum, weight_decay):
    v = [0.0] * len(p)
    for g in gradients:
        for i in range(len(p)):
            v[i] = momentum * v[i] + g[i] + weight_decay * p[i]
            p[i] -= lr * v[i]
    return p


def plain_adam(p, gradients, lr, beta1, beta2, eps):
    m, v = [0.0] * len(p), [0.0] * len(p)
    for t, g in enumerate(gradients, 1):
        for i in range(len(p)):
            m[i] = beta1 * m[i] + (1 - beta1) * g[i]
            v[i] = beta2 * v[i] + (1 - beta2) * g[i] ** 2
            p[i] -= lr * (m[i] / (1 - beta1**t)) / (math.sqrt(v[i] / (1 - beta2**t)) + eps)
    return p


def run(optimizer, parameter, gradients):
    for g in gradients:
        parameter.grad = tn.tensor(g)
        optimizer.step()
    return parameter.data


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.3])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_sgd_is_the_textbook_loop(momentum, weight_decay):
    start, gradients = random(4), random(9, 4, seed=1)
    p = nn.Parameter(start)
    found = run(tn.optim.SGD([p], lr=0.1, momentum=momentum, weight_decay=weight_decay), p, gradients)
    assert_allclose(found, plain_sgd(start.tolist(), gradients.tolist(), 0.1, momentum, weight_decay), rtol=1e-13)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.7), (0.0, 0.0)])
def test_adam_is_algorithm_1(betas):
    start, gradients = random(4), random(9, 4, seed=1)
    p = nn.Parameter(start)
    found = run(tn.optim.Adam([p], lr=0.1, betas=betas, eps=1e-3), p, gradients)
    assert_allclose(found, plain_adam(start.tolist(), gradients.tolist(), 0.1, *betas, 1e-3), rtol=1e-12)


def test_adam_and_momentum_do_not_depend_on_other_parameters_or_skipped_steps():
    """A parameter without a gradient stays as it is, and its moments and step count wait."""
    gradients = random(6, 2, seed=1)
    for make in (lambda ps: tn.optim.Adam(ps, lr=0.1), lambda ps: tn.optim.SGD(ps, lr=0.1, momentum=0.9)):
        alone, p, q = (nn.Parameter([1.0, -2.0]) for _ in range(3))
        want = run(make([alone]), alone, gradients)
        optimizer = make([q, p])
        for k, g in enumerate(gradients):
            q.grad = None if k % 2 else tn.tensor(g)
            run(optimizer, p, [g])
        assert_array_equal(p.data, want)
        run(optimizer, q, gradients[1::2])
        assert not np.array_equal(q.data, [1.0, -2.0])
        optimizer.zero_grad()
        before = (p.data, q.data)
        optimizer.step()
        assert_array_equal((p.data, q.data), before)


@pytest.mark.parametrize("make", [tn.optim.SGD, tn.optim.Adam])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_steps_keep_the_dtype_and_do_not_touch_the_gradient(make, dtype):
    p = nn.Parameter([1.0, 2.0], dtype=dtype)
    optimizer = make([p], lr=0.25)
    for _ in range(3):
        optimizer.zero_grad()
        (p * p).sum().backward()
        g = p.grad.data.copy()
        optimizer.step()
        assert p.dtype == dtype
        assert_array_equal(p.grad.data, g)


@pytest.mark.parametrize("make", [tn.optim.SGD, tn.optim.Adam])
def test_optimizers_refuse_nonsense(make):
    with pytest.raises(ValueError, match="at least one parameter"):
        make([])
    for lr in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="lr"):
            make([nn.Parameter([1.0])], lr=lr)


@pytest.mark.parametrize("make", [tn.optim.SGD, tn.optim.Adam])
def test_a_graph_recorded_before_a_step_keeps_its_old_gradient(make):
    p, x = nn.Parameter(random(3), name="p"), random(3, seed=1)
    y = p * p * x
    g = random(3, seed=2)
    want = tn.grad(y, p, g).data
    p.grad = tn.tensor(random(3, seed=3))
    old = p.data
    make([p], lr=0.5).step()
    assert not np.array_equal(p.data, old)
    assert_array_equal(tn.grad(y, p, g).data, want)
    with pytest.raises(RuntimeError, match=r"'p' was given new data after multiply was computed"):
        tn.grad(y, p, g, create_graph=True)


def test_the_digits_are_real_and_split_without_overlap():
    images, labels = load_digits()
    assert (images.shape, images.min(), images.max()) == ((1797, 8, 8), 0, 16)
    assert_array_equal(np.unique(labels), np.arange(10))
    digits, other = split_digits(3), split_digits(4)
    pixels = np.concatenate([digits.train_images, digits.test_images])
    assert pixels.dtype == np.float32
    assert_array_equal(np.sort(pixels.sum(axis=1)), np.sort(images.reshape(-1, 64).sum(axis=1) / 16))
    assert_array_equal(split_digits(3).test_images, digits.test_images)
    assert not np.array_equal(other.test_images, digits.test_images)


def test_batches_show_every_digit_once_before_any_twice():
    digits = split_digits()
    source = batches(digits, 479, np.random.default_rng(0))
    epoch = np.concatenate([next(source)[0] for _ in range(3)])
    assert_array_equal(np.sort(epoch.sum(axis=1)), np.sort(digits.train_images.sum(axis=1)))


def test_a_small_network_with_batch_norm_learns_digits():
    """Chance is 10 %; the labels are what it learns: with shuffled ones it stays near chance."""
    digits = split_digits()
    scores = []
    for labels in (digits.train_labels, np.random.default_rng(5).permutation(digits.train_labels)):
        rng = np.random.default_rng(0)
        model = tanh_network(1, "batch", rng)
        losses = []
        train(model, digits._replace(train_labels=labels), 150, rng, lambda step, loss, into=losses: into.append(loss))
        assert len(losses) == 150
        before = model.state_dict()
        scores.append(accuracy(model.eval(), digits.test_images, digits.test_labels))
        for key, value in model.state_dict().items():
            assert_array_equal(value, before[key])
    assert scores[0] > 0.9
    assert scores[1] < 0.35


def test_training_is_reproducible():
    def weights():
        rng = np.random.default_rng(1)
        model = tanh_network(2, "layer", rng)
        train(model, split_digits(), 5, rng)
        return model.state_dict()

    first, second = weights(), weights()
    for key, value in first.items():
        assert_array_equal(value, second[key])


def test_v15_a_hundred_training_steps_without_the_collector_leave_no_node_alive():
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(5, 6, rng=0), nn.BatchNorm1d(6), nn.Tanh(), nn.LayerNorm(6), nn.GroupNorm(2, 6))
    optimizer = tn.optim.Adam(model.parameters())

    def nodes():
        return sum(type(thing) is Node for thing in gc.get_objects())

    gc.collect()
    before = nodes()
    gc.disable()
    try:
        for _ in range(100):
            optimizer.zero_grad()
            with tn.observe(model):
                y = model(rng.normal(size=(8, 5)).astype(np.float32))
            tn.nn.cross_entropy(y, rng.integers(0, 6, 8)).backward()
            optimizer.step()
        del y
        assert nodes() == before
    finally:
        gc.enable()
