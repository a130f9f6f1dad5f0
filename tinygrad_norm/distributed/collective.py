"""The one primitive: a sum over ranks, whose gradient is a sum over ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..engine.context import STATE, record_for
from ..engine.operators import FUNCTIONS, Array
from ..engine.ops.core import operand
from ..engine.primitive import Node, Primitive
from ..engine.tensor import Tensor, constant, frozen, serial
from .comm import Comm


def allreduce_sum(x: Any, comm: Comm) -> Any:
    """Return the sum over all ranks of what each of them gives.

    Every rank calls it, also one whose input is constant or empty. If the input of any rank needs a gradient, so does
    the result on every rank.

    Parameters
    ----------
    x : Tensor or array, floating
        Of the same shape on every rank.
    comm : Comm

    Returns
    -------
    Tensor or array
        Of the shape and dtype of ``x``; added up in float64. An array, if no rank needs a gradient and ``x`` is one.

    Raises
    ------
    TypeError
        If ``x`` is not floating.
    CollectiveError
        If ranks call different collectives, or one does not come.

    Notes
    -----
    *Gradient.* With the sum of the ranks' losses as the objective, the rule is the function itself:
    ``dL/dx = allreduce_sum(dL/dy)``, since each rank's ``y`` depends on each rank's ``x``.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> def rank(comm):
    ...     x = tn.tensor([1.0 + comm.rank], requires_grad=True)
    ...     y = allreduce_sum(x, comm)
    ...     comm.backward(y * y * (comm.rank + 1))
    ...     return y.item(), x.grad.item()
    >>> tn.distributed.ThreadComm.run(2, rank)  # the objective is y * y + 2 * y * y, and y = 3
    [(3.0, 18.0), (3.0, 18.0)]
    """
    x, state = operand(x), STATE.get()
    array = x.data if isinstance(x, Tensor) else x
    if type(array) is not np.ndarray or array.dtype.kind not in "fc":
        raise TypeError(f"allreduce_sum takes an array of floats, not {type(array).__name__} of {array.dtype}")
    needed = state.recording and isinstance(x, Tensor) and x.requires_grad
    total, needed = _summed(array, comm, f"allreduce_sum of shape {array.shape}", needed)
    needed = needed and state.recording
    static = {"over": comm}
    if state.origins:
        return FUNCTIONS["remember"](total, _ALLREDUCE_SUM, (x,), static, needed)
    if not needed:
        return constant(total) if isinstance(x, Tensor) else total
    y = constant(total)
    y._requires_grad = True
    y.node = Node(_ALLREDUCE_SUM, (x if isinstance(x, Tensor) else frozen(x),), (array,), static, state, serial())
    if not state.examined:
        comm._remember(y, y.node)
    return y


def _summed(array: Array, comm: Comm, what: str, needed: bool = False) -> tuple[Array, bool]:
    """Return the sum of arrays, and whether it needs a gradient for any rank: both are exchanged at once."""
    wide = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64).reshape(-1)
    needs, *_ = total = comm.allreduce(np.concatenate([[needed], wide.view(np.float64)]), what)
    return np.array(total[1:].view(wide.dtype).reshape(array.shape), array.dtype), bool(needs)


def _pullback(node: Node, g: Any, y: Any, reached: Any) -> list[Callable[..., Any]]:
    """Add up the cotangents of all ranks, also where this rank's input needs no gradient."""
    comm: Comm = node.static["over"]
    if isinstance(g, Tensor):
        record_for(node, 0)
        total = allreduce_sum(g, comm)
    else:
        comm._forget(node)
        total, _ = _summed(g, comm, f"the gradient of allreduce_sum of shape {g.shape}")
    return [lambda *_, **__: total]


_ALLREDUCE_SUM = Primitive("allreduce_sum", "Σ", lambda x, over: _summed(x, over, "allreduce_sum, again")[0])
_ALLREDUCE_SUM.pullback = _pullback
_ALLREDUCE_SUM.formulas, _ALLREDUCE_SUM.operands = ("Σ g over the processes",), ("x",)
