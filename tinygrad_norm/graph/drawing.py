"""draw: a picture of a recorded computation."""

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
    """A picture of a graph, rendered on request.

    Attributes
    ----------
    graph : Graph
        The graph that is shown, as data.
    source : str
        The picture as DOT text. Equal graphs have equal text.
    caption : str
        The text below the picture: which scopes were collapsed to fit, and the line styles of second derivatives.
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
        # The graph with nothing collapsed, and its caption, for the atlas.
        self._whole, self._said = whole or (graph, caption)

    def svg(self, prefix: str = "") -> str:
        """Return the picture as SVG text.

        Parameters
        ----------
        prefix : str
            Put before every id, so that one page can hold several pictures.

        Raises
        ------
        RenderError
            If the graph cannot be laid out.
        ValueError
            If the prefix does not start with a letter, or has other characters than letters, digits, ``-`` and ``_``.
        """
        if prefix and not re.fullmatch(r"[A-Za-z][\w-]*", prefix, re.ASCII):
            raise ValueError(f"prefix must be a letter followed by letters, digits, - or _, not {prefix!r}")
        return prefixed(exact(with_fonts(render(self.source).decode())), prefix)

    def save(self, path: str | os.PathLike[str], width: float | None = None) -> Path:
        """Write the picture to a file ending in .svg, .pdf, .png, .dot or .html, and return its path.

        A PDF has one page of the size of the picture, with embedded fonts. PDF and PNG are made with typst, which the
        extra ``print`` installs, or else with Graphviz's `dot`.

        HTML is an atlas: one self-contained page with a picture of every scope and every named step, to navigate and to
        search. It shows the whole graph even if this picture is collapsed. Its title is the name of the file. Its
        colours follow the light or dark mode of the reader's system.

        Parameters
        ----------
        path : str or path
        width : float, optional
            The width in points, of which 72 are an inch. The height is scaled along. Default: the picture's own width.
            A PNG has 192 pixels per inch. Not for .html and .dot.

        Raises
        ------
        RenderError
            If neither typst nor `dot` is installed, for .png and .pdf.
        ValueError
            If the ending is another one, the width is not positive, or a width is given for .dot or .html.

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
            raise ValueError(f"a drawing must be saved as .dot, .svg, .png, .pdf or .html, not {path.name!r}")
        if width is not None and (kind in ("dot", "html") or not width > 0):
            raise ValueError(
                f"width must be a positive number of points, for .svg, .png or .pdf; got {width!r} for a .{kind} file"
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
    """Draw the recorded computation of the outputs.

    Each operation is a box with its formula and the name and shape of its result. Each operand is an edge, so ``x * x``
    has two. Scopes are clusters. A named step, such as softmax, ReLU, a loss or a convolution, is one box. A module is
    a cluster or a box with its path in the network, such as "block1.norm". A broadcast is a box, too. Its gradient is
    the sum beside it, in a double frame.

    Parameters
    ----------
    *outputs : Tensors, or a function and its inputs
        A Tensor that was not recorded is a single box. A function, or a module, is run on the inputs that follow it.
        Floating-point arrays become Tensors that require gradients and are named after the function's parameters.
        Comparisons, indices and other operations without a gradient are then recorded, too.
    backward : bool
        Draw the gradient as well, as recorded with ``create_graph``. It runs upwards, with dashed lines and another
        colour. Each of its operations is beside the one that it differentiates.
    cotangents : sequence of arrays, optional
        ``dL/dy`` for each output, if ``backward``. Default: random, with a fixed seed.
    values : bool
        Show dtypes and values: all elements of a small array, or the extremes and the mean of a large one. With
        ``backward``, also show the norm of each gradient.
    detail : {"full", "slide"}, optional
        "slide" runs from left to right and shows reshapes, broadcasts, transposes and casts as labels of edges.
        Default: "slide" with ``fit``, "full" without.
    fit : {"slide", "screen", "page", "column"} or (width, height), optional
        Lay the picture out for a frame, given in points or by name: a slide of 1280 x 720 pixels, a screen of 1440 x
        810, a page of 6.5 x 9 inches, a column of 3.5 inches that is at most 1.4 times as high. The picture is as wide
        as the frame and at most as high. Its direction, rows and line breaks, and whether edges are labelled
        "broadcast", are chosen to make the text large: 14 pixels on a slide, 7 points on paper. If the graph is too
        large for that, as few scopes as possible are collapsed, and the caption names them, unless ``collapse`` or
        ``repeat`` is given.
    collapse : int, str, collection of str, or callable, optional
        The scopes that become one box with their number of operations: scopes deeper than a depth (0 collapses every
        outermost scope, 1 every scope inside one), scopes with given names, or scopes for which a function of the
        path, such as ``("encoder", "block")``, is true. A module can also be named by its path. Parameters that only
        one box uses are inside it.
    open : bool, str or collection of str
        The named steps that are shown as their operations: all, or steps with given names, such as "softmax", or paths.
        A step inside another one is shown if the outer one is open.
    repeat : bool
        Show a chain of boxes with the same operations once, with its length: "block × 12". A repeated sequence of
        boxes is shown once, in a frame. Without ``collapse`` the outermost scopes become boxes.
    axes : str, mapping of str to str, or several, optional
        Names of axes, by rank, such as ``"n c h w"``, or by Tensor, such as ``{"x": "n d", "scores": "n q k"}``, or a
        list of both. Names are passed on through the graph and its gradient. Reductions show them: "Σ over k".
    theme : {"light", "dark"}
    max_nodes : int
        The largest number of boxes. There can be three times as many edges, and they can span 25 times as many rows of
        boxes. A larger graph, whose layout would take minutes, is drawn with as few scopes collapsed as possible, and
        the caption says so.

    Returns
    -------
    Drawing
        With ``.source``, ``.svg()`` and ``.save("x.pdf")``; notebooks show it. If the given function raises an
        exception, the exception has a drawing as ``.drawing``: what was recorded until then, without a gradient, and
        the operation that failed, with the shapes of its operands.

    Raises
    ------
    TypeError
        If an output is not a Tensor, or ``cotangents``, ``open``, ``axes`` or ``max_nodes`` has another type.
    ValueError
        If there are no outputs, there are too many boxes or edges even with all scopes collapsed, an argument is not
        one of the above, or ``backward`` has nothing to differentiate.

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
        raise ValueError(f"detail must be 'full' or 'slide', not {detail!r}")
    if cotangents is not None and not backward:
        raise ValueError("cotangents need backward=True")
    if not isinstance(max_nodes, int):
        raise TypeError(f"max_nodes must be an int, not {max_nodes!r}")

    output: str | None = None

    def view(graph: Graph) -> Graph:
        graph = fold(graph) if detail == "slide" else graph
        return graph if output is None else with_its_output_called(output, graph)

    def drawing(graph: Graph, collapse: Collapse | None, repeat: bool, *said: str) -> Drawing:
        said = (*said, legend(graph))
        # In an atlas everything can be opened, including named steps.
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
            # The function may have failed before it reached a scope in `collapse`.
            for how in ((collapse, repeat), (None, False)):
                with suppress(ValueError):
                    error.drawing = drawing(graph, *how, in_lines(error))  # type: ignore[attr-defined]
                    error.add_note("The attribute .drawing of this exception is a picture of what ran until then.")
                    return

        outputs = tuple(run(outputs[0], outputs[1:], failed))
    for y in outputs:
        if not isinstance(y, Tensor):
            raise TypeError(f"draw expects Tensors, or a function and its inputs, got {type(y).__name__}")
    recorded, lengths = outputs, None
    if backward:
        leaves = leaves_of(outputs)
        seeds = seeds_of(outputs, cotangents)
        output = called(outputs) if len(outputs) == 1 else None
        recorded = (*outputs, *examine(grad, outputs, leaves, seeds, True))
        lengths = gradients_of(outputs, seeds) if values else None
    return drawing(trace(*recorded, values=values, gradients=lengths, axes=axes), collapse, repeat)


_ADVICE = (
    "draw less of the computation, or put its parts in scopes (with tn.scope(...)) and collapse some of them to one "
    "box each with collapse=, or use detail='slide', or raise max_nodes if you can wait for the layout or want an "
    ".html, which has a picture for each part"
)


def _small(text: float, readable: float) -> str:
    return (
        f"the text of this picture is {text:.1f} points high, but it needs {readable:g} to be readable: put parts of "
        "the computation in scopes (with tn.scope(...)), so that they can be collapsed to fit, or draw less of it"
    )


def _lines(*said: str) -> str:
    return "\n".join(filter(None, said))


def _all(graph: Graph, view: Callable[[Graph], Graph], max_nodes: int) -> Graph:
    """Return the view of a graph that the caller has collapsed. Raise a ValueError if it is too large."""
    shown = view(graph)
    if reason := too_much(shown, max_nodes):
        raise ValueError(f"the collapsed graph has {reason}: {_ADVICE}")
    return shown


def _collapsed(graph: Graph, collapse: Collapse, repeat: bool) -> Graph:
    """Return the graph with collapsed scopes. An operation that failed stays outside of them, so that it is visible."""
    vertices = tuple(replace(v, scope=()) if v.refused else v for v in graph.vertices)
    return collapsed(replace(graph, vertices=vertices), closing(collapse, graph), repeat)


def _small_enough(graph: Graph, view: Callable[[Graph], Graph], max_nodes: int) -> tuple[Graph, str]:
    """Return the view of a graph with as few scopes collapsed as needed, and a caption with the depth."""
    shown = view(graph)
    reason = too_much(shown, max_nodes)
    if reason is None:
        return shown, ""
    operations = sum(v.operation is not None for v in graph.vertices)
    # Repeats are merged only as a last resort, since the picture is no longer complete then.
    ways = [*((depth, False) for depth in depths(graph, max_nodes)), (0, True)] if graph.scopes else []
    for depth, repeat in ways:
        smaller = view(_collapsed(graph, depth, repeat))
        if too_much(smaller, max_nodes) is None:
            once = ", repeated boxes once" if repeat else ""
            return smaller, f"collapsed to depth {depth}{once}: {operations} operations"
    vain = "collapsing its scopes does not help" if graph.scopes else "it has no scopes to collapse"
    raise ValueError(f"the graph has {reason}, and {vain}: {_ADVICE}")
