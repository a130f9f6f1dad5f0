"""explore: a page that walks through a function and its gradient, in one file that needs nothing else."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ...engine.operators import Array, plain
from ...engine.tensor import Tensor
from ...norm import functional
from ..axes import Axes
from ..offline import page_of
from .data import page_data
from .scenes import (
    Scene,
    example,
    norms,
    scenes_of_family,
    scenes_of_function,
    scenes_of_norm,
)

_NORM_OF = {getattr(functional, name): name for name in norms()}
SCRIPTS = (
    "evaluator", "dom", "state", "matrix", "cells", "cell", "step", "stage", "motion", "edit",
    "panels", "routes", "shared", "checks", "epsilon", "code", "questions", "guide", "page",
)  # fmt: skip
"""The page's script, in the order in which its parts are read."""


class Page:
    """A page of one file: no library, no request, readable offline.

    Attributes
    ----------
    html : str
    """

    def __init__(self, html: str) -> None:
        self.html = html

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page to a file ending in .html, and return its path.

        Raises
        ------
        ValueError
            For another ending.
        """
        path = Path(path)
        if path.suffix.lower() not in (".html", ".htm"):
            raise ValueError(f"a page is saved as .html, not {path.name!r}")
        path.write_text(self.html, encoding="utf-8")
        return path

    def _repr_html_(self) -> str:
        frame = 'sandbox="allow-scripts" width="100%" height="900" style="border:0" title="tinygrad_norm explorer"'
        return f'<iframe {frame} srcdoc="{escape(self.html, quote=True)}"></iframe>'

    def __repr__(self) -> str:
        return f"Page({len(self.html.encode()) / 1000:.0f} kB)"


def explore(fn: Callable[..., Any], *inputs: Any, axes: Axes | None = None) -> Page:
    """Make a page that steps through a function, forward node by node and backward edge by edge.

    It shows values, the contribution of every edge before and after it is summed over repeated axes, and the arithmetic
    of any cell that is chosen in it. Numbers can be changed in it: the page runs the recorded function and gradient
    again. Beside each step stands the source of the function, where there is one. The cotangent is random with a fixed
    seed.

    Parameters
    ----------
    fn : callable
        Takes as many Tensors as there are inputs, returns a Tensor. ``tn.batch_norm``, ``layer_norm``, ``group_norm``,
        ``instance_norm`` and ``rms_norm`` are known: their pages add the terms of the closed form, the other norms on
        the same numbers, constant statistics, test time and the identity. They take ``x``, or ``x, weight, bias``; with
        other arguments, explore a function of ``x``.
    *inputs : arrays or Tensors
        Converted to float64. Small ones: of large arrays a part is shown, and the numbers of large graphs cannot be
        changed.
    axes : str, mapping of str to str, or several, optional
        Names of axes, as `draw` takes them; the known norms have theirs.

    Returns
    -------
    Page
        With ``.html`` and ``.save("x.html")``; notebooks show it in a sandboxed frame.

    Raises
    ------
    ValueError
        If there is no input, an input has no elements, the function does not return one Tensor that was recorded, it
        computes more than 400 arrays, ``axes`` does not fit them, or a known norm is given anything but ``x``,
        ``weight`` and ``bias``.
    RenderError
        If the graph cannot be laid out.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> page = tn.explore(lambda x: np.tanh(x) * x, np.array([[0.5, -1.0]]))
    >>> page.html[:15]
    '<!doctype html>'
    """
    if not inputs:
        raise ValueError("explore needs at least one input")
    known = _NORM_OF.get(fn) if inspect.isfunction(fn) else None
    if known is not None:
        taken = ("x", "weight", "bias") if norms()[known].subtracts else ("x", "weight")
        if axes is not None or len(inputs) > len(taken) or any(x is None or np.ndim(plain(x)) == 0 for x in inputs):
            given = ", ".join([*map(_described, inputs), *(["axes"] if axes is not None else [])])
            raise ValueError(
                f"explore({known}, ...) takes arrays: x, or {', '.join(taken)}; not {given}. With other arguments "
                f"explore a function of arrays: explore(lambda x: tn.{known}(x, ...), x)"
            )
        return explore_norm(known, [np.asarray(plain(x), np.float64) for x in inputs])
    named = dict(zip(_names(fn, inputs), (plain(x) for x in inputs), strict=True))
    title = getattr(fn, "__name__", type(fn).__name__)
    title = "A function" if title == "<lambda>" else title
    return _page(f"{title}, step by step", scenes_of_function(fn, named, axes))


def explore_norm(
    name: str,
    inputs: Sequence[Array] | None = None,
    shape: tuple[int, ...] = (4, 3),
    seed: int = 0,
    groups: int = 2,
) -> Page:
    """Make the page of a norm, on given ``x, weight, bias`` or on an example of a shape.

    Parameters
    ----------
    name : {"batch_norm", "layer_norm", "instance_norm", "group_norm", "rms_norm"}
    inputs : sequence of one or three arrays, optional
        Where weight and bias have the norm's own shapes.
    shape : tuple of int
    seed : int
    groups : int
        Of group_norm.
    """
    norm = norms(groups, images=len(shape if inputs is None else inputs[0].shape) > 2)[name]
    numbers = example(norm, shape, seed) if inputs is None else dict(zip(("x", "γ", "β"), inputs, strict=False))
    return _page(f"{norm.title}, step by step", scenes_of_norm(norm, numbers))


def explore_norms(shape: tuple[int, ...] = (2, 4, 2, 2), groups: int = 2, seed: int = 0) -> Page:
    """Make the page that compares the classic norms on the same numbers.

    Parameters
    ----------
    shape : tuple of int
        ``(N, C, ...)`` with space.
    groups : int
        Divides C.
    seed : int
    """
    return _page("Norms on the same numbers", scenes_of_family(shape, groups, seed))


def _page(title: str, scenes: Sequence[Scene]) -> Page:
    data = page_data(title, scenes)
    template = Path(__file__).with_suffix(".html")
    return Page(page_of(template, [template.with_name(f"{name}.js") for name in SCRIPTS], title, data))


def _described(x: Any) -> str:
    return repr(x) if x is None or np.ndim(plain(x)) == 0 else f"an array of shape {np.shape(plain(x))}"


def _names(fn: Callable[..., Any], inputs: Sequence[Any]) -> list[str]:
    """Return a name for each input: a Tensor's own, or the function's parameter's; no two alike."""
    try:
        parameters = list(inspect.signature(fn).parameters)
    except (TypeError, ValueError):
        parameters = []
    names: list[str] = []
    for i, x in enumerate(inputs):
        own = x.name if isinstance(x, Tensor) else None
        name = own or (parameters[i] if i < len(parameters) and parameters[i] not in ("args", "inputs") else f"x{i}")
        names.append(name if name not in names else f"{name} ({i})")
    return names
