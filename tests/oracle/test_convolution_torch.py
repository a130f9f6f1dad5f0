"""Convolution, pooling and activations next to PyTorch's: outputs, gradients, second derivatives, states, errors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import tinygrad_norm as tn

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here; the oracle extra installs it")
pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore:Using padding='same'")]
# The arrays are small, and the test processes would contend for the cores.
torch.set_num_threads(1)

# Relative to the largest entry. PyTorch sums in another order, and its float32 kernels use approximations of their own.
TOLERANCE = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 5e-6}
dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])

CONVOLUTIONS: list[tuple[tuple[int, ...], dict[str, Any], tuple[int, ...]]] = [
    ((2, 3, 3), {}, (3, 2, 5, 6)),
    ((2, 3, 3), {"padding": 1}, (2, 5, 6)),
    ((2, 4, (3, 2)), {"stride": (2, 1), "padding": (1, 0), "bias": False}, (3, 2, 6, 5)),
    ((4, 6, 3), {"stride": 2, "padding": 2, "groups": 2}, (2, 4, 7, 8)),
    ((3, 6, (1, 3)), {"stride": 3, "padding": (0, 1), "groups": 3}, (2, 3, 4, 7)),
    ((4, 2, 1), {}, (3, 4, 3, 3)),
    ((1, 2, (4, 5)), {}, (2, 1, 4, 5)),
    ((2, 3, 3), {"dilation": 2, "padding": 2}, (3, 2, 6, 7)),
    ((4, 4, (3, 2)), {"dilation": (1, 3), "stride": (2, 1), "groups": 2}, (2, 4, 6, 7)),
    ((2, 3, 3), {"padding": "same"}, (3, 2, 3, 4)),
    ((2, 3, (2, 4)), {"padding": "same", "dilation": (3, 1)}, (2, 5, 6)),
    ((2, 3, 3), {"padding": "valid", "stride": 2}, (2, 2, 5, 6)),
    *(
        ((2, 3, 3), {"padding": padding, "padding_mode": mode}, (2, 2, 5, 6))
        for mode in ("reflect", "replicate", "circular") for padding in ((2, 1), "same")
    ),
    ((2, 3, (2, 4)), {"padding": "same", "padding_mode": "reflect", "dilation": (3, 1)}, (2, 5, 6)),
]  # fmt: skip
SPACES: list[tuple[str, tuple[int, ...], dict[str, Any], tuple[int, ...]]] = [
    ("Conv1d", (4, 5, 3), {}, (2, 4, 3)), ("Conv1d", (4, 5, 3), {"padding": "same"}, (4, 3)),
    ("Conv1d", (4, 6, 3), {"stride": 2, "padding": 2, "dilation": 2, "groups": 2, "bias": False}, (2, 4, 9)),
    ("Conv1d", (4, 5, 4), {"padding": "same", "padding_mode": "circular"}, (2, 4, 5)),
    ("Conv3d", (2, 3, (2, 3, 1)), {"padding": (0, 1, 2), "stride": (1, 2, 1)}, (2, 2, 3, 4, 5)),
    ("Conv3d", (2, 4, 3), {"padding": "same", "groups": 2}, (2, 3, 4, 5)),
    ("Conv3d", (2, 2, 2), {"padding": 1, "padding_mode": "replicate", "dilation": (1, 2, 1)}, (2, 2, 2, 3, 2)),
]  # fmt: skip
POOLS: list[tuple[dict[str, Any], tuple[int, ...]]] = [
    ({"kernel_size": 2}, (3, 2, 6, 4)),
    ({"kernel_size": 3, "stride": 2, "padding": 1}, (2, 3, 7, 6)),
    ({"kernel_size": (2, 3), "stride": 1, "padding": (1, 0)}, (3, 5, 4)),
    ({"kernel_size": (4, 1), "stride": (3, 2), "padding": (2, 0)}, (2, 1, 5, 5)),
]
MORE_POOLS: list[tuple[str, dict[str, Any], tuple[int, ...]]] = [
    ("MaxPool2d", {"kernel_size": 2, "dilation": 2, "stride": 1}, (3, 2, 6, 5)),
    ("MaxPool2d", {"kernel_size": (3, 2), "dilation": (1, 3), "padding": (1, 1), "stride": 2}, (2, 2, 6, 5)),
    *(
        (name, {"kernel_size": k, "stride": s, "padding": p, "ceil_mode": True}, shape)
        for name in ("MaxPool2d", "AvgPool2d")
        for k, s, p, shape in (
            (2, None, 0, (2, 3, 5, 7)), (3, 2, 1, (2, 3, 6, 7)), ((2, 3), (3, 2), (1, 0), (3, 7, 8)),
            (3, 3, 0, (2, 2, 4, 4)), (2, 2, 1, (1, 2, 3, 4)), (3, (4, 5), 1, (1, 2, 6, 7)),
        )
    ),
    ("AvgPool2d", {"kernel_size": 3, "padding": 1, "count_include_pad": False}, (2, 2, 7, 6)),
    ("AvgPool2d", {"kernel_size": 3, "stride": 2, "padding": (1, 0), "count_include_pad": False, "ceil_mode": True},
     (2, 2, 7, 6)),
    ("AvgPool2d", {"kernel_size": 2, "divisor_override": 1}, (2, 3, 6, 6)),
    ("AvgPool2d", {"kernel_size": 2, "padding": 1, "divisor_override": 5}, (2, 3, 6, 6)),
    ("AvgPool2d", {"kernel_size": 3, "stride": 2, "ceil_mode": True, "divisor_override": 2}, (2, 3, 6, 6)),
]  # fmt: skip
ACTIVATIONS: list[tuple[str, dict[str, Any]]] = [
    ("ReLU", {}), ("Tanh", {}), ("Sigmoid", {}), ("SiLU", {}), ("LeakyReLU", {}),
    ("LeakyReLU", {"negative_slope": 0.3}), ("GELU", {}), ("GELU", {"approximate": "tanh"}), ("Softmax", {"dim": -1}),
    ("Softmax", {"dim": 1}),
]  # fmt: skip


def random(*shape: int, seed: Any = 0, dtype: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def pair(name: str, *args: Any, dtype: Any, **options: Any) -> tuple[Any, Any]:
    """A convolution and PyTorch's with the same arguments and the same random parameters."""
    theirs = getattr(torch.nn, name)(*args, **options, dtype=getattr(torch, np.dtype(dtype).name))
    ours = getattr(tn.nn, name)(*args, **options, dtype=dtype)
    ours_look, theirs_look = ([(k, tuple(v.shape)) for k, v in m.state_dict().items()] for m in (ours, theirs))
    assert ours_look == theirs_look
    ours.load_state_dict({k: random(*v.shape, seed=len(k), dtype=dtype) for k, v in ours.state_dict().items()})
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    return ours, theirs


