"""What a step of the tour found, and how it is written: as lines, as Markdown, as a page."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from ..table import Table

MARK = "# shown"


@dataclass(frozen=True)
class Finding:
    """One step of the tour.

    Attributes
    ----------
    letter, title : str
    claim : str
        What is taught.
    number : str
        What was measured, in a line.
    holds : bool
        Whether the number speaks for the claim.
    code : str
        The line that made the number, as it was run.
    text : str
        What the number means.
    tables : sequence of Tables
    files : list of str
        Pictures and pages, by name.
    data : dict
        Series for the plots.
    """

    letter: str
    title: str
    claim: str
    number: str
    holds: bool
    code: str
    text: str
    tables: Sequence[Table] = ()
    files: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """Whether the number speaks for or against the claim."""
        return "for" if self.holds else "AGAINST"

    def lines(self) -> str:
        """Return what the terminal shows."""
        return (
            f"{self.letter}. {self.title}\n"
            f"   claim   {self.claim}\n"
            f"   number  {self.number}  ({self.verdict} the claim)\n"
            f"   code    {self.code}\n"
            f"   file    {', '.join([*self.files, 'report.md'])}"
        )


def shown_line(function: Callable[..., Any]) -> str:
    """Return the line of a step's source that is marked as the one to show, so that it is the one that ran."""
    for line in inspect.getsource(function).splitlines():
        code, mark, _ = line.partition(MARK)
        if mark:
            return code.strip()
    raise ValueError(f"{function.__name__} has no line marked {MARK!r}")


def markdown(findings: Sequence[Finding], seed: int) -> str:
    """Return the whole report."""
    parts = [
        "# Batch normalization on handwritten digits",
        f"Made by `tinygrad-norm tour --seed {seed}`. Every number below was computed by that run.",
    ]
    for f in findings:
        parts.append(f"## {f.letter}. {f.title}")
        parts.append(f"**Claim.** {f.claim}\n\n**Number.** {f.number} This speaks {f.verdict.lower()} the claim.")
        parts.append(f"```python\n{f.code}\n```\n\n{f.text}")
        parts += [table.markdown() for table in f.tables]
        parts += [f"[{WALK}]({name})" if name.endswith(".html") else f"![{f.title}]({name})" for name in f.files]
    return "\n\n".join(parts) + "\n"


WALK = "Walk through this step, forward and backward, edge by edge"


def _shown_file(name: str, title: str) -> str:
    if name.endswith(".html"):
        return f'<p class="claim"><a href="{name}">{WALK}</a></p>'
    return f'<div class="picture"><a href="{name}"><img src="{name}" alt="{title}"></a></div>'


_STYLE = """
body { font: 17px/1.55 system-ui, sans-serif; color: #1b2430; background: #fff; margin: 0 auto; max-width: 62rem;
  padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; } h2 { margin-top: 3rem; border-top: 1px solid #d6dde6; padding-top: 1.5rem; }
.claim { font-size: 1.1rem; } .number { background: #eef4fc; border-left: 4px solid #1f5aa6; padding: .6rem 1rem; }
.against { background: #fdeae6; border-color: #b3361e; }
pre { background: #f4f5f7; padding: .7rem 1rem; overflow-x: auto; font-size: .9rem; }
.table { overflow-x: auto; margin: 1.2rem 0; } table { border-collapse: collapse; font-size: .92rem; }
caption { text-align: left; font-weight: 600; padding-bottom: .4rem; }
th, td { padding: .25rem .9rem .25rem 0; text-align: left; border-bottom: 1px solid #e3e8ee; }
td { font-variant-numeric: tabular-nums; }
.picture { overflow-x: auto; margin: 1.2rem 0; } img { display: block; max-width: 100%; height: auto; }
img[src$=".svg"] { max-width: none; min-width: 100%; height: auto; }
"""


def page(findings: Sequence[Finding], seed: int) -> str:
    """Return the report as one page, which shows the pictures beside it."""
    sections = []
    for f in findings:
        images = "".join(_shown_file(escape(name), escape(f.title)) for name in f.files)
        against = "" if f.holds else " against"
        text = "".join(f"<p>{escape(paragraph)}</p>" for paragraph in f.text.split("\n\n"))
        sections.append(
            f"<h2>{escape(f.letter)}. {escape(f.title)}</h2>"
            f'<p class="claim">{escape(f.claim)}</p>'
            f'<p class="number{against}">{escape(f.number)} <em>This speaks {f.verdict.lower()} the claim.</em></p>'
            f"<pre><code>{escape(f.code)}</code></pre>{text}{images}" + "".join(table.html() for table in f.tables)
        )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Batch normalization on handwritten digits</title><style>{_STYLE}</style></head><body>"
        "<h1>Batch normalization on handwritten digits</h1>"
        f"<p>Made by <code>tinygrad-norm tour --seed {seed}</code>. Every number was computed by that run.</p>"
        + "".join(sections)
        + "</body></html>\n"
    )
