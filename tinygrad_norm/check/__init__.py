"""Checks of gradients, automatic or written by hand.

The public functions are in `gradients`. Input: `calling` and `leaves` (functions, layers and inputs in the forms that
people write), `automatic`, `pytorch`, `strategies` and `domains` (random inputs). Judging: `subject`, `oracle` (the
complex step), `differences`, `rounding` (the error bar), `judging` (values), `point` (all checks at one point),
`search` (many points). Explaining: `evidence`, `facts`, `diagnosis`, `structure`, `paths`, `behaviour`, `report`,
`simplify`. Negative control: `correct` and `mutants`.
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
