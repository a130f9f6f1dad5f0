"""Checks of gradients, automatic ones and those written by hand.

What is given: `calling` and `leaves` (functions, layers and inputs as people write them), `automatic`, `pytorch`,
`strategies` and `domains` (what is drawn). What is judged: `subject`, `oracle` (the complex step), `differences`,
`rounding` (the error bar), `judging` (values), `point` (behaviour, at one point), `search` (at many). What is told:
`evidence`, `facts`, `diagnosis`, `structure`, `paths`, `behaviour`, `report`, `simplify`. The negative control:
`correct` and `mutants`. The doors are in `gradients`.
"""

from .gradients import check_backward, check_gradients, check_module, gradient_property
from .report import GradientMismatch, GradientReport, UncheckedGradient, Verdict
from .strategies import Inputs, inputs

__all__ = [
    "GradientMismatch",
    "GradientReport",
    "Inputs",
    "UncheckedGradient",
    "Verdict",
    "check_backward",
    "check_gradients",
    "check_module",
    "gradient_property",
    "inputs",
]
