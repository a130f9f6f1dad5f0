"""The result of a section of the tour, as text for a terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from textwrap import fill
from typing import Any

from ..table import Table

TITLE = "Batch normalization on handwritten digits"
LINKS = {
    "bn.html": "Step through batch norm",
    "norms.html": "Compare the norms",
}
"""The texts of the links to the interactive pages."""


@dataclass(frozen=True)
class Finding:
    """One section of the tour.

    Attributes
    ----------
    letter, title : str
    claim : str
        The statement that the section demonstrates.
    headline : pair of str
        The main number, and its description.
    number : str
        All measurements for the claim, as text.
    holds : bool
        Whether the numbers support the claim.
    code : str
        A program that prints the main number.
    text : str
        An explanation of the numbers: paragraphs, with code in backticks.
    tables : sequence of Tables
    files : list of str
        The names of pictures and pages.
    data : dict
        Data for the plots and the introduction.
    """

    letter: str
    title: str
    claim: str
    headline: tuple[str, str]
    number: str
    holds: bool
    code: str
    text: str
    tables: Sequence[Table] = ()
    files: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """Whether the numbers support or contradict the claim."""
        return "supports" if self.holds else "CONTRADICTS"

    def lines(self, width: int) -> str:
        """Return the text for a terminal, in lines of at most ``width`` characters."""
        parts = {
            "claim": self.claim,
            "number": f"{self.number}  ({self.verdict} the claim)",
            "files": ", ".join([*self.files, "report.md"]),
        }
        title = fill(f"{self.letter}. {self.title}", width)
        return "\n".join([title, *(_labelled(label, text, width) for label, text in parts.items())])


def _labelled(label: str, text: str, width: int) -> str:
    first = f"   {label:<8}"
    return fill(text, width, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False)


def apart(difference: float) -> str:
    """Describe the largest difference between two results.

    Examples
    --------
    >>> apart(0.0), apart(5.6e-17)
    ('equal', 'equal to within 6e-17')
    """
    return f"equal to within {difference:.0e}" if difference else "equal"


def markdown(findings: Sequence[Finding], seed: int) -> str:
    """Return the report in Markdown."""
    parts = [f"# {TITLE}", f"Created by `tinygrad-norm tour --seed {seed}`, which computed every number below."]
    for f in findings:
        parts.append(f"## {f.letter}. {f.title}")
        parts.append(f"**Claim.** {f.claim}\n\n**Number.** {f.number} This {f.verdict.lower()} the claim.")
        parts.append(f"```python\n{f.code}```\n\nMain result: **{f.headline[0]}** {f.headline[1]}\n\n{f.text}")
        parts += [table.markdown() for table in f.tables]
        parts += [f"[{LINKS[name]}]({name})" if name in LINKS else f"![{f.title}]({name})" for name in f.files]
    return "\n\n".join(parts) + "\n"
