"""The atlas: a page of one file to walk through a graph too large for one picture, scope by scope."""

from .page import atlas

__all__ = ["atlas"]
