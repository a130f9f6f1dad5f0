"""The subject of a check: a function, its gradient, and the inputs to check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..engine.context import surrounding
from ..engine.operators import Array, plain
from .scales import copied

Given = Callable[..., Any]


class Unfit(Exception):  # noqa: N818 (of gradients, for the inputs)
    """The gradients that backward pass returns do not fit the inputs: a WRONG_SHAPE."""


class Refused(Exception):  # noqa: N818 (of an input, by the function)
    """The function or its backward pass raises an error for an input."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error

    def at(self, inputs: Sequence[Any]) -> Exception:
        """Return the error, with a note that describes the inputs."""
        shapes = ", ".join(f"{x.dtype} {x.shape}" for x in inputs if hasattr(x, "dtype"))
        self.error.add_note(f"raised for inputs {shapes}")
        return self.error


@dataclass(frozen=True)
class Subject:
    """A function of plain arrays and its gradient.

    Attributes
    ----------
    forward : callable
        ``forward(*xs) -> y``, one array of real numbers.
    backward : callable
        ``backward(g, *xs)`` returns a gradient or None for each of ``xs``.
    names : tuple of str
        The names of the inputs.
    wrt : tuple of int
        The inputs whose gradients are checked.
    oracle : {"auto", "complex", "differences"} or callable
    strict : bool
        Whether shared memory and wrong dtypes are failures rather than notes.
    rtol : float
        Allowed error, relative to the largest entry of an input's gradient.
    optional : tuple of int
        Inputs of ``wrt`` whose gradient may be None.
    dtype : type
        The dtype of the arrays that the functions are given: float64, or float32 if they accept nothing else.
    again : callable, optional
        Like ``backward``, but the cache has been used once before.
    """

    forward: Given
    backward: Given
    names: tuple[str, ...]
    wrt: tuple[int, ...]
    oracle: str | Given = "auto"
    strict: bool = False
    rtol: float = 1e-6
    optional: tuple[int, ...] = ()
    dtype: type = np.float64
    again: Given | None = None

    @property
    def eps(self) -> float:
        """The machine epsilon of the dtype."""
        return float(np.finfo(self.dtype).eps)

    def taken(self, x: Array) -> Array:
        """Return a copy in the dtype that the functions accept."""
        return copied(x, self.dtype if x.dtype.kind == "f" else None)

    def value(self, *x: Array) -> Array:
        """Run the function on copies. A complex step is not recorded, and branches follow the real part."""
        if not any(v.dtype.kind == "c" for v in x):
            return np.asarray(plain(self.forward(*map(self.taken, x))))
        with surrounding(recording=False, analytic=True):
            return np.asarray(plain(self.forward(*map(self.taken, x))))

    def calls(self, x: Sequence[Array], g: Array, again: bool = False) -> tuple[list[Any], list[Array], Array]:
        """Run the backward pass once on copies; return the gradients, the copies and the cotangent."""
        backward = self.again if again and self.again else self.backward
        copies: list[Array] = [*map(self.taken, x)]
        cotangent: Array = g.astype(self.dtype)
        returned = backward(cotangent, *copies)
        return listed(returned), copies, cotangent

    def gradients(self, x: Sequence[Array], g: Array) -> list[Array]:
        """Return the gradient of each input as an array."""
        return [np.asarray(plain(v)) for v in self.calls(x, g)[0]]

    def oracles(self, x: Sequence[Array], g: Array) -> list[Array]:
        """Return the gradients of the oracle that the caller gave."""
        assert callable(self.oracle)
        answer = self.oracle(g.copy(), *(v.copy() for v in x))
        return [np.asarray(plain(v), np.float64) for v in listed(answer)]


def listed(returned: Any) -> list[Any]:
    """Return one or several gradients as a list."""
    return [*returned] if isinstance(returned, tuple | list) else [returned]


def gradients_for(count: int) -> str:
    """Return "1 gradient", or "3 gradients, one for each input"."""
    return "1 gradient" if count == 1 else f"{count} gradients, one for each input"
