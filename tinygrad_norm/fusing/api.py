"""The public function."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from ..nn.module import Module
from .modules import fused_module
from .run import Fused


def fuse(target: Any, threads: int = 1, missing: str = "raise") -> Any:
    """Compile a function, or the normalizations in a module, together with their gradients."""
    available = find_spec("numba") is not None
    if not available and missing != "compose":
        raise ImportError(
            "fuse compiles with numba, which is not installed: pip install 'tinygrad_norm[compile]'; "
            "or fuse(..., missing='compose') runs the composition"
        )
    if isinstance(target, Module):
        return fused_module(target, threads, available)
    return Fused(target, threads, available)
