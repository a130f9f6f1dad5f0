"""What a training loop on several ranks needs besides: parts of the data, summed gradients, and equal parameters."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, TypeVar
from zlib import crc32

import numpy as np

from ..engine.autodiff import tensors_of
from ..engine.operators import Array
from ..engine.tensor import Tensor, constant
from ..nn.inference import recalibrate_together
from ..nn.module import Module, as_model
from .comm import Comm

Data = TypeVar("Data")


def shard(array: Data, comm: Comm) -> Data:
    """Return this rank's part of the first axis: parts follow each other, and their lengths differ by one at most.

    Parameters
    ----------
    array : array, Tensor or list
        The same on every rank. A rank may get nothing, if there are more ranks than samples.
    comm : Comm

    Raises
    ------
    TypeError
        For a tuple, as of images and labels: take a part of each.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> tn.distributed.ThreadComm.run(3, lambda comm: shard(np.arange(7), comm).tolist())
    [[0, 1], [2, 3], [4, 5, 6]]
    """
    whole: Any = array
    if isinstance(whole, tuple):
        raise TypeError("shard takes one array, and not a tuple; take a part of each array in it")
    start, stop = (len(whole) * i // comm.size for i in (comm.rank, comm.rank + 1))
    part: Data = whole[start:stop]
    return part


def allreduce_gradients(parameters: Iterable[Tensor], comm: Comm) -> None:
    """Add up ``.grad`` of each parameter over all ranks, in one exchange.

    With the sum of the ranks' losses as the objective, this is the gradient; there is nothing to divide by. A mean over
    a batch is a loss of each sample, summed and divided by the size of the *whole* batch.

    Parameters
    ----------
    parameters : iterable of Tensors
        As from ``model.parameters()``: the same ones, in the same order, on every rank. A gradient that is None counts
        as zeros; one that is None on every rank stays None.
    comm : Comm

    Raises
    ------
    TypeError
        If they are not Tensors.
    CollectiveError
        If ranks have different parameters, by their number, names and shapes, or one does not arrive.

    Examples
    --------
    >>> import tinygrad_norm as tn
    >>> def rank(comm):
    ...     w = tn.tensor(2.0, requires_grad=True)
    ...     comm.backward(w * (comm.rank + 1))
    ...     tn.distributed.allreduce_gradients([w], comm)
    ...     return w.grad.item()
    >>> tn.distributed.ThreadComm.run(3, rank)
    [6.0, 6.0, 6.0]
    """
    leaves = tensors_of("parameter", parameters)
    kinds = crc32(repr([(p.name, p.shape) for p in leaves]).encode())
    flat = [np.zeros(p.size) if p.grad is None else p.grad.data.reshape(-1) for p in leaves]
    present = [float(p.grad is not None) for p in leaves]
    total = comm.allreduce(np.concatenate([present, *flat]), f"gradients of {len(leaves)} parameters, {kinds:08x}")
    counts, values = total[: len(leaves)], total[len(leaves) :]
    stop = 0
    for p, count in zip(leaves, counts, strict=True):
        start, stop = stop, stop + p.size
        if count:
            p.grad = constant(values[start:stop].reshape(p.shape).astype(p.dtype))


def recalibrate(model: Module, batches: Iterable[Any], comm: Comm) -> None:
    """Set the statistics of every batch norm to the exact ones of the data of all ranks.

    Like `tinygrad_norm.recalibrate` with the batches of all ranks, each rank giving its own. Every rank calls it.

    Parameters
    ----------
    model : Module
        The same on every rank; so are the statistics, afterwards, bit for bit.
    batches : iterable of arrays or Tensors, or of tuples of them
        Of this rank, any number, also none.
    comm : Comm

    Raises
    ------
    TypeError, ValueError
        As in `tinygrad_norm.recalibrate`, of what all ranks together have.
    CollectiveError
        If ranks call different collectives, or one does not arrive.
    """

    def added_up(own: Array) -> Array:
        return comm.allreduce(own.reshape(-1).astype(np.float64), "recalibrate").reshape(own.shape)

    recalibrate_together(model, batches, added_up)


def check_equal(model: Module, comm: Comm) -> None:
    """Check that parameters and buffers have the same values on every rank, bit for bit.

    Data-parallel training keeps them equal if they start equal and every rank takes the same step. Every rank calls it.

    Parameters
    ----------
    model : Module
    comm : Comm

    Raises
    ------
    ValueError
        On every rank; it names what differs, and on which ranks.
    CollectiveError
        If ranks have different numbers of parameters.

    Examples
    --------
    >>> import tinygrad_norm as tn
    >>> tn.distributed.ThreadComm.run(2, lambda comm: check_equal(tn.nn.Linear(2, 2, rng=comm.rank), comm))
    Traceback (most recent call last):
        ...
    ValueError: ranks differ from rank 0: 'weight' on rank 1, 'bias' on rank 1
    """
    state = as_model("check_equal", model).state_dict()
    prints = _of_each_rank([_fingerprint(key, values) for key, values in state.items()], comm)
    wrong = {key: [rank for rank in range(comm.size) if prints[rank, i] != prints[0, i]] for i, key in enumerate(state)}
    named = [f"{key!r} on rank {', '.join(map(str, ranks))}" for key, ranks in wrong.items() if ranks]
    if named:
        raise ValueError(f"ranks differ from rank 0: {', '.join(named)}")


def _fingerprint(key: str, values: Array) -> float:
    """Return 48 bits that change with the name, the shape, the dtype and every bit of an array."""
    text = f"{key} {values.shape} {values.dtype.str}".encode()
    return float(int.from_bytes(blake2b(text + values.tobytes(), digest_size=6).digest()))


def _of_each_rank(numbers: list[float], comm: Comm) -> Array:
    """Return the numbers of every rank, a row for each: each adds its own row to zeros."""
    rows = np.zeros((comm.size, len(numbers)))
    rows[comm.rank] = numbers
    return comm.allreduce(rows.reshape(-1), f"{len(numbers)} numbers of each rank").reshape(rows.shape)
