"""An exercise: what its file in `answers` says, and the files that a student is given."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from ..check import Inputs, inputs
from ..engine.operators import Array
from .answers import END, NAMES

EDGES = ("constant", "ties", "zeros", "size 1", "strided", "float32")
"""The special inputs that an answer is tried on; none is huge, so that rounding errors do not fail an answer."""
NOT_FILLED_IN = "fill this in"


class UnknownExercise(ValueError):  # noqa: N818 (the name says it)
    """There is no exercise of that name."""


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Attributes
    ----------
    name : str
    module : module
        Its file in `answers`.
    """

    name: str
    module: ModuleType

    @property
    def statement(self) -> str:
        """The task, in plain text."""
        return inspect.cleandoc(self.module.__doc__ or "")

    @property
    def title(self) -> str:
        """The first line of the statement."""
        return self.statement.splitlines()[0].rstrip(".")

    @property
    def functions(self) -> tuple[str, ...]:
        """The names of the functions to write."""
        return tuple(self.module.FILL_IN)

    @property
    def hints(self) -> tuple[str, ...]:
        """The hints, each more detailed than the one before."""
        return tuple(self.module.HINTS)

    @property
    def inputs(self) -> Inputs:
        """What the functions are tried on."""
        return inputs(**self.module.INPUTS, **{"edges": EDGES, **getattr(self.module, "OPTIONS", {})})

    @property
    def is_own(self) -> bool:
        """Whether the forward pass is the student's own choice, so that there is no right one to compare it with."""
        return getattr(self.module, "OWN_FORWARD", False)

    def outputs(self, function: str) -> tuple[str, ...]:
        """Return the names of what a function returns; of a backward pass, those of the inputs."""
        known: dict[str, tuple[str, ...]] = getattr(self.module, "RETURNS", {})
        gradients: tuple[str, ...] = getattr(self.module, "WRT", tuple(self.module.INPUTS))
        return known.get(function, gradients)

    def points(self) -> list[tuple[Array, ...]]:
        """Return ordinary inputs, the same each time, whose sizes can be told apart."""
        return [self.inputs.ample(1.0, sizes) for sizes in ((5, 4, 3, 2), (3, 6, 2, 4), (4, 2, 5, 3))]

    def solution(self) -> str:
        """Return the file with the right answer."""
        return f"{inspect.getsource(self.module).partition(END)[0].rstrip()}\n"

    def stub(self, file: str = "FILE") -> str:
        """Return the file that a student starts from: the functions to write raise NotImplementedError."""
        lines = self.solution().splitlines()
        for node in reversed(ast.parse(self.solution()).body):
            if isinstance(node, ast.FunctionDef) and node.name in self.functions:
                # The docstring stays: it says what is returned.
                start = node.body[0].end_lineno or 0
                lines[start : node.end_lineno] = [f'    raise NotImplementedError("{NOT_FILLED_IN}")']
        return "\n".join([*lines, "", "", f"# To check it: tinygrad-norm exercise check {file}", ""])


@cache
def exercise(name: str) -> Exercise:
    """Return an exercise by its name.

    Raises
    ------
    UnknownExercise
    """
    if name not in NAMES:
        raise UnknownExercise(f"there is no exercise {name!r}; there are {', '.join(NAMES)}")
    return Exercise(name, import_module(f"{__package__}.answers.{name}"))


def exercises() -> list[Exercise]:
    """Return all exercises, in the order in which they are learned.

    Examples
    --------
    >>> [one.name for one in exercises()][:3]
    ['multiply', 'mean', 'standard_deviation']
    """
    return [exercise(name) for name in NAMES]


def next_after(name: str) -> Exercise | None:
    """Return the exercise that follows, if there is one."""
    following: Any = NAMES[NAMES.index(name) + 1 :]
    return exercise(following[0]) if following else None
