"""Dilation, padding by word and by mode, and pooling's options, each beside what it says in other words."""

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.nn.convolution import avg_pool2d, conv2d, max_pool2d


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("dilation", [(2, 1), (1, 3), (3, 2)])
@pytest.mark.parametrize("stride", [1, 2])
def test_dilation_is_a_kernel_with_zeros_between(dilation, stride):
    x, weight, g = random(2, 3, 9, 8), random(4, 3, 3, 2, seed=1), None
    wide = np.zeros((4, 3, 2 * dilation[0] + 1, dilation[1] + 1))
    wide[..., :: dilation[0], :: dilation[1]] = weight
    found = [tn.tensor(v, requires_grad=True) for v in (x, weight)]
    want = [tn.tensor(v, requires_grad=True) for v in (x, wide)]
    y, z = conv2d(*found, stride=stride, padding=1, dilation=dilation), conv2d(*want, stride=stride, padding=1)
    assert_allclose(y.data, z.data, rtol=1e-12, atol=1e-13)
    g = random(*y.shape, seed=2)
    (dx, dw), (want_x, want_w) = tn.grad(y, found, g), tn.grad(z, want, g)
    assert_allclose(dx.data, want_x.data, rtol=1e-12, atol=1e-12)
    assert_allclose(dw.data, want_w.data[..., :: dilation[0], :: dilation[1]], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("dilation", [1, 2])
def test_same_keeps_the_size_and_an_odd_row_is_at_the_end(size, dilation):
    x, weight = random(1, 1, 6, 5), random(1, 1, size, size, seed=1)
    y = conv2d(x, weight, padding="same", dilation=dilation)
    assert y.shape == x.shape
    total = dilation * (size - 1)
    padded = np.pad(x, ((0, 0), (0, 0)) + ((total // 2, total - total // 2),) * 2)
    assert_array_equal(y, conv2d(padded, weight, dilation=dilation))
    assert_array_equal(conv2d(padded, weight, padding="valid"), conv2d(padded, weight))


@pytest.mark.parametrize(("mode", "of_numpy"), [("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")])
@pytest.mark.parametrize("padding", [1, (2, 0), "same"])
def test_modes_of_padding_are_numpys(mode, of_numpy, padding):
    layer = nn.Conv2d(2, 3, (3, 4), padding=padding, padding_mode=mode, dtype=np.float64, rng=0)
    x, around = random(2, 2, 5, 6), {"same": ((1, 1), (1, 2)), 1: ((1, 1), (1, 1)), (2, 0): ((2, 2), (0, 0))}[padding]
    padded = np.pad(x, ((0, 0), (0, 0), *around), of_numpy)
    assert_allclose(layer(x).data, conv2d(padded, layer.weight.data, layer.bias.data), rtol=1e-13)
    leaf, g = tn.tensor(x, requires_grad=True), random(*layer(x).shape, seed=1)
    v = random(*x.shape, seed=2)
    slope = (tn.grad(layer(leaf), leaf, g).data * v).sum()
    along = np.pad(v, ((0, 0), (0, 0), *around), of_numpy)
    assert_allclose(slope, (g * conv2d(along, layer.weight.data)).sum(), rtol=1e-11)


@pytest.mark.parametrize("rank", [1, 3])
def test_sequences_and_volumes_are_images_with_other_axes(rank):
    """A row of an image is a sequence; an image is a volume of depth one."""
    make: Any = {1: nn.Conv1d, 3: nn.Conv3d}[rank]
    flat = nn.Conv2d(4, 6, (1, 3) if rank == 1 else (2, 3), groups=2, dtype=np.float64, rng=0)
    layer = make(4, 6, 3 if rank == 1 else (1, 2, 3), groups=2, dtype=np.float64)
    weight = flat.weight.data
    layer.load_state_dict({"weight": weight[:, :, 0] if rank == 1 else weight[:, :, None], "bias": flat.bias.data})
    x = random(2, 4, 7) if rank == 1 else random(2, 4, 1, 5, 6)
    image = x[:, :, None] if rank == 1 else x[:, :, 0]
    want = flat(image).data
    assert_allclose(layer(x).data, want[:, :, 0] if rank == 1 else want[:, :, None], rtol=1e-13)
    assert_allclose(layer(x[0]).data, layer(x).data[0], rtol=1e-13)


def windows(n: int, k: int, s: int, p: int, d: int, ceil_mode: bool) -> list[list[int]]:
    """The pixels of every window along one axis, as PyTorch says it; those outside the padding are left out."""
    found, start = [], -p
    while True:
        last = start + d * (k - 1)
        inside = last < n + p
        # Of one that reaches beyond, something must be new: the one before ended earlier.
        if not inside and not (ceil_mode and start < n and last - s < n + p - 1):
            return found
        found.append([i for i in range(start, last + 1, d) if i < n + p])
        if not inside:
            return found
        start += s


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("k", "s", "p"), [(2, 2, 0), (3, 2, 1), (3, 3, 0), (2, 3, 1), (3, 5, 1), (4, 1, 2), (1, 2, 0)])
@pytest.mark.parametrize("n", [4, 5, 6, 7])
def test_pooling_by_its_definition(n, k, s, p, ceil_mode):
    x = random(1, n, n)
    padded = {i: (i if 0 <= i < n else None) for i in range(-p, n + p)}
    for d in (1, 2):
        axis = windows(n, k, s, p, d, ceil_mode)
        if not axis or any(all(padded[i] is None for i in window) for window in axis):
            continue
        want = np.array(
            [[max(x[0, i, j] for i in a for j in b if i in range(n) and j in range(n)) for b in axis] for a in axis]
        )
        assert_array_equal(max_pool2d(x, k, s, p, d, ceil_mode=ceil_mode)[0], want)
    axis = windows(n, k, s, p, 1, ceil_mode)
    for include in (True, False):
        for (r, a), (c, b) in itertools.product(enumerate(axis), repeat=2):
            values = [x[0, i, j] for i in a for j in b if i in range(n) and j in range(n)]
            count = len(a) * len(b) if include else len(values)
            y = avg_pool2d(x, k, s, p, ceil_mode, include)
            assert y.shape == (1, len(axis), len(axis))
            assert_allclose(y[0, r, c], sum(values) / count, rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_options_keep_the_dtype_and_have_gradients(dtype):
    layers = [
        nn.Conv2d(2, 4, 3, padding="same", dilation=2, padding_mode="reflect", groups=2, dtype=dtype, rng=0),
        nn.MaxPool2d(3, 2, 1, dilation=2, ceil_mode=True),
        nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
        nn.AvgPool2d(2, divisor_override=3),
    ]  # fmt: skip
    for layer in layers:
        x = tn.tensor(
            np.random.default_rng(0).permutation(144).reshape(2, 2, 6, 6) / 32, dtype=dtype, requires_grad=True
        )
        y = layer(x)
        g = random(*y.shape, seed=1)
        gradients = tn.grad(y, [x, *layer.parameters()], g, create_graph=True)
        assert {v.dtype for v in (y, *gradients)} == {np.dtype(dtype)}
        if dtype is np.float64:
            tn.check_gradients(layer, x.data, seed=0, budget="quick")


def test_averages_of_large_float16_values_with_a_divisor_do_not_overflow():
    x = np.full((1, 4, 4), 3e4, np.float16)
    assert_array_equal(avg_pool2d(x, 4, divisor_override=32), np.full((1, 1, 1), 1.5e4, np.float16))
    assert_array_equal(avg_pool2d(x, 3, 2, ceil_mode=True), np.full((1, 2, 2), 3e4, np.float16))


def test_repr_and_attributes_of_options():
    layer = nn.Conv2d(2, 4, 3, 1, "same", 2, 2, False, "circular")
    assert (layer.padding, layer.dilation, layer.groups, layer.bias) == ("same", (2, 2), 2, None)
    assert repr(layer) == (
        "Conv2d(2, 4, kernel_size=(3, 3), stride=(1, 1), padding='same', dilation=(2, 2), groups=2, bias=False, "
        "padding_mode='circular')"
    )
    assert repr(nn.Conv1d(2, 4, 3)).startswith("Conv1d(2, 4, kernel_size=(3,), stride=(1,), padding=(0,), groups=1")
    assert repr(nn.MaxPool2d(2, ceil_mode=True)) == (
        "MaxPool2d(kernel_size=(2, 2), stride=(2, 2), padding=(0, 0), ceil_mode=True)"
    )


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: nn.Conv2d(2, 2, 3, stride=2, padding="same"), ValueError, r"'same' requires stride 1, not \(2, 2\)"),
        (lambda: nn.Conv2d(2, 2, 3, padding="half"), ValueError, "padding .* not 'half'"),
        (lambda: nn.Conv2d(2, 2, 3, padding_mode="wrap"), ValueError, "one of 'zeros', 'reflect', .*, not 'wrap'"),
        (lambda: nn.Conv2d(2, 2, 3, dilation=0), ValueError, "dilation must be an integer >= 1"),
        (lambda: conv2d(random(1, 2, 5, 5), random(2, 2, 3, 3), dilation=3), ValueError, r"windows of size \(7, 7\)"),
        (lambda: conv2d(random(1, 2, 5, 5), random(2, 2, 3, 3), padding_mode="x"), ValueError, "padding_mode must"),
        (lambda: nn.Conv1d(2, 2, (3, 3)), ValueError, r"kernel_size must be an integer >= 1, not \(3, 3\)"),
        (lambda: nn.Conv1d(2, 2, 3)(random(1, 2, 5, 5)), ValueError, r"conv1d expects .*\(N, C, L\) or \(C, L\), got"),
        (lambda: nn.Conv3d(2, 2, 3)(random(2, 5, 5)), ValueError, r"conv3d expects .*\(N, C, D, H, W\)"),
        (lambda: nn.MaxPool2d(2, dilation=0), ValueError, "dilation must"),
        (lambda: nn.MaxPool2d(2, divisor_override=2), TypeError, "divisor_override"),
        (lambda: nn.AvgPool2d(2, dilation=2), TypeError, "dilation"),
        (lambda: avg_pool2d(random(1, 4, 4), 2, divisor_override=0), ValueError, "divisor_override must be a positive"),
        (lambda: max_pool2d(np.arange(9).reshape(1, 3, 3), 2, ceil_mode=True), TypeError, "-inf, which int64"),
    ],
)  # fmt: skip
def test_bad_options_are_refused_by_name(call, error, words):
    with pytest.raises(error, match=words):
        call()
