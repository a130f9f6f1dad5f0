"""explore: a self-contained page that steps through a function and its gradient."""

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
"""The files of the page's script, in the order in which they run."""


class Page:
    """A self-contained HTML page, which works offline.

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
            If the ending is another one.
        """
        path = Path(path)
        if path.suffix.lower() not in (".html", ".htm"):
            raise ValueError(f"a page must be saved as .html, not {path.name!r}")
        path.write_text(self.html, encoding="utf-8")
        return path

    def _repr_html_(self) -> str:
        frame = 'sandbox="allow-scripts" width="100%" height="900" style="border:0" title="tinygrad_norm explorer"'
        return f'<iframe {frame} srcdoc="{escape(self.html, quote=True)}"></iframe>'

    def __repr__(self) -> str:
        return f"Page({len(self.html.encode()) / 1000:.0f} kB)"


def explore(fn: Callable[..., Any], *inputs: Any, axes: Axes | None = None) -> Page:
    """Make a page that steps through a function, forward array by array and backward edge by edge.

    It shows values, the contribution of every edge before and after the sum over repeated axes, and the arithmetic of
    a chosen cell. Numbers can be changed, and the page then recomputes the recorded function and gradient. The source
    of the function, if available, is shown beside each step. The cotangent is random with a fixed seed.

    Parameters
    ----------
    fn : callable
        Takes one Tensor for each input and returns a Tensor. The pages of ``tn.batch_norm``, ``layer_norm``,
        ``group_norm``, ``instance_norm`` and ``rms_norm`` also have the terms of the closed form, the other norms on
        the same numbers, constant statistics, test time and the identity. These norms take ``x`` or ``x, weight,
        bias``. With other arguments, explore a function of ``x``.
    *inputs : arrays or Tensors
        Converted to float64. They should be small: large arrays are shown in part, and the numbers of large graphs
        cannot be changed.
    axes : str, mapping of str to str, or several, optional
        Names of axes, as in `draw`. Not for the norms above, which have names.

    Returns
    -------
    Page
        With ``.html`` and ``.save("x.html")``; notebooks show it in a sandboxed frame.

    Raises
    ------
    ValueError
        If there is no input, an input has no elements, the function does not return a single recorded Tensor, it
        computes more than 400 arrays, ``axes`` does not fit them, or a norm above gets other inputs than ``x``,
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
                f"explore({known}, ...) takes arrays: x, or {', '.join(taken)}; got {given}. For other arguments, "
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
    """Make the page of a norm, for given ``x, weight, bias`` or for example numbers of a shape.

    Parameters
    ----------
    name : {"batch_norm", "layer_norm", "instance_norm", "group_norm", "rms_norm"}
    inputs : sequence of one or three arrays, optional
        The arrays x, or x, weight and bias, in the shapes that the norm expects.
    shape : tuple of int
        The shape of the example x.
    seed : int
    groups : int
        The number of groups of group_norm.
    """
    norm = norms(groups, images=len(shape if inputs is None else inputs[0].shape) > 2)[name]
    numbers = example(norm, shape, seed) if inputs is None else dict(zip(("x", "γ", "β"), inputs, strict=False))
    return _page(f"{norm.title}, step by step", scenes_of_norm(norm, numbers))


def explore_norms(shape: tuple[int, ...] = (2, 4, 2, 2), groups: int = 2, seed: int = 0) -> Page:
    """Make the page that compares the classic norms on the same numbers.

    Parameters
    ----------
    shape : tuple of int
        ``(N, C, ...)`` with at least one spatial axis.
    groups : int
        The number of groups, which must divide C.
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
    """Return a unique name for each input: the Tensor's name, or the name of the function's parameter."""
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
