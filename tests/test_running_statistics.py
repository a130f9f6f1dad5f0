"""Running statistics whose switches are turned after construction, or whose buffers are set or taken away."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import sleep
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_norm as tn
from tinygrad_norm import nn

LAYERS: dict[str, Callable[..., Any]] = {
    "BatchNorm1d": lambda **k: nn.BatchNorm1d(3, **k),
    "InstanceNorm1d": lambda **k: nn.InstanceNorm1d(3, **{"track_running_stats": True} | k),
    "Norm": lambda **k: nn.Norm("n c ... -> c", c=3, **{"track_running_stats": True} | k),
    "Norm, sized later": lambda **k: nn.Norm("n c ... -> c", **{"track_running_stats": True} | k),
    "GhostBatchNorm": lambda **k: nn.more.GhostBatchNorm(3, 2, **k),
    "BatchRenorm": lambda **k: nn.more.BatchRenorm(3, r_max=1.0, d_max=0.0, momentum=0.1, **k),
}
SHAPE = (6, 3, 5)
every_layer = pytest.mark.parametrize("name", LAYERS)
switchable = pytest.mark.parametrize("name", [name for name in LAYERS if name != "BatchRenorm"])


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(1, 2, size=shape)


def trained(name: str, **options: Any) -> Any:
    layer = LAYERS[name](dtype=np.float64, **options)
    for seed in range(3):
        layer(random(*SHAPE, seed=seed))
    return layer


def by_running(layer: Any, x: np.ndarray) -> np.ndarray:
    mean, spread = (getattr(layer, statistic)[:, None] for statistic in layer.statistics)
    return (x - mean) / (spread if "std" in layer.statistics[1] else np.sqrt(spread + layer.eps))


def by_own(name: str, x: np.ndarray) -> np.ndarray:
    if name == "GhostBatchNorm":
        return np.concatenate([by_own("", part) for part in np.split(x, 3)])
    axes = 2 if name == "InstanceNorm1d" else (0, 2)
    return (x - x.mean(axis=axes, keepdims=True)) / np.sqrt(x.var(axis=axes, keepdims=True) + 1e-5)


def buffers(layer: Any) -> list[np.ndarray]:
    return [getattr(layer, name) for name in (*layer.statistics, "num_batches_tracked")]


@every_layer
def test_tracking_switched_off_keeps_the_statistics_and_what_eval_does_with_them(name):
    """PyTorch's rule: batch norms go on with the buffers in eval mode; instance norm goes back to its input's."""
    layer, x = trained(name), random(*SHAPE, seed=9)
    layer.track_running_stats = False
    before = buffers(layer)
    assert_allclose(layer(x).data, by_own(name, x), rtol=1e-10, atol=1e-12)
    want = by_own(name, x) if name == "InstanceNorm1d" else by_running(layer, x)
    assert_allclose(layer.eval()(x).data, want, rtol=1e-10, atol=1e-12)
    for old, new in zip(before, buffers(layer), strict=True):
        assert_array_equal(old, new)
    layer.track_running_stats = True
    assert_allclose(layer(x).data, by_running(layer, x), rtol=1e-10, atol=1e-12)
    layer.train()(x)
    assert not np.array_equal(layer.running_mean, before[0])


@switchable
def test_tracking_switched_on_later_finds_no_buffers(name):
    layer, x = LAYERS[name](track_running_stats=False, dtype=np.float64), random(*SHAPE)
    layer(x)
    layer.track_running_stats = True
    for mode in (True, False):
        assert_allclose(layer.train(mode)(x).data, by_own(name, x), rtol=1e-10, atol=1e-12)
    assert buffers(layer) == [None] * 3


@every_layer
def test_without_its_buffers_a_layer_normalizes_by_what_it_is_given(name):
    layer, x = trained(name), random(*SHAPE, seed=9)
    for statistic in layer.statistics:
        setattr(layer, statistic, None)
    for mode in (True, False):
        assert_allclose(layer.train(mode)(x).data, by_own(name, x), rtol=1e-10, atol=1e-12)
    assert [key for key in layer.state_dict() if "running" in key] == []
    tn.recalibrate(layer, [x])


@every_layer
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("training", [True, False])
def test_one_statistic_without_the_other_is_an_error_that_says_which(name, which, training):
    layer = trained(name).train(training)
    setattr(layer, layer.statistics[which], None)
    with pytest.raises(ValueError, match=rf"{type(layer).__name__} has no {layer.statistics[which]}; set all"):
        layer(random(*SHAPE))


@every_layer
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_integers_become_floats_and_so_can_move(name, dtype):
    """As integers the statistics would stay 0 however often they are moved by a tenth."""
    layer, x = LAYERS[name](dtype=dtype), random(*SHAPE).astype(dtype)
    layer(x)
    for statistic, start in zip(layer.statistics, ([0, 0, 0], [True] * 3), strict=True):
        setattr(layer, statistic, start)
        assert getattr(layer, statistic).dtype == dtype
    layer.running_mean = np.zeros(3, np.int8)
    layer(x)
    fresh = LAYERS[name](dtype=dtype)
    fresh(x)
    assert layer.running_mean.dtype == dtype
    assert_array_equal(layer.running_mean, fresh.running_mean)
    assert (abs(layer.running_mean) > 0.05).all()
    setattr(layer, layer.statistics[1], None)
    layer.running_mean = None
    layer.running_mean = [1, 2, 3]
    assert layer.running_mean.dtype == np.float32


def test_statistics_keep_a_floating_dtype_that_they_are_given():
    layer = nn.BatchNorm1d(3)
    layer.running_mean = tn.tensor([1.0, 2.0, 3.0])
    assert layer.running_mean.dtype == np.float64
    layer.register_buffer("running_var", [4, 4, 4])
    assert layer.running_var.dtype == np.float32
    layer(random(4, 3))
    assert (layer.running_mean.dtype, layer.running_var.dtype) == (np.float64, np.float32)
    for wrong in (np.ones(3, complex), ["a", "b", "c"], np.array([None] * 3)):
        with pytest.raises(TypeError, match=r"BatchNorm1d\.running_mean must hold real numbers, not"):
            layer.running_mean = wrong


def test_any_buffer_may_be_set_from_a_tensor():
    module = nn.Module()
    module.register_buffer("kept", tn.tensor([1.0], requires_grad=True))
    assert_array_equal(module.kept, [1.0])
    module.kept = tn.tensor([2.0])
    assert_array_equal(module.state_dict()["kept"], [2.0])


@pytest.mark.parametrize("momentum", [0.25, None])
def test_without_a_counter_momentum_goes_on_and_the_plain_average_stands_still(momentum):
    layer, x = trained("BatchNorm1d", momentum=momentum), random(*SHAPE, seed=9)
    before, layer.num_batches_tracked = layer.running_mean, None
    layer(x)
    share = momentum or 0.0
    assert_allclose(layer.running_mean, (1 - share) * before + share * x.mean(axis=(0, 2)), rtol=1e-12)
    assert layer.num_batches_tracked is None


def test_folding_merges_what_eval_does_whatever_the_switches_say():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(7, 4))
    cases: list[tuple[Callable[[Any], Any], str]] = [
        (lambda norm: setattr(norm, "track_running_stats", False), "Identity"),
        (lambda norm: norm.__dict__.update(training=True), "Identity"),
        (lambda norm: norm._buffers.update(running_mean=None, running_var=None), "BatchNorm1d"),
        (lambda norm: None, "Identity"),
    ]
    for change, kind in cases:
        model = nn.Sequential(nn.Linear(4, 3, dtype=np.float64, rng=0), nn.BatchNorm1d(3, dtype=np.float64))
        model(rng.normal(1, 2, size=(9, 4)))
        change(model[1])
        folded = tn.fold_batch_norm(model)
        assert type(folded[1]).__name__ == kind
        assert_allclose(folded(x).data, model.eval()(x).data, rtol=1e-12, atol=1e-14)
    late = nn.Sequential(nn.Linear(4, 3, dtype=np.float64), nn.BatchNorm1d(3, track_running_stats=False, dtype=float))
    late[1].running_mean, late[1].running_var = np.array([1, 2, 3]), np.array([4, 5, 6])
    folded = tn.fold_batch_norm(late)
    assert isinstance(folded[1], nn.Identity)
    assert_allclose(folded(x).data, late.eval()(x).data, rtol=1e-6)


@pytest.mark.parametrize("name", ["BatchNorm1d", "Norm", "Norm, sized later", "GhostBatchNorm"])
def test_recalibration_sets_what_eval_uses(name):
    """Also where tracking was switched off; not where there is nothing to set."""
    layer, x = trained(name), random(*SHAPE, seed=9)
    layer.track_running_stats = False
    tn.recalibrate(layer, [x])
    assert_allclose(layer.running_mean, x.mean(axis=(0, 2)), rtol=1e-12)
    assert_allclose(layer.running_var, x.var(axis=(0, 2), ddof=1), rtol=1e-12)
    fresh = LAYERS[name](dtype=np.float64)
    tn.recalibrate(fresh, [x])
    assert_allclose(fresh.running_mean, x.mean(axis=(0, 2)), rtol=1e-12)


class Slow(nn.BatchNorm1d):
    """Between reading the counter and setting it, other threads have time to do so, too."""

    def share_of_a_new_batch(self) -> float:
        count = int(self.num_batches_tracked) + 1
        sleep(0.001)
        self.num_batches_tracked = np.asarray(count)
        return 1 / count


def test_batches_in_several_threads_all_count() -> None:
    layer = Slow(3, dtype=np.float64)
    batches = [random(6, 3, seed=i) for i in range(40)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(layer, batches))
    assert layer.num_batches_tracked == 40
    assert_allclose(layer.running_mean, np.mean(batches, axis=(0, 1)), rtol=1e-10)
