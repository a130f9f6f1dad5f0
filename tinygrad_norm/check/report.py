"""Reports of checks: the verdict, the numbers behind it, code to paste, and evidence of a cause."""

from __future__ import annotations

import builtins
import keyword
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from html import escape
from typing import Any

import numpy as np

from ..engine.operators import Array


class Verdict(Enum):
    """The result of a check. The last four do not mean that the gradient is wrong."""

    WRONG_VALUE = "wrong value"
    WRONG_SHAPE = "wrong shape"
    WRONG_DTYPE = "wrong dtype"
    NAN = "not a number"
    NONDETERMINISTIC = "different values for equal inputs"
    MUTATES_INPUT = "changes its inputs"
    ALIASED_GRADIENT = "shares memory"
    NOT_LINEAR_IN_COTANGENT = "not linear in the cotangent"
    KINK = "at a kink"
    VACUOUS = "zero within rounding"
    ORACLE_UNRELIABLE = "lost in rounding"
    PASSED = "right"


@dataclass(frozen=True)
class Argument:
    """The comparison of one input's gradient, at its worst element.

    Attributes
    ----------
    name : str
    shape : tuple of int
    index : tuple of int
    got, want : float
    allowed : float
        The allowed difference, from the scale of the gradient, its conditioning and the error bar of the oracle.
    error_bar : float
        The error bar of the oracle for this element.
    wrong, checked, kinks : int
        The numbers of elements that are wrong, that were checked, and that lie at a kink, which has no derivative.
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
    """The result of a check, which `text` prints.

    Attributes
    ----------
    verdict : Verdict
    message : str
        The verdict in a sentence.
    oracle : {"complex step", "central differences", "given"}
    largest_relative_error : float
        The largest over all inputs, relative to the largest entry of that input's gradient, or to its uncertainty if
        that is larger.
    elements_checked, projected, elements : int
        The numbers of entries compared one by one (at most 256 of each input, chosen at random), of entries compared
        by a random projection, and of all entries.
    input, index, got, want
        The place of the largest error, and the two values there.
    arguments : tuple of Arguments
    diagnosis : tuple of str
        What the mismatch looks like: evidence, not proof.
    regime : {"point", "generic", "edges", "given"}
        The kind of inputs that the witness belongs to.
    edge : str
        The edge case that the witness belongs to, such as "offset", or "".
    examples, ordinary, seed : int
        The number of points, the number of ordinary points that passed before, and the seed that repeats them.
    notes : tuple of str
        Remarks that are not failures.
    not_checked : tuple of str
    names : tuple of str
        The names of the inputs.
    witness : tuple of ndarrays
        The smallest inputs found that show the fault; ``cotangent`` belongs to them.
    """

    verdict: Verdict = Verdict.PASSED
    message: str = ""
    oracle: str = "complex step"
    largest_relative_error: float = 0.0
    elements_checked: int = 0
    projected: int = 0
    elements: int = 0
    input: int = 0
    index: tuple[int, ...] = ()
    got: float = 0.0
    want: float = 0.0
    arguments: tuple[Argument, ...] = ()
    diagnosis: tuple[str, ...] = ()
    regime: str = "point"
    edge: str = ""
    examples: int = 1
    ordinary: int = 0
    seed: int | None = None
    notes: tuple[str, ...] = ()
    not_checked: tuple[str, ...] = ()
    names: tuple[str, ...] = field(default=(), repr=False)
    witness: tuple[Array, ...] = field(default=(), repr=False)
    cotangent: Array | None = field(default=None, repr=False)

    def text(self) -> str:
        """Return the report, in at most 20 lines of 100 columns."""
        head = _wrapped(f"{self.verdict.name}: {self._said()}", 3)
        looks = [line for words in self.diagnosis[:2] for line in _wrapped(f"{LOOKS_LIKE}: {words}.", 4)][:4]
        body = [part for part in (self._table(), looks) if part]
        tail = [line for words in self._remarks() for line in _wrapped(words)]
        gap = "\n\n"
        if self.witness and self.verdict in FAULTS:
            room = MOST_LINES - sum(len(part) + 1 for part in (*body, head, tail)) - 1
            if room < len(self.witness) + 1:
                gap, room = "\n", room + len(body) + 2
            body.append([self._to_paste(), *self._code(room)])
        return gap.join("\n".join(part) for part in (head, *body, tail))

    def _repr_html_(self) -> str:
        rows, more = self._rows()
        looks = [f"{LOOKS_LIKE}: {words}." for words in self.diagnosis[:2]]
        parts = [f"<p><strong>{self.verdict.name}</strong>: {escape(self._said())}</p>", _as_html(rows)]
        parts += [f"<p>{escape(words)}</p>" for words in filter(None, (more, *looks))]
        if self.witness and self.verdict in FAULTS:
            code = escape("\n".join(self._code(MOST_LINES - 1)))
            parts.append(f"<p>{self._to_paste()}</p><pre style='font-family:monospace;margin:1em 0'>{code}</pre>")
        parts += [f"<p>{escape(words)}</p>" for words in self._remarks()]
        return f"<div>{''.join(parts)}</div>"

    def _said(self) -> str:
        message = self.message or self.verdict.value
        return f"{message}{self._where(message)}."

    def _to_paste(self) -> str:
        return f"{'The inputs' if self.regime == 'point' else 'The smallest inputs found'}, to paste (g is dL/dy):"

    def _remarks(self) -> list[str]:
        message = self.message or self.verdict.value
        missing = [words for words in self.not_checked if words not in message]
        return [*_listed("Worth knowing", self.notes), *_listed("Not checked", missing), self._seen()]

    def _where(self, message: str) -> str:
        """Say on which inputs the gradient is right and on which it is wrong."""
        if self.verdict is Verdict.PASSED and self.ordinary:
            edges = self.examples - self.ordinary
            return f" on {self.ordinary} ordinary inputs" + (f" and {edges} at the edges" if edges else "")
        if self.verdict not in FAULTS or self.regime == "point":
            return " at this point" if self.verdict is Verdict.PASSED and self.regime == "point" else ""
        kind, before = ("input", self.examples - 1) if self.regime == "given" else ("ordinary input", self.ordinary)
        kinds = kind if before == 1 else f"{kind}s"
        if self.edge:
            size = max(float(np.max(np.abs(x), initial=0)) for x in self.witness)
            lies = EDGES[self.edge].format(size=f"{size:.0e}".replace("e+0", "e"))
            words = f"right on all {before} {kinds}; wrong {lies}"
        elif before:
            words = f"right on {before} {kinds}, wrong on the next"
        else:
            return f" on {kind}s" if self.verdict in (Verdict.WRONG_VALUE, Verdict.NAN) else ""
        return f"{';' if ':' in message else ':'} {words}"

    def _rows(self) -> tuple[list[tuple[str, ...]], str]:
        """Return a heading with a row for each input that is shown, and a remark on the others."""
        rows: list[tuple[str, ...]] = [("input", "shape", "worst at", "got", "want", "got/want", "allowed", "wrong")]
        # The wrong ones matter most.
        arguments = sorted(self.arguments, key=lambda argument: not argument.wrong)
        shown, left = arguments[:MOST_ROWS], arguments[MOST_ROWS:]
        for a in shown:
            shape = "×".join(map(str, a.shape)) or "scalar"
            at = f"[{', '.join(map(str, a.index))}]"
            ratio = f"{a.ratio + 0:.4g}" if a.want else ""
            numbers = (f"{a.got + 0:.6g}", f"{a.want + 0:.6g}", ratio, f"± {a.allowed:.1g}")
            kinks = f", {a.kinks} at kinks" if a.kinks else ""
            rows.append((a.name, shape, at, *numbers, f"{a.wrong} of {a.checked}{kinks}"))
        if not shown:
            return [], ""
        wrong = sum(a.wrong > 0 for a in left)
        more = f", {wrong} of them wrong" if wrong else " that are right" if len(left) > 1 else " that is right"
        return rows, f"and {len(left)} more input{'s' if len(left) > 1 else ''}{more}" if left else ""

    def _table(self) -> list[str]:
        rows, more = self._rows()
        if not rows:
            return []
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        widths[0] = min(widths[0], max(12, WIDTH - sum(widths[1:]) - 2 * len(widths[1:])))
        lines = [
            "  ".join(_cut(cell, width).ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
        ]
        return [_cut(line.rstrip(), WIDTH) for line in (*lines, *([more] if more else ()))]

    def _code(self, room: int) -> list[str]:
        """Return code that makes the inputs. Arrays that are too long are taken from the report."""
        arrays = [(array, f"report.witness[{i}]") for i, array in enumerate(self.witness)]
        if self.cotangent is not None:
            arrays.append((self.cotangent, "report.cotangent"))
        names = identifiers([*self.names[: len(self.witness)], "g"])
        parts = [_code_lines(name, array) for name, (array, _) in zip(names, arrays, strict=False)]
        while sum(map(len, parts)) > room and max(map(len, parts)) > 1:
            longest = max(range(len(parts)), key=lambda i: len(parts[i]))
            array, where = arrays[longest]
            parts[longest] = [_cut(f"{names[longest]} = {where}  # {array.dtype} of shape {array.shape}", WIDTH)]
        if sum(map(len, parts)) > room:
            # The wrong input and the cotangent matter most.
            parts.sort(key=lambda part: not part[0].startswith((f"{names[self.input]} = ", f"{names[-1]} = ")))
            left = len(parts) - room + 1
            parts[room - 1 :] = [[f"# and {left} more, in report.witness and report.cotangent"]]
        return [line for part in parts for line in part]

    def _seen(self) -> str:
        """Say what was compared, and how to repeat it."""
        many = f"example {self.examples}" if self.verdict in FAULTS else f"{self.examples} examples"
        seed = "no seed given" if self.seed is None else f"seed {self.seed}"
        again = f"{seed}." if self.regime == "point" else f"{many}, {seed}."
        if not self.elements_checked:
            return f"Seen: {again}"
        count = f"{self.elements_checked:,} of {self.elements:,} entries"
        if self.projected:
            these = "all" if self.projected == self.elements else "and"
            count += f" one by one, {these} {self.projected:,} by a random projection"
        return f"Judged by {self.oracle.replace('given', 'the given oracle')}: {count}; {again}"


# The text of a report.

WIDTH, MOST_LINES, MOST_ROWS, MOST_PASTED = 100, 20, 3, 500
LOOKS_LIKE = "What it looks like (evidence, not proof)"

EDGES = {
    "constant": "where the values of a row are all equal",
    "ties": "where some values are equal",
    "zeros": "where all values are zero",
    "huge": "where values are huge (up to {size})",
    "tiny": "where values are tiny (a millionth of ordinary ones)",
    "offset": "where values are far from zero (offset {size})",
    "size 1": "where an axis has size 1",
    "empty": "where an array is empty",
    "strided": "where an array is a strided view",
    "float32": "where the inputs are float32",
}
"""A description of each kind of edge case."""


def _wrapped(words: str, most: int = 2) -> list[str]:
    return textwrap.wrap(words, WIDTH, max_lines=most, placeholder=" …", break_on_hyphens=False, subsequent_indent="  ")


def _as_html(rows: Sequence[Sequence[str]]) -> str:
    """Return a heading and rows as a table, or nothing."""
    tags = ["th", *["td"] * len(rows)]
    cells = ["".join(f"<{tag}>{escape(c)}</{tag}>" for c in row) for tag, row in zip(tags, rows, strict=False)]
    return f"<table><tr>{'</tr><tr>'.join(cells)}</tr></table>" if rows else ""


def _code_lines(name: str, array: Array) -> list[str]:
    """Return code that makes an array, with a line for each row if rows are short enough."""
    if array.size > MOST_PASTED and np.count_nonzero(array) > 2:
        return [""] * MOST_LINES  # more than there is room for
    code = assigned(name, array)
    rows = re.sub(r"(?<=[^\]]), ", ",\0", code)
    short = max(map(len, rows.split(" "))) < WIDTH - 2
    return [line.replace("\0", " ") for line in _wrapped(rows if short else code, MOST_LINES)]


def _listed(title: str, words: Sequence[str]) -> list[str]:
    return [f"{title}: {'; '.join(words)}."] if words else []


def _cut(words: str, width: int) -> str:
    return words if len(words) <= width else f"{words[: width - 1]}…"


def identifiers(names: Sequence[str]) -> list[str]:
    """Return a valid identifier for each name: W1 for ``params['W1']``, input_0 for "input 0"."""
    found: list[str] = []
    for i, name in enumerate(names):
        words = re.findall(r"[^\W\d]\w*", name) or ["x"]
        for word in (words[-1], re.sub(r"\W+", "_", name).strip("_"), f"{words[-1]}_{i}"):
            reserved = keyword.iskeyword(word) or word in (*dir(builtins), "np", "report", *found)
            if word.isidentifier() and not reserved:
                break
        found.append(word)
    return found


def assigned(name: str, array: Array) -> str:
    """Return code that assigns exactly this array to a name."""
    if array.ndim and array.size > 8 and 0 < np.count_nonzero(array) < 3:
        places = [*zip(*array.nonzero(), strict=True)]
        again = np.zeros(array.shape, array.dtype)
        again[array.nonzero()] = array[array.nonzero()]
        if again.tobytes() == array.tobytes():  # no -0
            entries = "; ".join(f"{name}[{', '.join(map(str, at))}] = {_number(array[at])}" for at in places)
            return f"{name} = np.zeros({array.shape}{_dtype(array, 'float64')}); {entries}"
    return f"{name} = {pasted(array)}"


def pasted(array: Array) -> str:
    """Return code that makes exactly this array."""
    usual = _dtype(array, "float64", "int64", "bool")
    if array.size != 1 and np.zeros(array.shape, array.dtype).tobytes() == array.tobytes():
        return f"np.zeros({array.shape}{_dtype(array, 'float64')})"
    if array.size > 3 and np.full(array.shape, array.flat[0]).tobytes() == array.tobytes():
        return f"np.full({array.shape}, {_number(array.flat[0])}{usual})"
    return f"np.array({_literal(array)}{usual})"


def _dtype(array: Array, *usual: str) -> str:
    return "" if array.dtype.name in usual else f", np.{array.dtype}"


def _literal(array: Array) -> str:
    return f"[{', '.join(map(_literal, array))}]" if np.ndim(array) else _number(array)


def _number(value: Any) -> str:
    """Return the shortest number that equals the value in its own precision."""
    words = re.sub("nan|inf", r"np.\g<0>", str(value))
    return re.sub(r"\.0$", ".", words)


class GradientMismatch(AssertionError):  # noqa: N818 (it says what is wrong, as AssertionErrors do)
    """A gradient differs from the oracle or has another fault. The attribute ``report`` has the details."""

    def __init__(self, report: GradientReport) -> None:
        super().__init__(report.text() if report.arguments or report.witness else report.message)
        self.report = report


class UncheckedGradient(UserWarning):
    """A gradient cannot be judged at a single point, because it is zero or lost in rounding, as that of tanh at 25.

    Try other points, or a search with `tinygrad_norm.check.inputs`. With ``strict=True`` this is an error.
    """


def _mismatch(verdict: Verdict) -> type[GradientMismatch]:
    name = "".join(word.capitalize() for word in verdict.name.split("_"))
    return type(name, (GradientMismatch,), {"__doc__": f"{verdict.name}: {verdict.value}.", "__module__": __name__})


MISMATCHES: dict[Verdict, type[GradientMismatch]] = {
    verdict: _mismatch(verdict) for verdict in Verdict if verdict not in (Verdict.PASSED, Verdict.KINK)
}
"""An exception class for each verdict, so that the search for the smallest witness stays with one fault."""

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
        "projected": sum(report.projected for report in reports),
        "elements": sum(report.elements for report in reports),
        "input": worst.input,
        "index": worst.index,
        "got": worst.got,
        "want": worst.want,
        "arguments": worst.arguments,
        "examples": len(reports),
        **fields,
    }
