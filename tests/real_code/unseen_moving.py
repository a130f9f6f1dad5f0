"""Functions that move, pad, repeat and gather data."""

import numpy as np

from tests.real_code.case import Code, Wrong
from tinygrad_norm.check import inputs


class ZeroPad:
    def __init__(self, p):
        self.p = p

    def forward(self, x):
        p = self.p
        return np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))

    def backward(self, dout):
        p = self.p
        return dout[:, :, p:-p, p:-p]


class ZeroPadCorner(ZeroPad):
    def backward(self, dout):
        return dout[:, :, : -2 * self.p, : -2 * self.p]


class ZeroPadWhole(ZeroPad):
    def backward(self, dout):
        return dout


ZERO_PAD = Code(
    "zero padding",
    ZeroPad(1),
    None,
    inputs(x="n c h w"),
    (
        Wrong(
            "the corner is cut out, not the middle",
            ZeroPadCorner(1),
            ("shift", "offset", "moved", "roll", "displaced", "permut", "place"),
            ("transpos", " sign", "batch", "the mean"),
        ),
        Wrong(
            "the border is not removed",
            ZeroPadWhole(1),
            ("shape", "pad", "border", "crop", "larger"),
            ("transpos", " sign", "batch", "not summed"),
        ),
    ),
)


def reflect_pad(x, p=1):
    return np.pad(x, ((0, 0), (p, p)), mode="reflect")


def reflect_pad_backward(g, x, p=1):
    d = g[:, p:-p].copy()
    d[:, 1 : p + 1] += g[:, p - 1 :: -1]
    d[:, -p - 1 : -1] += g[:, : -p - 1 : -1]
    return d


def reflect_pad_unmirrored(g, x, p=1):
    d = g[:, p:-p].copy()
    d[:, 1 : p + 1] += g[:, :p]
    d[:, -p - 1 : -1] += g[:, -p:]
    return d


def reflect_pad_at_the_edge(g, x, p=1):
    d = g[:, p:-p].copy()
    d[:, :p] += g[:, p - 1 :: -1]
    d[:, -p:] += g[:, : -p - 1 : -1]
    return d


REFLECT_PAD = Code(
    "reflection padding",
    reflect_pad,
    reflect_pad_backward,
    inputs(x="n t", least={"t": 4}),
    (
        Wrong(
            "the borders are cut off, not added",
            lambda g, x, p=1: g[:, p:-p],
            ("missing", "repeated", "more than once", " uses", "border", "one of", "part of"),
            ("transpos", " sign", "batch", "the mean"),
        ),
        Wrong(
            "the borders are added without being flipped",
            reflect_pad_unmirrored,
            ("flip", "revers", "order", "mirror", "swap", "permut"),
            ("transpos", " sign", "batch", "the mean"),
        ),
        Wrong(
            "the borders are added to the edge, as for symmetric padding",
            reflect_pad_at_the_edge,
            ("shift", "offset", "moved", "roll", "displaced", "permut", "place", "border"),
            ("transpos", " sign", "batch", "the mean"),
        ),
    ),
    {"p": 2},
)

ROLL = Code(
    "roll",
    lambda x, shift=1: np.roll(x, shift, axis=1),
    lambda g, x, shift=1: np.roll(g, -shift, axis=1),
    inputs("n t", least={"t": 3}),
    (
        Wrong(
            "rolled in the same direction",
            lambda g, x, shift=1: np.roll(g, shift, axis=1),
            ("transpos", "shift", "direction", "roll", "inverse", "permut"),
            (" sign", "batch", "the mean", "mask"),
        ),
        Wrong(
            "rolled along the other axis",
            lambda g, x, shift=1: np.roll(g, -shift, axis=0),
            ("axis", "shift", "roll", "permut"),
            (" sign", "batch", "the mean", "mask"),
        ),
        Wrong(
            "rolled over the flattened array",
            lambda g, x, shift=1: np.roll(g, -shift),
            ("axis", "flatten", "shift", "roll", "permut"),
            (" sign", "batch", "the mean", "mask"),
        ),
    ),
)

TILE = Code(
    "tile",
    lambda x, reps=2: np.tile(x, (1, reps)),
    lambda g, x, reps=2: g.reshape(len(x), reps, -1).sum(axis=1),
    inputs("n c"),
    (
        Wrong(
            "summed as if each element were repeated",
            lambda g, x, reps=2: g.reshape(len(x), -1, reps).sum(axis=2),
            ("order", "permut", "reshape", "axis", "interleav", "repeat"),
            (" sign", "batch", "mean path", "mask"),
        ),
        Wrong(
            "the mean instead of the sum",
            lambda g, x, reps=2: g.reshape(len(x), reps, -1).mean(axis=1),
            ("factor", "times", "the mean", "a mean", "mean of", "mean path", "mean term"),
            (" sign", "transpos", "mask"),
        ),
        Wrong(
            "only the first copy counts",
            lambda g, x, reps=2: g[:, : x.shape[1]],
            ("missing", " uses", "one of", "part of", "copies", "copy", "repeated", "not summed", "sum is missing"),
            (" sign", "transpos", "mask"),
        ),
    ),
    {"reps": 3},
)


def stack_forward(a, b, c):
    return np.stack([a, b, c], axis=1), (a, b, c)


