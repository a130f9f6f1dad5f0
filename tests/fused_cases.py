"""Functions that `fuse` compiles, each with the shapes of its inputs and the sweeps that it should need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm.fusing.functions import namespace
from tinygrad_norm.fusing.loops import Kernel

Shape = tuple[int, ...]


class Case(NamedTuple):
    """A function, the shapes of what it is given, and how many sweeps forward and backward in float32."""

    fn: Callable[..., Any]
    shapes: tuple[Shape, ...]
    forward: int
    backward: int


def _affine(norm: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return lambda x, weight, bias: norm(x, weight=weight, bias=bias, **options)


def _by_hand(x: Any, gamma: Any, beta: Any) -> Any:
    centred = x - x.mean(axis=0)
    return gamma * centred / np.sqrt((centred**2).mean(axis=0) + 1e-5) + beta


IMAGES, ROWS, SEQUENCES = (4, 6, 3, 5), (7, 6), (3, 4, 6)
C = (6,)

CASES: dict[str, Case] = {
    "batch norm, images": Case(_affine(tn.batch_norm), (IMAGES, C, C), 3, 2),
    "batch norm, rows": Case(_affine(tn.batch_norm), (ROWS, C, C), 3, 2),
    "batch norm, no affine step": Case(tn.batch_norm, (IMAGES,), 3, 2),
    "batch norm by hand": Case(_by_hand, (ROWS, C, C), 3, 2),
    "batch norm at test time": Case(
        lambda x, w, b, m, v: tn.batch_norm(x, weight=w, bias=b, mean=m, var=v * v), (IMAGES, C, C, C, C), 1, 1
    ),
    "batch norm at test time, rows": Case(
        lambda x, w, b, m, v: tn.batch_norm(x, weight=w, bias=b, mean=m, var=v * v), (ROWS, C, C, C, C), 1, 1
    ),
    "layer norm, rows": Case(lambda x, w, b: tn.layer_norm(x, 6, w, b), (ROWS, C, C), 3, 2),
    "layer norm, sequences": Case(lambda x, w, b: tn.layer_norm(x, 6, w, b), (SEQUENCES, C, C), 3, 2),
    "layer norm, two axes": Case(lambda x, w, b: tn.layer_norm(x, (4, 6), w, b), (SEQUENCES, (4, 6), (4, 6)), 3, 2),
    "rms norm": Case(lambda x, w: tn.rms_norm(x, 6, w), (SEQUENCES, C), 2, 2),
    "rms norm with residual": Case(lambda x, r, w: tn.rms_norm(x + r, 6, w), (SEQUENCES, SEQUENCES, C), 2, 2),
    "group norm, images": Case(_affine(tn.group_norm, num_groups=2), (IMAGES, C, C), 3, 2),
    "group norm, rows": Case(_affine(tn.group_norm, num_groups=2), (ROWS, C, C), 3, 2),
    "instance norm": Case(_affine(tn.instance_norm), (IMAGES, C, C), 3, 2),
    "channels last": Case(lambda x: tn.normalize(x, "n h w c -> c"), (IMAGES,), 3, 2),
    "groups of channels, last": Case(lambda x: tn.normalize(x, "n h w (g c) -> n g", g=5), ((2, 3, 4, 10),), 3, 2),
    "channels at each position": Case(lambda x: tn.normalize(x, "n c h w -> n h w"), (IMAGES,), 3, 2),
    "norm, then ReLU": Case(lambda x, w, b: tn.ops.relu(_affine(tn.batch_norm)(x, w, b)), (IMAGES, C, C), 3, 2),
    "norm, sum, ReLU": Case(
        lambda x, w, b, r: tn.ops.relu(_affine(tn.batch_norm)(x, w, b) + r), (IMAGES, C, C, IMAGES), 3, 2
    ),
    "norm, then SiLU": Case(lambda x, w, b: tn.ops.silu(tn.layer_norm(x, 6, w, b)), (ROWS, C, C), 3, 2),
    "softmax": Case(tn.ops.softmax, (ROWS,), 3, 2),
    "log-softmax": Case(tn.ops.log_softmax, (SEQUENCES,), 3, 2),
    "softmax over the first axis": Case(lambda x: tn.ops.softmax(x, axis=0), (ROWS,), 3, 2),
    "cross-entropy with probabilities": Case(
        lambda x, t: -(t * tn.ops.log_softmax(x)).sum(-1).mean(), (ROWS, ROWS), 3, 2
    ),
    "GELU": Case(lambda x: tn.ops.gelu(x, approximate="tanh"), (IMAGES,), 1, 1),
    "SiLU": Case(tn.ops.silu, (SEQUENCES,), 1, 1),
    "softplus": Case(tn.ops.softplus, (ROWS,), 1, 1),
    "leaky ReLU": Case(tn.ops.leaky_relu, (ROWS,), 1, 1),
    "an affine step": Case(lambda x, w, b: x * w + b, (ROWS, C, C), 1, 1),
    "standardized rows": Case(
        lambda x: (x - x.mean(-1, keepdims=True)) / (x.std(-1, keepdims=True) + 0.5), (ROWS,), 3, 2
    ),
    "largest values": Case(lambda x: x - x.max(axis=1, keepdims=True), (ROWS,), 2, 2),
    "a loss": Case(lambda x: (tn.layer_norm(x, 6) ** 3).mean(), (ROWS,), 3, 2),
}


def inputs_for(case: Case, dtype: Any, seed: int = 0) -> list[np.ndarray]:
    """Return random inputs; those of one axis are away from 0, as scales are."""
    rng = np.random.default_rng(seed)
    xs = [rng.standard_normal(shape) + (1.5 if len(shape) == 1 else 0.3) for shape in case.shapes]
    return [x.astype(dtype) for x in xs]


def interpreted(kernel: Kernel, dtype: Any) -> Callable[..., None]:
    """Run the text of a kernel as Python."""
    names = dict(namespace(np.dtype(dtype).name))
    # As numba reads it: 0.0 is of float64, and so is what is added to it.
    exec(kernel.source.replace(" = 0.0\n", " = float64(0.0)\n"), names)
    function: Callable[..., None] = names[kernel.name]
    return function
