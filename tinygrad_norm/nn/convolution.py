"""Convolution and pooling of images: windows, and a matrix product, a maximum or a mean over each.

Nothing here has a gradient of its own. Windows overlap, so the cotangents of one pixel's copies add up: that is the
rule of `sliding_windows`, and the rest is `matmul`, `max` and `mean`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..engine import ops
from ..engine.recording import scope
from ..norm.checks import positive, shaped
from ..norm.pattern import is_size
from .layers import uniform
from .module import Module

Size = int | Sequence[int]
Pair = tuple[int, int]


def conv2d(x: Any, weight: Any, bias: Any = None, stride: Size = 1, padding: Size = 0, *, groups: int = 1) -> Any:
    """Slide kernels over images: ``y[n, o, h, w] = sum over c, i, j of x[n, c, h + i, w + j] * weight[o, c, i, j]``.

    The kernel is not flipped: what networks call convolution is cross-correlation. Windows are laid out as the columns
    of a matrix, so that the sums are one matrix product for each image and group.

    Parameters
    ----------
    x : Tensor or array of shape (N, C, H, W) or (C, H, W)
    weight : Tensor or array of shape (O, C / groups, kernel height, kernel width)
    bias : Tensor or array of shape (O,), optional
    stride : int or pair of int
        The step from one window to the next, down and across.
    padding : int or pair of int
        Rows of zeros above and below, and columns of zeros left and right.
    groups : int
        Cuts the channels into groups, in order; each group of outputs sees its own group of inputs only.

    Returns
    -------
    Tensor or array
        Of shape (N, O, H', W') or (O, H', W'), where ``H' = (H + 2 * padding - kernel height) // stride + 1``.

    Raises
    ------
    ValueError
        For shapes, channels or groups that do not fit together, and for a kernel larger than the padded image.

    Notes
    -----
    *Gradient.* ``weight`` is the same for every image: it receives the sum of each one's cotangent times its columns. A
    pixel receives, from every window that shows it, the cotangent times the weight that it met there, added up.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_norm.nn.convolution import conv2d
    >>> x = np.array([[[[1.0, 2.0, 4.0], [1.0, 2.0, 4.0]]]])
    >>> conv2d(x, np.array([[[[-1.0, 1.0]]]]))
    array([[[[1., 2.],
             [1., 2.]]]])
    """
    x, weight = _images("conv2d", x), ops.operand(weight)
    _check_channels(x, weight, positive("groups", groups))
    out, terms = weight.shape[0], math.prod(weight.shape[1:])
    bias = shaped(bias, (out,), "bias")
    with scope("conv2d"):
        windows = _windows("conv2d", x, weight.shape[2:], _pair("stride", stride), _pair("padding", padding, least=0))
        columns = ops.moveaxis(windows, (-2, -1), (-4, -3))  # n c i j h w
        images, places = x.shape[:-3], columns.shape[-2:]
        columns = ops.reshape(columns, (*images, groups, terms, math.prod(places)))
        y = ops.matmul(ops.reshape(weight, (groups, out // groups, terms)), columns)
        y = ops.reshape(y, (*images, out, *places))
        return y if bias is None else y + ops.reshape(bias, (out, 1, 1))


def max_pool2d(x: Any, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> Any:
    """Return the largest value in each window.

    Parameters
    ----------
    x : Tensor or array of shape (N, C, H, W) or (C, H, W)
    kernel_size : int or pair of int
    stride : int or pair of int, optional
        The windows' own size unless given: they then lie side by side.
    padding : int or pair of int
        Rows and columns of ``-inf`` around the image; at most half of ``kernel_size``, so that every window shows a
        pixel.

    Returns
    -------
    Tensor or array
        Of shape (N, C, H', W') or (C, H', W'), where ``H' = (H + 2 * padding - kernel_size) // stride + 1``.

    Raises
    ------
    TypeError
        For padding around integers, which have no ``-inf``.
    ValueError
        For a wrong rank, too much padding, and a window larger than the padded image.

    Notes
    -----
    *Gradient.* It goes to the largest pixel of each window. Several that are equal share it equally, where PyTorch
    gives all of it to the first.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_norm.nn.convolution import max_pool2d
    >>> max_pool2d(np.array([[[1.0, 5.0, 2.0, 0.0], [3.0, 4.0, 0.0, 1.0]]]), 2)
    array([[[5., 2.]]])
    """
    x, (size, stride, padding) = _images("max_pool2d", x), _pooling(kernel_size, stride, padding)
    if any(padding) and x.dtype.kind not in "fc":
        raise TypeError(f"max_pool2d pads with -inf, which {x.dtype} cannot hold; convert with .astype(np.float32)")
    with scope("max_pool2d"):
        return ops.max(_windows("max_pool2d", x, size, stride, padding, around=-math.inf), axis=(-2, -1))


def avg_pool2d(x: Any, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> Any:
    """Return the mean of each window; padding is zeros, and they count.

    Parameters and result are those of `max_pool2d`.

    Raises
    ------
    ValueError
        For a wrong rank, too much padding, and a window larger than the padded image.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_norm.nn.convolution import avg_pool2d
    >>> avg_pool2d(np.array([[[1.0, 5.0, 2.0, 0.0], [3.0, 4.0, 0.0, 1.0]]]), 2)
    array([[[3.25, 0.75]]])
    """
    x, (size, stride, padding) = _images("avg_pool2d", x), _pooling(kernel_size, stride, padding)
    with scope("avg_pool2d"):
        return ops.mean(_windows("avg_pool2d", x, size, stride, padding), axis=(-2, -1))


class Conv2d(Module):
    """Convolution of images: ``y[n, o] = sum over c of x[n, c] * weight[o, c] + bias[o]``, each ``*`` a sliding sum.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, padding : int or pair of int
        As in `conv2d`: heights first; padding is zeros on both sides.
    groups : int
        Divides both numbers of channels; ``groups=in_channels`` convolves every channel for itself.
    bias : bool
    dtype : dtype
    rng : numpy.random.Generator or int, optional
        For the initial values: uniform within ``1 / sqrt(terms of one sum)``, as PyTorch's.

    Attributes
    ----------
    weight : Parameter of shape (out_channels, in_channels / groups, kernel height, kernel width)
    bias : Parameter of shape (out_channels,) or None

    Raises
    ------
    ValueError
        For sizes that are not positive integers, groups that do not divide the channels, and input that does not fit.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> layer = tn.nn.Conv2d(3, 8, kernel_size=3, stride=2, padding=1)
    >>> layer.weight.shape, layer(np.zeros((5, 3, 28, 28), np.float32)).shape
    ((8, 3, 3, 3), (5, 8, 14, 14))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        *,
        groups: int = 1,
        bias: bool = True,
        dtype: Any = np.float32,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = positive("in_channels", in_channels)
        self.out_channels = positive("out_channels", out_channels)
        self.groups = positive("groups", groups)
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"{groups=} does not divide both {in_channels=} and {out_channels=}")
        self.kernel_size = _pair("kernel_size", kernel_size)
        self.stride, self.padding = _pair("stride", stride), _pair("padding", padding, least=0)
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        rng, terms = np.random.default_rng(rng), math.prod(shape[1:])
        self.weight = uniform(rng, shape, terms, dtype)
        self.bias = uniform(rng, out_channels, terms, dtype) if bias else None

    def forward(self, x: Any) -> Any:
        return conv2d(x, self.weight, self.bias, self.stride, self.padding, groups=self.groups)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, groups={self.groups}, bias={self.bias is not None}"
        )


