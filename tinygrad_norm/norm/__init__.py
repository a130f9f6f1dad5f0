"""Normalizations as functions, and the patterns that name what is normalized over."""

from . import functional, more, pattern

__all__ = ["functional", "more", "pattern"]
