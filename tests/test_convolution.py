"""Convolution and pooling beside their definitions as loops; bilinear, linear and piecewise linear to second order."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import generators

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.nn.convolution import avg_pool2d, conv2d, max_pool2d

POOLS: dict[str, Any] = {"max": (max_pool2d, np.max, -np.inf), "avg": (avg_pool2d, np.mean, 0.0)}
every_pool = pytest.mark.parametrize("name", POOLS)
dtypes = pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def views(x: np.ndarray, size: Any, stride: Any, padding: Any, around: float) -> dict[tuple[int, int], np.ndarray]:
    """Each window by its place, cut from the padded images one at a time."""
    (n, c, height, width), (down, across) = x.shape, padding
    padded = np.full((n, c, height + 2 * down, width + 2 * across), around)
    padded[:, :, down : down + height, across : across + width] = x
    tops = range(0, padded.shape[2] - size[0] + 1, stride[0])
    lefts = range(0, padded.shape[3] - size[1] + 1, stride[1])
    return {
        (i, j): padded[:, :, top : top + size[0], left : left + size[1]]
        for i, top in enumerate(tops)
        for j, left in enumerate(lefts)
    }


def conv2d_by_definition(
    x: np.ndarray, weight: np.ndarray, bias: Any, stride: Any, padding: Any, groups: int
) -> np.ndarray:
    """One output number at a time: the sum over what its kernel lies on."""
    seen = views(x, weight.shape[2:], stride, padding, 0.0)
    rows, columns = (1 + max(places) for places in zip(*seen, strict=True))
    y = np.zeros((len(x), len(weight), rows, columns))
    for n, o, i, j in np.ndindex(*y.shape):
        first = o // (len(weight) // groups) * weight.shape[1]
        window = seen[i, j][n, first : first + weight.shape[1]]
        y[n, o, i, j] = (window * weight[o]).sum() + (0 if bias is None else bias[o])
    return y


def pool_by_definition(name: str, x: np.ndarray, size: Any, stride: Any, padding: Any) -> np.ndarray:
    _, reduce, around = POOLS[name]
    seen = views(x, size, stride, padding, around)
    rows, columns = (1 + max(places) for places in zip(*seen, strict=True))
    y = np.zeros((*x.shape[:2], rows, columns))
    for n, c, i, j in np.ndindex(*y.shape):
        y[n, c, i, j] = reduce(seen[i, j][n, c])
    return y


class Convolution(NamedTuple):
    x: np.ndarray
    weight: np.ndarray
    bias: np.ndarray | None
    options: dict[str, Any]
    rng: np.random.Generator

    def __call__(self, x: Any, weight: Any, bias: Any = None) -> Any:
        return conv2d(x, weight, bias, **self.options)


def pairs(least: int, most: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(least, most), st.integers(least, most))


def spaces(draw: st.DrawFn, size: Any, padding: Any) -> list[int]:
    """Heights and widths from the smallest that a window fits in."""
    return [draw(st.integers(max(1, k - 2 * p), k + 3)) for k, p in zip(size, padding, strict=True)]


@st.composite
def convolutions(draw: st.DrawFn) -> Convolution:
    groups, (inputs, outputs) = draw(st.integers(1, 3)), draw(pairs(1, 2))
    size, stride, padding = draw(pairs(1, 3)), draw(pairs(1, 3)), draw(pairs(0, 2))
    rng = draw(generators)
    x = rng.normal(size=(draw(st.integers(1, 3)), groups * inputs, *spaces(draw, size, padding)))
    weight = rng.normal(size=(groups * outputs, inputs, *size))
    bias = rng.normal(size=groups * outputs) if draw(st.booleans()) else None
    return Convolution(x, weight, bias, {"stride": stride, "padding": padding, "groups": groups}, rng)


class Pooling(NamedTuple):
    x: np.ndarray
    size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    rng: np.random.Generator

    def call(self, name: str, x: Any) -> Any:
        return POOLS[name][0](x, self.size, self.stride, self.padding)


@st.composite
def poolings(draw: st.DrawFn) -> Pooling:
    size, stride = draw(pairs(1, 4)), draw(pairs(1, 3))
    padding = tuple(draw(st.integers(0, k // 2)) for k in size)
    rng = draw(generators)
    # Distinct, and apart by more than an oracle moves.
    shape = (*draw(pairs(1, 2)), *spaces(draw, size, padding))
    x = rng.permutation(np.prod(shape)).reshape(shape) / 8 - 2
    return Pooling(x, size, stride, padding, rng)


# Values.


@given(convolutions())
def test_a_convolution_is_a_sum_over_each_window(drawn):
    y = drawn(drawn.x, drawn.weight, drawn.bias)
    want = conv2d_by_definition(drawn.x, drawn.weight, drawn.bias, **drawn.options)
    assert type(y) is np.ndarray
    assert y.shape == want.shape
    assert_allclose(y, want, rtol=1e-12, atol=1e-12)


@every_pool
@given(drawn=poolings())
def test_pooling_reduces_each_window(name, drawn):
    y = drawn.call(name, drawn.x)
    want = pool_by_definition(name, drawn.x, drawn.size, drawn.stride, drawn.padding)
    assert type(y) is np.ndarray
    assert y.shape == want.shape
    assert_allclose(y, want, rtol=1e-14)


# Gradients.


@given(convolutions())
def test_gradients_of_a_convolution(drawn):
    assume(drawn(drawn.x, drawn.weight).any())  # else all windows lie on padding, and there is no gradient to check
    operands = [v for v in (drawn.x, drawn.weight, drawn.bias) if v is not None]
    tn.check_gradients(drawn, *operands, seed=int(drawn.rng.integers(1000)))


@given(convolutions())
def test_the_pullback_of_a_convolution_is_its_adjoint(drawn):
    """It is linear in x, and in weight: <g, y(v)> = <dL/dx, v> for every v, and so for weight and bias."""
    v = [drawn.rng.normal(size=a.shape) for a in (drawn.x, drawn.weight)]
    x, weight = (tn.tensor(a, requires_grad=True) for a in (drawn.x, drawn.weight))
    y = drawn(x, weight)
    g = drawn.rng.normal(size=y.shape)
    by_x, by_weight = tn.grad(y, [x, weight], g)
    assert_allclose((by_x.data * v[0]).sum(), (g * drawn(v[0], drawn.weight)).sum(), rtol=1e-10, atol=1e-10)
    assert_allclose((by_weight.data * v[1]).sum(), (g * drawn(drawn.x, v[1])).sum(), rtol=1e-10, atol=1e-10)


@given(convolutions())
def test_second_derivatives_of_a_convolution_are_convolutions(drawn):
    """Bilinear: what dL/dx, along v, owes to weight is what the convolution of v owes to it; nothing is left of x."""
    x, weight = (tn.tensor(a, requires_grad=True) for a in (drawn.x, drawn.weight))
    v, u = (drawn.rng.normal(size=a.shape) for a in (drawn.x, drawn.weight))
    y = drawn(x, weight)
    g = tn.tensor(drawn.rng.normal(size=y.shape), requires_grad=True)
    by_x, by_weight = tn.grad(y, [x, weight], g, create_graph=True)
    of_x = tn.grad(by_x, [x, weight, g], v)
    of_weight = tn.grad(by_weight, [x, weight, g], u)
    want = tn.grad(drawn(v, weight), weight, g.data), tn.grad(drawn(x, u), x, g.data)
    assert not of_x[0].data.any()
    assert not of_weight[1].data.any()
    assert_allclose(of_x[1].data, want[0].data, rtol=1e-10, atol=1e-10)
    assert_allclose(of_weight[0].data, want[1].data, rtol=1e-10, atol=1e-10)
    assert_allclose(of_x[2].data, drawn(v, drawn.weight), rtol=1e-10, atol=1e-10)
    assert_allclose(of_weight[2].data, drawn(drawn.x, u), rtol=1e-10, atol=1e-10)


@every_pool
@given(drawn=poolings())
def test_gradients_of_pooling(name, drawn):
    tn.check_gradients(lambda x: drawn.call(name, x), drawn.x, seed=int(drawn.rng.integers(1000)))


@given(drawn=poolings())
def test_second_derivatives_of_average_pooling(drawn):
    """Linear: dL/dx owes nothing to x, and along v it owes to g the averages of v."""
    x, v = tn.tensor(drawn.x, requires_grad=True), drawn.rng.normal(size=drawn.x.shape)
    y = drawn.call("avg", x)
    g = tn.tensor(drawn.rng.normal(size=y.shape), requires_grad=True)
    of_x, of_g = tn.grad(tn.grad(y, x, g, create_graph=True), [x, g], v)
    assert not of_x.data.any()
    assert_allclose(of_g.data, drawn.call("avg", v), rtol=1e-12, atol=1e-12)


@given(drawn=poolings())
def test_second_derivatives_of_max_pooling(drawn):
    """dL/dx, along v, owes to g what v has where x is largest. Of the cube of the maxima, dL/dx owes to x as well."""
    x, v = tn.tensor(drawn.x, requires_grad=True), drawn.rng.normal(size=drawn.x.shape)
    y = drawn.call("max", x)
    g = tn.tensor(drawn.rng.normal(size=y.shape), requires_grad=True)
    # Pixels are distinct, so each maximum is found again in the image.
    order = np.argsort(drawn.x, axis=None)
    at = order[np.searchsorted(drawn.x.ravel()[order], y.data)]
    of_x, of_g = tn.grad(tn.grad(y**3, x, g, create_graph=True), [x, g], v)
    assert_allclose(of_g.data, 3 * y.data**2 * v.ravel()[at], rtol=1e-12, atol=1e-12)
    want = np.zeros(x.size)
    np.add.at(want, at, 6 * g.data * y.data * v.ravel()[at])
    assert_allclose(of_x.data.ravel(), want, rtol=1e-12, atol=1e-12)


# What convolution and pooling are, said otherwise.


def test_a_kernel_of_one_pixel_is_a_linear_layer_over_the_channels():
    layer = nn.Conv2d(3, 4, 1, dtype=np.float64, rng=0)
    linear = nn.Linear(3, 4, dtype=np.float64)
    linear.load_state_dict({"weight": layer.weight.data[:, :, 0, 0], "bias": layer.bias.data})
    x = random(2, 3, 5, 4)
    assert_allclose(layer(x).data, np.moveaxis(linear(np.moveaxis(x, 1, -1)).data, -1, 1), rtol=1e-13)


def test_a_kernel_with_a_single_one_moves_the_image():
    x, kernel = random(1, 1, 5, 6), np.zeros((1, 1, 3, 3))
    kernel[0, 0, 2, 0] = 1
    moved = np.zeros((1, 1, 5, 6))
    moved[:, :, :-1, 1:] = x[:, :, 1:, :-1]
    assert_array_equal(conv2d(x, kernel, padding=1), moved)


def test_groups_are_convolutions_beside_each_other():
    x, weight, bias = random(2, 6, 5, 5), random(4, 3, 3, 2, seed=1), random(4, seed=2)
    halves = [conv2d(x[:, 3 * k : 3 * k + 3], weight[2 * k : 2 * k + 2], bias[2 * k : 2 * k + 2]) for k in range(2)]
    assert_allclose(conv2d(x, weight, bias, groups=2), np.concatenate(halves, axis=1), rtol=1e-13)


def test_one_image_is_a_batch_of_one():
    x, weight, bias = random(2, 5, 6), random(4, 2, 3, 3, seed=1), random(4, seed=2)
    assert_array_equal(conv2d(x, weight, bias, padding=1), conv2d(x[None], weight, bias, padding=1)[0])
    for pool in (max_pool2d, avg_pool2d):
        assert_array_equal(pool(x, (2, 3)), pool(x[None], (2, 3))[0])


def test_samples_do_not_interact():
    x, weight = tn.tensor(random(3, 2, 5, 5), requires_grad=True), random(4, 2, 3, 3, seed=1)
    g = np.zeros((3, 4, 2, 2))
    g[1] = random(4, 2, 2, seed=2)
    by_x = tn.grad(max_pool2d(conv2d(x, weight, padding=1), 2), x, g).data
    assert not by_x[[0, 2]].any()
    assert by_x[1].any()


def test_windows_that_do_not_fit_any_more_are_left_out():
    """Of five columns, windows of two show four; the fifth has gradient zero."""
    x = tn.tensor(random(1, 1, 2, 5), requires_grad=True)
    y = max_pool2d(x, 2)
    assert y.shape == (1, 1, 1, 2)
    y.backward(random(1, 1, 1, 2, seed=1))
    assert not x.grad.data[..., 4].any()


def test_padding_never_wins_a_maximum():
    """Zeros around would win over negative pixels."""
    x = tn.tensor(-1 - np.arange(4.0).reshape(1, 2, 2), requires_grad=True)
    y = max_pool2d(x, 2, padding=1)
    assert_array_equal(y.data, x.data)
    g = random(1, 2, 2)
    y.backward(g)
    assert_array_equal(x.grad.data, g)


def test_padding_counts_in_a_mean():
    assert_array_equal(avg_pool2d(np.full((1, 2, 2), 8.0), 2, padding=1), np.full((1, 2, 2), 2.0))


def test_ties_share_the_gradient_equally():
    x = tn.tensor([[[3.0, 3.0, 1.0, 1.0], [0.0, 3.0, 1.0, 1.0]]], requires_grad=True)
    max_pool2d(x, 2).backward(np.array([[[0.6, -2.0]]]))
    assert_allclose(x.grad.data, [[[0.2, 0.2, -0.5, -0.5], [0.0, 0.2, -0.5, -0.5]]], rtol=1e-15)


def test_ties_where_windows_overlap_add_up():
    """Three equal pixels in two windows of two: each window gives half of its cotangent to each of its own."""
    x = tn.tensor(np.ones((1, 1, 3)), requires_grad=True)
    max_pool2d(x, (1, 2), stride=1).backward(np.array([[[0.6, -2.0]]]))
    assert_allclose(x.grad.data, [[[0.3, -0.7, -1.0]]], rtol=1e-15)


def test_nan_stays_in_its_windows():
    x = random(1, 1, 4, 4)
    x[0, 0, 0, 0] = np.nan
    for y in (max_pool2d(x, 2), avg_pool2d(x, 2), conv2d(x, random(1, 1, 2, 2, seed=1), stride=2)):
        assert_array_equal(np.isnan(y[0, 0]), [[True, False], [False, False]])


# Layers.


def test_layers_are_the_functions():
    layer = nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), groups=2, dtype=np.float64, rng=0)
    x = random(2, 4, 5, 5)
    want = conv2d(x, layer.weight.data, layer.bias.data, (2, 1), (1, 0), groups=2)
    assert_array_equal(layer(x).data, want)
    assert_array_equal(nn.MaxPool2d(3, 2, 1)(x).data, max_pool2d(x, 3, 2, 1))
    assert_array_equal(nn.AvgPool2d((2, 1), padding=(1, 0))(x).data, avg_pool2d(x, (2, 1), padding=(1, 0)))


def test_a_convolution_starts_within_one_over_the_root_of_its_terms():
    layer = nn.Conv2d(32, 64, (5, 2), groups=2, rng=7)
    values = np.concatenate([layer.weight.data.ravel(), layer.bias.data])
    bound = 1 / np.sqrt(16 * 5 * 2)
    assert values.dtype == np.float32
    assert 0.99 * bound < abs(values).max() <= np.float32(bound)
    # The mean of 10,304 uniform numbers; five standard errors.
    assert abs(values.mean()) < 5 * bound / np.sqrt(3 * values.size)
    assert_array_equal(nn.Conv2d(32, 64, (5, 2), groups=2, rng=np.random.default_rng(7)).bias.data, layer.bias.data)
    assert nn.Conv2d(1, 1, 1, bias=False).bias is None


@dtypes
@pytest.mark.parametrize("unbatched", [False, True], ids=["batched", "unbatched"])
def test_dtypes_are_kept(dtype, unbatched):
    layers = [nn.Conv2d(4, 6, 3, padding=1, groups=2, dtype=dtype, rng=0), nn.MaxPool2d(2), nn.AvgPool2d(2)]
    shape = (4, 4, 6) if unbatched else (3, 4, 4, 6)
    for layer in layers:
        x = tn.tensor(random(*shape), dtype=dtype, requires_grad=True)
        y = layer(x)
        gradients = tn.grad(y, [x, *layer.parameters()], random(*y.shape, seed=1), create_graph=True)
        assert [v.dtype for v in (y, *gradients)] == [dtype] * (2 + len(list(layer.parameters())))
        assert [g.shape for g in gradients] == [v.shape for v in (x, *layer.parameters())]


@pytest.mark.parametrize("layer", [nn.Conv2d(4, 6, 3, padding=1), nn.MaxPool2d(2, padding=1), nn.AvgPool2d(2)])
def test_an_empty_batch_gives_an_empty_output(layer):
    x = tn.tensor(np.zeros((0, 4, 6, 8), np.float32), requires_grad=True)
    y = layer(x)
    assert y.shape == (0, *layer(np.zeros((1, 4, 6, 8), np.float32)).shape[1:])
    y.backward(np.zeros(y.shape))
    assert x.grad.shape == x.shape
    for parameter in layer.parameters():
        assert_array_equal(parameter.grad.data, np.zeros(parameter.shape))


@pytest.mark.parametrize(
    ("layer", "name"),
    [(nn.Conv2d(2, 2, 3), "conv2d"), (nn.MaxPool2d(2), "max pooling"), (nn.AvgPool2d(2), "average pooling")],
)
def test_a_layer_is_one_box_of_the_drawing(layer, name):
    y = layer(tn.tensor(random(1, 2, 4, 4), requires_grad=True))
    assert [v.symbol for v in tn.draw(y).graph.vertices if v.operation] == [name]


def test_repr():
    assert repr(nn.Conv2d(2, 4, 3, padding=(1, 0), groups=2, bias=False)) == (
        "Conv2d(2, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 0), groups=2, bias=False)"
    )
    assert repr(nn.MaxPool2d(2)) == "MaxPool2d(kernel_size=(2, 2), stride=(2, 2), padding=(0, 0))"
    assert repr(nn.AvgPool2d((3, 2), 1)) == "AvgPool2d(kernel_size=(3, 2), stride=(1, 1), padding=(0, 0))"


# Errors.


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nn.Conv2d(0, 2, 3), "in_channels must be a positive integer, not 0"),
        (lambda: nn.Conv2d(2, 2.0, 3), "out_channels must be a positive integer, not 2.0"),
        (lambda: nn.Conv2d(2, 2, 3, groups=0), "groups must be a positive integer, not 0"),
        (lambda: nn.Conv2d(4, 6, 3, groups=4), "groups=4 does not divide both in_channels=4 and out_channels=6"),
        (lambda: nn.Conv2d(6, 4, 3, groups=4), "groups=4 does not divide both in_channels=6 and out_channels=4"),
        (lambda: nn.Conv2d(2, 2, 0), "kernel_size must be an integer >= 1, or a pair of them, not 0"),
        (lambda: nn.Conv2d(2, 2, (3, 3, 3)), r"kernel_size .* not \(3, 3, 3\)"),
        (lambda: nn.Conv2d(2, 2, 3, stride=(1, 0)), r"stride .* not \(1, 0\)"),
        (lambda: nn.Conv2d(2, 2, 3, padding=-1), "padding must be an integer >= 0, or a pair of them, not -1"),
        (lambda: nn.Conv2d(2, 2, 3, padding="half"), "padding .* not 'half'"),
        (lambda: nn.Conv2d(2, 2, True), "kernel_size .* not True"),
        (lambda: nn.MaxPool2d(1.5), "kernel_size .* not 1.5"),
        (lambda: nn.MaxPool2d(3, padding=2), "padding=2 is more than half of kernel_size=3"),
        (lambda: nn.AvgPool2d((4, 1), padding=(2, 1)), r"padding=\(2, 1\) is more than half of kernel_size=\(4, 1\)"),
        (lambda: nn.AvgPool2d(2, stride=0), "stride .* not 0"),
    ],
)
def test_bad_arguments_are_refused_by_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize(
    ("call", "shape", "words"),
    [
        (nn.Conv2d(3, 2, 3), (5, 4, 8, 8), r"weight of shape \(2, 3, 3, 3\) .*expects 3 channels, got 4"),
        (nn.Conv2d(4, 2, 3, groups=2), (5, 2, 8, 8), "groups=2 expects 4 channels, got 2"),
        (nn.Conv2d(3, 2, 3), (8, 8), r"\(N, C, H, W\) or \(C, H, W\)"),
        (nn.Conv2d(3, 2, 3), (1, 5, 3, 8, 8), r"\(N, C, H, W\) or \(C, H, W\)"),
        (nn.Conv2d(3, 2, (5, 3), padding=(1, 0)), (5, 3, 2, 9), r"windows of size \(5, 3\) .* size \(2, 9\)"),
        (nn.MaxPool2d(2), (8, 8), r"max_pool2d expects an input of shape \(N, C, H, W\)"),
        (
            nn.MaxPool2d((1, 4)),
            (2, 8, 3),
            r"max_pool2d: windows of size \(1, 4\) are larger than images of size \(8, 3\)",
        ),
        (nn.AvgPool2d(2), (1, 2, 3, 8, 8), r"avg_pool2d expects an input of shape \(N, C, H, W\)"),
        (nn.AvgPool2d(2), (1, 2, 0, 8), "avg_pool2d: windows"),
    ],
)
def test_bad_shapes_are_refused_with_the_shape(call, shape, words):
    with pytest.raises(ValueError, match=words) as error:
        call(np.zeros(shape, np.float32))
    assert str(shape) in str(error.value)


@pytest.mark.parametrize(
    ("weight", "bias", "words"),
    [
        ((2, 4, 3), None, r"weight of shape \(O, C / groups, height, width\).* got \(2, 4, 3\)"),
        ((3, 2, 3, 3), None, r"groups dividing O, got \(3, 2, 3, 3\) and groups=2"),
        ((2, 2, 3, 3), (4,), r"bias must have shape \(2,\), not \(4,\)"),
        ((2, 2, 3, 3), (2, 1, 1), r"bias must have shape \(2,\), not \(2, 1, 1\)"),
    ],
)
def test_bad_weights_are_refused_with_their_shape(weight, bias, words):
    with pytest.raises(ValueError, match=words):
        conv2d(random(1, 4, 8, 8), random(*weight), None if bias is None else random(*bias), groups=2)


def test_integers_have_nothing_to_pad_a_maximum_with():
    x = np.arange(16).reshape(1, 1, 4, 4)
    assert_array_equal(max_pool2d(x, 2), [[[[5, 7], [13, 15]]]])
    with pytest.raises(TypeError, match="-inf, which int64 cannot represent"):
        max_pool2d(x, 2, padding=1)
