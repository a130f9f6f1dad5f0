"""Compositions, compiled: `fuse` records a function and its gradient, and writes them as a few sweeps over the arrays."""

from .api import fuse

__all__ = ["fuse"]
