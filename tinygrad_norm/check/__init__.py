"""Checks of gradients, automatic ones and those written by hand."""

from .gradients import GradientMismatch, GradientReport, check_backward, check_gradients

__all__ = ["GradientMismatch", "GradientReport", "check_backward", "check_gradients"]
