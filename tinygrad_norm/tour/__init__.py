"""The story of batch normalization on real handwritten digits, with a number and a file for every claim."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

import tinygrad_norm as tn

from ..datasets import split_digits
from ..graph import draw_norms
from ..graph.explorer import explore_norm
from .plots import save_plots
from .report import Finding, markdown, page
from .statistics import identity, one_step, samples_interact, through_the_statistics, what_is_normalized_over
from .training import does_it_help, shift, test_time, training_steps

__all__ = ["run"]


def run(out: str | os.PathLike[str], seed: int = 0, say: Callable[[str], None] = print) -> list[Finding]:
    """Walk through the whole story and write it down.

    Parameters
    ----------
    out : path
        A folder, made if need be: ``batch_norm.svg``, ``batch_norm_backward.svg``, ``norms.svg``, ``bn.html``,
        ``report.md``, ``index.html`` and, with matplotlib, plots.
    seed : int
        The same seed gives the same numbers.
    say : callable
        Receives what each step found, as text.

    Returns
    -------
    list of Findings
        One for each step, a to h.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    digits = split_digits(seed)

    def rng(step: int) -> np.random.Generator:
        return np.random.default_rng([seed, 100 + step])

    findings: list[Finding] = []
    with tqdm(total=training_steps(), desc="training", unit="step", leave=False) as bar:

        def progress(steps: int) -> None:
            bar.update(steps)

        steps: list[Callable[[], Finding]] = [
            lambda: shift(digits, seed, progress),
            lambda: one_step(digits, rng(1)),
            lambda: through_the_statistics(digits, rng(2)),
            lambda: identity(digits, rng(3)),
            lambda: samples_interact(digits, rng(4)),
            lambda: test_time(digits, seed, progress),
            lambda: does_it_help(digits, seed, progress),
            lambda: what_is_normalized_over(digits, rng(7)),
        ]
        for step in tqdm(steps, desc="the tour", unit="step", leave=False):
            findings.append(step())
    by_letter = {finding.letter: finding for finding in findings}
    forward, backward = save_pictures(out)
    by_letter["b"].files.append(forward.name)
    by_letter["c"].files.extend([backward.name, explore_norm("batch_norm").save(out / "bn.html").name])
    by_letter["h"].files.append(draw_norms().save(out / "norms.svg").name)
    if importlib.util.find_spec("matplotlib"):
        save_plots(findings, out)
    (out / "report.md").write_text(markdown(findings, seed), encoding="utf-8")
    (out / "index.html").write_text(page(findings, seed), encoding="utf-8")
    for finding in findings:
        say(finding.lines() + "\n")
    say(f"Open {out / 'index.html'}")
    return findings


def save_pictures(out: Path) -> tuple[Path, Path]:
    """Draw a step of batch norm on a (4, 3) batch, and the same step with its gradient."""
    rng = np.random.default_rng(2015)
    x = tn.tensor(rng.normal(size=(4, 3)), requires_grad=True, name="x")
    weight = tn.tensor(rng.normal(size=3), requires_grad=True, name="γ")
    bias = tn.tensor(rng.normal(size=3), requires_grad=True, name="β")
    y = tn.batch_norm(x, weight=weight, bias=bias)
    return (
        tn.draw(y, detail="slide").save(out / "batch_norm.svg"),
        tn.draw(y, backward=True, detail="slide").save(out / "batch_norm_backward.svg"),
    )
