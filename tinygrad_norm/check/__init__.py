"""Checks of gradients, automatic ones and those written by hand."""

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
