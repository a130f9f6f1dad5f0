"""draw: a picture of a recorded step."""

from __future__ import annotations

import importlib.util
import os
import re
import warnings
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from ..engine.autodiff import grad
from ..engine.origins import Trail, examine
from ..engine.tensor import Tensor
from .atlas import atlas
from .axes import Axes
from .collapse import Collapse, closing, collapsed, depths, too_much
from .dot import Mount, legend, theme_called, to_dot
from .fit import frame_of, in_frame
from .fold import fold
from .model import Graph
from .naming import written
from .printing import in_notebook, printed
from .render import FORMATS, render
from .running import in_lines, refusal, run, without_consumers
from .seeds import called, gradients_of, leaves_of, seeds_of, with_its_output_called
from .steps import apart, opening, stepped
from .svg import exact, prefixed, resized, with_fonts
from .tracing import trace

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

    def __init__(
        self,
        graph: Graph,
        rankdir: str = "TB",
        theme: str = "light",
        caption: str = "",
        mount: Mount | None = None,
        whole: tuple[Graph, str] | None = None,
    ) -> None:
        colours = theme_called(theme)
        self.graph = graph = written(graph)
        self.caption = caption
        self.source = to_dot(graph, rankdir, colours, caption, mount)
        # With nothing collapsed, and the caption that it would have: what an atlas is made of.
        self._whole, self._said = whole or (graph, caption)

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
        return prefixed(exact(with_fonts(render(self.source).decode())), prefix)

    def save(self, path: str | os.PathLike[str], width: float | None = None) -> Path:
        """Write the picture to a file ending in .svg, .pdf, .png, .dot or .html, and return its path.

        A PDF has one page, exactly the picture, with its fonts in it. PDF and PNG are made by typst, which the extra
        ``print`` installs, or else by Graphviz's `dot`.

        HTML is an atlas: one page, which needs no network, with a picture of every scope and every named step, to walk
        through and to search, whatever was collapsed here. Its title is the name of the file, and its colours are light
        or dark as its reader's system is.

        Parameters
        ----------
        path : str or path
        width : float, optional
            In points, of which 72 are an inch; the height goes with it. The picture's own width if not given. A PNG has
            192 pixels an inch. An atlas has no width, nor has DOT.

        Raises
        ------
        RenderError
            For .png and .pdf where neither typst nor `dot` is installed.
        ValueError
            For another ending, a width that is not positive, or a width of a .dot or an .html.

        Examples
        --------
        >>> from tempfile import mkdtemp
        >>> import tinygrad_norm as tn
        >>> x = tn.tensor([[1.0], [2.0]], requires_grad=True, name="x")
        >>> tn.draw(tn.batch_norm(x), backward=True).save(f"{mkdtemp()}/bn.html").name
        'bn.html'
        """
        path = Path(path)
        kind = path.suffix.removeprefix(".").lower()
        if kind not in ("dot", "html", *FORMATS):
            raise ValueError(f"a drawing is saved as .dot, .svg, .png, .pdf or .html, not {path.name!r}")
        if width is not None and (kind in ("dot", "html") or not width > 0):
            raise ValueError(
                f"width is a positive number of points, of an .svg, .png or .pdf, not {width!r} of a .{kind}"
            )
        path.write_bytes(self._file(kind, path.stem, width))
        return path

    def _file(self, kind: str, name: str, width: float | None) -> bytes:
        if kind == "dot":
            return self.source.encode()
        if kind == "html":
            return atlas(self._whole, name, self._said).encode()
        if kind != "svg" and not importlib.util.find_spec("typst"):
            return render(self.source, kind, width)
        svg = self.svg() if width is None else resized(self.svg(), width)
        return svg.encode() if kind == "svg" else printed(svg, kind)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, str], dict[str, Any]]:
        return in_notebook(self.svg(f"drawing{_serial()}-"), repr(self))

    def __repr__(self) -> str:
        said = f", {' '.join(self.caption.split())}" if self.caption else ""
        return f"Drawing({len(self.graph.vertices)} boxes, {len(self.graph.edges)} edges{said})"


