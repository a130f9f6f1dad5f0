"""The only primitive: a sum over ranks, whose gradient is a sum over ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..engine.context import STATE, State, record_for
from ..engine.ops.core import operand
from ..engine.origins import remember
from ..engine.primitive import Node, Primitive
from ..engine.recording import ModuleScope
from ..engine.tensor import Tensor, constant
from .comm import Comm


def allreduce_sum(x: Any, comm: Comm) -> Any:
    """Return the sum of an array over all ranks.

    Every rank must call it, even if its input is constant or empty. If the input of any rank needs a gradient, the
    result needs one on every rank.

    Parameters
    ----------
    x : Tensor or array, floating
        An array with the same shape on every rank.
    comm : Comm

    Returns
    -------
    Tensor or array
        Shape and dtype of ``x``. The sum is computed in float64. An array if ``x`` is one and no rank needs a gradient.

    Raises
    ------
    TypeError
        If ``x`` is not floating.
    CollectiveError
        If ranks call different collectives, or a rank does not arrive.

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
    x = operand(x)
    array = x.data if isinstance(x, Tensor) else x
    if type(array) is not np.ndarray or array.dtype.kind not in "fc":
        raise TypeError(f"allreduce_sum expects a floating-point array, got {type(array).__name__} of {array.dtype}")
    return _sum(x, comm, "allreduce_sum")


def _sum(x: Any, comm: Comm, what: str, arrived: bool = True) -> Any:
    """Return the sum over ranks, or None if no rank has a gradient (``arrived`` is false everywhere)."""
    state, array = STATE.get(), x.data if isinstance(x, Tensor) else x
    needed = state.recording and isinstance(x, Tensor) and x.requires_grad
    wide = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64).reshape(-1).view(np.float64)
    called = f"{what} of shape {array.shape}{_where(state)}"
    # Facts that all ranks must agree on are exchanged together with the numbers.
    total = np.asarray(comm.allreduce(np.concatenate([[needed, arrived], wide]), called), np.float64)
    needs, arrives = total[:2]
    if not arrives:
        return None
    values = np.array(total[2:].view("c16" if array.dtype.kind == "c" else "f8").reshape(array.shape), array.dtype)
    needed, static = bool(needs) and state.recording, {"over": comm}
    if state.origins:
        return remember(values, _ALLREDUCE_SUM, (x,), static, needed)
    if not needed:
        return constant(values) if isinstance(x, Tensor) else values
    y = remember(values, _ALLREDUCE_SUM, (x,), static, needed, kind=Tensor)
    if not state.examined:
        comm._remember(y)
    return y


def _where(state: State) -> str:
    """Return the layer that calls it, and whether it is recorded, as part of an error message."""
    around = [scope.place for scope in (state.scope.path if state.scope else ()) if isinstance(scope, ModuleScope)]
    return f"{' in ' + around[-1] if around and around[-1] else ''}{'' if state.recording else ', under no_grad'}"


def _pullback(node: Node, g: Any, y: Any, reached: Any) -> Sequence[Callable[..., Any]]:
    """Add up the cotangents of all ranks, even if this rank's input needs no gradient."""
    comm: Comm = node.static["over"]
    if isinstance(g, Tensor):
        record_for(node, 0)
    total = _sum(g, comm, "the gradient of allreduce_sum", comm._visit(node, g))
    return () if total is None else [lambda *_, **__: total]


_ALLREDUCE_SUM = Primitive("allreduce_sum", "Σ", lambda x, over: _sum(x, over, "allreduce_sum, again"))
_ALLREDUCE_SUM.pullback = _pullback
_ALLREDUCE_SUM.formulas, _ALLREDUCE_SUM.operands = ("Σ g over the processes",), ("x",)
