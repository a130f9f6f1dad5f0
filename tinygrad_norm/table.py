"""A table of numbers, written as text, Markdown or HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any


@dataclass(frozen=True)
class Table:
    """A table with headings. Numbers are shown with three significant digits, None as "-".

    Examples
    --------
    >>> table = Table("Two layers", ("layer", "mean", "dead"), [("0", 0.12345, None), ("10.1", 12.0, 0.5)])
    >>> print(table.text())
    Two layers
    layer   mean  dead
    0      0.123     -
    10.1      12   0.5
    """

    title: str
    headings: tuple[str, ...]
    rows: Sequence[Sequence[Any]]

    def cells(self) -> list[list[str]]:
        """Return every cell as text."""
        return [[shown(cell) for cell in row] for row in self.rows]

    def text(self) -> str:
        """Return the table as text in columns, with numbers aligned to the right."""
        lines = [list(self.headings), *self.cells()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = [_alignment(column) for column in zip(*self.rows, strict=True)] or ["<"] * len(widths)
        rows = (
            "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(line, aligned, widths, strict=True)).rstrip()
            for line in lines
        )
        return "\n".join([self.title, *rows])

    def markdown(self) -> str:
        """Return the table in Markdown."""
        lines = [self.headings, ["---"] * len(self.headings), *self.cells()]
        rows = ("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        return f"**{self.title}**\n\n" + "\n".join(rows)

    def _repr_html_(self) -> str:
        return self.html()

    def html(self) -> str:
        """Return the table in HTML."""
        head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in self.headings)
        body = "".join("<tr>" + "".join(map(_cell, row, self.headings)) + "</tr>" for row in self.rows)
        return (
            f'<div class="table"><table><caption>{escape(self.title)}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )


def shown(value: Any) -> str:
    """Return a number with three significant digits, None as "-", and anything else as text.

    Examples
    --------
    >>> shown(2 / 3), shown(1797), shown(None), shown("n c -> c")
    ('0.667', '1797', '-', 'n c -> c')
    """
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _cell(value: Any, heading: str) -> str:
    number = ' class="number"' if isinstance(value, int | float) else ""
    return f'<td{number} data-heading="{escape(heading)}">{escape(shown(value))}</td>'


def _alignment(column: Sequence[Any]) -> str:
    return ">" if all(cell is None or isinstance(cell, int | float) for cell in column) else "<"
