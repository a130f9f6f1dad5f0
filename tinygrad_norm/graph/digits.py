"""Numbers in pictures: 3 significant digits, and small arrays in aligned columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..engine.operators import Array

# A small array is shown element by element, in at most six rows and columns.
MOST_ELEMENTS = 12
MOST_IN_LINE = 6
# The space between and around the numbers of a row. Every font has it, and it is never collapsed.
SPACE = "\u00a0"


def number(value: Any) -> str:
    """Return a number with 3 significant digits, and zero without a sign."""
    return f"{value:.3g}" if value else "0"


def in_digits(array: Array) -> str:
    """Return an array as rows of numbers aligned at the decimal point. A large array becomes its extremes and mean.

    Rows begin and end with a no-break space, unlike all other lines of a box. An empty array gives "".

    Examples
    --------
    >>> import numpy as np
    >>> in_digits(np.arange(100.0))
    'min 0, mean 49.5, max 99'
    """
    if array.size == 0:
        return ""
    rows = array.reshape(-1, array.shape[-1] if array.ndim else 1)
    if array.size <= MOST_ELEMENTS and max(rows.shape) <= MOST_IN_LINE:
        texts = [[str(x) if array.dtype.kind in "bui" else number(x) for x in row] for row in rows.tolist()]
        columns = [_at_the_point(column) for column in zip(*texts, strict=True)]
        return "\n".join(f"{SPACE}{(2 * SPACE).join(row)}{SPACE}" for row in zip(*columns, strict=True))
    if array.dtype.kind == "c":
        return f"mean {number(array.mean())}"
    with np.errstate(all="ignore"):
        wide = array.astype(np.float64)
        return f"min {number(wide.min())}, mean {number(wide.mean())}, max {number(wide.max())}"


def _at_the_point(column: Sequence[str]) -> list[str]:
    """Return numbers as texts of equal length, aligned at the decimal point."""
    ends = [len(whole[0]) if (whole := re.match(r"-?\d+", text)) else len(text) for text in column]
    left = max(ends)
    lines = [SPACE * (left - end) + text for end, text in zip(ends, column, strict=True)]
    width = max(map(len, lines))
    return [line.ljust(width, SPACE) for line in lines]
