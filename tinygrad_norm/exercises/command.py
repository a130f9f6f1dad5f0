"""``tinygrad-norm exercise``: list, start, check, solution."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .exercise import Exercise, UnknownExercise, exercise, exercises
from .notebook import notebook
from .teacher import judge


def add_exercise(commands: Any) -> None:
    """Declare ``tinygrad-norm exercise``."""
    parser = commands.add_parser("exercise", help="exercises in backpropagation through normalization")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="list the exercises, in the order in which to solve them").set_defaults(run=_list)
    start = actions.add_parser("start", help="write a file with the statement, and functions to fill in")
    solution = actions.add_parser("solution", help="write a file with the right answer")
    for action, write, ending in (
        (start, _start, "a .py file, or a notebook, .ipynb"),
        (solution, _solve, "a .py file"),
    ):
        action.add_argument("name", metavar="NAME", help="name of the exercise; `list` shows all")
        action.add_argument("-o", "--out", required=True, type=Path, metavar="FILE", help=ending)
        action.set_defaults(run=_reported(write))
    check = actions.add_parser("check", help="judge an answer; the exit status is 0 if it is right")
    check.add_argument("file", type=Path, metavar="FILE")
    check.add_argument("--hint", type=_count, default=0, metavar="N", help="show the first N hints as well")
    check.set_defaults(run=_reported(_check))


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of hints, such as 1")
    return int(text)


def _reported(action: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Let a missing file or an unknown exercise be one line and status 2."""

    def run(options: argparse.Namespace) -> int:
        try:
            return action(options)
        except (OSError, UnicodeDecodeError, UnknownExercise) as error:
            message = f"there is no file or folder {error.filename}" if isinstance(error, FileNotFoundError) else error
            print(f"tinygrad-norm: {message}", file=sys.stderr)
            return 2

    return run


def _list(_: argparse.Namespace) -> int:
    every = exercises()
    width = max(len(one.name) for one in every)
    for number, one in enumerate(every, 1):
        print(f"{number:>2}  {one.name:<{width}}  {one.title}")
    return 0


def _start(options: argparse.Namespace) -> int:
    one = exercise(options.name)
    _write(options.out, notebook(one) if options.out.suffix == ".ipynb" else one.stub(str(options.out)))
    return _said(one, options.out, "run its last cell" if options.out.suffix == ".ipynb" else "")


def _said(one: Exercise, out: Path, how: str) -> int:
    print(f"{out}: {one.title}. Fill in {' and '.join(one.functions)}, then")
    print(f"  {how or f'tinygrad-norm exercise check {out}'}")
    return 0


def _solve(options: argparse.Namespace) -> int:
    _write(options.out, exercise(options.name).solution())
    print(f"{options.out}: the answer to {options.name}")
    return 0


def _write(path: Path, text: str) -> None:
    """Write a new file; what a student has written is never lost."""
    if path.exists():
        raise FileExistsError(f"{path} exists already; give another name")
    path.write_text(text, encoding="utf-8")


def _check(options: argparse.Namespace) -> int:
    judged = judge(options.file)
    print(judged.text(options.hint, f"tinygrad-norm exercise check {options.file} --hint {{}}"))
    return 0 if judged.right else 1
