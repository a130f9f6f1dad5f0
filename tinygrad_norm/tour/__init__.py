"""A tour of batch normalization on handwritten digits, with a number and a file for every claim."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..datasets import split_digits
from .meter import Meter
from .page import page
from .pictures import illustrate
from .report import Finding, markdown
from .statistics import identity, one_step, samples_interact, through_the_statistics, what_is_normalized_over
from .training import does_it_help, shift, test_time, training_seconds

__all__ = ["run"]


class Section(NamedTuple):
    """A section of the tour, and the approximate time of its work without training."""

    title: str
    find: Callable[[], Finding]
    seconds: float


def run(out: str | os.PathLike[str], seed: int = 0, say: Callable[[str], None] = print) -> list[Finding]:
    """Run all sections of the tour and write a page, a report and pictures.

    Parameters
    ----------
    out : path
        The output folder, created if necessary. ``index.html`` links to the other files: the pages ``bn.html`` and
        ``norms.html``, ``report.md``, pictures and, if matplotlib is installed, plots.
    seed : int
        The random seed.
    say : callable
        Called with the result of each section when it is finished, as text that fits the terminal.

    Returns
    -------
    list of Findings
        One for each section, a to h.
    """
    out = Path(out)
    (out / "pictures").mkdir(parents=True, exist_ok=True)
    digits = split_digits(seed)
    findings: list[Finding] = []

    def progress(seconds: float) -> None:
        meter.add(seconds)

    sections = [
        Section("activations shift", lambda: shift(digits, seed, progress), 3),
        Section("one step", lambda: one_step(digits, seed), 0.3),
        Section("gradients", lambda: through_the_statistics(digits, seed), 5),
        Section("identity", lambda: identity(digits, seed), 0.1),
        Section("samples interact", lambda: samples_interact(digits, seed), 1.2),
        Section("test time", lambda: test_time(digits, seed, progress), 0.1),
        Section("training with and without", lambda: does_it_help(digits, seed, progress), 1),
        Section("four norms", lambda: what_is_normalized_over(digits, seed), 0.8),
    ]
    with Meter(training_seconds() + sum(section.seconds for section in sections)) as meter:
        for section in sections:
            meter.begin(section.title)
            finding = section.find()
            illustrate(finding, out)
            findings.append(finding)
            meter.add(section.seconds)
            with meter.hidden():
                say(finding.lines(shutil.get_terminal_size().columns) + "\n")
    (out / "report.md").write_text(markdown(findings, seed), encoding="utf-8")
    (out / "index.html").write_text(page(findings, seed), encoding="utf-8")
    say(f"Open {out / 'index.html'}")
    return findings
