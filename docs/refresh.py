"""Renew what the README takes from the code: the line counts, and the pictures of graphs and Jacobians.

Run it from anywhere: ``python docs/refresh.py``. The build of the site makes the rest.
"""

import re
import shutil
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS / "_ext")]  # where the tests' counter is, and what makes the pictures

from drawn import DRAWINGS  # noqa: E402

from tests.code_lines import code_lines  # noqa: E402
from tinygrad_norm.tour.pictures import draw_step  # noqa: E402

PICTURES = ("batch_norm.svg", "jacobian_batch_norm.svg", "jacobian_layer_norm.svg")


def counted(readme):
    """Return the README with the line counts of its reading order renewed."""

    def renew(match):
        return f"{match[1]}{code_lines((ROOT / match[2]).read_text(encoding='utf-8'))}{match[3]}"

    return re.sub(r"(\]\((tinygrad_norm/[\w/]+\.py)\) \| )\d+( \|)", renew, readme)


def draw(folder):
    """Draw the README's pictures."""
    (folder / "pictures").mkdir()  # where the tour's other variants of a picture go
    draw_step(folder, backward=False)
    for name in PICTURES:
        if name in DRAWINGS:
            DRAWINGS[name]().save(folder / name)


def main():
    readme = ROOT / "README.md"
    readme.write_text(counted(readme.read_text(encoding="utf-8")), encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder))
        for name in PICTURES:
            shutil.copy(Path(folder) / name, DOCS)


if __name__ == "__main__":
    main()
