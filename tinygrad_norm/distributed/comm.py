"""Communicators: the rank of a process, the number of processes, and the sum of a buffer over all of them.

The common objective is the *sum* of the losses of all ranks. So the gradient of a sum over ranks is a sum over ranks:
``y = sum_r x_r`` is part of every rank's loss, and ``dL/dx_r = sum_s dL_s/dy``.
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
    """Ranks called different collectives, or a rank did not arrive in time. The Comm cannot be used afterwards."""


class Comm(ABC):
    """A group of processes, as one of them sees it.

    For another transport, write a subclass with `rank`, `size` and `allreduce`. The only rule is that every rank calls
    the same collectives in the same order. `backward` keeps this rule even if a rank does not use parts of a graph.

    Attributes
    ----------
    rank : int
        The number of this process, from 0.
    size : int
        The number of processes.
    """

    rank: int
    size: int
    _recorded: dict[Node, Tensor]  # sums that no backward pass has visited yet, oldest first
    _zeros: dict[Node, Any]  # the seeds of a backward pass at these sums
    _failure: str = ""
    _number: int = 0  # the number of collectives so far

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
            Not changed. The length must be the same on every rank.
        what : str
            A description for error messages, the same on every rank.

        Returns
        -------
        array of shape (n,), float64
            A new array, equal on every rank, bit for bit.

        Raises
        ------
        CollectiveError
            If ranks call different collectives, or a rank does not arrive.
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

        Like ``loss.backward()``, but every recorded sum over ranks that no backward pass has visited takes part. So
        ranks agree on what to exchange, even if a rank does not use a result, has no samples, or has no loss. If no
        rank has a gradient for a sum, nothing flows through it, as in one process.

        Parameters
        ----------
        loss : Tensor, optional
            This rank's part of the objective. None, a number, or a Tensor that needs no gradient adds no gradient.
        cotangent : array_like, optional
            ``dL/dloss``, needed unless the loss has one element.
        """
        if not isinstance(loss, Tensor | Real | None):
            raise TypeError(f"backward expects a Tensor, or None for no loss, got {type(loss).__name__}")
        own = [(loss, seed(loss, cotangent))] if isinstance(loss, Tensor) and loss.requires_grad else []
        accumulate([*own, *self._seeds(as_tensors=False)])

    def grad(
        self, outputs: Tensor | Sequence[Tensor], inputs: Any, cotangents: Any = None, create_graph: bool = False
    ) -> Any:
        """Return the gradients of the sum of all ranks' outputs with respect to this rank's inputs.

        Like `tinygrad_norm.grad`, but every recorded sum over ranks takes part, as in `backward`. With
        ``create_graph`` these sums stay recorded, together with those of the gradient, and `backward` or another `grad`
        visits all of them.
        """
        ys, xs = tensors_of("output", outputs), tensors_of("input", inputs)
        if isinstance(outputs, Tensor) or cotangents is None:
            cotangents = [cotangents] * len(ys)
        if len(cotangents) != len(ys):
            raise ValueError(f"expected {len(ys)} cotangents, one for each output, got {len(cotangents)}")
        sums, zeros = zip(*self._seeds(create_graph), strict=True) if self._recorded else ((), ())
        # Inputs of other ranks depend on every sum, so each needs a gradient.
        found = grad([*ys, *sums], [*xs, *sums], [*cotangents, *zeros], create_graph)[: len(xs)]
        return found[0] if isinstance(inputs, Tensor) else found

    def forget(self) -> None:
        """Forget recorded sums that will not be differentiated. Every rank must call it."""
        self._recorded.clear()

    def _seeds(self, as_tensors: bool) -> list[tuple[Tensor, Any]]:
        """Return the recorded sums with zeros as their seeds."""
        zeros = {node: np.zeros(y.shape, y.dtype) for node, y in self._recorded.items()}
        self._zeros = {node: constant(zero) if as_tensors else zero for node, zero in zeros.items()}
        return [(y, self._zeros[node]) for node, y in self._recorded.items()]

    def _failed(self, reason: str) -> CollectiveError:
        """Return the error of a collective. Afterwards, ranks are out of step."""
        self._failure = reason
        return CollectiveError(reason)

    def _begin(self, what: str, buffer: Array) -> str:
        """Count a collective, and return a description that ranks can compare."""
        if self._failure:
            raise CollectiveError(f"an earlier collective failed, so ranks are out of step: {self._failure}")
        self._number += 1
        return f"{what}, {buffer.size} numbers in all"

    def _compare(self, called: Sequence[str]) -> None:
        """Raise an error if ranks call different collectives. The error names both."""
        for rank, other in enumerate(called):
            if other != called[0]:
                sides = f"rank 0 calls {called[0]}; rank {rank} calls {other}"
                raise self._failed(f"ranks differ in collective {self._number}: {sides}")

    def _remember(self, y: Any) -> None:
        self._recorded[y.node] = y
        if len(self._recorded) == _MANY:
            warn(
                f"{_MANY} sums over {self} were recorded without a backward pass, and their graphs stay in memory. "
                "Evaluate under tn.no_grad(), or call comm.forget()",
                stacklevel=2,
            )

    def _visit(self, node: Node, g: Any) -> bool:
        """Return whether a gradient has arrived at a sum. Unless recorded again, the sum is not visited again."""
        if not isinstance(g, Tensor):
            self._recorded.pop(node, None)
        return self._zeros.pop(node, None) is not g


_MANY = 1_000


class SelfComm(Comm):
    """A single process: every sum is its only addend."""

    rank, size = 0, 1

    def __reduce__(self) -> Any:
        return SelfComm, ()

    def allreduce(self, buffer: Array, what: str = "allreduce") -> Array:
        return buffer.copy()
