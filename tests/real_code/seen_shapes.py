"""Code that only moves or adds up data: right gradients are often views of the cotangent."""

import numpy as np

from tinygrad_norm.check import inputs

from .case import Code, Wrong
from .words import FACTOR, FLIPPED, MISSING, NOT_SUMMED, SHIFTED, SIZE, SWAPPED, TRANSPOSED, WRONG_AXIS


class Flatten:
    def forward(self, x):
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dout):
        return dout.reshape(self.shape)


class FlattenInFortranOrder(Flatten):
    def backward(self, dout):
        return dout.reshape(self.shape, order="F")


class FlattenNotUndone(Flatten):
    def backward(self, dout):
        return dout


def concatenate_backward(g, a, b):
    return g[:, : a.shape[1]], g[:, a.shape[1] :]


def split(x):
    left, right = np.split(x, 2, axis=1)
    return left, right


def split_backward(dleft, dright, x):
    return np.concatenate([dleft, dright], axis=1)


def _slice_backward(at):
    def slice_backward(g, x):
        dx = np.zeros_like(x)
        dx[:, at] = g
        return dx

    return slice_backward


def slice_backward_onto_ones(g, x):
    dx = np.ones_like(x)
    dx[:, 1:-1] = g
    return dx


# Two outputs, of which backward takes a tuple.
def moments(x):
    return x.mean(axis=1), x.var(axis=1)


def _moments_backward(fault=""):
    def moments_backward(g, x):
        gm, gv = g
        n = x.shape[1]
        dvar = 2 * (x if fault == "centred" else x - x.mean(axis=1, keepdims=True)) / (n - (fault == "unbiased"))
        return gv[:, None] * dvar + (0 if fault == "mean" else gm[:, None] / n)

    return moments_backward


# A column times every row, with a kept axis.
def scaled_rows(x, s):
    return x * s


def scaled_rows_backward(g, x, s):
    return g * s, (g * x).sum(axis=1, keepdims=True)


PERMUTED = (0, 2, 3, 1)

CASES = (
    Code(
        "flatten, a class",
        Flatten(),
        None,
        inputs(x="n c h w"),
        (
            Wrong("in Fortran's order", FlattenInFortranOrder(), (" order", "permut", "reshap", *TRANSPOSED)),
            Wrong("not undone", FlattenNotUndone(), ("reshape", "as many", "shape of the cotangent")),
        ),
    ),
    Code(
        "transpose",
        lambda x: x.T,
        lambda g, x: g.T,
        inputs(x="n n"),
        (
            Wrong("not transposed", lambda g, x: g.copy(), TRANSPOSED),
            Wrong("turned by a quarter", lambda g, x: np.rot90(g), (*FLIPPED, "rotat", *TRANSPOSED)),
        ),
    ),
    Code(
        "channels last",
        lambda x: x.transpose(PERMUTED),
        lambda g, x: g.transpose(np.argsort(PERMUTED)),
        inputs(x="n c c c"),
        (
            Wrong("the same permutation, not its inverse", lambda g, x: g.transpose(PERMUTED), (*TRANSPOSED, "permut")),
            Wrong("reshaped instead", lambda g, x: g.reshape(x.shape), ("permut", " order", "reshap", *TRANSPOSED)),
        ),
    ),
    Code(
        "concatenation",
        lambda a, b: np.concatenate([a, b], axis=1),
        concatenate_backward,
        inputs(a="n c", b="n c"),
        (
            Wrong("the other's part", lambda g, a, b: concatenate_backward(g, a, b)[::-1], (*SWAPPED, *SHIFTED)),
            Wrong(
                "every second column",
                lambda g, a, b: (g[:, ::2], g[:, 1::2]),
                (" order", "permut", "columns", *SHIFTED, *SWAPPED),
            ),
        ),
    ),
    Code(
        "split, two outputs",
        split,
        split_backward,
        inputs(x="n 2c"),
        (
            Wrong("the halves are swapped", lambda dl, dr, x: split_backward(dr, dl, x), (*SWAPPED, *SHIFTED)),
            Wrong(
                "nothing from the right half",
                lambda dl, dr, x: split_backward(dl, 0 * dr, x),
                (*MISSING, "second", "not depend on"),
            ),
        ),
    ),
    Code(
        "a slice",
        lambda x: x[:, 1:-1],
        _slice_backward(slice(1, -1)),
        inputs(x="n c", least={"c": 3}),
        (
            Wrong("put at the start", _slice_backward(slice(0, -2)), SHIFTED),
            Wrong("ones around it", slice_backward_onto_ones, ("zero", "not linear", "not depend on", "constant")),
        ),
    ),
    Code(
        "cumulative sum",
        lambda x: np.cumsum(x, axis=1),
        lambda g, x: np.cumsum(g[:, ::-1], axis=1)[:, ::-1],
        inputs(x="n t"),
        (
            Wrong("not reversed", lambda g, x: np.cumsum(g, axis=1), (*TRANSPOSED, *FLIPPED)),
            Wrong("not turned back", lambda g, x: np.cumsum(g[:, ::-1], axis=1), FLIPPED),
            Wrong("no sum at all", lambda g, x: g.copy(), (*MISSING, "diagonal", "elementwise", "cotangent alone")),
        ),
    ),
    Code(
        "mean and variance, two outputs",
        moments,
        _moments_backward(),
        inputs(x="n c"),
        (
            Wrong("the mean's cotangent is dropped", _moments_backward("mean"), (" mean", "first", *MISSING)),
            Wrong("x is not centred", _moments_backward("centred"), (" mean", "centr", "constant")),
            Wrong("the variance over n - 1", _moments_backward("unbiased"), ("variance", "n - 1", "parallel")),
        ),
        {"cached": False},
    ),
    Code(
        "centring",
        lambda x: x - x.mean(axis=1, keepdims=True),
        lambda g, x: g - g.mean(axis=1, keepdims=True),
        inputs(x="n c"),
        (
            Wrong("the mean is a constant", lambda g, x: g.copy(), (" mean", "cotangent alone"), ("variance",)),
            Wrong("a sum for the mean", lambda g, x: g - g.sum(axis=1, keepdims=True), (" mean", *SIZE), ("variance",)),
            Wrong("over the other axis", lambda g, x: g - g.mean(axis=0), WRONG_AXIS, ("variance",)),
        ),
    ),
    Code(
        "rows times a column",
        scaled_rows,
        scaled_rows_backward,
        inputs(x="n c", s="n 1"),
        (
            Wrong(
                "keepdims is missing", lambda g, x, s: (g * s, (g * x).sum(axis=1)), ("keepdims", "reshape", " many")
            ),
            Wrong("not summed", lambda g, x, s: (g * s, g * x), NOT_SUMMED),
            Wrong("a mean for the sum", lambda g, x, s: (g * s, (g * x).mean(axis=1, keepdims=True)), (*SIZE, *FACTOR)),
        ),
    ),
)
