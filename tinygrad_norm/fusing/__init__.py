"""Compiled compositions: a function and its gradient are recorded and written as a few sweeps over the arrays."""

from .api import fuse

__all__ = ["fuse"]
