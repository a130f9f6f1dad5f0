"""Fused modules are the modules that they were: outputs, gradients, running statistics, state, modes, observers."""

from __future__ import annotations

import copy
import gc
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.datasets import load_digits
from tinygrad_norm.fusing.modules import Pending

pytest.importorskip("numba", reason="fuse compiles with numba, which the extra `compile` installs")


class Residual(nn.Module):
    """Two convolutions and a shortcut, as in ResNets: the second norm, the sum and the ReLU are one kernel."""

    def __init__(self, channels_in: int, channels: int, norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(channels_in, channels, 3, padding=1), norm(channels)
        self.conv2, self.norm2 = nn.Conv2d(channels, channels, 3, padding=1), norm(channels)
        self.shortcut, self.norm3 = nn.Conv2d(channels_in, channels, 1), norm(channels)
        self.act = nn.ReLU()

    def forward(self, x: Any) -> Any:
        h = self.act(self.norm1(self.conv1(x)))
        return tn.ops.relu(self.norm2(self.conv2(h)) + self.norm3(self.shortcut(x)))


class Shared(nn.Module):
    """One norm, called twice: the order of its running statistics must be kept."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(5, momentum=0.3)

    def forward(self, x: Any) -> Any:
        return self.norm(np.tanh(self.norm(x) * 2) + 0.5 * x)


class Twice(nn.Module):
    """What a norm gives is used in several ways."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(5)

    def forward(self, x: Any) -> Any:
        y = self.norm(x)
        parts = [tn.ops.relu(y), -y, 2.0 - y, y / 3, y[:, :2].sum(), np.stack([y, y * y])]
        assert parts[0].shape == y.shape
        assert y.ndim == 2
        return {"mixed": parts[0] + parts[1] * parts[2], "rest": parts[3:]}


def sequential() -> nn.Module:
    layers = [nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6), nn.LayerNorm(6), nn.SiLU(), nn.RMSNorm(6)]
    return nn.Sequential(*layers)


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "sequential": (sequential, (7, 5)),
    "residual": (lambda: Residual(2, 4), (3, 2, 5, 5)),
    "residual, group norm": (lambda: Residual(2, 4, lambda c: nn.GroupNorm(2, c)), (3, 2, 5, 5)),
    "instance norm that tracks": (lambda: nn.InstanceNorm2d(3, affine=True, track_running_stats=True), (4, 3, 5, 5)),
    "cumulative": (lambda: nn.BatchNorm1d(5, momentum=None), (7, 5)),
    "untracked": (lambda: nn.BatchNorm1d(5, track_running_stats=False), (7, 5)),
    "no affine step": (lambda: nn.BatchNorm1d(5, affine=False), (7, 5)),
    "a pattern": (lambda: nn.Norm("n c s -> c", affine="c", c=3, track_running_stats=True), (4, 3, 5)),
    "shared": (Shared, (7, 5)),
    "norm alone": (lambda: nn.LayerNorm(5), (7, 5)),
}


def flat(y: Any) -> list[Any]:
    """Return all Tensors in a structure."""
    if isinstance(y, dict | list | tuple):
        return [part for value in (y.values() if isinstance(y, dict) else y) for part in flat(value)]
    return [y]


def close(a: Any, b: Any, tolerance: float = 2e-5) -> None:
    a, b = (x.data if isinstance(x, tn.Tensor) else np.asarray(x) for x in (a, b))
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    assert abs(a - b).max(initial=0) <= tolerance * max(abs(b).max(initial=0), 1)


def pair(make: Callable[[], nn.Module]) -> tuple[nn.Module, Any]:
    """Return a model and the same one, fused."""
    model = make()
    for p in model.parameters():
        p.data = np.random.default_rng(p.size).standard_normal(p.shape).astype(p.dtype) * 0.5 + 0.2
    return model, tn.fuse(copy.deepcopy(model))


@pytest.mark.parametrize("name", MODELS)
def test_training_steps_and_evaluation(name: str) -> None:
    make, shape = MODELS[name]
    model, fused = pair(make)
    rng = np.random.default_rng(0)
    for _ in range(3):
        x = rng.standard_normal(shape).astype(np.float32)
        a, b = model(x), fused(x)
        g = rng.standard_normal(a.shape).astype(np.float32)
        close(b, a)
        if a.requires_grad:
            for each, y in ((model, a), (fused, b)):
                each.zero_grad()
                y.backward(g)
        for (path, p), (same, q) in zip(model.named_parameters(), fused.named_parameters(), strict=True):
            assert path == same
            close(q.grad, p.grad, 1e-4)
        for (key, value), (same, other) in zip(model.state_dict().items(), fused.state_dict().items(), strict=True):
            assert key == same
            close(other, value)
    model.eval()
    fused.eval()
    assert not fused.training
    close(fused(x), model(x))
    assert not fused.fallbacks


