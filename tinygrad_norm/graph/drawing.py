"""draw: a picture of a recorded step."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.autodiff import grad
from ..engine.tensor import Tensor, walk
from .dot import to_dot
from .fold import fold
from .model import Graph, trace
from .render import FORMATS, render

# Not a seed that the caller's data are likely to come from: a cotangent like x would have a gradient of zero.
COTANGENT_SEED = 1502_03167


class Drawing:
    """A picture of a graph, made when it is asked for.

    Attributes
    ----------
    graph : Graph
        What it shows, as data.
    source : str
        As DOT text, the same for the same graph.
    """

    def __init__(self, graph: Graph, rankdir: str = "TB") -> None:
        self.graph = graph
        self.source = to_dot(graph, rankdir)

    def svg(self) -> str:
        """Return the picture as SVG text."""
        return render(self.source).decode()

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
        return {"image/svg+xml": self.svg(), "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"Drawing({len(self.graph.vertices)} boxes, {len(self.graph.edges)} edges)"


def draw(
    *outputs: Tensor,
    backward: bool = False,
    cotangents: Sequence[Any] | None = None,
    detail: str = "full",
    max_nodes: int = 400,
) -> Drawing:
    """Draw the recorded step that led to the outputs.

    Each operation is a box with its symbol, its axes and the name and shape of its result; each operand is an edge, so
    ``x * x`` has two. Scopes are clusters. Broadcasts are boxes, too: their gradient is the sum that appears beside
    them.

    Parameters
    ----------
    *outputs : Tensors
        One that was not recorded is a single box.
    backward : bool
        Draw the gradient as well, as it is recorded under ``create_graph``: it runs upwards, dashed, in a colour of its
        own, each operation beside the one it differentiates.
    cotangents : sequence of arrays, optional
        ``dL/dy`` for each output, for ``backward``; drawn from a fixed seed if not given.
    detail : {"full", "slide"}
        "slide" runs from left to right and folds reshapes, broadcasts, transposes and casts into marks on their edges.
    max_nodes : int
        More boxes than that are an error: layouts of large graphs take minutes.

    Returns
    -------
    Drawing
        With ``.source``, ``.svg()`` and ``.save("x.svg")``; notebooks show it.

    Raises
    ------
    TypeError
        If an output is not a Tensor.
    ValueError
        If there are no outputs, too many boxes, or another ``detail``; if ``backward`` has nothing to differentiate.

    Examples
    --------
    >>> import tinygrad_norm as tn
    >>> x = tn.tensor([[1.0], [2.0]], requires_grad=True, name="x")
    >>> tn.draw(tn.batch_norm(x), detail="slide")
    Drawing(8 boxes, 9 edges)
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
    graph = trace(*outputs, *(_gradients(outputs, cotangents) if backward else ()))
    slide = detail == "slide"
    if slide:
        graph = fold(graph)
    if len(graph.vertices) > max_nodes:
        raise ValueError(
            f"the graph has {len(graph.vertices)} boxes, more than max_nodes={max_nodes}: draw a smaller step, use "
            "detail='slide', or raise max_nodes if you can wait for the layout"
        )
    return Drawing(graph, "LR" if slide else "TB")


def _gradients(outputs: Sequence[Tensor], cotangents: Sequence[Any] | None) -> tuple[Tensor, ...]:
    """Record the gradients of the outputs with respect to every leaf they depend on."""
    leaves: dict[Tensor, None] = {}
    for y in reversed(walk(outputs)):
        for x in y.node.inputs:  # type: ignore[union-attr]
            if isinstance(x, Tensor) and x.node is None and x.requires_grad:
                leaves[x] = None
    if not leaves:
        raise ValueError("backward=True needs outputs that were computed from a Tensor with requires_grad=True")
    if cotangents is None:
        random = np.random.default_rng(COTANGENT_SEED)
        cotangents = [random.normal(size=y.shape) for y in outputs]
    seeds = []
    for y, cotangent in zip(outputs, cotangents, strict=True):
        seed = cotangent.detach() if isinstance(cotangent, Tensor) else Tensor(cotangent, dtype=y.dtype)
        seed.name = f"dL/d{y.name or 'y'}"
        # So that what depends on the seed alone, as dL/dβ does, is recorded too.
        seed.requires_grad = True
        seeds.append(seed)
    return grad(outputs, list(leaves), seeds, create_graph=True)  # type: ignore[no-any-return]
