"""The layers, losses and optimizers next to PyTorch's: outputs, gradients, running statistics, states, errors."""

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_norm as tn

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here; the oracle extra installs it")
pytestmark = pytest.mark.oracle
# The arrays are small, and the test processes would contend for the cores.
torch.set_num_threads(1)

SPACE = {"1d": (5,), "2d": (3, 4), "3d": (2, 3, 2)}
# Accumulated in float64 by both, in different orders.
TOLERANCE = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 2e-5}
BATCH = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d"]
INSTANCE = ["InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"]
dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
modes = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])


def random(*shape: int, seed: Any = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def pair(name: str, *args: Any, dtype: Any = np.float64, seed: int = 3, **options: Any) -> tuple[Any, Any]:
    """A layer and PyTorch's with the same arguments and the same random parameters, loaded from PyTorch's state."""
    theirs = getattr(torch.nn, name)(*args, **options, dtype=getattr(torch, np.dtype(dtype).name))
    with torch.no_grad():
        for k, parameter in enumerate(theirs.parameters()):
            parameter.copy_(torch.tensor(random(*parameter.shape, seed=[seed, k])))
    ours = getattr(tn.nn, name)(*args, **options, dtype=dtype)
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    return ours, theirs


def close(found: Any, want: Any, scale: float | None = None) -> None:
    """Relative to the largest entry: where terms cancel, no summation order is the right one."""
    found, want = (np.asarray(v.data if isinstance(v, tn.Tensor) else v) for v in (found, want))
    assert found.dtype == want.dtype
    tolerance = TOLERANCE.get(want.dtype, 0)
    scale = np.abs(want).max(initial=0) if scale is None else scale
    assert_allclose(found, want, rtol=tolerance, atol=tolerance * float(scale))


def compare(ours: Any, theirs: Any, x: np.ndarray, g_seed: int = 9) -> None:
    """Output, gradients of input and parameters, and all state of one call."""
    assert repr(sorted(ours.state_dict())) == repr(sorted(theirs.state_dict()))
    mine, other = tn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = ours(mine), theirs(other)
    g = random(*y.shape, seed=g_seed).astype(y.dtype)
    ours.zero_grad()
    theirs.zero_grad()
    y.backward(g)
    z.backward(torch.tensor(g))
    close(y, z.detach().numpy())
    # Cancellation inside dx is relative to what is cancelled, not to what remains.
    close(mine.grad, other.grad.numpy(), scale=max(1.0, float(np.abs(other.grad.numpy()).max(initial=0))))
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        close(a.grad, b.grad.numpy(), scale=np.abs(g).sum())
    for key, value in theirs.state_dict().items():
        # PyTorch's instance norm has a counter and never counts.
        if not (key == "num_batches_tracked" and "Instance" in type(theirs).__name__):
            close(ours.state_dict()[key], value.numpy())


@pytest.mark.parametrize("name", [*BATCH, *INSTANCE])
@pytest.mark.parametrize(("affine", "bias"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("tracked", [True, False], ids=["tracked", "untracked"])
@dtypes
def test_batch_and_instance_norm(name, affine, bias, tracked, dtype):
    """Three batches in training, then one in eval mode, of different sizes."""
    for momentum in (0.1, 1.0, 0.0, *([] if name in INSTANCE and tracked else [None])):
        options = {"affine": affine, "bias": bias, "track_running_stats": tracked, "momentum": momentum, "eps": 1e-3}
        ours, theirs = pair(name, 4, dtype=dtype, **options)
        for step, training in enumerate((True, True, True, False)):
            ours.train(training)
            theirs.train(training)
            compare(ours, theirs, (2 * random(2 + step, 4, *SPACE[name[-2:]], seed=step) + 1).astype(dtype))


@pytest.mark.parametrize("name", INSTANCE)
@modes
@pytest.mark.parametrize("tracked", [True, False], ids=["tracked", "untracked"])
def test_instance_norm_of_one_image(name, training, tracked):
    ours, theirs = pair(name, 4, affine=True, track_running_stats=tracked)
    ours.train(training)
    theirs.train(training)
    compare(ours, theirs, random(4, *SPACE[name[-2:]]))


@pytest.mark.parametrize("shape", [(3,), (2, 3), (4, 2, 3)])
@pytest.mark.parametrize(("affine", "bias"), [(True, True), (True, False), (False, True)])
@dtypes
def test_layer_and_rms_norm(shape, affine, bias, dtype):
    x = random(5, 4, 2, 3).astype(dtype)
    compare(*pair("LayerNorm", shape, elementwise_affine=affine, bias=bias, dtype=dtype), x)
    for eps in (None, 1e-2):
        compare(*pair("RMSNorm", shape, elementwise_affine=affine, eps=eps, dtype=dtype), x)


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
@pytest.mark.parametrize(("affine", "bias"), [(True, True), (True, False), (False, True)])
@dtypes
def test_group_norm(groups, affine, bias, dtype):
    for space in ((), (5,), (3, 2)):
        if groups < 6 or space:  # groups of one element differ, and are tested as such
            compare(
                *pair("GroupNorm", groups, 6, affine=affine, bias=bias, dtype=dtype), random(4, 6, *space).astype(dtype)
            )


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_linear_and_a_whole_model(dtype):
    def model(library: Any, to: Any) -> Any:
        nn = library.nn
        return nn.Sequential(
            nn.Linear(5, 6, dtype=to), nn.BatchNorm1d(6, dtype=to), nn.Tanh(), nn.Sequential(nn.Flatten(), nn.ReLU()),
            nn.LayerNorm(6, dtype=to), nn.Linear(6, 3, bias=False, dtype=to),
        )  # fmt: skip

    ours, theirs = model(tn, dtype), model(torch, getattr(torch, np.dtype(dtype).name))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for key, value in theirs.state_dict().items():
        found = ours.state_dict()[key]
        assert (found.shape, found.dtype) == (tuple(value.shape), value.numpy().dtype)
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    theirs.load_state_dict({key: torch.tensor(value) for key, value in ours.state_dict().items()})
    for training in (True, False):
        compare(ours.train(training), theirs.train(training), random(8, 5).astype(dtype))


@pytest.mark.parametrize("name", [*BATCH, *INSTANCE, "LayerNorm", "GroupNorm", "RMSNorm"])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_states_have_the_same_keys_shapes_and_first_values(name, affine, bias):
    args = {"LayerNorm": ((2, 4),), "RMSNorm": ((2, 4),), "GroupNorm": (2, 4)}.get(name, (4,))
    options = {"elementwise_affine" if name in ("LayerNorm", "RMSNorm") else "affine": affine}
    options |= {} if name == "RMSNorm" else {"bias": bias}
    for more in [{}, {"track_running_stats": True}] if name[-1] == "d" else [{}]:
        ours = getattr(tn.nn, name)(*args, **options, **more).state_dict()
        theirs = getattr(torch.nn, name)(*args, **options, **more).state_dict()
        assert sorted(ours) == sorted(theirs)
        for key, value in theirs.items():
            assert ours[key].dtype == value.numpy().dtype
            assert_array_equal(ours[key], value.numpy())


BAD_CALLS = [
    ("BatchNorm1d", (4,), (1, 4)), ("BatchNorm1d", (4,), (1, 4, 1)), ("BatchNorm2d", (4,), (1, 4, 1, 1)),
    ("BatchNorm1d", (4,), (3, 5)), ("BatchNorm2d", (4,), (3, 5, 2, 2)), ("BatchNorm1d", (4,), (3, 4, 2, 2)),
    ("BatchNorm2d", (4,), (3, 4)), ("BatchNorm3d", (4,), (3, 4, 2, 2)), ("BatchNorm1d", (4,), (4,)),
    ("InstanceNorm1d", (4,), (2, 4, 1)), ("InstanceNorm2d", (4,), (2, 4, 1, 1)), ("InstanceNorm2d", (4,), (4, 2)),
    ("LayerNorm", (4,), (3, 5)), ("LayerNorm", ((3, 4),), (4,)), ("RMSNorm", (4,), (3, 5)),
    ("GroupNorm", (2, 4), (3, 6)), ("GroupNorm", (2, 4), (4,)), ("Linear", (4, 2), (3, 5)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "shape"), BAD_CALLS)
def test_what_pytorch_refuses_is_refused(name, args, shape):
    x = np.zeros(shape, np.float32)
    with pytest.raises((ValueError, RuntimeError)):
        getattr(torch.nn, name)(*args)(torch.tensor(x))
    with pytest.raises(ValueError, match="shape"):
        getattr(tn.nn, name)(*args)(x)


@pytest.mark.parametrize("momentum", [None, 0.3])
def test_instance_norm_does_not_count_batches(momentum):
    """So momentum=None, the cumulative mean elsewhere, is 0 there."""
    ours, theirs = pair("InstanceNorm1d", 4, track_running_stats=True, momentum=momentum)
    x = random(3, 4, 5)
    ours(x)
    theirs(torch.tensor(x))
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert_allclose(getattr(ours, name), getattr(theirs, name).numpy(), rtol=1e-12)


def test_where_we_differ_on_purpose():
    """PyTorch counts an empty batch, refuses groups of one element for one sample, and lets negative eps through."""
    ours, theirs = pair("BatchNorm1d", 4)
    empty = np.zeros((0, 4))
    ours(empty)
    try:
        theirs(torch.tensor(empty))
        counted = int(theirs.num_batches_tracked)
    except ValueError:
        counted = 1
    assert (int(ours.num_batches_tracked), counted) == (0, 1)
    ours, theirs = pair("GroupNorm", 4, 4)
    with pytest.raises(ValueError, match="more than 1 value"):
        theirs(torch.tensor(random(1, 4)))
    assert_array_equal(ours(random(1, 4)).data, [ours.bias.data])
    torch.nn.LayerNorm(4, eps=-1.0)
    with pytest.raises(ValueError, match="eps"):
        tn.nn.LayerNorm(4, eps=-1.0)


@pytest.mark.parametrize("scale", [1.0, 50.0, 1e4])
def test_losses(scale):
    logits, target, labels = random(6, 5) * scale, random(6, 5, seed=1) * scale, np.array([0, 4, 2, 2, 1, 3])
    losses = [
        (
            lambda x: tn.nn.cross_entropy(x, labels),
            lambda x: torch.nn.functional.cross_entropy(x, torch.tensor(labels)),
        ),
        (lambda x: tn.nn.mse_loss(x, target), lambda x: torch.nn.functional.mse_loss(x, torch.tensor(target))),
    ]
    for mine, other in losses:
        a, b = tn.tensor(logits, requires_grad=True), torch.tensor(logits, requires_grad=True)
        y, z = mine(a), other(b)
        y.backward(0.7)
        z.backward(torch.tensor(0.7, dtype=torch.float64))
        close(y, z.detach().numpy())
        close(a.grad, b.grad.numpy())


OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    *(("SGD", {"lr": 0.1, "momentum": m, "weight_decay": w}) for m, w in itertools.product((0.0, 0.9), (0.0, 0.1))),
    ("Adam", {}), ("Adam", {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
@dtypes
def test_twenty_steps_of_an_optimizer(name, options, dtype):
    """Of a model with batch norm, so that errors of gradients and of statistics would add up."""
    to = getattr(torch, np.dtype(dtype).name)
    ours = tn.nn.Sequential(
        tn.nn.Linear(5, 6, dtype=dtype), tn.nn.BatchNorm1d(6, dtype=dtype), tn.nn.Linear(6, 3, dtype=dtype)
    )
    theirs = torch.nn.Sequential(
        torch.nn.Linear(5, 6, dtype=to), torch.nn.BatchNorm1d(6, dtype=to), torch.nn.Linear(6, 3, dtype=to)
    )
    start = {
        key: random(*v.shape, seed=k).astype(dtype) for k, (key, v) in enumerate(ours.state_dict().items()) if v.ndim
    }
    start["1.running_var"] = np.ones(6, dtype)
    # A bias before a norm has gradient zero but for rounding, which Adam would blow up to a step: without it.
    start["0.bias"] = np.zeros(6, dtype)
    ours.load_state_dict(start)
    theirs.load_state_dict({key: torch.tensor(value) for key, value in start.items()}, strict=False)
    mine = tn.optim.__dict__[name]([p for k, p in ours.named_parameters() if k != "0.bias"], **options)
    other = torch.optim.__dict__[name]([p for k, p in theirs.named_parameters() if k != "0.bias"], **options)
    for step in range(20):
        x, labels = random(16, 5, seed=step).astype(dtype), np.random.default_rng(step).integers(0, 3, 16)
        mine.zero_grad()
        other.zero_grad()
        loss = tn.nn.cross_entropy(ours(x), labels)
        want = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(labels))
        loss.backward()
        want.backward()
        mine.step()
        other.step()
    # Twenty steps of training multiply rounding errors: a factor of 100 for them.
    for key, value in theirs.state_dict().items():
        found = ours.state_dict()[key]
        assert found.dtype == value.numpy().dtype
        tolerance = 100 * TOLERANCE.get(found.dtype, 0)
        assert_allclose(found, value.numpy(), rtol=tolerance, atol=tolerance)
