"""What a student's function returns on a few ordinary inputs, compared with what it should return."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import numpy as np

from ..engine.operators import Array
from .answer import ByHand, Function
from .exercise import Exercise
from .mistakes import MISTAKES, Mistake

Arrays = Sequence[Array]


class Unfit(Exception):  # noqa: N818 (of what was returned)
    """What a function returns is not what the exercise asks for, whatever its values."""


class Comparison:
    """A function of an answer and the right one, both run on ordinary inputs.

    Attributes
    ----------
    labels : tuple of str
        What the results are called, as "the gradient of x".
    misshapen, differing : dict from int to str
        Results of a wrong shape, and of wrong values, with a sentence about each. Where the forward pass is the
        student's own, no values are known, and `differing` is empty.

    Raises
    ------
    Unfit
        If the function does not return as many arrays of floats as it should.
    """

    def __init__(self, exercise: Exercise, name: str, student: ByHand, forward: Function) -> None:
        self.exercise, self.name, self.student, self.forward = exercise, name, student, forward
        right = getattr(exercise.module, name)
        self.parameters = [*inspect.signature(right).parameters]
        if not student.takes(len(self.parameters)):
            raise Unfit(f"it should take {len(self.parameters)} arguments, ({', '.join(self.parameters)})")
        self.names = exercise.outputs(name)
        self.labels = tuple(f"the gradient of {n}" if name == "backward" else n for n in self.names)
        self.points = [self.arguments(point) for point in exercise.points()]
        self.got = [self.run(student.run, point) for point in self.points]
        self.want = [self.run(right, point) for point in self.points]
        self.misshapen, self.differing = dict[int, str](), dict[int, str]()
        for point, gots, wants in zip(self.points, self.got, self.want, strict=True):
            for i, (got, want) in enumerate(zip(gots, wants, strict=True)):
                if got.shape != want.shape:
                    words = f"{self.labels[i]} has shape {got.shape}; it should have shape {want.shape}"
                    self.misshapen.setdefault(i, f"{words}, for {self.shapes(point)}")
                elif not exercise.is_own and not alike(got, want):
                    self.differing.setdefault(i, self.sentence(i, point, got, want))

    def arguments(self, point: Arrays) -> Arrays:
        """Return what the function takes: the inputs, and for a gradient the cotangent before them."""
        if self.name != "backward":
            return point
        shape = np.shape(self.forward(*(x.copy() for x in point)))
        return np.random.default_rng(1).normal(size=shape), *point

    def run(self, function: Function, arguments: Arrays) -> list[Array]:
        """Return the results of a function as arrays."""
        returned = function(*(a.copy() for a in arguments))
        several = isinstance(returned, tuple | list) and (isinstance(returned, tuple) or len(self.names) > 1)
        results = [*returned] if several else [returned]
        if any(result is None for result in results):
            raise Unfit("it returns None; perhaps the return statement is missing")
        if len(results) != len(self.names):
            raise Unfit(f"it returns {counted(len(results))}; it should return {' and '.join(self.labels)}")
        for label, result in zip(self.labels, results, strict=True):
            dtype = np.asarray(result).dtype if isinstance(result, np.ndarray | np.generic | float) else None
            if dtype is None or dtype.kind != "f":
                kind = type(result).__name__ if dtype is None else f"array of {dtype}"
                raise Unfit(f"{label} is a value of type {kind}; it should be an array of floating-point numbers")
        return [np.asarray(result) for result in results]

    def shapes(self, arguments: Arrays) -> str:
        """Say what the arguments are, by their shapes."""
        return of_shapes(self.parameters, [np.shape(a) for a in arguments])

    def sentence(self, i: int, arguments: Arrays, got: Array, want: Array) -> str:
        """Say where a result is farthest from what it should be."""
        with np.errstate(invalid="ignore"):
            apart = np.abs(got - want)
        at = tuple(map(int, np.unravel_index(np.where(np.isfinite(got), apart, np.inf).argmax(), got.shape)))
        return worst(self.labels[i], self.shapes(arguments), at, float(got[at]), float(want[at]))

    def mistakes(self, wrong: Sequence[int]) -> dict[str, Mistake]:
        """Return the common mistakes that give exactly the wrong results, by their explanations for this exercise."""
        known = {} if self.exercise.is_own else self.exercise.module.WRONG[self.name]
        made = [next((answer for answer in known if self._is_that_of(answer, i)), None) for i in wrong]
        return {" ".join(answer.__doc__.split()): MISTAKES[known[answer]] for answer in made if answer}

    def _is_that_of(self, answer: Function, i: int) -> bool:
        results = [self.run(answer, point)[i] for point in self.points]
        differs = any(not alike(result, want[i]) for result, want in zip(results, self.want, strict=True))
        return differs and all(alike(got[i], result) for got, result in zip(self.got, results, strict=True))


def alike(got: Array, want: Array, rtol: float = 1e-6) -> bool:
    """Return whether two arrays have one shape and equal values, relative to the largest of them."""
    allowed = rtol * float(np.abs(want).max(initial=0.0)) + 1e-12
    return got.shape == want.shape and bool(np.all(np.abs(got - want) <= allowed))


def worst(label: str, shapes: str, at: Sequence[int], got: float, want: float) -> str:
    """Say what a result is at its worst entry, and what it should be."""
    entry = f"its entry {[*at]}" if len(at) else "it"
    return f"{label}: for {shapes}, {entry} is {got:.6g}; it should be {want:.6g}"


def of_shapes(names: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> str:
    """Return "x of shape (3, 2) and w of shape (2,)"; the cotangent's shape is that of the output."""
    parts = [f"{name} of shape {shape}" for name, shape in zip(names, shapes, strict=False) if name != "g"]
    return " and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:])))


def counted(number: int) -> str:
    """Return "one result" or "3 results"."""
    return "one result" if number == 1 else f"{number} results"
