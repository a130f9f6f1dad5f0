"""The tour, shortened: few training steps, so that tests can run it, and everything else as it is."""

import pytest

from tinygrad_norm import tour
from tinygrad_norm.tour import training


def shortened(monkeypatch):
    monkeypatch.setattr(training, "RACE_STEPS", {training.DEPTH: 20, 1: 20})
    monkeypatch.setattr(training, "SHIFT_STEPS", 20)


def short_tour(out, seed=0, say=lambda text: None):
    with pytest.MonkeyPatch.context() as monkeypatch:
        shortened(monkeypatch)
        monkeypatch.setenv("COLUMNS", "60")
        return tour.run(out, seed, say)
