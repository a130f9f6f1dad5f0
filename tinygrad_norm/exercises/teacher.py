"""The judgement in words, and hints on request."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from .answer import Function, Unreadable, answered, loaded, read
from .exercise import Exercise, UnknownExercise, exercise, next_after
from .judging import Finding, findings

WIDTH = 100


@dataclass(frozen=True)
class Judgement:
    """The judgement of an answer.

    Attributes
    ----------
    exercise : Exercise
    findings : tuple of Finding
        One for each function of the exercise; none where the answer could not be run.
    unreadable : str
        Why it could not be run.
    """

    exercise: Exercise
    findings: tuple[Finding, ...] = ()
    unreadable: str = ""

    @property
    def right(self) -> bool:
        """Whether all functions are right."""
        return not self.unreadable and not any(finding.wrong for finding in self.findings)

    def text(self, hints: int = 0, ask: str = "") -> str:
        """Return the judgement in words, with the first hints; ``ask`` says how to get the next one."""
        parts = [f"Exercise {self.exercise.name}: {'right.' if self.right else 'not right yet.'}"]
        if self.unreadable:
            parts.append(_wrapped(f"The answer cannot be judged: {self.unreadable}.", ""))
        parts += [_of(finding) for finding in self.findings]
        every = self.exercise.hints
        parts += [_wrapped(f"Hint {i} of {len(every)}: {hint}", "") for i, hint in enumerate(every[:hints], 1)]
        if self.right:
            following = next_after(self.exercise.name)
            parts.append(f"Next: {following.name} ({following.title})." if following else "That was the last exercise.")
        elif hints < len(every) and ask:
            parts.append(f"For {'the next' if hints else 'a'} hint: {ask.format(hints + 1)} ({len(every)} in all).")
        return "\n\n".join(parts)


def _of(finding: Finding) -> str:
    if not finding.wrong:
        return _wrapped(f"{finding.function}: right ({finding.seen}).", "")
    lines = [f"{finding.function}:"]
    lines += [_wrapped(f"Right: {', '.join(finding.right)}.")] if finding.right else []
    lines += [_wrapped(f"Wrong: {words}.") for words in finding.wrong]
    for words, mistake in finding.mistakes.items():
        lines += [
            _wrapped(f'This is a common mistake, "{mistake.title}". {words}'),
            f"    More: {mistake.page} in the documentation",
        ]
    if finding.looks_like:
        lines.append(_wrapped(f"The checker's diagnosis (evidence, not proof): {finding.looks_like}."))
    if finding.code:
        g = " (g is dL/dy)" if finding.code[-1].startswith("g = ") else ""
        lines.append(f"  Inputs that show it{g}:")
        lines += [f"    {line}" for line in finding.code]
    return "\n".join(lines)


def _wrapped(words: str, indent: str = "  ") -> str:
    following = f"{indent}  " if indent else ""
    return textwrap.fill(
        words, WIDTH, initial_indent=indent, subsequent_indent=following, break_on_hyphens=False, break_long_words=False
    )


def judge(answer: str | Path | ModuleType | Mapping[str, Any], name: str | None = None) -> Judgement:
    """Judge an answer to an exercise.

    Parameters
    ----------
    answer : path of a file or notebook, module, or mapping from names to functions
        ``globals()`` is such a mapping.
    name : str, optional
        Of the exercise; unless given, the answer's own ``EXERCISE`` names it.

    Returns
    -------
    Judgement
        With ``right`` and ``text()``.

    Raises
    ------
    OSError
        If the file cannot be read.
    UnknownExercise
        If the answer names no exercise, or one that does not exist.

    Examples
    --------
    >>> judged = judge({"backward": lambda g, x: g / len(x)}, "mean")
    >>> judged.right, judged.findings[0].wrong
    (False, ('the gradient of x has shape (4,); it should have shape (5, 4), for x of shape (5, 4)',))
    """
    namespace: Mapping[str, Any] = {}
    try:
        if isinstance(answer, str | Path):
            answer = loaded(Path(answer))
        namespace = vars(answer) if isinstance(answer, ModuleType) else answer
    except Unreadable as error:
        # The name may still stand in the file, so that there can be hints.
        wanted = exercise(name or _named_in(Path(str(answer))))
        return Judgement(wanted, unreadable=str(error))
    given = name or namespace.get("EXERCISE")
    if not isinstance(given, str):
        raise UnknownExercise('the answer does not name its exercise: keep the line EXERCISE = "..." of the file')
    wanted = exercise(given)
    try:
        functions = answered(namespace, wanted.functions)
    except Unreadable as error:
        return Judgement(wanted, unreadable=str(error))
    return Judgement(wanted, findings(wanted, functions))


def _named_in(path: Path) -> str:
    """Return the exercise that a file names, though it cannot be run."""
    named = re.search(r"""(?m)^EXERCISE\s*=\s*["'](\w+)""", read(path))
    if named:
        return named[1]
    raise UnknownExercise(f'{path} does not name its exercise: keep the line EXERCISE = "..." of the file')


def check(name: str, *functions: Function, hints: int = 0) -> None:
    """Judge functions as an answer and print the judgement, for instance in a notebook.

    Parameters
    ----------
    name : str
        Of the exercise.
    *functions : callable
        Those that the exercise asks for, under their own names.
    hints : int
        How many hints to print.

    Raises
    ------
    UnknownExercise

    Examples
    --------
    >>> def backward(g, x):
    ...     raise NotImplementedError
    >>> check("centre", backward)
    Exercise centre: not right yet.
    <BLANKLINE>
    backward(g, x):
      Wrong: it is not filled in yet.
    <BLANKLINE>
    For a hint: check("centre", backward, hints=1) (3 in all).
    """
    called = ", ".join([f'"{name}"', *(function.__name__ for function in functions)])
    judged = judge({function.__name__: function for function in functions}, name)
    print(judged.text(hints, f"check({called}, hints={{}})"))
