"""Exercises on backpropagation through normalization, judged by `tinygrad_norm.check`.

`exercise` holds what an exercise is, and `answers` its files, one each; `answer` reads a student's file and runs it
by hand; `judging` decides, with `references` for what is no gradient; `teacher` says it in words; `notebook` and
`command` are two ways in.
"""

from .exercise import Exercise, exercises
from .teacher import Judgement, check, judge

__all__ = ["Exercise", "Judgement", "check", "exercises", "judge"]
