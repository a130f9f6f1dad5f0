"""What processes have in common: a rank, how many there are, and the sum of a buffer over all of them.

The objective of all of them together is the *sum* of what each one computes as its loss. So the gradient of a sum over
ranks is a sum over ranks: ``y = sum_r x_r`` is part of every rank's loss, and ``dL/dx_r = sum_s dL_s/dy``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any
from warnings import warn

import numpy as np

from ..engine.autodiff import grad
from ..engine.operators import Array
from ..engine.primitive import Node
from ..engine.tensor import Tensor, accumulate, seed


class CollectiveError(RuntimeError):
    """Ranks called different collectives, or one of them did not come in time."""


class Comm(ABC):
    """A group of processes, as one of them sees it.

    To bring another transport, make a subclass with `rank`, `size` and `allreduce`. Every rank calls the same
    collectives in the same order; that is the one rule, and `backward` keeps it where parts of a graph are unused.

    Attributes
    ----------
    rank : int
        Which process this is, from 0.
    size : int
        How many there are.
    """

    rank: int
    size: int

    def __init__(self) -> None:
        self._recorded: dict[Node, Tensor] = {}  # sums that a backward pass has not visited yet, oldest first

    @abstractmethod
    def allreduce(self, buffer: Array, what: str = "allreduce") -> Array:
        """Return the sum of a buffer over all ranks.

        Parameters
        ----------
        buffer : array of shape (n,), float64
            Left as it is; of the same length on every rank.
        what : str
            What the sum is for, for errors; the same on every rank.

        Returns
        -------
        array of shape (n,), float64
            A new one, equal on every rank, bit for bit.

        Raises
        ------
        CollectiveError
            If ranks call different collectives, or one does not come.
        """

    def __str__(self) -> str:
        return "1 process" if self.size == 1 else f"{self.size} processes"

    def __repr__(self) -> str:
        return f"{type(self).__name__}(rank={self.rank}, size={self.size})"

    def __deepcopy__(self, memo: Any) -> Comm:
        return self  # a copy of a model talks to the same processes

    def backward(self, loss: Tensor | None = None, cotangent: Any = None) -> None:
        """Add the gradient of the sum of all ranks' losses to ``.grad`` of every leaf on this rank.

        Like ``loss.backward()``, but every sum over ranks that was recorded since the last call is visited, with zeros
        where nothing arrives. So ranks agree about what to exchange although one does not use a result, has no
        samples, or has no loss at all.

        Parameters
        ----------
        loss : Tensor, optional
            What this rank adds to the objective; None for nothing.
        cotangent : array_like, optional
            ``dL/dloss``, needed unless the loss has one element.
        """
        own = [] if loss is None or not loss.requires_grad else [(loss, seed(loss, cotangent))]
        accumulate([*own, *((y, np.zeros(y.shape, y.dtype)) for y in [*self._recorded.values()])])

    def grad(
        self, outputs: Tensor | Sequence[Tensor], inputs: Any, cotangents: Any = None, create_graph: bool = False
    ) -> Any:
        """Return gradients as `tinygrad_norm.grad` does, of the sum of all ranks' outputs, each rank its own inputs'.

        As in `backward`, every recorded sum over ranks is visited. Under ``create_graph`` they stay recorded, together
        with those of the gradient: `backward` or another `grad` goes through all of them.
        """
        ys, xs = ([x] if isinstance(x, Tensor) else [*x] for x in (outputs, inputs))
        if isinstance(outputs, Tensor) or cotangents is None:
            cotangents = [cotangents] * len(ys)
        sums = [*self._recorded.values()]
        zeros = [np.zeros(y.shape, y.dtype) for y in sums]
        # Other ranks' inputs depend on every sum, so a gradient is wanted for each.
        found = grad([*ys, *sums], [*xs, *sums], [*cotangents, *zeros], create_graph)[: len(xs)]
        return found[0] if isinstance(inputs, Tensor) else found

    def _remember(self, y: Tensor, node: Node) -> None:
        self._recorded[node] = y
        if len(self._recorded) == _MANY:
            warn(
                f"{_MANY} sums over {self} were recorded and no backward pass went through them; their graphs are kept "
                "until one does. Evaluate under tn.no_grad()",
                stacklevel=2,
            )

    def _forget(self, node: Node) -> None:
        self._recorded.pop(node, None)


_MANY = 10_000


class SelfComm(Comm):
    """One process alone: every sum is the thing itself."""

    rank, size = 0, 1

    def __reduce__(self) -> Any:
        return SelfComm, ()

    def allreduce(self, buffer: Array, what: str = "allreduce") -> Array:
        return buffer.copy()
