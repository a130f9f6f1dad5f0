"""The explorer: a page of one file that walks through a function's value and its gradient."""

from .page import Page, explore, explore_norm, explore_norms

__all__ = ["Page", "explore", "explore_norm", "explore_norms"]