STACK = Code(
    "stack",
    stack_forward,
    lambda dout, cache: tuple(dout[:, i] for i in range(3)),
    inputs(a="n d", b="n d", c="n d"),
    (
        Wrong(
            "in the reverse order",
            lambda dout, cache: tuple(dout[:, i] for i in (2, 1, 0)),
            ("swap", "order", "exchang", "revers"),
            (" sign", "batch", "the mean", "mask"),
        ),
        Wrong(
            "the axis is kept",
            lambda dout, cache: tuple(np.split(dout, 3, axis=1)),
            ("keepdims", "shape", "axis", "squeez"),
            (" sign", "batch", "transpos", "mask"),
        ),
    ),
)


def gather(x, index):
    return np.take_along_axis(x, index, axis=1)


def gather_backward(g, x, index):
    d = np.zeros_like(x)
    np.add.at(d, (np.arange(len(x))[:, None], index), g)
    return d


def gather_put(g, x, index):
    d = np.zeros_like(x)
    np.put_along_axis(d, index, g, axis=1)
    return d


def gather_from_gradient(g, x, index):
    return np.take_along_axis(np.resize(g, x.shape), np.resize(index, x.shape), axis=1)


GATHER = Code(
    "take along an axis",
    gather,
    gather_backward,
    inputs(x="n c", index="n k", domains=("real", "labels:c")),
    (
        Wrong(
            "repeated indices overwrite each other",
            gather_put,
            ("repeat", "duplicate", "more than once", "add.at", "twice", "same index"),
            (" sign", "transpos", "batch"),
        ),
        Wrong(
            "the gradient is gathered in its turn",
            gather_from_gradient,
            ("transpos", "scatter", "inverse", "untransposed", "permut"),
            (" sign", "batch", "mean path"),
        ),
    ),
)


def scatter_add(source, index, rows=4):
    out = np.zeros((rows, *source.shape[1:]), dtype=source.dtype)
    np.add.at(out, index, source)
    return out


SCATTER_ADD = Code(
    "scatter-add",
    scatter_add,
    lambda g, source, index, rows=4: g[index],
    inputs(source="n d", index="n", domains=("real", "labels:5")),
    (
        Wrong(
            "the mean over equal indices",
            lambda g, source, index, rows=4: g[index] / np.bincount(index, minlength=rows)[index][:, None],
            (
                "factor",
                "row",
                "repeat",
                "count",
                "the mean",
                "a mean",
                "mean of",
                "mean path",
                "mean term",
                "duplicate",
            ),
            (" sign", "transpos", "mask"),
        ),
        Wrong(
            "sorted by the index",
            lambda g, source, index, rows=4: g[np.sort(index)],
            ("order", "permut", "row", "swap", "sort"),
            (" sign", "batch", "mask"),
        ),
    ),
    {"rows": 5},
)


def pixel_shuffle(x, r=2):
    n, c, h, w = x.shape
    return x.reshape(n, c // r**2, r, r, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, c // r**2, h * r, w * r)


def pixel_unshuffle(order):
    def backward(g, x, r=2):
        n, c, h, w = x.shape
        return g.reshape(n, c // r**2, h, r, w, r).transpose(order).reshape(x.shape)

    return backward


PIXEL_SHUFFLE = Code(
    "pixel shuffle",
    pixel_shuffle,
    pixel_unshuffle((0, 1, 3, 5, 2, 4)),
    inputs(x="n 4c h w"),
    (
        Wrong(
            "the two factors are swapped",
            pixel_unshuffle((0, 1, 5, 3, 2, 4)),
            ("order", "permut", "swap", "transpos", "axes"),
            (" sign", "batch", "the mean", "mask"),
        ),
        Wrong(
            "reshaped without a transpose",
            pixel_unshuffle((0, 1, 2, 3, 4, 5)),
            ("order", "permut", "transpos", "reshape", "axes"),
            (" sign", "batch", "the mean", "mask"),
        ),
    ),
    {"r": 2},
)


def upsample(x, scale=2):
    return np.repeat(x, scale, axis=-1)


UPSAMPLE = Code(
    "nearest up-sampling of sequences",
    upsample,
    lambda g, x, scale=2: g.reshape(*x.shape, scale).sum(axis=-1),
    inputs(x="n c t"),
    (
        Wrong(
            "one of the copies is taken",
            lambda g, x, scale=2: g[..., ::scale],
            ("missing", " uses", "one of", "part of", "copies", "copy", "repeated", "not summed", "sum is missing"),
            (" sign", "transpos", "batch"),
        ),
        Wrong(
            "the copies are averaged",
            lambda g, x, scale=2: g.reshape(*x.shape, scale).mean(axis=-1),
            ("factor", "times", "the mean", "a mean", "mean of", "mean path", "mean term"),
            (" sign", "transpos", "mask"),
        ),
        Wrong(
            "the two axes of the reshape are swapped",
            lambda g, x, scale=2: g.reshape(*x.shape[:2], scale, -1).sum(axis=2),
            ("order", "permut", "reshape", "axis", "interleav", "tile"),
            (" sign", "batch", "mask"),
        ),
    ),
    {"scale": 3},
)

CASES = (ZERO_PAD, REFLECT_PAD, ROLL, TILE, STACK, GATHER, SCATTER_ADD, PIXEL_SHUFFLE, UPSAMPLE)
