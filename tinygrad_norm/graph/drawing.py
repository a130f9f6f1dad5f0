"""draw: a picture of a recorded step."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.autodiff import grad
from ..engine.origins import examine
from ..engine.tensor import Tensor, slope_name, walk
from .axes import Axes
from .collapse import Collapse, closing, collapsed, depths, too_much
from .dot import THEMES, legend, to_dot
from .fold import fold
from .model import Graph, trace
from .naming import written
from .render import FORMATS, render

# Not a seed that the caller's data are likely to come from: a cotangent like x would have a gradient of zero.
COTANGENT_SEED = 1502_03167

_serial = count().__next__


class Drawing:
    """A picture of a graph, made when it is asked for.

    Attributes
    ----------
    graph : Graph
        What it shows, as data.
    source : str
        As DOT text, the same for the same graph.
    caption : str
        What stands below it: whether it was collapsed to be small enough, and what the lines of a second order mean.
    """

    def __init__(self, graph: Graph, rankdir: str = "TB", theme: str = "light", caption: str = "") -> None:
        if theme not in THEMES:
            raise ValueError(f"theme is one of {', '.join(map(repr, THEMES))}, not {theme!r}")
        self.graph = graph = written(graph)
        self.caption = caption = "; ".join(filter(None, [caption, legend(graph)]))
        self.source = to_dot(graph, rankdir, THEMES[theme], caption)

    def svg(self, prefix: str = "") -> str:
        """Return the picture as SVG text.

        Parameters
        ----------
        prefix : str
            Put before every id in it, so that several pictures can stand in one page.

        Raises
        ------
        RenderError
            If it cannot be laid out.
        ValueError
            If the prefix is not made of letters, digits, ``-`` and ``_``, a letter first.
        """
        if prefix and not re.fullmatch(r"[A-Za-z][\w-]*", prefix, re.ASCII):
            raise ValueError(f"prefix is made of letters, digits, - and _, a letter first, not {prefix!r}")
        # In text there are no quotes and no <: what looks like an attribute is one.
        text = re.sub(r'(<\w+\b[^<>]*?\sid=")', rf"\g<1>{prefix}", render(self.source).decode())
        return re.sub(r'(="url\(#|\shref="#|:href="#)', rf"\g<1>{prefix}", text)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture to a file ending in .svg, .dot, .png or .pdf, and return its path.

        Raises
        ------
        RenderError
            For .png and .pdf where Graphviz's `dot` is not installed.
        ValueError
            For another ending.
        """
        path = Path(path)
        kind = path.suffix.removeprefix(".").lower()
        if kind != "dot" and kind not in FORMATS:
            raise ValueError(f"a drawing is saved as .dot, .svg, .png or .pdf, not {path.name!r}")
        content = self.source.encode() if kind == "dot" else render(self.source, kind)
        path.write_bytes(content)
        return path

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"image/svg+xml": self.svg(f"drawing{_serial()}-"), "text/plain": repr(self)}

    def __repr__(self) -> str:
        said = f", {self.caption}" if self.caption else ""
        return f"Drawing({len(self.graph.vertices)} boxes, {len(self.graph.edges)} edges{said})"


def draw(
    *outputs: Tensor,
    backward: bool = False,
    cotangents: Sequence[Any] | None = None,
    values: bool = False,
    detail: str = "full",
    collapse: Collapse | None = None,
    repeat: bool = False,
    axes: Axes | None = None,
    theme: str = "light",
    max_nodes: int = 400,
) -> Drawing:
    """Draw the recorded step that led to the outputs.

    Each operation is a box with its symbol, its axes and the name and shape of its result; each operand is an edge, so
    ``x * x`` has two. Scopes are clusters. Broadcasts are boxes, too: their gradient is the sum, in a double frame,
    that appears beside them.

    Parameters
    ----------
    *outputs : Tensors
        One that was not recorded is a single box.
    backward : bool
        Draw the gradient as well, as it is recorded under ``create_graph``: it runs upwards, dashed, in a colour of its
        own, each operation beside the one it differentiates.
    cotangents : sequence of arrays, optional
        ``dL/dy`` for each output, for ``backward``; drawn from a fixed seed if not given.
    values : bool
        Write dtypes and values into the boxes: each element of a small array, else its extremes and mean; with
        ``backward`` also the length of each gradient.
    detail : {"full", "slide"}
        "slide" runs from left to right and folds reshapes, broadcasts, transposes and casts into marks on their edges.
    collapse : int, str, collection of str, or callable, optional
        Which scopes become one box that says how many operations it holds: those deeper than a depth (with 0 every
        outermost scope, with 1 every scope inside one), those of some names, or those for which a function of the path
        of names, as ``("encoder", "block")``, is true. Parameters that only one box uses are in it.
    repeat : bool
        Show a chain of boxes that hold the same operations once, with its length: "block × 12". Without ``collapse``
        the outermost scopes become boxes.
    axes : str, mapping of str to str, or several, optional
        Names of axes, by rank as ``"n c h w"`` or by Tensor as ``{"x": "n d", "scores": "n q k"}``, or a list of both.
        Names follow the data, into the gradient too, and what reductions run over is said in them: "Σ over k".
    theme : {"light", "dark"}
    max_nodes : int
        Where there would be more boxes than that, or three times as many edges, or edges past 25 times as many
        rows of boxes, scopes are collapsed, as few as will do, and the picture says so: layouts of large graphs take
        minutes.

    Returns
    -------
    Drawing
        With ``.source``, ``.svg()`` and ``.save("x.svg")``; notebooks show it.

    Raises
    ------
    TypeError
        If an output is not a Tensor, or ``cotangents``, ``axes`` or ``max_nodes`` is of another type.
    ValueError
        If there are no outputs, too many boxes or edges even so, or an argument is not one of those above; if
        ``backward`` has nothing to differentiate.

    Examples
    --------
    >>> import tinygrad_norm as tn
    >>> x = tn.tensor([[1.0], [2.0]], requires_grad=True, name="x")
    >>> tn.draw(tn.batch_norm(x), detail="slide")
    Drawing(8 boxes, 9 edges)
    >>> tn.draw(tn.batch_norm(x), collapse=0)
    Drawing(2 boxes, 1 edges)
    """
    if not outputs:
        raise ValueError("draw needs at least one Tensor")
    for y in outputs:
        if not isinstance(y, Tensor):
            raise TypeError(f"draw takes Tensors, not {type(y).__name__}")
    if detail not in ("full", "slide"):
        raise ValueError(f"detail is 'full' or 'slide', not {detail!r}")
    if cotangents is not None and not backward:
        raise ValueError("cotangents are for backward=True")
    if not isinstance(max_nodes, int):
        raise TypeError(f"max_nodes is an int, not {max_nodes!r}")
    recorded, lengths = outputs, None
    if backward:
        leaves = _leaves(outputs)
        seeds = _seeds(outputs, cotangents)
        recorded = (*outputs, *examine(grad, outputs, leaves, seeds, True))
        lengths = _gradients(outputs, seeds) if values else None
    graph = trace(*recorded, values=values, gradients=lengths, axes=axes)
    view = fold if detail == "slide" else _as_it_is
    if collapse is not None or repeat:
        graph = collapsed(graph, closing(0 if collapse is None else collapse, graph), repeat)
        shown, caption = view(graph), ""
        if reason := too_much(shown, max_nodes):
            raise ValueError(f"the collapsed graph has {reason}: {_ADVICE}")
    else:
        shown, caption = _small_enough(graph, view, max_nodes)
    return Drawing(shown, "LR" if detail == "slide" else "TB", theme, caption)