def draw(
    *outputs: Any,
    backward: bool = False,
    cotangents: Sequence[Any] | None = None,
    values: bool = False,
    detail: str | None = None,
    fit: str | tuple[float, float] | None = None,
    collapse: Collapse | None = None,
    open: bool | str | Collection[str] = False,
    repeat: bool = False,
    axes: Axes | None = None,
    theme: str = "light",
    max_nodes: int = 400,
) -> Drawing:
    """Draw the recorded step that led to the outputs.

    Each operation is a box with its formula and the name and shape of its result; each operand is an edge, so ``x * x``
    has two. Scopes are clusters. Named steps, as softmax, ReLU, a loss or a convolution, are one box, and
    modules a cluster or a box with their path in the network, as "block1.norm". Broadcasts are boxes, too: their
    gradient is the sum, in a double frame, that appears beside them.

    Parameters
    ----------
    *outputs : Tensors, or a function and its inputs
        A Tensor that was not recorded is a single box. A function, or a module, is run on the inputs that follow it:
        floating arrays become Tensors that require gradients and have the names of its parameters. Comparisons,
        indices and what needs no gradient are then recorded, too.
    backward : bool
        Draw the gradient as well, as it is recorded under ``create_graph``: it runs upwards, dashed, in a colour of its
        own, each operation beside the one it differentiates.
    cotangents : sequence of arrays, optional
        ``dL/dy`` for each output, for ``backward``; drawn from a fixed seed if not given.
    values : bool
        Write dtypes and values into the boxes: each element of a small array, else its extremes and mean; with
        ``backward`` also the length of each gradient.
    detail : {"full", "slide"}, optional
        "slide" runs from left to right and folds reshapes, broadcasts, transposes and casts into marks on their edges.
        Without it, "full", and with ``fit`` "slide".
    fit : {"slide", "screen", "page", "column"} or (width, height), optional
        Lay the picture out for a frame, given in points or by name: a slide of 1280 x 720 pixels, a screen of 1440 x
        810, a page of 6.5 x 9 inches, a column of 3.5 inches that is at most 1.4 times as high. It is as wide as the
        frame and at most as high. Its direction, how it is cut into rows, how labels break and whether lines say
        "broadcast" are chosen so that its text is large: 14 pixels on a slide, 7 points on paper. Where that is more
        than fits, scopes are collapsed, no more than needed, and the caption says which; unless ``collapse`` or
        ``repeat`` is given.
    collapse : int, str, collection of str, or callable, optional
        Which scopes become one box that says how many operations it holds: those deeper than a depth (with 0 every
        outermost scope, with 1 every scope inside one), those of some names, or those for which a function of the path
        of names, as ``("encoder", "block")``, is true. Modules are also called by their path. Parameters that only one
        box uses are in it.
    open : bool, str or collection of str
        Which named steps are shown as the operations they are composed of: all, those of some names, as "softmax", or
        those at some path. A step in another one shows when that one is open.
    repeat : bool
        Show a chain of boxes that hold the same operations once, with its length: "block × 12"; and so a sequence of
        boxes that follows itself, in a frame. Without ``collapse`` the outermost scopes become boxes.
    axes : str, mapping of str to str, or several, optional
        Names of axes, by rank as ``"n c h w"`` or by Tensor as ``{"x": "n d", "scores": "n q k"}``, or a list of both.
        Names follow the data, into the gradient too, and what reductions run over is said in them: "Σ over k".
    theme : {"light", "dark"}
    max_nodes : int
        Where there would be more boxes than that, or three times as many edges, or edges past 25 times as many
        rows of boxes, scopes are collapsed, no more than needed, and the picture says so: layouts of large graphs take
        minutes.

    Returns
    -------
    Drawing
        With ``.source``, ``.svg()`` and ``.save("x.pdf")``; notebooks show it. An error that a given function raises
        has it, too, as ``.drawing``: what was recorded until then, without a gradient, and the operation that failed
        with the shapes that it refused.

    Raises
    ------
    TypeError
        If an output is not a Tensor, or ``cotangents``, ``open``, ``axes`` or ``max_nodes`` is of another type.
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
    >>> tn.draw(tn.ops.softmax(x)), tn.draw(tn.ops.softmax(x), open=True)
    (Drawing(2 boxes, 1 edges), Drawing(8 boxes, 8 edges))
    >>> tn.draw(tn.batch_norm(x), fit="column")
    Drawing(8 boxes, 9 edges)
    """
    if not outputs:
        raise ValueError("draw needs at least one Tensor")
    frame = None if fit is None else frame_of(fit)
    detail = detail or ("full" if frame is None else "slide")
    if detail not in ("full", "slide"):
        raise ValueError(f"detail is 'full' or 'slide', not {detail!r}")
    if cotangents is not None and not backward:
        raise ValueError("cotangents are for backward=True")
    if not isinstance(max_nodes, int):
        raise TypeError(f"max_nodes is an int, not {max_nodes!r}")

    output: str | None = None

    def view(graph: Graph) -> Graph:
        graph = fold(graph) if detail == "slide" else graph
        return graph if output is None else with_its_output_called(output, graph)

    def drawing(graph: Graph, collapse: Collapse | None, repeat: bool, *said: str) -> Drawing:
        said = (*said, legend(graph))
        # In an atlas everything opens, named steps too.
        whole = view(apart(graph, lambda step: False)), _lines(*said)
        graph = stepped(graph, opening(open, graph))
        chosen = collapse is not None or repeat
        if chosen:
            graph = _collapsed(graph, 0 if collapse is None else collapse, repeat)
        if frame is not None and (graph.scopes or too_much(view(graph), max_nodes) is None):
            shown, picture = in_frame(
                graph, lambda g: written(view(g)), frame, theme_called(theme), chosen, _lines(*said)
            )
            if picture.text < frame.readable:
                warnings.warn(_small(picture.text, frame.readable), stacklevel=3)
            return Drawing(shown, picture.rankdir, theme, picture.caption, picture.mount, whole)
        shown, caption = (_all(graph, view, max_nodes), "") if chosen else _small_enough(graph, view, max_nodes)
        return Drawing(shown, "LR" if detail == "slide" else "TB", theme, _lines(*said, caption), whole=whole)

    if callable(outputs[0]) and not isinstance(outputs[0], Tensor):

        def failed(error: Exception, same: Exception, trail: Trail) -> None:
            refused = refusal(same, trail)
            graph = trace(*without_consumers(trail), values=values, axes=axes, refusal=refused, partial=True)
            # A scope that is to be one box may not have been reached.
            for how in ((collapse, repeat), (None, False)):
                with suppress(ValueError):
                    error.drawing = drawing(graph, *how, in_lines(error))  # type: ignore[attr-defined]
                    error.add_note("The picture of what ran until then is in .drawing of this exception.")
                    return

        outputs = tuple(run(outputs[0], outputs[1:], failed))
    for y in outputs:
        if not isinstance(y, Tensor):
            raise TypeError(f"draw takes Tensors, not {type(y).__name__}, or a function and its inputs")
    recorded, lengths = outputs, None
    if backward:
        leaves = leaves_of(outputs)
        seeds = seeds_of(outputs, cotangents)
        output = called(outputs) if len(outputs) == 1 else None
        recorded = (*outputs, *examine(grad, outputs, leaves, seeds, True))
        lengths = gradients_of(outputs, seeds) if values else None
    return drawing(trace(*recorded, values=values, gradients=lengths, axes=axes), collapse, repeat)


