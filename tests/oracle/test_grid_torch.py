"""Every cell of the normalization layers next to PyTorch's: rank, mode, affine, tracked, dtype, layout.

Outputs, the gradients of the input and of all parameters, and all buffers. Also second derivatives, next to PyTorch's
composed form: its fused layers are only as good as their hand-written double backward.
"""

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import tinygrad_norm as tn

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here; the oracle extra installs it")
pytestmark = pytest.mark.oracle
torch.set_num_threads(1)

SPACES: list[tuple[int, ...]] = [(), (5,), (3, 4), (2, 3, 2)]
BIASES = [(True, True), (True, False), (False, True)]
MODES = [("train", True), ("eval", True), ("train", False), ("eval", False)]
LAYOUTS = ("contiguous", "fortran", "permuted", "strided", "reversed")
# In units of the last place of the largest entry, for what is computed from some dozen rounded values; sums over the
# batch, in the gradients of parameters, are relative to the sum of absolute values.
ULPS = {np.float64: 16, np.float32: 16, np.float16: 4}
CHANNELS, GROUPS = 4, 2


def random(*shape: int, seed: Any = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def laid_out(x: np.ndarray, layout: str) -> np.ndarray:
    """The same values in another order in memory."""
    if layout == "fortran":
        return np.asfortranarray(x)
    if layout == "permuted":
        return np.ascontiguousarray(np.moveaxis(x, 1, -1)).transpose(0, -1, *range(1, x.ndim - 1))
    if layout == "strided":
        return np.repeat(x, 2, axis=-1)[..., ::2]
    if layout == "reversed":
        return x[::-1].copy()[::-1]
    return x


def make(library: Any, kind: str, rank: int, affine: bool, bias: bool, tracked: bool, dtype: Any) -> Any:
    space = SPACES[rank - 2]
    if kind in ("BatchNorm", "InstanceNorm"):
        layer = getattr(library.nn, f"{kind}{max(rank - 2, 1)}d")
        return layer(CHANNELS, affine=affine, bias=bias, track_running_stats=tracked, dtype=dtype)
    if kind == "GroupNorm":
        return library.nn.GroupNorm(GROUPS, CHANNELS, affine=affine, bias=bias, dtype=dtype)
    shape = (*space[-2:],) or (CHANNELS,)
    if kind == "LayerNorm":
        return library.nn.LayerNorm(shape, elementwise_affine=affine, bias=bias, dtype=dtype)
    return library.nn.RMSNorm(shape, elementwise_affine=affine, dtype=dtype)


def cells() -> Any:
    for kind, rank, (affine, bias), (mode, tracked), dtype in itertools.product(
        ("BatchNorm", "InstanceNorm", "LayerNorm", "GroupNorm", "RMSNorm"), (2, 3, 4, 5), BIASES, MODES, ULPS
    ):
        statistics = kind in ("BatchNorm", "InstanceNorm")
        if (
            (kind == "InstanceNorm" and rank == 2)
            or (not statistics and not tracked)
            or (kind == "RMSNorm" and not bias)
        ):
            continue
        yield pytest.param(
            kind, rank, affine, bias, mode, tracked, dtype,
            id=f"{kind}-{rank}D-{'affine' if affine else 'plain'}{'' if bias else '-nobias'}-{mode}"
            f"-{'tracked' if tracked else 'own'}-{np.dtype(dtype).name}",
        )  # fmt: skip


def near(found: Any, want: Any, dtype: Any, scale: Any = None) -> None:
    found, want = np.asarray(found), want.detach().numpy()
    assert found.dtype == want.dtype
    size = np.abs(want).max(initial=0) if scale is None else scale
    allowed = ULPS[dtype] * float(np.finfo(dtype).eps) * (float(size) or 1.0)
    assert found.shape == want.shape
    assert np.abs(found.astype(np.float64) - want.astype(np.float64)).max(initial=0) <= allowed


def size_of_terms(kind: str, x: np.ndarray, g: np.ndarray, layer: Any) -> float:
    """How large the three terms of dx are, ``|g γ| / σ``: where they cancel, as in groups of two, dx is small."""
    rows = {
        "BatchNorm": lambda: np.moveaxis(x, 1, 0).reshape(CHANNELS, -1),
        "InstanceNorm": lambda: x.reshape(len(x) * CHANNELS, -1),
        "GroupNorm": lambda: x.reshape(len(x) * GROUPS, -1),
        "LayerNorm": lambda: x.reshape(-1, int(np.prod(layer.normalized_shape))),
        "RMSNorm": lambda: np.ones((1, 2)) * [[0, 2]],
    }[kind]()
    scale = float(np.abs(g).max()) * max((float(p.data.abs().max()) for p in layer.parameters()), default=1.0)
    return scale / float(np.sqrt(rows.astype(np.float64).var(axis=1).min() + 1e-5))


@pytest.mark.parametrize(("kind", "rank", "affine", "bias", "mode", "tracked", "dtype"), list(cells()))
def test_every_cell_in_every_layout(kind, rank, affine, bias, mode, tracked, dtype):
    to = getattr(torch, np.dtype(dtype).name)
    for step, layout in enumerate(LAYOUTS):
        ours = make(tn, kind, rank, affine, bias, tracked, dtype)
        theirs = make(torch, kind, rank, affine, bias, tracked, to)
        state = {}
        for k, (key, value) in enumerate(theirs.state_dict().items()):
            drawn = random(*value.shape, seed=[step, k])
            state[key] = (
                value if value.dim() == 0 else torch.tensor(np.abs(drawn) + 0.5 if "var" in key else drawn, dtype=to)
            )
        theirs.load_state_dict(state)
        ours.load_state_dict({key: value.numpy() for key, value in state.items()})
        ours.train(mode == "train")
        theirs.train(mode == "train")
        x = laid_out(random(3, CHANNELS, *SPACES[rank - 2], seed=[9, step]).astype(dtype) * 2 + 1, layout)
        mine, other = tn.tensor(x, requires_grad=True), torch.tensor(np.ascontiguousarray(x), requires_grad=True)
        y, z = ours(mine), theirs(other)
        g = random(*x.shape, seed=[8, step]).astype(dtype)
        y.backward(g)
        z.backward(torch.tensor(g))
        near(y.data, z, dtype)
        near(mine.grad.data, other.grad, dtype, size_of_terms(kind, x, g, theirs))
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            near(a.grad.data, b.grad, dtype, np.abs(g).astype(np.float64).sum() * np.abs(y.data).max())
        for key, value in theirs.state_dict().items():
            if value.dim():
                near(ours.state_dict()[key], value, dtype)
            elif kind == "BatchNorm":
                assert_array_equal(ours.state_dict()[key], value.numpy())


def composed(kind: str, x: Any, weight: Any, bias: Any, eps: float = 1e-5) -> Any:
    """A norm in training mode as PyTorch's own operations compose it."""
    columns = (1, -1, *(1,) * (x.dim() - 2))
    shape, axes = x.shape, tuple(range(1, x.dim()))
    if kind == "BatchNorm":
        axes = (0, *range(2, x.dim()))
    if kind == "InstanceNorm":
        axes = tuple(range(2, x.dim()))
    values = x.reshape(shape[0], GROUPS, -1) if kind == "GroupNorm" else x
    axes = (2,) if kind == "GroupNorm" else axes
    centred = values if kind == "RMSNorm" else values - values.mean(axes, keepdim=True)
    x_hat = (centred * (centred * centred).mean(axes, keepdim=True).add(eps).rsqrt()).reshape(shape)
    if kind in ("LayerNorm", "RMSNorm"):
        return x_hat * weight + (0 if bias is None else bias)
    return x_hat * weight.reshape(columns) + bias.reshape(columns)


OURS = {
    "BatchNorm": lambda x, w, b: tn.batch_norm(x, weight=w, bias=b),
    "InstanceNorm": lambda x, w, b: tn.instance_norm(x, weight=w, bias=b),
    "GroupNorm": lambda x, w, b: tn.group_norm(x, GROUPS, w, b),
    "LayerNorm": lambda x, w, b: tn.layer_norm(x, x.shape[1:], w, b),
    "RMSNorm": lambda x, w, b: tn.rms_norm(x, x.shape[1:], w, 1e-5),
}


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize("rank", [2, 3, 4])
def test_double_backward_next_to_the_composed_form(kind, rank):
    """The gradient of <v, dL/d(x, weight, bias)>, which also reaches the cotangent of the output."""
    if kind == "InstanceNorm" and rank == 2:
        rank = 5
    shape = (3, CHANNELS, *SPACES[rank - 2])
    sizes = shape[1:] if kind in ("LayerNorm", "RMSNorm") else (CHANNELS,)
    arrays = [random(*shape), random(*sizes, seed=1), *([] if kind == "RMSNorm" else [random(*sizes, seed=2)])]
    g, vs = random(*shape, seed=3), [random(*a.shape, seed=[4, i]) for i, a in enumerate(arrays)]

    mine = [tn.tensor(a, requires_grad=True) for a in arrays]
    cotangent = tn.tensor(g, requires_grad=True)
    first = tn.grad(OURS[kind](*mine, *[None] * (3 - len(mine))), mine, cotangent, create_graph=True)
    second = tn.grad(list(first), [*mine, cotangent], vs)

    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    other = torch.tensor(g, requires_grad=True)
    z = composed(kind, *theirs, *[None] * (3 - len(theirs)))
    their_first = torch.autograd.grad(z, theirs, other, create_graph=True)
    their_second = torch.autograd.grad(
        their_first, [*theirs, other], [torch.tensor(v) for v in vs], allow_unused=True, materialize_grads=True
    )
    for found, want in zip(second, their_second, strict=True):
        scale = max(1.0, float(want.abs().max()))
        assert np.abs(found.data - want.numpy()).max() <= 1e-12 * scale


@pytest.mark.parametrize("space", SPACES[1:])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_local_response_norm(space, size, dtype):
    x, g = random(2, 6, *space).astype(dtype) * 3, random(2, 6, *space, seed=1).astype(dtype)
    options = {"alpha": 0.3, "beta": 0.6, "k": 1.2}
    mine, other = tn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = tn.nn.LocalResponseNorm(size, **options)(mine), torch.nn.LocalResponseNorm(size, **options)(other)
    y.backward(g)
    z.backward(torch.tensor(g))
    near(y.data, z, dtype)
    near(mine.grad.data, other.grad, dtype)
    with pytest.raises(ValueError, match="3D or higher"):
        torch.nn.LocalResponseNorm(size)(torch.tensor(x[:, :, 0].reshape(2, -1)))
    with pytest.raises(ValueError, match="spatial axis"):
        tn.nn.LocalResponseNorm(size)(x[:, :, 0].reshape(2, -1))


@pytest.mark.parametrize("dim", [0, 1, -1, None])
def test_weight_norm_and_l2_normalization(dim):
    v, g = random(3, 4, 2), random(3, 4, 2, seed=1)
    length = torch.tensor(
        random(*(torch.norm_except_dim(torch.tensor(v), 2, -1 if dim is None else dim % 3).shape), seed=2)
    )
    mine, other = tn.tensor(v, requires_grad=True), torch.tensor(v, requires_grad=True)
    y = tn.norm.more.weight_norm(mine, length.numpy(), dim)
    z = torch._weight_norm(other, length, -1 if dim is None else dim % 3)
    y.backward(g)
    z.backward(torch.tensor(g))
    near(y.data, z, np.float64)
    near(mine.grad.data, other.grad, np.float64)
    if dim is not None:
        v[0, 0, 0] = v[:, 0, 0] = v[0, 0, :] = v[0, :, 0] = 0  # a zero vector along every axis
        mine, other = tn.tensor(v, requires_grad=True), torch.tensor(v, requires_grad=True)
        y, z = tn.nn.more.L2Norm(dim)(mine), torch.nn.functional.normalize(other, dim=dim)
        y.backward(g)
        z.backward(torch.tensor(g))
        near(y.data, z, np.float64)
        near(mine.grad.data, other.grad, np.float64)