_ADVICE = (
    "draw a smaller step, put its parts in scopes (with tn.scope(...)) and choose which of them become one box with "
    "collapse=, use detail='slide', or raise max_nodes if you can wait for the layout"
)


def _as_it_is(graph: Graph) -> Graph:
    return graph


def _small_enough(graph: Graph, view: Callable[[Graph], Graph], max_nodes: int) -> tuple[Graph, str]:
    """Return what to show of a graph, with as few scopes collapsed as will do, and a caption that says which."""
    shown = view(graph)
    reason = too_much(shown, max_nodes)
    if reason is None:
        return shown, ""
    operations = sum(v.operation is not None for v in graph.vertices)
    # Repeats are shown once only where nothing else helps, as then the picture is no longer the whole.
    ways = [*((depth, False) for depth in depths(graph, max_nodes)), (0, True)] if graph.scopes else []
    for depth, repeat in ways:
        smaller = view(collapsed(graph, closing(depth, graph), repeat))
        if too_much(smaller, max_nodes) is None:
            once = ", repeated boxes once" if repeat else ""
            return smaller, f"collapsed to depth {depth}{once}: {operations} operations"
    vain = "collapsing its scopes does not help" if graph.scopes else "it has no scopes to collapse"
    raise ValueError(f"the graph has {reason}, and {vain}: {_ADVICE}")


def _leaves(outputs: Sequence[Tensor]) -> list[Tensor]:
    """Return every leaf that the outputs depend on and that needs a gradient."""
    leaves: dict[Tensor, None] = {}
    for y in reversed(walk(outputs)):
        for x in y.node.inputs:  # type: ignore[union-attr]
            if isinstance(x, Tensor) and x.node is None and x.requires_grad:
                leaves[x] = None
    if not leaves:
        reason = "none of the outputs was computed from a Tensor with requires_grad=True"
        raise ValueError(f"backward=True has nothing to draw, as nothing needs a gradient: {reason}")
    return list(leaves)


def _seeds(outputs: Sequence[Tensor], cotangents: Sequence[Any] | None) -> list[Tensor]:
    """Return the cotangents as named leaves."""
    if cotangents is None:
        random = np.random.default_rng(COTANGENT_SEED)
        cotangents = [random.normal(size=y.shape) for y in outputs]
    if not isinstance(cotangents, list | tuple):
        kind = type(cotangents).__name__
        raise TypeError(f"cotangents is a list or tuple with an array for each output, not {kind}")
    if len(cotangents) != len(outputs):
        raise ValueError(f"cotangents has an array for each output: {len(outputs)}, not {len(cotangents)}")
    taken = {x.name for y in walk(outputs) for x in (y, *y.node.inputs) if isinstance(x, Tensor)}  # type: ignore[union-attr]
    order = 1 + max((y.node.order for y in walk(outputs)), default=0)  # type: ignore[union-attr]
    seeds = []
    for y, cotangent in zip(outputs, cotangents, strict=True):
        seed = cotangent.detach() if isinstance(cotangent, Tensor) else Tensor(cotangent, dtype=y.dtype)
        seed.name = slope_name(y.name or ("output" if "y" in taken else "y"), order)
        # So that what depends on the seed alone, as dL/dβ does, is recorded too.
        seed.requires_grad = y.requires_grad
        seeds.append(seed)
    return seeds


def _gradients(outputs: Sequence[Tensor], seeds: Sequence[Tensor]) -> dict[Tensor, Tensor]:
    """Return the gradient of every Tensor on the way to the outputs."""
    tensors = [*_leaves(outputs), *walk(outputs)]
    return dict(zip(tensors, grad(outputs, tensors, [seed.data for seed in seeds]), strict=True))
