"""Renew what documents take from a run: pictures, the report of the tour, the family table, the README's line counts.

Run it from anywhere: ``python docs/refresh.py``.
"""

import ast
import io
import re
import shutil
import tempfile
import tokenize
from pathlib import Path

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm.graph import draw_jacobian
from tinygrad_norm.nn.family import family_tables
from tinygrad_norm.tour import run

FILES = (
    "batch_norm.svg",
    "batch_norm_backward.svg",
    "norms.svg",
    "bn.html",
    "a_shift.png",
    "e_interaction.png",
    "g_race.png",
)
DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent


def lines_of_code(path):
    """Count the lines that hold code: not blank, not comment, not docstring."""
    source = path.read_text(encoding="utf-8")
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in skipped:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        # A string that stands by itself documents what is around or above it.
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, node.end_lineno + 1))
    return len(lines)


def counted(readme):
    """Return the README with the line counts of its reading order renewed."""

    def renew(match):
        return f"{match[1]}{lines_of_code(ROOT / match[2])}{match[3]}"

    return re.sub(r"(\]\((tinygrad_norm/[\w/]+\.py)\) \| )\d+( \|)", renew, readme)


def tabulated(page):
    """Return the page of the family with its tables renewed."""
    tables = "\n\n".join(table.markdown() for table in family_tables())
    return re.sub(r"(?s)(<!-- family -->\n).*(<!-- /family -->)", lambda match: f"{match[1]}{tables}\n{match[2]}", page)


def quoted(story, findings):
    """Return the story of the tour with the numbers of a run."""
    numbers = {finding.letter: finding.number for finding in findings}
    return re.sub(r"(?m)^> \*\*(\w)\.\*\* .*$", lambda line: f"> **{line[1]}.** {numbers[line[1]]}", story)


def rewrite(path, change):
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


def main():
    rewrite(ROOT / "README.md", counted)
    rewrite(DOCS / "family.md", tabulated)
    with tempfile.TemporaryDirectory() as folder:
        findings = run(folder)
        rewrite(DOCS / "the-tour.md", lambda story: quoted(story, findings))
        for name in FILES:
            shutil.copy(Path(folder) / name, DOCS / name)
        shutil.copy(Path(folder) / "report.md", DOCS / "tour-report.md")
    x = np.random.default_rng(1).normal(size=(4, 3))
    draw_jacobian(tn.batch_norm, x).save(DOCS / "jacobian_batch_norm.svg")
    draw_jacobian(lambda x: tn.layer_norm(x, 3), x, title="dy/dx of layer_norm").save(DOCS / "jacobian_layer_norm.svg")


if __name__ == "__main__":
    main()
