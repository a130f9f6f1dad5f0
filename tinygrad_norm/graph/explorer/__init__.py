"""The explorer: a self-contained page that steps through a function and its gradient."""

from .page import Page, explore, explore_norm, explore_norms

__all__ = ["Page", "explore", "explore_norm", "explore_norms"]
