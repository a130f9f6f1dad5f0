"""Exercises on backpropagation through normalization, judged by `tinygrad_norm.check`.

`exercise` defines an exercise, and `answers` has one file for each; `mistakes` is the list of common mistakes. `answer`
reads a student's file and runs it with recording refused. `judging` decides whether it is right, with `references` for
values that are no gradients, and `teacher` says so in words. `notebook` and `command` are two ways to use it.
"""

from .exercise import Exercise, exercises
from .teacher import Judgement, check, judge

__all__ = ["Exercise", "Judgement", "check", "exercises", "judge"]
