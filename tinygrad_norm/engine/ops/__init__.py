"""The primitives, and the functions composed of them. Plain arrays give plain arrays; Tensors are recorded."""

from . import numpy_functions  # noqa: F401 (importing it fills the table)
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

__all__ = [
    "absolute", "add", "astype", "broadcast_to", "clip", "concatenate", "cos", "cumsum", "divide", "dot", "einsum",
    "erf", "exp", "expand_dims", "expm1", "gelu", "getitem", "leaky_relu", "log", "log1p", "log_softmax", "logsumexp",
    "matmul", "max", "maximum", "mean", "min", "minimum", "moveaxis", "multiply", "negative", "ones_like",
    "operand", "overlap_add", "pad", "power", "relu", "reshape", "rsqrt", "scatter", "sigmoid", "sign", "silu", "sin",
    "sliding_windows", "softmax", "softplus", "split", "sqrt", "square", "squeeze", "stack", "std", "subtract", "sum",
    "swapaxes", "tanh", "transpose", "var", "where", "zeros_like",
]  # fmt: skip
