"""What processes have in common: a rank, how many there are, and the sum of a buffer over all of them.

The objective of all of them together is the *sum* of what each one computes as its loss. So the gradient of a sum over
ranks is a sum over ranks: ``y = sum_r x_r`` is part of every rank's loss, and ``dL/dx_r = sum_s dL_s/dy``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from numbers import Real
from typing import Any, Self
from warnings import warn

import numpy as np

from ..engine.autodiff import grad, tensors_of
from ..engine.operators import Array
from ..engine.primitive import Node
from ..engine.tensor import Tensor, accumulate, constant, seed


class CollectiveError(RuntimeError):
    """Ranks called different collectives, or one of them did not arrive in time. The Comm is of no use afterwards."""


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
    _recorded: dict[Node, Tensor]  # sums that no backward pass has visited yet, oldest first
    _zeros: dict[Node, Any]  # what a backward pass starts from at each of them
    _failure: str = ""
    _number: int = 0  # of the collective

    def __new__(cls, *args: Any, **options: Any) -> Self:
        self = super().__new__(cls)
        self._recorded, self._zeros = {}, {}
        return self

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
            If ranks call different collectives, or one does not arrive.
        """

    def __str__(self) -> str:
        return "1 process" if self.size == 1 else f"{self.size} processes"

    def __repr__(self) -> str:
        return f"{type(self).__name__}(rank={self.rank}, size={self.size})"

    def __deepcopy__(self, memo: Any) -> Comm:
        return self  # a copy of a model talks to the same processes

    def __reduce__(self) -> Any:
        raise TypeError(f"{self!r} belongs to a running program and cannot be pickled; save the model's state_dict()")

    def backward(self, loss: Tensor | float | None = None, cotangent: Any = None) -> None:
        """Add the gradient of the sum of all ranks' losses to ``.grad`` of every leaf on this rank.

        Like ``loss.backward()``, but every sum over ranks that was recorded and not yet gone through takes part. So
        ranks agree about what to exchange although one does not use a result, has no samples, or has no loss at all.
        Where no rank has a gradient for a sum, nothing flows through it, as in one process.

        Parameters
        ----------
        loss : Tensor, optional
            What this rank adds to the objective. None, a number, or a Tensor that needs no gradient adds nothing.
        cotangent : array_like, optional
            ``dL/dloss``, needed unless the loss has one element.
        """
        if not isinstance(loss, Tensor | Real | None):
            raise TypeError(f"backward takes a Tensor, or None for no loss, and not {type(loss).__name__}")
        own = [(loss, seed(loss, cotangent))] if isinstance(loss, Tensor) and loss.requires_grad else []
        accumulate([*own, *self._seeds(as_tensors=False)])

    def grad(
        self, outputs: Tensor | Sequence[Tensor], inputs: Any, cotangents: Any = None, create_graph: bool = False
    ) -> Any:
        """Return gradients as `tinygrad_norm.grad` does, of the sum of all ranks' outputs, each rank its own inputs'.

        As in `backward`, every recorded sum over ranks takes part. Under ``create_graph`` they stay recorded, together
        with those of the gradient: `backward` or another `grad` goes through all of them.
        """
        ys, xs = tensors_of("output", outputs), tensors_of("input", inputs)
        if isinstance(outputs, Tensor) or cotangents is None:
            cotangents = [cotangents] * len(ys)
        if len(cotangents) != len(ys):
            raise ValueError(f"{len(ys)} outputs need as many cotangents, one for each")
        sums, zeros = zip(*self._seeds(create_graph), strict=True) if self._recorded else ((), ())
        # Other ranks' inputs depend on every sum, so a gradient is wanted for each.
        found = grad([*ys, *sums], [*xs, *sums], [*cotangents, *zeros], create_graph)[: len(xs)]
        return found[0] if isinstance(inputs, Tensor) else found

    def forget(self) -> None:
        """Drop what was recorded and will not be differentiated. Every rank calls it."""
        self._recorded.clear()

    def _seeds(self, as_tensors: bool) -> list[tuple[Tensor, Any]]:
        """Return the recorded sums with the zeros that a backward pass starts from there."""
        zeros = {node: np.zeros(y.shape, y.dtype) for node, y in self._recorded.items()}
        self._zeros = {node: constant(zero) if as_tensors else zero for node, zero in zeros.items()}
        return [(y, self._zeros[node]) for node, y in self._recorded.items()]

    def _failed(self, reason: str) -> CollectiveError:
        """Return the error for a collective; after it, ranks no longer know where the others are."""
        self._failure = reason
        return CollectiveError(reason)

    def _begin(self, what: str, buffer: Array) -> str:
        """Count a collective, and return what it is, in words that ranks can compare."""
        if self._failure:
            raise CollectiveError(f"an earlier collective failed, so ranks are out of step: {self._failure}")
        self._number += 1
        return f"{what}, {buffer.size} numbers in all"

    def _compare(self, called: Sequence[str]) -> None:
        """Refuse a collective that ranks understand differently; the error names both sides."""
        for rank, other in enumerate(called):
            if other != called[0]:
                sides = f"rank 0 calls {called[0]}; rank {rank} calls {other}"
                raise self._failed(f"ranks differ in collective {self._number}: {sides}")

    def _remember(self, y: Any) -> None:
        self._recorded[y.node] = y
        if len(self._recorded) == _MANY:
            warn(
                f"{_MANY} sums over {self} were recorded and no backward pass went through them; their graphs are kept "
                "until one does. Evaluate under tn.no_grad(), or call comm.forget()",
                stacklevel=2,
            )

    def _visit(self, node: Node, g: Any) -> bool:
        """Return whether a gradient has arrived at a sum; one that is not recorded is not gone through again."""
        if not isinstance(g, Tensor):
            self._recorded.pop(node, None)
        return self._zeros.pop(node, None) is not g


_MANY = 1_000


class SelfComm(Comm):
    """One process alone: every sum is the thing itself."""

    rank, size = 0, 1

    def __reduce__(self) -> Any:
        return SelfComm, ()

    def allreduce(self, buffer: Array, what: str = "allreduce") -> Array:
        return buffer.copy()
