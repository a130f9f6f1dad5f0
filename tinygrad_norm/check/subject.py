"""What is checked: a function, its gradient, and which inputs count."""

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
    """What a gradient's code returns does not go with the inputs: a WRONG_SHAPE."""


class Refused(Exception):  # noqa: N818 (of an input, by the function)
    """The function, or its gradient's code, raises an error for an input."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error

    def at(self, inputs: Sequence[Any]) -> Exception:
        """Return the error, with a note of the inputs."""
        shapes = ", ".join(f"{x.dtype} {x.shape}" for x in inputs if hasattr(x, "dtype"))
        self.error.add_note(f"raised for inputs {shapes}")
        return self.error


@dataclass(frozen=True)
class Subject:
    """A function and its gradient, both of plain arrays.

    Attributes
    ----------
    forward : callable
        ``forward(*xs) -> y``, one array of real numbers.
    backward : callable
        ``backward(g, *xs)`` returns a gradient, or None, for each of ``xs``.
    names : tuple of str
        Of the inputs.
    wrt : tuple of int
        The inputs whose gradients are checked.
    oracle : {"auto", "complex", "differences"} or callable
    strict : bool
        Whether shared memory and other dtypes are failures, not notes.
    rtol : float
        Relative to the largest entry of an input's gradient.
    optional : tuple of int
        Inputs of ``wrt`` whose gradient may be None.
    dtype : type
        What the functions are given: float64, or float32 where they take nothing else.
    again : callable, optional
        As ``backward``, where what forward kept was used once before.
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
        """The relative spacing of the numbers in which it computes."""
        return float(np.finfo(self.dtype).eps)

    def taken(self, x: Array) -> Array:
        """Return a copy in the dtype that the functions take."""
        return copied(x, self.dtype if x.dtype.kind == "f" else None)

    def value(self, *x: Array) -> Array:
        """Run the function on copies; a complex step is not recorded, and branches by the real part."""
        if not any(v.dtype.kind == "c" for v in x):
            return np.asarray(plain(self.forward(*map(self.taken, x))))
        with surrounding(recording=False, analytic=True):
            return np.asarray(plain(self.forward(*map(self.taken, x))))

    def calls(self, x: Sequence[Array], g: Array, again: bool = False) -> tuple[list[Any], list[Array], Array]:
        """Run the gradient once on copies, and return what it gave for each input, and the copies."""
        backward = self.again if again and self.again else self.backward
        copies: list[Array] = [*map(self.taken, x)]
        cotangent: Array = g.astype(self.dtype)
        returned = backward(cotangent, *copies)
        return listed(returned), copies, cotangent

    def gradients(self, x: Sequence[Array], g: Array) -> list[Array]:
        """Return the gradient of each input as an array."""
        return [np.asarray(plain(v)) for v in self.calls(x, g)[0]]

    def oracles(self, x: Sequence[Array], g: Array) -> list[Array]:
        """Return the gradients by the caller's own oracle, which is a function."""
        assert callable(self.oracle)
        answer = self.oracle(g.copy(), *(v.copy() for v in x))
        return [np.asarray(plain(v), np.float64) for v in listed(answer)]


def listed(returned: Any) -> list[Any]:
    """Return gradients as a list, also a single one."""
    return [*returned] if isinstance(returned, tuple | list) else [returned]