def assert_within(found: Sequence[Any], expected: Sequence[Any]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        value, exact = ours.data, theirs.detach().numpy()
        assert (value.shape, value.dtype) == (exact.shape, exact.dtype)
        assert np.abs(value - exact).max() <= TOLERANCE[exact.dtype] * np.abs(exact).max()


def compare(ours: Any, theirs: Any, x: np.ndarray) -> None:
    """Output, gradients, and the gradients of those along random directions, the cotangent's included."""
    mine = [tn.tensor(x, requires_grad=True), *ours.parameters()]
    other = [torch.tensor(x, requires_grad=True), *theirs.parameters()]
    y, z = ours(mine[0]), theirs(other[0])
    g = random(*y.shape, seed=1, dtype=x.dtype)
    mine.append(tn.tensor(g, requires_grad=True))
    other.append(torch.tensor(g, requires_grad=True))
    first = tn.grad(y, mine[:-1], mine[-1], create_graph=True)
    expected = torch.autograd.grad(z, other[:-1], other[-1], create_graph=True)
    assert_within([y, *first], [z, *expected])
    directions = [random(*v.shape, seed=[2, k], dtype=x.dtype) for k, v in enumerate(first)]
    second = tn.grad(first, mine, directions)
    slopes = torch.autograd.grad(
        expected, other, [torch.tensor(v) for v in directions], allow_unused=True, materialize_grads=True
    )
    assert any(slope.abs().max() > 0.1 for slope in slopes)
    assert_within(second, slopes)


@pytest.mark.parametrize(("args", "options", "shape"), CONVOLUTIONS)
@dtypes
def test_convolution(args, options, shape, dtype):
    compare(*pair("Conv2d", *args, dtype=dtype, **options), random(*shape, dtype=dtype))


@pytest.mark.parametrize(("name", "args", "options", "shape"), SPACES)
@dtypes
def test_convolution_of_sequences_and_volumes(name, args, options, shape, dtype):
    compare(*pair(name, *args, dtype=dtype, **options), random(*shape, dtype=dtype))


@pytest.mark.parametrize(("name", "options", "shape"), MORE_POOLS)
@dtypes
def test_options_of_pooling(name, options, shape, dtype):
    compare(getattr(tn.nn, name)(**options), getattr(torch.nn, name)(**options), random(*shape, dtype=dtype))


@pytest.mark.parametrize("name", ["MaxPool2d", "AvgPool2d"])
@pytest.mark.parametrize(("options", "shape"), POOLS)
@dtypes
def test_pooling(name, options, shape, dtype):
    compare(getattr(tn.nn, name)(**options), getattr(torch.nn, name)(**options), random(*shape, dtype=dtype))


@pytest.mark.parametrize(("name", "options"), ACTIVATIONS)
@dtypes
def test_activations(name, options, dtype):
    if name == "GELU" and not options:
        pytest.importorskip("scipy", reason="the exact GELU takes erf from SciPy")
    compare(getattr(tn.nn, name)(**options), getattr(torch.nn, name)(**options), 3 * random(4, 5, 2, dtype=dtype))


@pytest.mark.parametrize("name", ["ReLU", "LeakyReLU"])
def test_kinks(name):
    """Both take the slope on the left at 0."""
    x, g = np.array([-1.0, -0.0, 0.0, 2.0]), random(4)
    mine, other = tn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    getattr(tn.nn, name)()(mine).backward(g)
    getattr(torch.nn, name)()(other).backward(torch.tensor(g))
    assert_within([mine.grad], [other.grad])


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_dropout(p, training):
    """The draws differ; what may come out, and the shares of it, do not."""
    x = random(50, 40, dtype=np.float32)
    ours, theirs = tn.nn.Dropout(p, rng=0).train(training), torch.nn.Dropout(p).train(training)
    torch.manual_seed(0)
    y, z = ours(x).data, theirs(torch.tensor(x)).numpy()
    assert y.dtype == z.dtype
    both = (y != 0) & (z != 0)
    assert both.any() == (p < 1 or not training)
    np.testing.assert_allclose(y[both], z[both], rtol=1e-6)
    # The standard deviation of a share of 2,000 draws is 0.01; five of the difference of two.
    assert abs((y == 0).mean() - (z == 0).mean()) <= 5 * 0.01 * np.sqrt(2)


def test_pytorch_gives_a_tie_to_the_first_and_we_split_it():
    x, g = np.ones((1, 2, 2)), np.array([[[0.8]]])
    mine, other = tn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    tn.nn.MaxPool2d(2)(mine).backward(g)
    torch.nn.MaxPool2d(2)(other).backward(torch.tensor(g))
    np.testing.assert_array_equal(mine.grad.data, [[[0.2, 0.2], [0.2, 0.2]]])
    np.testing.assert_array_equal(other.grad.numpy(), [[[0.8, 0.0], [0.0, 0.0]]])


def test_initial_values_have_pytorchs_spread():
    torch.manual_seed(0)
    for args, options in (((8, 64, (5, 3)), {"groups": 2}), ((3, 64, 7), {})):
        ours, theirs = tn.nn.Conv2d(*args, **options, rng=0), torch.nn.Conv2d(*args, **options)
        for key, value in theirs.state_dict().items():
            found, want = np.abs(ours.state_dict()[key]).max(), np.abs(value.numpy()).max()
            # The largest of 64 or more draws.
            np.testing.assert_allclose(found, want, rtol=0.1)


BAD_CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("Conv2d", (3, 2, 3), {}, (5, 4, 8, 8)), ("Conv2d", (3, 2, 3), {}, (8, 8)),
    ("Conv2d", (3, 2, 3), {}, (1, 1, 3, 8, 8)), ("Conv2d", (3, 2, (5, 3)), {"padding": (1, 0)}, (5, 3, 2, 9)),
    ("Conv2d", (4, 6, 3), {"groups": 4}, (1, 4, 8, 8)), ("Conv2d", (4, 6, 3), {"groups": 0}, (1, 4, 8, 8)),
    ("Conv2d", (3, 2, 3), {"stride": 0}, (5, 3, 8, 8)), ("MaxPool2d", (3,), {"padding": 2}, (1, 1, 8, 8)),
    ("AvgPool2d", (3,), {"padding": 2}, (1, 1, 8, 8)),
    ("MaxPool2d", (3,), {}, (1, 1, 2, 8)), ("AvgPool2d", (3,), {}, (1, 1, 2, 8)), ("MaxPool2d", (2,), {}, (8, 8)),
    ("AvgPool2d", (2,), {}, (8, 8)), ("MaxPool2d", (0,), {}, (1, 8, 8)), ("Dropout", (1.5,), {}, (3,)),
    ("Conv2d", (3, 2, 3), {"padding": "same", "stride": 2}, (1, 3, 8, 8)),
    ("Conv2d", (3, 2, 3), {"dilation": 4}, (3, 8, 8)),
    ("Conv2d", (3, 2, 3), {"padding": "half"}, (3, 8, 8)), ("Conv2d", (3, 2, 3), {"padding_mode": "wrap"}, (3, 8, 8)),
    ("Conv1d", (3, 2, 3), {}, (1, 3, 8, 8)), ("MaxPool2d", (3,), {"dilation": 4}, (1, 8, 8)),
    ("AvgPool2d", (3,), {"divisor_override": 0}, (1, 8, 8)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "options", "shape"), BAD_CALLS)
def test_what_pytorch_refuses_is_refused(name, args, options, shape):
    x = np.zeros(shape, np.float32)
    with pytest.raises((ValueError, RuntimeError, IndexError)):
        getattr(torch.nn, name)(*args, **options)(torch.tensor(x))
    with pytest.raises(ValueError, match=r"shape|groups|padding|stride|kernel_size|divisor|p must be a probability"):
        getattr(tn.nn, name)(*args, **options)(x)
