"""The functional norms next to PyTorch's: values, gradients, second derivatives, and what both refuse."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import tinygrad_norm as tn

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here; the oracle extra installs it")
functional = torch.nn.functional

pytestmark = pytest.mark.oracle

# At least three values share a statistic: of two, x̂ is ±1 whatever they are, and gradients are all rounding.
SHAPES = [(6, 8), (5, 4, 3), (3, 4, 2, 5), (2, 4, 2, 2, 5)]
EPS = 1e-5

OURS: dict[str, Callable[..., Any]] = {
    "batch_norm": lambda x, weight, bias: tn.batch_norm(x, weight=weight, bias=bias),
    "layer_norm": lambda x, weight, bias: tn.layer_norm(x, x.shape[1:], weight, bias),
    "layer_norm over the last axis": lambda x, weight, bias: tn.layer_norm(x, x.shape[-1], weight, bias),
    "instance_norm": lambda x, weight, bias: tn.instance_norm(x, weight=weight, bias=bias),
    "group_norm": lambda x, weight, bias: tn.group_norm(x, 2, weight, bias),
    "rms_norm": lambda x, weight, bias: tn.rms_norm(x, x.shape[1:], weight),
}
THEIRS: dict[str, Callable[..., Any]] = {
    "batch_norm": lambda x, weight, bias: functional.batch_norm(x, None, None, weight, bias, training=True),
    "layer_norm": lambda x, weight, bias: functional.layer_norm(x, x.shape[1:], weight, bias),
    "layer_norm over the last axis": lambda x, weight, bias: functional.layer_norm(x, x.shape[-1:], weight, bias),
    "instance_norm": lambda x, weight, bias: functional.instance_norm(x, None, None, weight, bias),
    # PyTorch 2.13 fails in the backward pass of group norm with a bias alone: "tensor does not have a device".
    "group_norm": lambda x, weight, bias: functional.group_norm(
        x, 2, torch.ones_like(bias) if weight is None and bias is not None else weight, bias
    ),
    "rms_norm": lambda x, weight, bias: functional.rms_norm(x, x.shape[1:], weight),
}


def composed(name: str, x: Any, weight: Any, bias: Any) -> Any:
    """PyTorch's autograd on the textbook's formula: its fused norms are not to be trusted beyond the first order."""
    axes = {
        "batch_norm": (0, *range(2, x.ndim)),
        "layer_norm over the last axis": (-1,),
        "instance_norm": tuple(range(2, x.ndim)),
        "group_norm": (2,),
    }.get(name, tuple(range(1, x.ndim)))
    values = x.reshape(x.shape[0], 2, -1) if name == "group_norm" else x
    centred = values if name == "rms_norm" else values - values.mean(axes, keepdim=True)
    eps = torch.finfo(x.dtype).eps if name == "rms_norm" else EPS
    normalized = (centred * torch.rsqrt(centred.square().mean(axes, keepdim=True) + eps)).reshape(x.shape)
    if not name.startswith(("layer", "rms")):
        weight, bias = (None if v is None else v.reshape(1, -1, *(1,) * (x.ndim - 2)) for v in (weight, bias))
    normalized = normalized if weight is None else normalized * weight
    return normalized if bias is None else normalized + bias


def legal(name: str, shape: tuple[int, ...], weight: bool, bias: bool) -> bool:
    return not (name == "instance_norm" and len(shape) == 2) and not (name == "rms_norm" and bias)


CASES = [
    pytest.param(name, shape, weight, bias, id=f"{name}-{len(shape)}d{'-weight' * weight}{'-bias' * bias}")
    for name in OURS
    for shape in SHAPES
    for weight in (True, False)
    for bias in (True, False)
    if legal(name, shape, weight, bias)
]
every_case = pytest.mark.parametrize(("name", "shape", "weight", "bias"), CASES)


def drawn(name: str, shape: tuple[int, ...], weight: bool, bias: bool, dtype: Any) -> list[Any]:
    """``x``, ``weight``, ``bias`` (None where there is none) and a cotangent."""
    if name == "layer_norm over the last axis":
        parameter = shape[-1:]
    else:
        parameter = shape[1:] if name in ("layer_norm", "rms_norm") else shape[1:2]
    rng = np.random.default_rng(len(shape))
    sizes = [shape, parameter if weight else None, parameter if bias else None, shape]
    return [None if size is None else rng.standard_normal(size).astype(dtype) for size in sizes]


def ours(name: str, arrays: Sequence[Any], g: Any, direction: Sequence[Any] = ()) -> list[np.ndarray]:
    """The output and the gradients; with a direction, the gradients of the gradients along it."""
    leaves = [None if a is None else tn.tensor(a, requires_grad=True) for a in arrays]
    given = [leaf for leaf in leaves if leaf is not None]
    y = OURS[name](*leaves)
    gradients = tn.grad(y, given, g, create_graph=bool(direction))
    if direction:
        return [gradient.data for gradient in tn.grad(gradients, given, list(direction))]
    return [y.data, *(gradient.data for gradient in gradients)]


def theirs(call: Callable[..., Any], arrays: Sequence[Any], g: Any, direction: Sequence[Any] = ()) -> list[np.ndarray]:
    leaves = [None if a is None else torch.tensor(a, requires_grad=True) for a in arrays]
    given = [leaf for leaf in leaves if leaf is not None]
    y = call(*leaves)
    gradients = torch.autograd.grad(y, given, torch.tensor(g), create_graph=bool(direction))
    if direction:
        slope = sum((d * torch.tensor(v)).sum() for d, v in zip(gradients, direction, strict=True))
        return [d.numpy() for d in torch.autograd.grad(slope, given, allow_unused=True, materialize_grads=True)]
    return [y.detach().numpy(), *(d.numpy() for d in gradients)]


def assert_within(found: Sequence[np.ndarray], expected: Sequence[np.ndarray], tolerance: float) -> None:
    """Errors relative to the largest element: single ones may be small by cancellation."""
    for value, exact in zip(found, expected, strict=True):
        assert value.shape == exact.shape
        assert value.dtype == exact.dtype
        assert np.abs(value - exact).max() <= tolerance * np.abs(exact).max()


@every_case
def test_outputs_and_gradients_agree_in_float64(name: str, shape: tuple[int, ...], weight: bool, bias: bool) -> None:
    *arrays, g = drawn(name, shape, weight, bias, np.float64)
    assert_within(ours(name, arrays, g), theirs(THEIRS[name], arrays, g), 1e-12)


@every_case
def test_outputs_and_gradients_agree_in_float32(name: str, shape: tuple[int, ...], weight: bool, bias: bool) -> None:
    *arrays, g = drawn(name, shape, weight, bias, np.float32)
    # 16 ulps of the largest element: both sum up to 60 products in float32, in different orders.
    assert_within(ours(name, arrays, g), theirs(THEIRS[name], arrays, g), 16 * np.finfo(np.float32).eps)


@every_case
def test_second_derivatives_agree_with_pytorch_composed(name, shape, weight, bias) -> None:
    *arrays, g = drawn(name, shape, weight, bias, np.float64)
    rng = np.random.default_rng(99)
    direction = [rng.standard_normal(a.shape) for a in arrays if a is not None]
    expected = theirs(lambda *a: composed(name, *a), arrays, g, direction)
    assert_within(ours(name, arrays, g, direction), expected, 1e-11)


def test_given_statistics_are_pytorch_in_eval_mode() -> None:
    x, weight, bias, g = drawn("batch_norm", (3, 4, 2, 5), True, True, np.float64)
    mean, var = np.random.default_rng(1).uniform(0.5, 2, (2, 4))
    leaf, theirs_leaf = tn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y = tn.batch_norm(leaf, weight=weight, bias=bias, mean=mean, var=var)
    expected = functional.batch_norm(theirs_leaf, *map(torch.tensor, (mean, var, weight, bias)), training=False)
    (slope,) = torch.autograd.grad(expected, theirs_leaf, torch.tensor(g))
    assert_within([y.data, tn.grad(y, leaf, g).data], [expected.detach().numpy(), slope.numpy()], 1e-12)


def test_rms_norm_has_pytorchs_default_eps_for_each_dtype() -> None:
    for dtype in (np.float32, np.float64):
        # Far below the default eps, which decides the result.
        x = np.full((2, 4), np.finfo(dtype).eps, dtype)
        expected = functional.rms_norm(torch.tensor(x), (4,)).numpy()
        assert_within([tn.rms_norm(x, 4)], [expected], 4 * np.finfo(dtype).eps)


def test_float16_rms_norm_agrees_with_pytorch_where_squares_overflow() -> None:
    x = np.full((1, 4), 300, np.float16)
    assert_array_equal(tn.rms_norm(x, 4), functional.rms_norm(torch.tensor(x), (4,)).numpy(), strict=True)


X = np.random.default_rng(2).standard_normal((3, 4, 2))
REFUSED = {
    "batch norm of one value per channel": ("batch_norm", X[:1, :, :1], None, None),
    "instance norm of one value per channel": ("instance_norm", X[..., :1], None, None),
    "group norm of channels that do not divide": ("group_norm", X[:, :3], None, None),
    "batch norm with a weight of another size": ("batch_norm", X, np.ones(3), None),
    "layer norm with a weight of another size": ("layer_norm", X, np.ones(4), None),
    "layer norm with a bias of another size": ("layer_norm", X, None, np.ones((2, 4))),
    "group norm with a bias of another size": ("group_norm", X, None, np.ones(2)),
    "rms norm with a weight of another size": ("rms_norm", X, np.ones(2), None),
    "batch norm of integers": ("batch_norm", np.arange(24).reshape(3, 4, 2), None, None),
    "layer norm of integers": ("layer_norm", np.arange(24).reshape(3, 4, 2), None, None),
    "batch norm of a vector": ("batch_norm", X[0, :, 0], None, None),
    "group norm of a vector": ("group_norm", X[0, :, 0], None, None),
}


@pytest.mark.parametrize("case", REFUSED)
def test_both_refuse(case: str) -> None:
    name, *arrays = REFUSED[case]
    with pytest.raises((ValueError, RuntimeError, NotImplementedError, IndexError)):
        THEIRS[name](*(None if a is None else torch.tensor(a) for a in arrays))
    with pytest.raises((ValueError, TypeError)):
        OURS[name](*arrays)


@pytest.mark.parametrize("normalized_shape", [(3,), (4, 1), (2, 3, 4, 2)])
@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_both_refuse_a_normalized_shape_that_does_not_end_the_shape(name: str, normalized_shape: Any) -> None:
    with pytest.raises((RuntimeError, ValueError)):
        getattr(functional, name)(torch.tensor(X), normalized_shape)
    with pytest.raises(ValueError, match="normalized_shape"):
        getattr(tn, name)(X, normalized_shape)