def test_norms_are_compiled_with_what_follows_them() -> None:
    fused = tn.fuse(Residual(2, 4))
    fused(np.ones((3, 2, 5, 5), np.float32) * np.arange(5, dtype=np.float32))
    names = [function.__name__ for function in fused.fuser.functions.values()]
    assert names == ["batch_norm_relu", "batch_norm", "batch_norm_add_relu"]
    assert "def batch_norm_add_relu(" in fused.source
    assert [sweeps.backward.sweeps for sweeps in fused.sweeps.values()] == [2, 2, 2]


def test_a_fused_module_is_the_module() -> None:
    model = sequential()
    fused = tn.fuse(model)
    assert isinstance(fused, nn.Sequential)
    assert fused.state_dict().keys() == model.state_dict().keys()
    assert [*fused.parameters()] == [*model.parameters()]
    fused.eval()
    assert not model.training
    fused.load_state_dict({key: value * 0 for key, value in model.state_dict().items()})
    assert all((p.data == 0).all() for p in model.parameters())
    assert repr(fused) == f"fuse({model!r})"
    assert "fuse" not in repr(model)


def test_copies() -> None:
    fused = tn.fuse(sequential(), threads=2)
    x = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    fused(x)
    fused.eval()
    for other in (copy.deepcopy(fused), pickle.loads(pickle.dumps(fused))):
        close(other(x), fused(x))
        assert other.fuser.threads == 2
        assert not set(other.parameters()) & set(fused.parameters())
        assert type(other).__mro__[2] is nn.Sequential


def test_checks_draw_and_observe() -> None:
    model, fused = pair(sequential)
    x = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    before = fused.state_dict()
    assert tn.check_module(fused, x)
    for key, value in fused.state_dict().items():
        np.testing.assert_array_equal(value, before[key])
    with tn.observe(model) as plain, tn.observe(fused) as seen:
        close(fused(x), model(x))
    assert plain.table().text() == seen.table().text()
    symbols = [[v.symbol for v in tn.draw(each(x), open=True).graph.vertices] for each in (model, fused)]
    assert symbols[0] == symbols[1]


def test_a_result_used_in_several_ways() -> None:
    model, fused = pair(Twice)
    x = tn.tensor(np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32), requires_grad=True)
    ours, theirs = fused(x), model(x)
    assert ours.keys() == theirs.keys()
    total = []
    for a, b in zip(flat(ours), flat(theirs), strict=True):
        assert type(a) is tn.Tensor
        close(a, b)
    for y in (ours, theirs):
        total.append(tn.grad(sum((part * part).sum() for part in flat(y)), x))
    close(*total, 1e-4)


def test_what_waits_is_a_tensor_in_every_respect() -> None:
    seen: list[Any] = []

    class Asks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(3)
            self.ask: Callable[[Any], Any] = lambda y: y

        def forward(self, x: Any) -> Any:
            y = self.norm(x)
            assert type(y) is Pending
            seen.append(self.ask(y))
            return y

    fused = tn.fuse(Asks())
    x = tn.tensor(np.arange(6.0, dtype=np.float32).reshape(2, 3) ** 2, requires_grad=True)
    plain = tn.layer_norm(x, 3)
    for ask in (
        lambda y: y.shape, lambda y: str(y.dtype), lambda y: y.ndim, lambda y: y.size, len, lambda y: y.T.data,
        lambda y: y[0].data, lambda y: (y > 0), lambda y: np.exp(y).data, lambda y: y.sum().item(), lambda y: y.data,
        lambda y: [row.data for row in y], lambda y: y.detach().data, lambda y: y.requires_grad, lambda y: y.tolist(),
        lambda y: np.stack([y, 2 * y]).data, lambda y: (y @ y.T).data, repr, lambda y: y.numpy(),
        lambda y: bool((y + 1).sum() > 0), lambda y: np.where(y > 0, y, 0).data, lambda y: (3 / (2 - y)).data,
        lambda y: (y * y + y).data, lambda y: (-y - 1).data, lambda y: y.mean(axis=1, keepdims=True).data,
        lambda y: tn.grad(y, x, np.ones((2, 3), np.float32)).data, lambda y: np.concatenate([y, x]).data,
        lambda y: (y**2).data, lambda y: isinstance(y, tn.Tensor), lambda y: tn.ops.softmax(y).data,
        lambda y: (np.float32(2) * y).data, lambda y: (np.ones((2, 3), np.float32) - y).data, lambda y: (x + y).data,
    ):  # fmt: skip
        fused.ask = ask
        result = fused(x)
        assert type(result) is tn.Tensor
        np.testing.assert_allclose(result.data, plain.data, atol=1e-6)
        expected = ask(plain)
        if isinstance(expected, str):
            assert seen[-1][:6] == expected[:6]
        else:
            np.testing.assert_allclose(seen[-1], expected, atol=1e-6)


