"""What a check found, and how it is told: verdicts, the numbers behind them, code to paste, evidence of a cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ..engine.operators import Array


class Verdict(Enum):
    """What is right or wrong about a gradient. Only the last four are no fault of it."""

    WRONG_VALUE = "wrong value"
    WRONG_SHAPE = "wrong shape"
    WRONG_DTYPE = "wrong dtype"
    NAN = "not a number"
    NONDETERMINISTIC = "different values for equal inputs"
    MUTATES_INPUT = "changes its inputs"
    ALIASED_GRADIENT = "shares memory"
    NOT_LINEAR_IN_COTANGENT = "not linear in the cotangent"
    KINK = "at a kink"
    VACUOUS = "null within rounding"
    ORACLE_UNRELIABLE = "lost in rounding"
    PASSED = "right"


@dataclass(frozen=True)
class Argument:
    """How one input's gradient compares, at its worst element.

    Attributes
    ----------
    name : str
    shape : tuple of int
    index : tuple of int
    got, want : float
    allowed : float
        How far apart they may be: from the gradient's own scale, its conditioning and the oracle's error bar.
    error_bar : float
        Of the oracle, there.
    wrong, checked, kinks : int
        How many elements are wrong, were checked, and lie at a kink, where no derivative is the right one.
    """

    name: str
    shape: tuple[int, ...]
    index: tuple[int, ...] = ()
    got: float = 0.0
    want: float = 0.0
    allowed: float = 0.0
    error_bar: float = 0.0
    wrong: int = 0
    checked: int = 0
    kinks: int = 0

    @property
    def ratio(self) -> float:
        """``got / want``."""
        return self.got / self.want if self.want else float("nan")


@dataclass(frozen=True)
class GradientReport:
    """What a check found.

    Attributes
    ----------
    verdict : Verdict
    message : str
        In a sentence.
    oracle : {"complex step", "central differences", "given"}
    largest_relative_error : float
        Over all inputs; beside the largest entry of that input's gradient, or what is uncertain about it, if more.
    elements_checked, elements : int
        At most 256 entries of each input are checked, chosen at random.
    input, index, got, want
        Where the largest error is, and both values there.
    arguments : tuple of Arguments
    diagnosis : tuple of str
        What the mismatch looks like: evidence, not certainty.
    regime : {"point", "generic", "edges", "given"}
        From which arrays the witness is.
    examples, seed : int
        How many points were looked at; what makes them again.
    not_checked : tuple of str
    names : tuple of str
        Of the inputs.
    witness : tuple of ndarrays
        The inputs, as small as they were found; ``cotangent`` is what was pulled back.
    """

    verdict: Verdict = Verdict.PASSED
    message: str = ""
    oracle: str = "complex step"
    largest_relative_error: float = 0.0
    elements_checked: int = 0
    elements: int = 0
    input: int = 0
    index: tuple[int, ...] = ()
    got: float = 0.0
    want: float = 0.0
    arguments: tuple[Argument, ...] = ()
    diagnosis: tuple[str, ...] = ()
    regime: str = "point"
    examples: int = 1
    seed: int | None = None
    not_checked: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    projected: int = 0
    ordinary: int = 0
    edge: str = ""
    names: tuple[str, ...] = field(default=(), repr=False)
    witness: tuple[Array, ...] = field(default=(), repr=False)
    cotangent: Array | None = field(default=None, repr=False)

    def text(self) -> str:
        """Return the whole report, about one screen."""
        lines = [f"{self.verdict.name}: {self.message or self.verdict.value}", ""]
        lines += self._table()
        if self.diagnosis:
            lines += ["", "What it looks like (evidence, not proof):", *(f"  - {words}" for words in self.diagnosis)]
        if self.witness and self.verdict is not Verdict.PASSED:
            inputs = "The inputs" if self.regime == "point" else "The smallest inputs found"
            lines += ["", f"{inputs}; paste them:", *self._code()]
        where = f"{self.regime} inputs, {self.examples} example{'s' if self.examples != 1 else ''}"
        lines += ["", f"Judged by {self.oracle}, on {where}, seed {self.seed}."]
        if self.not_checked:
            lines.append(f"Not checked: {'; '.join(self.not_checked)}.")
        return "\n".join(lines)

    def _table(self) -> list[str]:
        rows = [("input", "shape", "worst at", "got", "want", "got/want", "allowed", "wrong")]
        for a in self.arguments:
            shape = "×".join(map(str, a.shape)) or "scalar"
            at = f"[{', '.join(map(str, a.index))}]"
            numbers = (f"{a.got:.6g}", f"{a.want:.6g}", f"{a.ratio:.4g}", f"± {a.allowed:.1g}")
            kinks = f", {a.kinks} at kinks" if a.kinks else ""
            rows.append((a.name, shape, at, *numbers, f"{a.wrong} of {a.checked}{kinks}"))
        if len(rows) == 1:
            return []
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]

    def _code(self) -> list[str]:
        arrays = [*zip(self.names, self.witness, strict=False)]
        if self.cotangent is not None:
            arrays.append(("g", self.cotangent))
        return [
            f"  {name if name.isidentifier() else f'x{i}'} = {pasted(array)}" for i, (name, array) in enumerate(arrays)
        ]


MOST_PASTED = 64


def pasted(array: Array) -> str:
    """Return code that makes an array again."""
    if array.size > MOST_PASTED:
        return f"...  # {array.dtype} of shape {array.shape}, in the report's witness or cotangent"
    if array.size == 0:
        return f"np.zeros({array.shape}, np.{array.dtype})"
    values = repr(array.tolist()).replace("nan", "np.nan").replace("inf", "np.inf")
    return f"np.array({values}, np.{array.dtype})"


class GradientMismatch(AssertionError):  # noqa: N818 (it says what is wrong, as AssertionErrors do)
    """A gradient differs from the oracle, or behaves as no gradient should. Carries the ``report``."""

    def __init__(self, report: GradientReport) -> None:
        super().__init__(report.text() if report.arguments or report.witness else report.message)
        self.report = report


class UncheckedGradient(UserWarning):
    """At the point of a check nothing could be judged: it has neither passed nor failed."""


def _mismatch(verdict: Verdict) -> type[GradientMismatch]:
    name = "".join(word.capitalize() for word in verdict.name.split("_"))
    return type(name, (GradientMismatch,), {"__doc__": f"{verdict.name}: {verdict.value}.", "__module__": __name__})


MISMATCHES: dict[Verdict, type[GradientMismatch]] = {
    verdict: _mismatch(verdict) for verdict in Verdict if verdict not in (Verdict.PASSED, Verdict.KINK)
}
"""For each verdict its own class, so that the search for the smallest witness stays with one fault."""

FAULTS = tuple(verdict for verdict in Verdict if verdict.name not in ("PASSED", "KINK", "VACUOUS", "ORACLE_UNRELIABLE"))


def raised(report: GradientReport) -> GradientMismatch:
    """Return the exception for a report."""
    return MISMATCHES[report.verdict](report)


def summed_up(reports: Sequence[GradientReport], **fields: Any) -> dict[str, Any]:
    """Return the fields of a report about several points that all passed."""
    checked = [report for report in reports if report.verdict not in (Verdict.VACUOUS, Verdict.ORACLE_UNRELIABLE)]
    worst = max(checked or reports, key=lambda report: report.largest_relative_error)
    return {
        "oracle": worst.oracle,
        "largest_relative_error": worst.largest_relative_error,
        "elements_checked": sum(report.elements_checked for report in reports),
        "elements": sum(report.elements for report in reports),
        "input": worst.input,
        "index": worst.index,
        "got": worst.got,
        "want": worst.want,
        "arguments": worst.arguments,
        "examples": len(reports),
        **fields,
    }
