"""What the build makes from the package: pictures, live pages, and texts that pages take in. It needs no Sphinx."""

import shutil
import tempfile
from pathlib import Path

from drawn import DRAWINGS, plot_growth
from mistakes import common, published
from numpy_functions import listed

from tinygrad_norm.nn.family import family_tables
from tinygrad_norm.tour import run

LIVE = ("bn.html", "norms.html")
TOUR = (
    "batch_norm.svg",
    "batch_norm_backward.svg",
    "norms.svg",
    "a_shift.png",
    "e_interaction.png",
    "g_race.png",
    *LIVE,
)
"""What pages show of the tour's files."""
GROWTH = "fusing-sizes.svg"
FILES = {*TOUR, *DRAWINGS, GROWTH}
TEXTS = (
    "family.md",
    "numpy-functions.md",
    "common-mistakes.md",
    "published-faults.md",
    "tour-report.md",
    *(f"tour-{letter}.md" for letter in "abcdefgh"),
)


def family():
    return "\n\n".join(table.markdown() for table in family_tables())


def make(folder):
    """Make everything: the tour runs in full."""
    folder = Path(folder)
    with tempfile.TemporaryDirectory() as out:
        findings = run(out, say=lambda text: None)
        report = (Path(out) / "report.md").read_text(encoding="utf-8")
        for name in TOUR:
            shutil.copy(Path(out) / name, folder)
    _title, _, sections = report.partition("\n\n")  # the page has the title
    numbers = [f"> **{finding.letter}.** {finding.number}" for finding in findings]
    for name, text in zip(TEXTS, [family(), listed(), common(), published(), sections, *numbers], strict=True):
        (folder / name).write_text(text, encoding="utf-8")
    for name, draw in DRAWINGS.items():
        draw().save(folder / name)
    plot_growth(folder / GROWTH)
