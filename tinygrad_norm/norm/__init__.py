"""Normalizations as functions, and the patterns that define the axes they normalize over."""

from . import functional, more, pattern

__all__ = ["functional", "more", "pattern"]
