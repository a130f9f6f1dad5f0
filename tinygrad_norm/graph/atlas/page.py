"""The atlas as a page: what its script reads, of every picture and of every box."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..boxes import half, holding, title_of, whole_label
from ..model import Edge, Graph, Vertex
from ..offline import page_of
from ..scopes import title
from ..text import drawable, in_words, shortened
from .grouping import Cut
from .layout import laid_out
from .pictures import Part, Stub, Thing, pictures_of

_KINDS = ("forward", "backward", "higher")
_CUT = "Too many boxes for one picture: they are cut into {} parts, in the order in which they run."
_CROWDED = (
    "{} boxes and {} lines would take long to lay out: they are in rows, in the order in which they run. "
    "Choose one, and its lines show."
)


def atlas(graph: Graph, name: str, said: str = "") -> str:
    """Return a page of one file with a picture of each scope of a graph, to walk through.

    Parameters
    ----------
    graph : Graph
        With all of its operations.
    name : str
        What the whole is called.
    said : str
        What stands below the first picture.
    """
    graph, pictures = pictures_of(graph)
    number = {picture.scope: i for i, picture in enumerate(pictures)}
    things = {place: 0 for picture in pictures for place in picture.places if not isinstance(place, Stub)}
    things = {thing: i for i, thing in enumerate(things)}
    told: list[dict[str, Any]] = [{} for _ in things]
    shown = []
    for picture in pictures:
        labels = [_label(v, place, graph) for v, place in zip(picture.graph.vertices, picture.places, strict=True)]
        placed = laid_out(picture.graph, labels)
        boxes = []
        for v, place, lines, at in zip(picture.graph.vertices, picture.places, labels, placed.boxes, strict=True):
            stub = isinstance(place, Stub)
            thing = place.thing if isinstance(place, Stub) else place
            boxes.append([None if thing is None else things[thing], *at, [*map(drawable, lines)], _look(v, stub)])
            if not isinstance(place, Stub):
                told[things[place]] = {
                    "title": drawable(lines[0]),
                    "home": number[picture.scope],
                    "facts": _facts(v, picture.graph),
                    **({"opens": number[place.scope]} if isinstance(place, Part) else {}),
                }
        called = name if picture.scope is None else title(graph.scopes[picture.scope])
        notes = [said] * (picture.scope is None)
        inner = {place.scope for place in picture.places if isinstance(place, Part)}
        if parts := sum(isinstance(graph.scopes[scope], Cut) for scope in inner):
            notes.append(_CUT.format(parts))
        if placed.grid:
            notes.append(_CROWDED.format(len(boxes), len(placed.lines)))
        shown.append(
            {
                "name": drawable(shortened(called)),
                "outer": None if picture.scope is None else number[picture.outer],
                "note": " ".join(filter(None, notes)),
                "size": [placed.width, placed.height],
                "boxes": boxes,
                "lines": [
                    _line(e, picture.graph, *at) for e, at in zip(picture.graph.edges, placed.lines, strict=True)
                ],
                **({"grid": True} if placed.grid else {}),
            }
        )
    data = {"things": told, "pictures": shown}
    return page_of(Path(__file__).with_name("atlas.html"), name, data)


def _label(v: Vertex, place: Thing | Stub, graph: Graph) -> list[str]:
    """Return the lines of a box."""
    if not isinstance(place, Stub):
        named = [v.called] if v.holds else []
        return [*filter(None, [*named, *whole_label(v)])]
    if place.thing is None:
        return [v.symbol]
    if not place.comes:
        return [f"to {shortened(title_of(v) if isinstance(place.thing, Part) else v.called or v.symbol)}"]
    lines = [shortened(v.called or v.symbol), in_words(v.shape)]
    if isinstance(place.near, Part):
        lines.append(f"from {shortened(title(graph.scopes[place.near.scope]))}{half(v.order)}")
    return lines


def _look(v: Vertex, stub: bool) -> str:
    """Return the classes of a box."""
    kind = "leaf" if v.operation is None and not v.order else _KINDS[min(v.order, 2)]
    more = {"stub": stub, "sum": v.unbroadcast, "refused": v.refused is not None}
    return " ".join([kind, *(name for name, holds in more.items() if holds)])


def _line(e: Edge, graph: Graph, path: str, label: tuple[int, int] | None) -> list[Any]:
    orders = graph.vertices[e.source].order, graph.vertices[e.target].order
    kind = "lent" if orders[0] < orders[1] else _KINDS[min(orders[1], 2)]
    return [e.source, e.target, kind, path, *([", ".join(e.marks), *label] if label else [])]


def _facts(v: Vertex, graph: Graph) -> dict[str, str]:
    """Return what is known of a box, by what it is."""
    beside = None if v.differentiates is None else graph.vertices[v.differentiates]
    facts = {
        "name": v.name or "",
        "kind": ""
        if v.operation
        else "parameter"
        if v.parameter
        else "leaf that needs a gradient"
        if v.requires_grad
        else "data",
        "operation": _operation(v),
        "formula": v.text,
        "holds": holding(v) if v.holds else "",
        "takes and makes": v.detail if v.holds else "",
        "makes": ", ".join(v.results),
        "shape": "" if v.holds or v.refused else in_words(v.shape),
        "dtype": v.dtype,
        "gradient of": "" if beside is None else beside.called or title_of(beside),
        "by the rule": v.formula or "",
        "undoes": "a broadcast" if v.unbroadcast else "",
        "error": v.refused or "",
        "gradient norm": v.gradient_norm or "",
        "values": v.values or "",
    }
    return {key: drawable(text) if key != "values" else text for key, text in facts.items() if text}


def _operation(v: Vertex) -> str:
    if v.operation in (None, "scope", "step"):
        return f"{v.symbol} {v.detail}".strip() + half(v.order) if v.operation == "step" else ""
    return v.operation if v.symbol in ("", v.operation) else f"{v.operation} ({v.symbol})"
