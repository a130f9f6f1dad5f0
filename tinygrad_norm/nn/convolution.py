"""Convolution and pooling of sequences, images and volumes: sliding windows, then a matrix product, maximum or mean.

All functions are compositions and need no rules of their own. Windows overlap, so the rule of `sliding_windows` sums
the cotangents of the copies of a pixel; the other rules are those of `matmul`, `max` and `mean`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any, ClassVar

import numpy as np

from ..engine import ops
from ..engine.recording import step
from ..norm.checks import positive, shaped
from ..norm.pattern import is_size
from .layers import uniform
from .module import Module

Size = int | Sequence[int]
Sizes = tuple[int, ...]
Around = tuple[tuple[int, int], ...]

_SPACES = {1: ("L", "length", ""), 2: ("H, W", "height, width", ", or a pair of them"),
           3: ("D, H, W", "depth, height, width", ", or three of them")}  # fmt: skip
"""For each number of spatial axes: their names in shapes and in text, and the form of their sizes."""
_MODES: dict[str, Any] = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""NumPy's names for the padding modes of PyTorch."""


def conv2d(
    x: Any, weight: Any, bias: Any = None, stride: Size = 1, padding: Size | str = 0, dilation: Size = 1,
    groups: int = 1, *, padding_mode: str = "zeros",
) -> Any:  # fmt: skip
    """Convolve images: ``y[n, o, h, w] = sum over c, i, j of x[n, c, h + i, w + j] * weight[o, c, i, j]``.

    The kernel is not flipped: in neural networks, convolution means cross-correlation. The windows form the columns of
    a matrix, so that the sums are one matrix product for each image and group.

    Parameters
    ----------
    x : Tensor or array of shape (N, C, H, W) or (C, H, W)
    weight : Tensor or array of shape (O, C / groups, kernel height, kernel width)
    bias : Tensor or array of shape (O,), optional
    stride : int or pair of int
        The step between windows, vertical and horizontal.
    padding : int or pair of int, or {"valid", "same"}
        The number of rows added above and below, and of columns added left and right. "valid" adds none. With "same",
        which requires stride 1, the output has the size of the image; if the total is odd, one more is added at the
        end.
    dilation : int or pair of int
        The step between the pixels of a window.
    groups : int
        The number of groups that the channels are split into. Each group of output channels depends only on its own
        group of input channels.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        The values of the padding: zeros, the image mirrored at its edge pixels, the edge pixels repeated, or the
        opposite side of the image.

    Returns
    -------
    Tensor or array
        Of shape (N, O, H', W') or (O, H', W'), where ``H' = (H + 2 * padding - reach) // stride + 1`` and
        ``reach = dilation * (kernel height - 1) + 1``.

    Raises
    ------
    ValueError
        If shapes, channels or groups do not match, the kernel is larger than the padded image, or "same" is used with a
        stride other than 1.

    Notes
    -----
    *Gradient.* ``weight`` is shared by all images: its gradient is the sum over images of the cotangent times the
    columns. The gradient of a pixel is the sum, over all windows that contain it, of the cotangent times the weight at
    its position in the window.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_norm.nn.convolution import conv2d
    >>> x = np.array([[[[1.0, 2.0, 4.0], [1.0, 2.0, 4.0]]]])
    >>> conv2d(x, np.array([[[[-1.0, 1.0]]]]))
    array([[[[1., 2.],
             [1., 2.]]]])
    """
    return _convolved(2, x, weight, bias, stride, padding, dilation, groups, padding_mode)


