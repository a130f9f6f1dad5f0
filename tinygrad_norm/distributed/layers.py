"""Batch norm layers that share their statistics with other ranks."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..nn.conditional import BatchNormOfAnyRank
from ..nn.module import Module, as_model
from ..nn.normalization import BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d
from ..nn.running import ANY_RANK
from .comm import Comm
from .norms import sync_batch_norm


class SyncBatchNorm(BatchNorm):
    """Batch normalization of (N, C) or (N, C, ...) whose batch is spread over ranks: pattern ``n c ... -> c``.

    In training the statistics are those of the samples of all ranks. So every rank must call the layer, even without
    samples. The running statistics are equal on every rank, bit for bit. In eval mode, with running statistics, nothing
    is exchanged.

    Parameters
    ----------
    num_features, eps, momentum, affine, track_running_stats, bias, dtype, stats_dtype
        As in `tinygrad_norm.nn.BatchNorm1d`. The state has the same keys, too.
    comm : Comm

    Raises
    ------
    TypeError, ValueError
        As in `tinygrad_norm.nn.BatchNorm1d`. One value per channel is an error only if all ranks together have one.
    CollectiveError
        If ranks call different collectives, or a rank does not arrive.

    Notes
    -----
    *Gradient.* See `sync_batch_norm`. Call ``comm.backward(loss)`` to compute it.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> def rank(comm):
    ...     layer = SyncBatchNorm(1, comm=comm)
    ...     y = layer(np.full((1, 1), 2.0 * comm.rank, np.float32))
    ...     return layer.running_mean.item(), layer.running_var.item()
    >>> tn.distributed.ThreadComm.run(2, rank)
    [(0.10000000149011612, 1.100000023841858), (0.10000000149011612, 1.100000023841858)]
    """

    ranks = ANY_RANK

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, bias: bool = True, dtype: Any = np.float32, *, stats_dtype: Any = None,
        comm: Comm,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias, dtype, stats_dtype=stats_dtype)
        self.comm = _as_comm(comm)

    def by_batch(self, x: Any, **options: Any) -> tuple[Any, Any, Any, int]:
        y, mean, var, count = sync_batch_norm(x, self.comm, return_statistics=True, **options)
        return y, mean, var, count

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, over {self.comm}"


def convert_sync_batch_norm(model: Module, comm: Comm) -> Module:
    """Replace every BatchNorm1d, 2d, 3d, and the one in ConditionalBatchNorm, by a `SyncBatchNorm`.

    Parameters
    ----------
    model : Module
        It is changed in place. Its parameters stay the same objects, so an existing optimizer keeps working. A
        SyncBatchNorm gets the new comm. Other layers do not change: your own subclasses, which may do something else,
        and GhostBatchNorm, BatchRenorm and Norm.
    comm : Comm

    Returns
    -------
    Module
        The model, or the new layer if the model itself is a batch norm.

    Raises
    ------
    TypeError
        If ``model`` is not a Module.

    Examples
    --------
    >>> import tinygrad_norm as tn
    >>> model = tn.nn.Sequential(tn.nn.Linear(3, 2, rng=0), tn.nn.BatchNorm1d(2))
    >>> convert_sync_batch_norm(model, tn.distributed.SelfComm())[1]
    SyncBatchNorm(2, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True, over 1 process)
    """
    as_model("convert_sync_batch_norm", model)
    _as_comm(comm)
    new: dict[Module, SyncBatchNorm] = {}  # a layer that occurs twice is replaced by one layer
    for module in list(model.modules()):
        if isinstance(module, SyncBatchNorm):
            module.comm = comm
        elif type(module) in (BatchNorm1d, BatchNorm2d, BatchNorm3d, BatchNormOfAnyRank):
            new[module] = _synchronized(module, comm)
    for module in list(model.modules()):
        for name, child in list(module.children()):
            if child in new:
                setattr(module, name, new[child])
    return new.get(model, model)


def _as_comm(comm: Any) -> Comm:
    if not isinstance(comm, Comm):
        raise TypeError(f"comm must be a Comm, such as MPIComm() or SelfComm(), not {comm!r}")
    return comm


def _synchronized(layer: Any, comm: Comm) -> SyncBatchNorm:
    """Return a layer with the same parameters and the same statistics."""
    found = SyncBatchNorm(
        layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats,
        stats_dtype=layer.stats_dtype, comm=comm,
    )  # fmt: skip
    found.weight, found.bias, found.training = layer.weight, layer.bias, layer.training
    for name, values in layer._buffers.items():
        setattr(found, name, values)
    return found