class _Pool2d(Module):
    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = _pooling(kernel_size, stride, padding)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxPool2d(_Pool2d):
    """The largest value in each window of an image.

    Parameters
    ----------
    kernel_size : int or pair of int
    stride : int or pair of int, optional
        The windows' own size unless given.
    padding : int or pair of int
        At most half of ``kernel_size``.

    Notes
    -----
    *Gradient.* See `max_pool2d`: equal largest pixels share it equally.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> tn.nn.MaxPool2d(2)(np.array([[[1.0, 5.0, 2.0, 0.0], [3.0, 4.0, 0.0, 1.0]]]))
    Tensor([[[5., 2.]]])
    """

    def forward(self, x: Any) -> Any:
        return max_pool2d(x, self.kernel_size, self.stride, self.padding)


class AvgPool2d(_Pool2d):
    """The mean of each window of an image. Padding is zeros, and they count, as is PyTorch's default.

    Parameters
    ----------
    kernel_size, stride, padding
        As in `MaxPool2d`.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> tn.nn.AvgPool2d(2)(np.array([[[1.0, 5.0, 2.0, 0.0], [3.0, 4.0, 0.0, 1.0]]]))
    Tensor([[[3.25, 0.75]]])
    """

    def forward(self, x: Any) -> Any:
        return avg_pool2d(x, self.kernel_size, self.stride, self.padding)


def _windows(name: str, x: Any, size: Pair, stride: Pair, padding: Pair, around: float = 0.0) -> Any:
    """Return every window over the last two axes of the padded images: ``... h w`` becomes ``... h' w' i j``."""
    if any(k > n + 2 * p for k, n, p in zip(size, x.shape[-2:], padding, strict=True)):
        raise ValueError(
            f"{name}: windows of {size} are larger than images of {x.shape[-2:]} with padding {padding}, got an input "
            f"of shape {x.shape}; take a smaller kernel or more padding"
        )
    if any(padding):
        x = ops.pad(x, ((0, 0),) * (x.ndim - 2) + tuple((p, p) for p in padding), constant_values=around)
    return ops.sliding_windows(x, size, stride)


def _images(name: str, x: Any) -> Any:
    x = ops.operand(x)
    if x.ndim not in (3, 4):
        raise ValueError(f"{name} expects an input of shape (N, C, H, W) or (C, H, W), got {x.shape}")
    return x


def _check_channels(x: Any, weight: Any, groups: int) -> None:
    if weight.ndim != 4 or weight.shape[0] % groups:
        raise ValueError(
            f"conv2d expects a weight of shape (O, C / groups, height, width), with groups dividing O, got "
            f"{weight.shape} and {groups=}"
        )
    if x.shape[-3] != weight.shape[1] * groups:
        raise ValueError(
            f"conv2d with a weight of shape {weight.shape} and {groups=} expects {weight.shape[1] * groups} channels, "
            f"got {x.shape[-3]} in an input of shape {x.shape}"
        )


def _pooling(kernel_size: Size, stride: Size | None, padding: Size) -> tuple[Pair, Pair, Pair]:
    size, around = _pair("kernel_size", kernel_size), _pair("padding", padding, least=0)
    if any(2 * p > k for p, k in zip(around, size, strict=True)):
        raise ValueError(f"{padding=} is more than half of {kernel_size=}: some windows would show no pixel")
    return size, size if stride is None else _pair("stride", stride), around


def _pair(name: str, value: Size, least: int = 1) -> Pair:
    """Return a size given once for height and width, or for each."""
    sizes = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(sizes) != 2 or not all(is_size(n, least) for n in sizes):
        raise ValueError(f"{name} must be an integer of at least {least}, or a pair of them, not {value!r}")
    return int(sizes[0]), int(sizes[1])
