"""Normalizations as functions, and the patterns that name what is normalized over."""
