"""Reverse-mode differentiation on NumPy arrays."""

from . import ops

__all__ = ["ops"]