def _convolved(
    rank: int, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int, mode: str
) -> Any:
    name = f"conv{rank}d"
    x, weight = _with_space(name, x, rank), ops.operand(weight)
    _check_channels(name, rank, x, weight, positive("groups", groups))
    out, terms, size = weight.shape[0], math.prod(weight.shape[1:]), weight.shape[2:]
    stride, dilation = _sizes("stride", stride, rank), _sizes("dilation", dilation, rank)
    around = _around(padding, size, stride, dilation, mode)
    bias = shaped(bias, (out,), "bias")
    said = {"stride": stride if max(stride) > 1 else None, "padding": around, "dilation": dilation, "groups": groups}
    with step(name, x, weight, bias, window=size, **said):
        windows = _windows(name, x, size, stride, dilation, around, mode)
        columns = ops.moveaxis(windows, range(-rank, 0), range(-2 * rank, -rank))  # n c i j h w
        images, places = x.shape[: -rank - 1], columns.shape[-rank:]
        columns = ops.reshape(columns, (*images, groups, terms, math.prod(places)))
        y = ops.matmul(ops.reshape(weight, (groups, out // groups, terms)), columns)
        y = ops.reshape(y, (*images, out, *places))
        return y if bias is None else y + ops.reshape(bias, (out, *(1,) * rank))


def max_pool2d(
    x: Any, kernel_size: Size, stride: Size | None = None, padding: Size = 0, dilation: Size = 1, *,
    ceil_mode: bool = False,
) -> Any:  # fmt: skip
    """Return the largest value in each window.

    Parameters
    ----------
    x : Tensor or array of shape (N, C, H, W) or (C, H, W)
    kernel_size : int or pair of int
    stride : int or pair of int, optional
        The step between windows; by default ``kernel_size``, so that windows do not overlap.
    padding : int or pair of int
        The number of rows and columns of ``-inf`` around the image. It is at most half of ``kernel_size``, so that
        every window contains a pixel.
    dilation : int or pair of int
        The step between the pixels of a window.
    ceil_mode : bool
        Whether to include a last window that extends beyond the image, if it starts inside the image or the padding
        before it.

    Returns
    -------
    Tensor or array
        Of shape (N, C, H', W') or (C, H', W'), where ``H' = (H + 2 * padding - reach) // stride + 1``, rounded up with
        ``ceil_mode``, and ``reach = dilation * (kernel_size - 1) + 1``.

    Raises
    ------
    TypeError
        If integers are padded, because they have no ``-inf``.
    ValueError
        If the rank is wrong, the padding too large, or a window larger than the padded image.

    Notes
    -----
    *Gradient.* The cotangent goes to the largest pixel of each window. Ties share it equally, whereas PyTorch gives all
    of it to the first.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_norm.nn.convolution import max_pool2d
    >>> max_pool2d(np.array([[[1.0, 5.0, 2.0, 0.0], [3.0, 4.0, 0.0, 1.0]]]), 2)
    array([[[5., 2.]]])
    """
    x, pool = _with_space("max_pool2d", x, 2), _pooling(kernel_size, stride, padding, dilation)
    around = _around_pool(x, *pool, ceil_mode)
    if np.any(around) and x.dtype.kind not in "fc":
        raise TypeError(f"max_pool2d pads with -inf, which {x.dtype} cannot represent; use .astype(np.float32)")
    size, stride, _, dilation = pool
    said = {"stride": stride if stride != size else None, "padding": around, "dilation": dilation}
    with step("max pooling", x, window=size, **said):
        return ops.max(_windows("max_pool2d", x, size, stride, dilation, around, value=-math.inf), axis=(-2, -1))


def avg_pool2d(
    x: Any, kernel_size: Size, stride: Size | None = None, padding: Size = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Any:  # fmt: skip
    """Return the mean of each window, including padded zeros.

    Other parameters and the result are as in `max_pool2d`. With ``count_include_pad=False`` the mean excludes the
    padding; with ``divisor_override`` the sum is divided by that number.

    Raises
    ------
    ValueError
        If the rank is wrong, the padding too large, or a window larger than the padded image.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_norm.nn.convolution import avg_pool2d
    >>> avg_pool2d(np.array([[[1.0, 5.0, 2.0, 0.0], [3.0, 4.0, 0.0, 1.0]]]), 2)
    array([[[3.25, 0.75]]])
    """
    x, pool = _with_space("avg_pool2d", x, 2), _pooling(kernel_size, stride, padding)
    size, stride, padding, once = pool
    around, inner = _around_pool(x, *pool, ceil_mode), tuple((p, p) for p in padding)
    with step("average pooling", x, window=size, stride=stride if stride != size else None, padding=around):
        y = ops.mean(_windows("avg_pool2d", x, size, stride, once, around), axis=(-2, -1))
        if divisor_override is not None:
            return y * (math.prod(size) / positive("divisor_override", divisor_override))
        if around == inner and (count_include_pad or not any(padding)):
            return y
        beyond = tuple((0, after - p) for (_, after), p in zip(around, padding, strict=True))
        counted = np.pad(np.pad(np.ones(x.shape[-2:]), inner, constant_values=float(count_include_pad)), beyond)
        shares = np.mean(ops.sliding_windows(counted, size, stride), axis=(-2, -1))
        return y * (1 / shares).astype(x.dtype)


class _Conv(Module):
    rank: ClassVar[int]

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Size, stride: Size = 1, padding: Size | str = 0,
        dilation: Size = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros", dtype: Any = np.float32,
        rng: np.random.Generator | int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.in_channels = positive("in_channels", in_channels)
        self.out_channels = positive("out_channels", out_channels)
        self.groups = positive("groups", groups)
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"{groups=} does not divide both {in_channels=} and {out_channels=}")
        given = {"kernel_size": kernel_size, "stride": stride, "dilation": dilation}
        self.kernel_size, self.stride, self.dilation = (_sizes(name, n, self.rank) for name, n in given.items())
        _around(padding, self.kernel_size, self.stride, self.dilation, padding_mode)
        self.padding = padding if isinstance(padding, str) else _sizes("padding", padding, self.rank, least=0)
        self.padding_mode = padding_mode
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        rng, terms = np.random.default_rng(rng), math.prod(shape[1:])
        self.weight = uniform(rng, shape, terms, dtype)
        self.bias = uniform(rng, out_channels, terms, dtype) if bias else None

    def forward(self, x: Any) -> Any:
        return _convolved(
            self.rank, x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups,
            self.padding_mode,
        )  # fmt: skip

    def extra_repr(self) -> str:
        dilation = f", dilation={self.dilation}" if max(self.dilation) > 1 else ""
        mode = "" if self.padding_mode == "zeros" else f", padding_mode={self.padding_mode!r}"
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding!r}{dilation}, groups={self.groups}, bias={self.bias is not None}{mode}"
        )


class Conv2d(_Conv):
    """Convolve images: ``y[n, o] = sum over c of x[n, c] * weight[o, c] + bias[o]``, where ``*`` is cross-correlation.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, padding, dilation, padding_mode
        As in `conv2d`, with the height first.
    groups : int
        The number of groups; it must divide both numbers of channels. ``groups=in_channels`` convolves every channel
        separately.
    bias : bool
        Whether the layer has a bias.
    dtype : dtype
    rng : numpy.random.Generator or int, optional
        Generator or seed for the initial values, which are uniform within ``1 / sqrt(terms of one sum)``, as in
        PyTorch.

    Attributes
    ----------
    weight : Parameter of shape (out_channels, in_channels / groups, kernel height, kernel width)
    bias : Parameter of shape (out_channels,) or None

    Raises
    ------
    ValueError
        If a size is not a positive integer, ``groups`` does not divide the channels, or the input has a wrong shape.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> layer = tn.nn.Conv2d(3, 8, kernel_size=3, stride=2, padding=1)
    >>> layer.weight.shape, layer(np.zeros((5, 3, 28, 28), np.float32)).shape
    ((8, 3, 3, 3), (5, 8, 14, 14))
    """

    rank = 2


class Conv1d(_Conv):
    """Convolve sequences of shape (N, C, L) or (C, L): `Conv2d` with one spatial axis."""

    rank = 1


class Conv3d(_Conv):
    """Convolve volumes of shape (N, C, D, H, W) or (C, D, H, W): `Conv2d` with three spatial axes."""

    rank = 3


class _Pool2d(Module):
    pool: ClassVar[Callable[..., Any]]

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0, **options: Any) -> None:
        super().__init__()
        signature(self.pool).bind(None, kernel_size, **options)  # raises for an invalid option
        pool = _pooling(kernel_size, stride, padding, options.get("dilation", 1))
        (self.kernel_size, self.stride, self.padding, _), self._options = pool, options

    def forward(self, x: Any) -> Any:
        return type(self).pool(x, self.kernel_size, self.stride, self.padding, **self._options)

    def extra_repr(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self._options.items())
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}{options}"


