"""The pictures of the tour, each for wide and narrow pages, in light and dark."""

from __future__ import annotations

import importlib.util
from itertools import product
from pathlib import Path

import numpy as np

import tinygrad_norm as tn

from ..graph import draw_norms
from ..graph.explorer import explore_norm, explore_norms
from .plots import PLOTS, save_plot
from .report import Finding

# The size of the page's column in points, on a computer and on a phone.
WIDE, NARROW = (810, 430), (262, 700)


def variant(name: str, narrow: bool, dark: bool) -> str:
    """Return the path of a picture for a kind of page. For a wide, light page it is the plain name.

    Examples
    --------
    >>> variant("norms.svg", False, False), variant("norms.svg", True, True)
    ('norms.svg', 'pictures/norms-narrow-dark.svg')
    """
    stem, _, kind = name.partition(".")
    words = "-narrow" * narrow + "-dark" * dark
    return f"pictures/{stem}{words}.{kind}" if words else name


def illustrate(finding: Finding, out: Path) -> None:
    """Make the pictures and pages of a section, and add their names to its finding."""
    if finding.letter in PLOTS and importlib.util.find_spec("matplotlib"):
        finding.files.append(save_plot(finding, out, variant))
    if finding.letter == "b":
        finding.files.append(draw_step(out, backward=False))
    if finding.letter == "c":
        finding.files.extend([draw_step(out, backward=True), explore_norm("batch_norm").save(out / "bn.html").name])
    if finding.letter == "h":
        finding.files.extend([draw_family(out), explore_norms().save(out / "norms.html").name])


def draw_step(out: Path, backward: bool) -> str:
    """Draw a step of batch norm on a (4, 3) batch, optionally with its gradient; return the name of the picture."""
    rng = np.random.default_rng(2015)
    x = tn.tensor(rng.normal(size=(4, 3)), requires_grad=True, name="x")
    weight = tn.tensor(rng.normal(size=3), requires_grad=True, name="γ")
    bias = tn.tensor(rng.normal(size=3), requires_grad=True, name="β")
    y = tn.batch_norm(x, weight=weight, bias=bias)
    name = f"batch_norm{'_backward' * backward}.svg"
    for narrow, dark in product((False, True), repeat=2):
        picture = tn.draw(y, backward=backward, fit=NARROW if narrow else WIDE, theme="dark" if dark else "light")
        picture.save(out / variant(name, narrow, dark))
    return name


def draw_family(out: Path) -> str:
    """Draw the four norms side by side, or stacked for a narrow page; return the name of the picture."""
    for narrow, dark in product((False, True), repeat=2):
        picture = draw_norms(columns=1 if narrow else 4, theme="dark" if dark else "light")
        picture.save(out / variant("norms.svg", narrow, dark))
    return "norms.svg"