def test_errors_are_the_modules_and_leave_nothing_behind() -> None:
    fused = tn.fuse(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU()))
    with pytest.raises(ValueError, match="more than one value per channel"):
        fused(np.ones((1, 5), np.float32))
    assert fused[1].num_batches_tracked == 0
    fused(np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32))
    assert fused[1].num_batches_tracked == 1
    outside = tn.layer_norm(np.ones((2, 3), np.float32), 3)
    assert type(outside) is np.ndarray


def test_training_on_the_digits_has_the_same_losses() -> None:
    """A hundred steps in float64: what differs by rounding stays small."""
    pictures, labels = (part[:64] for part in load_digits())
    images, losses = pictures[:, None] / 16.0, []

    def network() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, dtype=np.float64), nn.BatchNorm2d(4, dtype=np.float64), nn.ReLU(),
            nn.Flatten(), nn.Linear(256, 10, dtype=np.float64), nn.LayerNorm(10, dtype=np.float64),
        )  # fmt: skip

    for model in pair(network):
        optimizer, found = tn.optim.SGD(model.parameters(), lr=0.05), []
        for _ in range(100):
            model.zero_grad()
            loss = nn.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        losses.append(found)
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-9)
    assert losses[0][-1] < losses[0][0]


def test_no_gradients_and_frozen_parameters() -> None:
    model, fused = pair(sequential)
    x = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    with tn.no_grad():
        assert not fused(x).requires_grad
    for each in (model, fused):
        each[1].weight.requires_grad = False
    a, b = model(x), fused(x)
    g = np.random.default_rng(1).standard_normal(a.shape).astype(np.float32)
    a.backward(g)
    b.backward(g)
    assert fused[1].weight.grad is None
    close(fused[0].weight.grad, model[0].weight.grad, 1e-4)


def test_higher_derivatives() -> None:
    model, fused = pair(lambda: nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4), nn.SiLU()))
    x = tn.tensor(np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32), requires_grad=True)
    penalties = []
    for each in (model, fused):
        slope = tn.grad(each(x).sum(), x, create_graph=True)
        penalties.append(tn.grad((slope * slope).sum(), [x, *each.parameters()][:3]))
    for a, b in zip(*penalties, strict=True):
        close(b, a, 1e-4)


def test_float16_and_mixed_dtypes_fall_back_and_are_counted() -> None:
    fused = tn.fuse(nn.LayerNorm(5))
    x = np.random.default_rng(0).standard_normal((3, 5))
    for dtype in (np.float16, np.float64):
        close(fused(x.astype(dtype)), nn.LayerNorm(5)(x.astype(dtype)))
    assert sum(fused.fallbacks.values()) == 2


def test_inside_another_and_inside_a_function() -> None:
    inner = tn.fuse(nn.LayerNorm(5))
    outer = tn.fuse(nn.Sequential(inner, nn.ReLU()))
    x = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    close(outer(x), nn.Sequential(nn.LayerNorm(5), nn.ReLU())(x))
    assert [f.__name__ for f in outer.fuser.functions.values()] == ["layer_norm_relu"]


def test_graphs_are_freed_without_the_collector() -> None:
    from tinygrad_norm.engine.primitive import Node

    fused = tn.fuse(Residual(2, 4))
    x = np.random.default_rng(0).standard_normal((3, 2, 5, 5)).astype(np.float32)
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            y = fused(x)
            y.backward(np.ones_like(y.data))
        del y
        assert not [o for o in gc.get_objects() if isinstance(o, Node | Pending)]
    finally:
        gc.enable()


def test_calls_with_new_shapes_compile_nothing_new() -> None:
    from tinygrad_norm.fusing import kernels

    fused = tn.fuse(sequential())
    rng = np.random.default_rng(0)
    fused(rng.standard_normal((7, 5)).astype(np.float32)).backward(np.ones((7, 6), np.float32))
    before = len(kernels._made)
    for n in (8, 9, 30):
        fused(rng.standard_normal((n, 5)).astype(np.float32)).backward(np.ones((n, 6), np.float32))
    assert len(kernels._made) == before