class MaxPool2d(_Pool2d):
    """Compute the largest value in each window of an image.

    Parameters
    ----------
    kernel_size : int or pair of int
    stride : int or pair of int, optional
        By default ``kernel_size``.
    padding : int or pair of int
        At most half of ``kernel_size``.
    dilation, ceil_mode
        As in `max_pool2d`.

    Notes
    -----
    *Gradient.* See `max_pool2d`: ties share the gradient equally.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> tn.nn.MaxPool2d(2)(np.array([[[1.0, 5.0, 2.0, 0.0], [3.0, 4.0, 0.0, 1.0]]]))
    Tensor([[[5., 2.]]])
    """

    pool = staticmethod(max_pool2d)


class AvgPool2d(_Pool2d):
    """Compute the mean of each window of an image, including padded zeros, as is the default in PyTorch.

    Parameters
    ----------
    kernel_size, stride, padding, ceil_mode
        As in `MaxPool2d`.
    count_include_pad, divisor_override
        As in `avg_pool2d`.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> tn.nn.AvgPool2d(2)(np.array([[[1.0, 5.0, 2.0, 0.0], [3.0, 4.0, 0.0, 1.0]]]))
    Tensor([[[3.25, 0.75]]])
    """

    pool = staticmethod(avg_pool2d)


