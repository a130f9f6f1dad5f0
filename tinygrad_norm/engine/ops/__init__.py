"""The primitives, and the functions composed of them. Plain arrays give plain arrays; Tensors are recorded."""

import numpy as np

from ..operators import ADVICE, PLAIN_FUNCTIONS
from .composite import (
    dot,
    gelu,
    leaky_relu,
    log_softmax,
    logsumexp,
    relu,
    silu,
    softmax,
    softplus,
    std,
    var,
)
from .core import (
    add,
    astype,
    broadcast_to,
    divide,
    matmul,
    mean,
    multiply,
    negative,
    operand,
    reshape,
    rsqrt,
    square,
    subtract,
    sum,
    tanh,
    transpose,
    where,
)
from .elementwise import (
    absolute,
    clip,
    cos,
    erf,
    exp,
    expm1,
    log,
    log1p,
    maximum,
    minimum,
    ones_like,
    power,
    sigmoid,
    sign,
    sin,
    sqrt,
    zeros_like,
)
from .linalg import einsum, overlap_add, sliding_windows
from .reductions import cumsum, max, min
from .shape import concatenate, expand_dims, getitem, moveaxis, pad, scatter, split, squeeze, stack, swapaxes

PLAIN_FUNCTIONS.update(
    {
        np.isnan, np.isinf, np.isfinite, np.isreal, np.iscomplexobj, np.isrealobj, np.signbit, np.floor, np.ceil,
        np.rint, np.round, np.argmax, np.argmin, np.argsort, np.nonzero, np.count_nonzero, np.flatnonzero, np.unique,
        np.any, np.all, np.allclose, np.isclose, np.array_equal, np.shape, np.ndim, np.size, np.result_type,
        np.shares_memory, np.may_share_memory, np.array2string, np.array_repr, np.array_str,
        np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal,
        np.logical_and, np.logical_or, np.logical_not, np.logical_xor, np.searchsorted, np.digitize, np.histogram,
    }
)  # fmt: skip

ADVICE.update(
    {
        "prod": "use np.exp(np.log(x).sum()) for positive values, or multiply the elements",
        "sort": "use x[np.argsort(x)] along one axis",
        "median": "use x[np.argsort(x)] and the middle element",
        "linalg.norm": "use np.sqrt((x * x).sum())",
        "norm": "use np.sqrt((x * x).sum())",
        "cbrt": "use x ** (1 / 3)",
        "log2": "use np.log(x) * (1 / math.log(2))",
        "log10": "use np.log(x) * (1 / math.log(10))",
        "exp2": "use 2 ** x",
        "reciprocal": "use 1 / x",
        "tan": "use np.sin(x) / np.cos(x)",
        "hypot": "use np.sqrt(a * a + b * b)",
        "inner": "use np.einsum with an explicit '->'",
        "tensordot": "use np.einsum with an explicit '->'",
        "outer": "use a[:, None] * b",
        "flip": "use x[::-1]",
        "tile": "use np.broadcast_to and reshape, or np.concatenate",
        "repeat": "use x[indices]",
        "average": "use (x * weights).sum() / weights.sum()",
        "vstack": "use np.concatenate",
        "hstack": "use np.concatenate(..., axis=1)",
        "copyto": "a Tensor's values cannot be changed; rebind a leaf's .data",
        "float_power": "use x ** p",
        "true_divide": "use x / y",
    }
)

__all__ = [
    "absolute", "add", "astype", "broadcast_to", "clip", "concatenate", "cos", "cumsum", "divide", "dot", "einsum",
    "erf", "exp", "expand_dims", "expm1", "gelu", "getitem", "leaky_relu", "log", "log1p", "log_softmax", "logsumexp",
    "matmul", "max", "maximum", "mean", "min", "minimum", "moveaxis", "multiply", "negative", "ones_like",
    "operand", "overlap_add", "pad", "power", "relu", "reshape", "rsqrt", "scatter", "sigmoid", "sign", "silu", "sin",
    "sliding_windows", "softmax", "softplus", "split", "sqrt", "square", "squeeze", "stack", "std", "subtract", "sum",
    "swapaxes", "tanh", "transpose", "var", "where", "zeros_like",
]  # fmt: skip
