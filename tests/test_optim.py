"""Groups, options and refusals of optimizers; steps beside textbook loops. (PyTorch is asked in tests/oracle.)"""

import math
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_norm as tn
from tinygrad_norm import nn

OPTIMIZERS: list[Any] = [tn.optim.SGD, tn.optim.Adam, tn.optim.AdamW]
every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def run(optimizer: Any, parameter: Any, gradients: np.ndarray) -> np.ndarray:
    for g in gradients:
        parameter.grad = tn.tensor(g, dtype=parameter.dtype)
        optimizer.step()
    return parameter.data


def textbook_sgd(p: list[float], gradients: Any, lr: float, momentum: float, dampening: float, nesterov: bool) -> Any:
    velocity: list[float] | None = None
    for g in gradients:
        before = velocity
        velocity = (
            [*g] if before is None else [momentum * v + (1 - dampening) * d for v, d in zip(before, g, strict=True)]
        )
        steps = [d + momentum * v for v, d in zip(velocity, g, strict=True)] if nesterov else velocity
        p = [x - lr * step for x, step in zip(p, steps, strict=True)]
    return p


def textbook_adam(p: Any, gradients: Any, lr: float, decay: float, decoupled: bool, amsgrad: bool) -> Any:
    moments = [(0.0, 0.0, 0.0)] * len(p)
    for t, g in enumerate(gradients, 1):
        for i, (m, v, most) in enumerate(moments):
            d = g[i] + (0 if decoupled else decay * p[i])
            m, v = 0.9 * m + 0.1 * d, 0.99 * v + 0.01 * d**2  # noqa: PLW2901
            most = max(most, v)  # noqa: PLW2901
            moments[i] = m, v, most
            if decoupled:
                p[i] -= lr * decay * p[i]
            p[i] -= lr * (m / (1 - 0.9**t)) / (math.sqrt((most if amsgrad else v) / (1 - 0.99**t)) + 1e-8)
    return p


@pytest.mark.parametrize(
    ("momentum", "dampening", "nesterov"), [(0.9, 0.0, True), (0.9, 0.3, False), (0.5, 1.0, False)]
)
def test_sgd_with_nesterov_and_dampening(momentum, dampening, nesterov):
    start, gradients = random(4), random(9, 4, seed=1)
    p = nn.Parameter(start)
    optimizer = tn.optim.SGD([p], 0.1, momentum, dampening, nesterov=nesterov)
    want = textbook_sgd(start.tolist(), gradients.tolist(), 0.1, momentum, dampening, nesterov)
    assert_allclose(run(optimizer, p, gradients), want, rtol=1e-13)


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("decoupled", [False, True])
def test_adam_with_weight_decay(decoupled, amsgrad):
    start, gradients = random(4), random(9, 4, seed=1) * np.logspace(1, -1, 9)[:, None]
    p = nn.Parameter(start)
    make: Any = tn.optim.AdamW if decoupled else tn.optim.Adam
    optimizer = make([p], lr=0.1, betas=(0.9, 0.99), weight_decay=0.3, amsgrad=amsgrad)
    want = textbook_adam(start.tolist(), gradients.tolist(), 0.1, 0.3, decoupled, amsgrad)
    assert_allclose(run(optimizer, p, gradients), want, rtol=1e-12)


@every_optimizer
def test_to_maximize_is_to_minimize_the_negative(make):
    up, down, gradients = nn.Parameter(random(3)), nn.Parameter(random(3)), random(5, 3, seed=1)
    run(make([up], lr=0.1, maximize=True), up, gradients)
    run(make([down], lr=0.1), down, -gradients)
    assert_array_equal(up.data, down.data)


@every_optimizer
def test_groups_have_options_of_their_own(make):
    """As two optimizers would do."""
    p, q, r, s = (nn.Parameter(random(3)) for _ in range(4))
    gradients = random(4, 3, seed=1)
    together = make([{"params": [p]}, {"params": iter([q]), "lr": 0.3, "weight_decay": 0.2}], lr=0.1)
    apart = make([r], lr=0.1), make([s], lr=0.3, weight_decay=0.2)
    for g in gradients:
        for parameter in (p, q, r, s):
            parameter.grad = tn.tensor(g)
        for optimizer in (together, *apart):
            optimizer.step()
    assert_array_equal(p.data, r.data)
    assert_array_equal(q.data, s.data)
    assert not np.array_equal(p.data, q.data)
    assert [group["lr"] for group in together.param_groups] == [0.1, 0.3]
    assert together.lr == 0.1
    together.lr = 0.0
    together.add_param_group({"params": r})
    assert [group["lr"] for group in together.param_groups] == [0.0, 0.0, 0.1]
    before = p.data
    together.step()
    assert_array_equal(p.data, before)
    together.zero_grad()
    assert (p.grad, q.grad, r.grad) == (None, None, None)
    assert s.grad is not None


@every_optimizer
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_options_of_numpy_and_of_tensors_keep_the_dtype(make, dtype):
    """Given, and set between steps, as a schedule does."""
    p = nn.Parameter([1.0, -2.0], dtype=dtype)
    optimizer = make([p], lr=np.float64(0.1), weight_decay=np.float64(0.1))
    run(optimizer, p, random(2, 2))
    optimizer.lr = optimizer.lr * np.cos(np.float64(0.3))
    run(optimizer, p, random(2, 2))
    assert p.dtype == dtype
    q = nn.Parameter([1.0, -2.0], dtype=dtype)
    run(make([q], lr=tn.tensor(0.1), weight_decay=np.array(0.1)), q, random(2, 2))
    assert q.dtype == dtype


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"lr": -1.0}, ValueError, "lr must not be negative, not -1.0"),
        ({"lr": math.inf}, ValueError, "lr must be finite"),
        ({"lr": "0.1"}, TypeError, "lr must be a real number"), ({"lr": None}, TypeError, "lr must be a real number"),
        ({"lr": np.ones(2)}, TypeError, "lr must be a real number"),
        ({"weight_decay": -1}, ValueError, "weight_decay must"),
        ({"momentum": 0.9}, TypeError, "momentum"),
    ],
)  # fmt: skip
def test_adam_refuses_options_by_name(options, error, words):
    with pytest.raises(error, match=words):
        tn.optim.Adam([nn.Parameter([1.0])], **options)
    if "momentum" not in options:
        with pytest.raises(error, match=words):
            tn.optim.Adam([{"params": [nn.Parameter([1.0])]} | options])


@every_optimizer
def test_what_is_no_parameter_is_refused(make):
    p = nn.Parameter([1.0], name="p")
    for wrong, error, words in [
        (p, TypeError, "not one Tensor"), ([p.data], TypeError, "Parameters, not ndarray"),
        (nn.Linear(1, 1).named_parameters(), TypeError, "Parameters, not tuple"),
        ([p, p], ValueError, "'p' is a duplicate"),
        ([{"params": p}, {"params": [p]}], ValueError, "'p' is a duplicate"),
        ([p * 2], ValueError, "is not a leaf"),
        ([], ValueError, "at least one"), ([{"params": "w"}], TypeError, "not str"),
    ]:  # fmt: skip
        with pytest.raises(error, match=words):
            make(wrong)
    optimizer = make([p])
    with pytest.raises(ValueError, match="is a duplicate"):
        optimizer.add_param_group({"params": [p]})
    assert len(optimizer.param_groups) == 1