def _windows(
    name: str, x: Any, size: Sizes, stride: Sizes, dilation: Sizes, around: Around, mode: str = "zeros",
    value: float = 0,
) -> Any:  # fmt: skip
    """Return all windows over the last axes of the padded images: ``... h w`` becomes ``... h' w' i j``."""
    rank = len(size)
    space, reach = x.shape[-rank:], tuple(d * (k - 1) + 1 for d, k in zip(dilation, size, strict=True))
    if any(k > n + sum(p) for k, n, p in zip(reach, space, around, strict=True)):
        raise ValueError(
            f"{name}: windows of size {reach} are larger than images of size {space} with padding {around}, got an "
            f"input of shape {x.shape}; use a smaller kernel or more padding"
        )
    if mode != "zeros":
        x = x[(..., *np.ix_(*(np.pad(range(n), p, _MODES[mode]) for n, p in zip(space, around, strict=True))))]
    elif np.any(around):
        x = ops.pad(x, ((0, 0),) * (x.ndim - rank) + around, constant_values=value)
    windows = ops.sliding_windows(x, reach, stride)
    return windows if reach == size else windows[(..., *(slice(None, None, d) for d in dilation))]


def _with_space(name: str, x: Any, rank: int) -> Any:
    x = ops.operand(x)
    if x.ndim not in (rank + 1, rank + 2):
        axes = _SPACES[rank][0]
        raise ValueError(f"{name} expects an input of shape (N, C, {axes}) or (C, {axes}), got {x.shape}")
    return x


def _check_channels(name: str, rank: int, x: Any, weight: Any, groups: int) -> None:
    if weight.ndim != rank + 2 or weight.shape[0] % groups:
        raise ValueError(
            f"{name} expects a weight of shape (O, C / groups, {_SPACES[rank][1]}), with groups dividing O, got "
            f"{weight.shape} and {groups=}"
        )
    if x.shape[-rank - 1] != weight.shape[1] * groups:
        raise ValueError(
            f"{name} with a weight of shape {weight.shape} and {groups=} expects {weight.shape[1] * groups} channels, "
            f"got {x.shape[-rank - 1]} in an input of shape {x.shape}"
        )


def _around(padding: Size | str, size: Sizes, stride: Sizes, dilation: Sizes, mode: str) -> Around:
    """Return the padding before and after each spatial axis."""
    if mode not in _MODES:
        raise ValueError(f"padding_mode must be one of {', '.join(map(repr, _MODES))}, not {mode!r}")
    if padding == "same":
        if max(stride) > 1:
            raise ValueError(f"padding='same' requires stride 1, not {stride}")
        return tuple((d * (k - 1) // 2, d * (k - 1) - d * (k - 1) // 2) for d, k in zip(dilation, size, strict=True))
    sizes = (0,) * len(size) if padding == "valid" else _sizes("padding", padding, len(size), least=0)
    return tuple((p, p) for p in sizes)


def _pooling(
    kernel_size: Size, stride: Size | None, padding: Size, dilation: Size = 1
) -> tuple[Sizes, Sizes, Sizes, Sizes]:
    given = {"kernel_size": kernel_size, "stride": kernel_size if stride is None else stride, "dilation": dilation}
    size, steps, apart = (_sizes(name, n, 2) for name, n in given.items())
    around = _sizes("padding", padding, 2, least=0)
    if any(2 * p > k for p, k in zip(around, size, strict=True)):
        raise ValueError(f"{padding=} is more than half of {kernel_size=}: some windows would contain no pixel")
    return size, steps, around, apart


def _around_pool(x: Any, size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, ceil_mode: bool) -> Around:
    """Return the padding around pooled images; with ``ceil_mode``, include what the last windows need."""
    around = []
    for n, k, s, p, d in zip(x.shape[-2:], size, stride, padding, dilation, strict=True):
        free = n + 2 * p - d * (k - 1) - 1
        start = -(-free // s) * s  # start of the last window, the first that is not completely inside
        around.append((p, p + start - free if ceil_mode and start < n + p else p))
    return tuple(around)


def _sizes(name: str, value: Any, rank: int, least: int = 1) -> Sizes:
    """Return one size for each spatial axis; a single integer applies to all."""
    sizes = tuple(value) if isinstance(value, Sequence) else (value,) * rank
    if len(sizes) != rank or not all(is_size(n, least) for n in sizes):
        raise ValueError(f"{name} must be an integer >= {least}{_SPACES[rank][2]}, not {value!r}")
    return tuple(map(int, sizes))
