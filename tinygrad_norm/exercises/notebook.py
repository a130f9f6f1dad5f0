"""An exercise as a notebook: the statement, the file to fill in, and a cell that checks it."""

from __future__ import annotations

import ast
import json
from typing import Any

from .exercise import Exercise


def notebook(exercise: Exercise) -> str:
    """Return a notebook of format 4, as the text of its file."""
    stub = exercise.stub().partition("# To check it:")[0].rstrip()
    docstring = ast.parse(stub).body[0]
    code = "\n".join(stub.splitlines()[docstring.end_lineno :]).strip()
    title, _, statement = exercise.statement.partition("\n")
    check = f'check("{exercise.name}", {", ".join(exercise.functions)})'
    cells = [
        _cell("markdown", f"# {title}\n\n{statement.strip()}"),
        _cell("code", code),
        _cell("markdown", f"Run this cell to check your answer; with `hints=1` it gives the first of "
                          f"{len(exercise.hints)} hints."),
        _cell("code", f"from tinygrad_norm.exercises import check\n\n{check}"),
    ]  # fmt: skip
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    page = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 4}
    return f"{json.dumps(page, indent=1, ensure_ascii=False)}\n"


def _cell(kind: str, source: str) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": kind, "metadata": {}, "source": source.splitlines(keepends=True)}
    return {**cell, "execution_count": None, "outputs": []} if kind == "code" else cell