_ADVICE = (
    "draw a smaller step, put its parts in scopes (with tn.scope(...)) and choose which of them become one box with "
    "collapse=, use detail='slide', or raise max_nodes if you can wait for the layout, or want an .html, which has a "
    "picture for each part"
)


def _small(text: float, readable: float) -> str:
    return (
        f"the text of this picture is {text:.1f} points high in its frame, and {readable:g} are readable: put parts of "
        "the step in scopes (with tn.scope(...)), which become one box each where they do not fit, or draw less of it"
    )


def _lines(*said: str) -> str:
    return "\n".join(filter(None, said))


def _all(graph: Graph, view: Callable[[Graph], Graph], max_nodes: int) -> Graph:
    """Return all of a graph that was collapsed as asked for."""
    shown = view(graph)
    if reason := too_much(shown, max_nodes):
        raise ValueError(f"the collapsed graph has {reason}: {_ADVICE}")
    return shown


def _collapsed(graph: Graph, collapse: Collapse, repeat: bool) -> Graph:
    """Return the graph with scopes as one box each; an operation that failed stands outside of them, to be seen."""
    vertices = tuple(replace(v, scope=()) if v.refused else v for v in graph.vertices)
    return collapsed(replace(graph, vertices=vertices), closing(collapse, graph), repeat)


def _small_enough(graph: Graph, view: Callable[[Graph], Graph], max_nodes: int) -> tuple[Graph, str]:
    """Return what to show of a graph, with no more scopes collapsed than needed, and a caption that says which."""
    shown = view(graph)
    reason = too_much(shown, max_nodes)
    if reason is None:
        return shown, ""
    operations = sum(v.operation is not None for v in graph.vertices)
    # Repeats are shown once only where nothing else helps, as then the picture is no longer the whole.
    ways = [*((depth, False) for depth in depths(graph, max_nodes)), (0, True)] if graph.scopes else []
    for depth, repeat in ways:
        smaller = view(_collapsed(graph, depth, repeat))
        if too_much(smaller, max_nodes) is None:
            once = ", repeated boxes once" if repeat else ""
            return smaller, f"collapsed to depth {depth}{once}: {operations} operations"
    vain = "collapsing its scopes does not help" if graph.scopes else "it has no scopes to collapse"
    raise ValueError(f"the graph has {reason}, and {vain}: {_ADVICE}")
