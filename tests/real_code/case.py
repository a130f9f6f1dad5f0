"""A piece of code with its right and its wrong gradients, and what a diagnosis of each wrong one must say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tinygrad_norm.check import GradientReport, Inputs, Verdict


@dataclass(frozen=True)
class Wrong:
    """A fault that people report, and the words by which a diagnosis of it is known."""

    name: str  # "the sum over the batch is missing"
    backward: Any  # the faulty backward, or the faulty layer object
    accepted: tuple[str, ...]  # the diagnosis (lower-cased) must contain one of these; () where silence is as good
    forbidden: tuple[str, ...] = ()  # words that would mislead


@dataclass(frozen=True)
class Code:
    """One kind of function, as its author would put it to the checker."""

    name: str
    forward: Any  # function, or a layer object with forward and backward (then backward is None)
    backward: Any
    given: Inputs
    wrong: tuple[Wrong, ...]
    options: Mapping[str, Any] = field(default_factory=dict)  # wrt=, keywords such as stride=2


def arguments(code: Code, wrong: Wrong | None = None) -> tuple[Any, ...]:
    """Return what `check_backward` takes: a pair and inputs, an object and inputs, or a loss, None and inputs."""
    if code.backward is not None:
        return code.forward, wrong.backward if wrong else code.backward, code.given
    whole = wrong.backward if wrong else code.forward
    return (whole, code.given) if hasattr(whole, "backward") else (whole, None, code.given)


# Verdicts that are a diagnosis themselves.
TELLING = (Verdict.MUTATES_INPUT, Verdict.NONDETERMINISTIC, Verdict.NOT_LINEAR_IN_COTANGENT)


def told(report: GradientReport) -> str:
    """Return what a report says of the cause: its diagnosis, or its message where the verdict names the cause."""
    return " ".join(report.diagnosis) or (report.message if report.verdict in TELLING else "")


def judged(wrong: Wrong, diagnosis: str) -> Literal["true", "misleading", "silent"]:
    """Return what a diagnosis of a fault is worth, by the words fixed beforehand; " sign" is the start of a word.

    Of a fault that no words were found for, only the forbidden ones mislead, and nothing that is said helps.
    """
    said = f" {diagnosis.lower()}"
    if any(word in said for word in wrong.forbidden):
        return "misleading"
    if not diagnosis or not wrong.accepted:
        return "silent"
    return "true" if any(word in said for word in wrong.accepted) else "misleading"
