"""Renew what the README takes from the code: the line counts, and the pictures of graphs and Jacobians.

Run it from anywhere: ``python docs/refresh.py``. The build of the site makes the rest.
"""

import ast
import io
import re
import shutil
import sys
import tempfile
import tokenize
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
PICTURES = ("batch_norm.svg", "jacobian_batch_norm.svg", "jacobian_layer_norm.svg")


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


def main():
    sys.path.insert(0, str(DOCS / "_ext"))
    from made import make

    readme = ROOT / "README.md"
    readme.write_text(counted(readme.read_text(encoding="utf-8")), encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        make(folder)
        for name in PICTURES:
            shutil.copy(Path(folder) / name, DOCS)


if __name__ == "__main__":
    main()
