"""Tools for a training loop on several ranks: parts of the data, summed gradients, and equal parameters."""

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
    """Return this rank's part of the first axis. Parts are consecutive, and their lengths differ by at most one.

    Parameters
    ----------
    array : array, Tensor or list
        The same on every rank. If there are more ranks than samples, some parts are empty.
    comm : Comm

    Raises
    ------
    TypeError
        For a tuple, such as images and labels. Shard each array instead.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> tn.distributed.ThreadComm.run(3, lambda comm: shard(np.arange(7), comm).tolist())
    [[0, 1], [2, 3], [4, 5, 6]]
    """
    whole: Any = array
    if isinstance(whole, tuple):
        raise TypeError("shard expects one array, got a tuple; shard each of its arrays")
    start, stop = (len(whole) * i // comm.size for i in (comm.rank, comm.rank + 1))
    part: Data = whole[start:stop]
    return part


def allreduce_gradients(parameters: Iterable[Tensor], comm: Comm) -> None:
    """Add up ``.grad`` of each parameter over all ranks, in one exchange.

    With the sum of the ranks' losses as the objective, this is the gradient, without any division. For a mean over the
    batch, each rank sums the losses of its samples and divides by the size of the *whole* batch.

    Parameters
    ----------
    parameters : iterable of Tensors
        For example ``model.parameters()``: the same parameters in the same order on every rank. A gradient that is None
        counts as zeros; if it is None on every rank, it stays None.
    comm : Comm

    Raises
    ------
    TypeError
        If ``parameters`` are not Tensors.
    CollectiveError
        If the numbers, names or shapes of parameters differ between ranks, or a rank does not arrive.

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
    """Set the running statistics of every batch norm to the exact statistics of the data of all ranks.

    Like `tinygrad_norm.recalibrate` with the batches of all ranks. Every rank must call it, with its own batches.

    Parameters
    ----------
    model : Module
        The same on every rank. Afterwards, the statistics are equal, too, bit for bit.
    batches : iterable of arrays or Tensors, or of tuples of them
        The batches of this rank: any number, including none.
    comm : Comm

    Raises
    ------
    TypeError, ValueError
        As in `tinygrad_norm.recalibrate`, for the data of all ranks together.
    CollectiveError
        If ranks call different collectives, or a rank does not arrive.
    """

    def added_up(own: Array) -> Array:
        return comm.allreduce(own.reshape(-1).astype(np.float64), "recalibrate").reshape(own.shape)

    recalibrate_together(model, batches, added_up)


def check_equal(model: Module, comm: Comm) -> None:
    """Check that parameters and buffers have the same values on every rank, bit for bit.

    Data-parallel training keeps them equal if they start equal and every rank takes the same step. Every rank must call
    this function.

    Parameters
    ----------
    model : Module
    comm : Comm

    Raises
    ------
    ValueError
        If values differ. Every rank raises it; it names the arrays and the ranks.
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
    """Return a 48-bit hash of the name, shape, dtype and values of an array."""
    text = f"{key} {values.shape} {values.dtype.str}".encode()
    return float(int.from_bytes(blake2b(text + values.tobytes(), digest_size=6).digest()))


def _of_each_rank(numbers: list[float], comm: Comm) -> Array:
    """Return the numbers of all ranks, one row each, as the sum of arrays with one nonzero row."""
    rows = np.zeros((comm.size, len(numbers)))
    rows[comm.rank] = numbers
    return comm.allreduce(rows.reshape(-1), f"{len(numbers)} numbers of each rank").reshape(rows.shape)
