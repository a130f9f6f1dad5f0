"""The atlas: a self-contained page to navigate, scope by scope, a graph that is too large for one picture."""

from .page import atlas

__all__ = ["atlas"]
