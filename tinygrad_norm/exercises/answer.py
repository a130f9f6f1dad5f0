"""A student's answer: read from a file or given as functions, and run with recording refused."""

from __future__ import annotations

import inspect
import json
import re
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext, redirect_stdout
from functools import wraps
from io import StringIO
from linecache import cache, getline
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import numpy as np

from ..engine.context import surrounding
from ..engine.operators import Array

Function = Callable[..., Any]


class Unreadable(Exception):  # noqa: N818 (what is wrong is the file)
    """A file cannot be run, or is no answer; the message says why."""


class RecordingRefused(Exception):  # noqa: N818 (it is what happens)
    """An answer uses the library's own gradients or norms."""


def loaded(path: Path) -> ModuleType:
    """Run a student's file or notebook and return it as a module.

    Raises
    ------
    OSError
        If it cannot be read.
    Unreadable
        If it is no Python, or raises an error.
    """
    source = read(path)
    module = ModuleType(path.stem)
    module.__file__ = str(path)
    # So that messages can quote a line, of a notebook as well.
    cache[str(path)] = (len(source), None, source.splitlines(keepends=True), str(path))
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except SyntaxError as error:
        line = (error.text or "").strip()
        raise Unreadable(f"Python cannot read line {error.lineno}, {line!r}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        raise Unreadable(told(error, str(path))) from error
    return module


def read(path: Path) -> str:
    """Return the code of a file; of a notebook, that of its cells, but for commands and the check itself."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    try:
        cells = ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError) as error:
        raise OSError(f"{path} is no notebook of format 4") from error
    code = "\n\n".join(cell for cell in cells if "tinygrad_norm.exercises" not in cell)
    return re.sub(r"(?m)^[%!].*$", "", code)


def told(error: BaseException, file: str) -> str:
    """Return an error in one line, with the last line of the student's file that led to it."""
    words = f"{type(error).__name__}: {error}".rstrip(": ")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    if not frames:
        return words
    number = frames[-1].lineno or 0
    return f"{words} (line {number}: {getline(file, number).strip()})"


class _Refusal:
    """Takes the place of a recording or a compiler, and refuses both."""

    def refuse(self, *_: Any) -> NoReturn:
        raise RecordingRefused("the exercises are solved by hand")

    __call__ = append = left = later = settle = refuse


class ByHand:
    """A student's function, which runs on plain arrays with recording refused.

    Attributes
    ----------
    name : str
    function : callable
    run : callable
        The same with recording refused.
    errors : list of (error, shapes)
        What it raised, and for inputs of which shapes.
    """

    def __init__(self, name: str, function: Function) -> None:
        self.name, self.function = name, function
        self.errors: list[tuple[BaseException, list[tuple[int, ...]]]] = []
        self.called = False

        @wraps(function)
        def run(*arrays: Array) -> Any:
            refusal = _Refusal()
            # What it prints is shown once, not hundreds of times.
            printing = redirect_stdout(StringIO()) if self.called else nullcontext()
            self.called = True
            try:
                with surrounding(trail=refusal, fuser=refusal), np.errstate(all="ignore"), printing:
                    return function(*arrays)
            except (Exception, SystemExit) as error:
                self.errors.append((error, [np.shape(a) for a in arrays]))
                # SystemExit would end the check.
                raise error if isinstance(error, Exception) else RuntimeError("exit() was called") from error

        self.run = run

    @property
    def parameters(self) -> list[str]:
        """The names of its parameters, as far as they are known."""
        try:
            return [*inspect.signature(self.function).parameters]
        except (TypeError, ValueError):
            return []

    def takes(self, count: int) -> bool:
        """Return whether it can be called with so many arguments, by position."""
        try:
            inspect.signature(self.function).bind(*range(count))
        except ValueError:
            return True  # a built-in function, of which nothing is known
        except TypeError:
            return False
        return True

    @property
    def file(self) -> str:
        """The file in which it is defined."""
        return getattr(getattr(self.function, "__code__", None), "co_filename", "")


def answered(given: Mapping[str, Any], names: Iterable[str]) -> dict[str, Function]:
    """Return a student's functions by name, those that an exercise asks for.

    Raises
    ------
    Unreadable
        If one is missing.
    """
    found = {name: given.get(name) for name in names}
    missing = [name for name, function in found.items() if not callable(function)]
    if missing:
        raise Unreadable(f"there is no function {' and no function '.join(missing)}; the exercise asks for it")
    return {name: function for name, function in found.items() if callable(function)}
