"""Normalization with the statistics of all ranks: the compositions of `norm`, with means over all ranks."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..engine import ops
from ..engine.operators import plain
from ..engine.recording import scope
from ..engine.tensor import Tensor, constant, named
from ..norm.checks import Admitted, admit, admit_channels, in_shape
from ..norm.functional import affine
from ..norm.pattern import among, parse
from .collective import allreduce_sum
from .comm import Comm


def standardized(given: Admitted, comm: Comm) -> tuple[Any, Any, Any, int]:
    """Return ``x̂ = (x - mean) / sqrt(var + eps)``, the mean, the variance, and the number of values in each.

    The statistics are float64, so that they are equal on every rank, even if the dtypes of the inputs differ.
    """
    mean_of, dtype = SharedMean(comm), given.values.dtype
    mean = named("μ", mean_of(given.values, given.axes))
    centred = named("x−μ", given.values - ops.astype(mean, dtype))
    var = named("σ²", mean_of(ops.square(centred), given.axes))
    x_hat = centred * ops.rsqrt(ops.astype(var, dtype) + given.eps)
    return named("x̂", in_shape(ops.astype(x_hat, given.x.dtype), given.shape)), mean, var, mean_of.count


class SharedMean:
    """The mean over the values of all ranks: the sum of their sums, divided by the sum of their counts.

    Sums and counts are float64. The first call exchanges both in one buffer; later calls know the count.

    Attributes
    ----------
    count : int
        The number of values that share a mean, on all ranks together.
    """

    count: int = -1

    def __init__(self, comm: Comm) -> None:
        self.comm = comm

    def __call__(self, values: Any, axes: tuple[int, ...]) -> Any:
        sums = ops.sum(ops.astype(values, np.result_type(values.dtype, np.float64)), axes, keepdims=True)
        if self.count < 0:
            own = np.array([prod(values.shape[i] for i in axes)], np.float64)
            counted = constant(own, "n") if isinstance(sums, Tensor) else own
            packed = allreduce_sum(ops.concatenate([ops.reshape(sums, -1), counted]), self.comm)
            total, self.count = ops.reshape(packed[:-1], sums.shape), int(plain(packed)[-1].real)
            if self.count == 1:
                raise ValueError(
                    f"a variance needs several values for each mean, but all {self.comm} together have only one"
                )
        else:
            total = allreduce_sum(sums, self.comm)
        return total / max(self.count, 1)


def sync_normalize(
    x: Any, pattern: str, comm: Comm, /, *, eps: float = 1e-5, stats_dtype: Any = None, **axis_lengths: int
) -> Any:
    """Normalize an array whose first axis is distributed over ranks, with common statistics.

    The result and the gradient are those of `tinygrad_norm.normalize` for the whole array.

    Parameters
    ----------
    x : Tensor or array, floating
        This rank's part, with any number of samples, including none.
    pattern : str
        A pattern that keeps no part of the first axis, such as ``"n c ... -> c"``. With any other pattern, ranks need
        no common statistics.
    comm : Comm
    eps, stats_dtype, **axis_lengths
        As in `tinygrad_norm.normalize`.

    Returns
    -------
    Tensor or array
        Shape and dtype of ``x``.

    Raises
    ------
    TypeError
        If ``x`` is not floating.
    ValueError
        If the pattern keeps the first axis or does not fit, or all ranks together have only one value for each mean.
    CollectiveError
        If ranks call different collectives, or a rank does not arrive.
    """
    parsed = parse(pattern)
    for name in parsed.first_axis:
        if among(name, parsed.kept):
            parsed.fail(
                f"axis {name!r} is kept: each sample has its own statistics, so ranks have nothing to share", name
            )
    with scope("sync_normalize"):
        x_hat, _, _, _ = standardized(admit(x, pattern, axis_lengths, eps, stats_dtype), comm)
    return x_hat


def sync_batch_norm(
    x: Any,
    comm: Comm,
    *,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    stats_dtype: Any = None,
    return_statistics: bool = False,
) -> Any:
    """Normalize each channel over the batch of all ranks and over space.

    The result is that of `tinygrad_norm.batch_norm` for the whole batch. Every rank must call it.

    Parameters
    ----------
    x : Tensor or array, floating
        This rank's part of the batch, of shape ``(N, C)`` or ``(N, C, ...)``; N may differ by rank, and be 0 or 1.
    comm : Comm
    weight, bias : Tensor or array of shape (C,), optional
        The scale γ and the shift β, equal on all ranks.
    eps, stats_dtype
        As in `tinygrad_norm.batch_norm`.
    return_statistics : bool
        Also return the mean and the biased variance of the whole batch, float64 of shape ``(1, C, 1, ...)``, and the
        number of values in each. They are equal on every rank, bit for bit.

    Returns
    -------
    Tensor or array
        Shape of ``x``; its dtype, promoted with ``weight`` and ``bias``.

    Raises
    ------
    TypeError
        If ``x`` is not floating.
    ValueError
        If all ranks together have only one value per channel, or if shapes or ``eps`` are invalid.
    CollectiveError
        If ranks call different collectives, or a rank does not arrive.

    Notes
    -----
    The forward pass needs two sums over ranks, of C + 1 and C numbers: the sums of the values with their count, and the
    sums of squared deviations. The backward pass needs two more, since both statistics have gradients on every rank.

    *Gradient.* The gradient of batch norm over the whole batch, with the sum of the ranks' losses as the objective. The
    gradients of ``weight`` and ``bias`` are this rank's part. `allreduce_gradients` adds them up, like those of all
    other parameters.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> x = np.array([[1.0], [2.0], [6.0]])
    >>> run = tn.distributed.ThreadComm.run
    >>> run(2, lambda comm: sync_batch_norm(tn.distributed.shard(x, comm), comm).round(3).tolist())
    [[[-0.926]], [[-0.463], [1.389]]]
    >>> tn.batch_norm(x).round(3).tolist()
    [[-0.926], [-0.463], [1.389]]
    """
    with scope("sync_batch_norm"):
        given = admit_channels("sync_batch_norm", x, "n c ... -> c", weight, bias, eps, stats_dtype)
        x_hat, mean, var, count = standardized(given, comm)
        y = affine(x_hat, given.weight, given.bias, given.beside)
    return (y, mean, var, count) if return_statistics else y
