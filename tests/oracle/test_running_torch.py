"""Running statistics next to PyTorch's, when switches are turned and buffers are taken away after construction."""

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import tinygrad_norm as tn

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here; the oracle extra installs it")
pytestmark = pytest.mark.oracle
torch.set_num_threads(1)

BATCH = [("BatchNorm1d", (5,)), ("BatchNorm2d", (3, 2)), ("BatchNorm3d", (2, 3, 2))]
INSTANCE = [("InstanceNorm1d", (5,)), ("InstanceNorm2d", (3, 2)), ("InstanceNorm3d", (2, 3, 2))]
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def both(name: str, **options: Any) -> tuple[Any, Any]:
    return (
        getattr(tn.nn, name)(4, dtype=np.float64, **options),
        getattr(torch.nn, name)(4, dtype=torch.float64, **options),
    )


def step(ours: Any, theirs: Any, x: np.ndarray) -> None:
    """One call of each: outputs, gradients and buffers."""
    mine, other = tn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    g = np.random.default_rng(7).normal(size=x.shape)
    y, z = ours(mine), theirs(other)
    y.backward(g)
    z.backward(torch.tensor(g))
    assert_allclose(y.data, z.detach().numpy(), rtol=1e-10, atol=1e-11)
    assert_allclose(mine.grad.data, other.grad.numpy(), rtol=1e-9, atol=1e-10)


def assert_same_buffers(ours: Any, theirs: Any) -> None:
    for name in STATISTICS:
        mine, other = getattr(ours, name), getattr(theirs, name)
        assert (mine is None) == (other is None)
        if mine is not None:
            assert_allclose(mine, other.numpy(), rtol=1e-12)


@pytest.mark.parametrize(("name", "space"), [BATCH[0], INSTANCE[0]])
@pytest.mark.parametrize("tracked", [True, False])
@pytest.mark.parametrize("momentum", [0.3, None])
def test_every_order_of_turning_the_switches(name, space, tracked, momentum):
    """Three turns of tracking and of the mode, in every order, from either start."""
    instance = name.startswith("Instance")
    if instance and momentum is None:
        momentum = 0.0
    rng = np.random.default_rng(0)
    for turns in itertools.product(("train", "eval"), (True, False), repeat=3):
        ours, theirs = both(name, track_running_stats=tracked, momentum=momentum)
        for mode, tracks in zip(turns[::2], turns[1::2], strict=True):
            ours.track_running_stats = theirs.track_running_stats = tracks
            if instance and not tracked and tracks and mode == "eval":
                continue  # PyTorch has an error there; ours takes the input's own statistics
            frozen = [None if b is None else b.clone() for b in (theirs.running_mean, theirs.running_var)]
            getattr(ours, mode)()
            getattr(theirs, mode)()
            step(ours, theirs, rng.normal(1, 2, size=(3, 4, *space)))
            if instance and tracked and not tracks:
                # PyTorch's instance norm goes on moving its buffers then, in eval mode too; we do not.
                theirs.running_mean, theirs.running_var = frozen
            if not instance:
                assert_same_buffers(ours, theirs)


@pytest.mark.parametrize(("name", "space"), BATCH)
@pytest.mark.parametrize("momentum", [0.3, None])
@pytest.mark.parametrize("absent", [STATISTICS[:2], STATISTICS[2:], STATISTICS])
def test_buffers_taken_away(name, space, momentum, absent):
    ours, theirs = both(name, momentum=momentum)
    rng = np.random.default_rng(0)
    step(ours, theirs, rng.normal(1, 2, size=(3, 4, *space)))
    for statistic in absent:
        setattr(ours, statistic, None)
        setattr(theirs, statistic, None)
    for mode in (True, False):
        step(ours.train(mode), theirs.train(mode), rng.normal(1, 2, size=(3, 4, *space)))
    for statistic in STATISTICS[:2]:
        mine, other = getattr(ours, statistic), getattr(theirs, statistic)
        assert (mine is None) == (other is None)
        if mine is not None:
            assert_allclose(mine, other.numpy(), rtol=1e-12)


@pytest.mark.parametrize(("name", "space"), [*BATCH, *INSTANCE])
@pytest.mark.parametrize("absent", STATISTICS[:2])
@pytest.mark.parametrize("training", [True, False])
def test_half_of_the_statistics_is_refused_by_both(name, space, absent, training):
    x = np.random.default_rng(0).normal(size=(3, 4, *space))
    for layer, to in zip(both(name, track_running_stats=True), (tn.tensor, torch.tensor), strict=True):
        setattr(layer.train(training), absent, None)
        with pytest.raises((ValueError, RuntimeError), match=absent):
            layer(to(x))
