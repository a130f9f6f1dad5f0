"""Reverse-mode differentiation on NumPy arrays."""
