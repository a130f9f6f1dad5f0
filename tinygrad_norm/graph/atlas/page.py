"""The atlas as a page: the data for its script, about every picture and every box."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..boxes import half, holding, title_of, whole_label
from ..model import Edge, Graph, Vertex
from ..offline import page_of
from ..scopes import title
from ..text import drawable, in_words, shortened
from .grouping import Cut
from .layout import laid_out
from .pictures import Part, Picture, Stub, Thing, pictures_of

_KINDS = ("forward", "backward", "higher")
_CUT = "There are too many boxes for one picture, so they are divided into {} parts, in the order of execution."
_CROWDED = (
    "{} boxes and {} lines would take long to lay out, so they are in rows, in the order of execution. "
    "Select a box to see its lines."
)


def atlas(graph: Graph, name: str, said: str = "") -> str:
    """Return a self-contained page with a picture of each scope of a graph.

    Parameters
    ----------
    graph : Graph
        The graph with all operations.
    name : str
        The title of the page.
    said : str
        The text below the first picture.
    """
    graph, pictures = pictures_of(graph)
    number = {picture.scope: i for i, picture in enumerate(pictures)}
    homes = {place: picture for picture in pictures for place in picture.places if not isinstance(place, Stub)}
    thing = {place: i for i, place in enumerate(homes)}
    shown = [_picture(picture, graph, number, thing) for picture in pictures]
    shown[0] |= {"name": drawable(shortened(name)), "note": " ".join(filter(None, [said, shown[0]["note"]]))}
    things = [_thing(place, picture, graph, number) for place, picture in homes.items()]
    template = Path(__file__).with_name("atlas.html")
    return page_of(template, [template.with_suffix(".js")], name, {"things": things, "pictures": shown})


def _picture(
    picture: Picture, graph: Graph, number: Mapping[int | None, int], thing: Mapping[Thing, int]
) -> dict[str, Any]:
    """Return the data of a picture: its boxes, each with the number of its thing, and its lines."""
    drawn, places = picture.graph, picture.places
    labels = [_label(v, place, graph) for v, place in zip(drawn.vertices, places, strict=True)]
    placed = laid_out(drawn, labels)
    stands_for = [place.thing if isinstance(place, Stub) else place for place in places]
    parts = {of.scope for of in places if isinstance(of, Part) and isinstance(graph.scopes[of.scope], Cut)}
    notes = [_CUT.format(len(parts))] if parts else []
    if placed.grid:
        notes.append(_CROWDED.format(len(drawn.vertices), len(drawn.edges)))
    return {
        "name": "" if picture.scope is None else drawable(shortened(title(graph.scopes[picture.scope]))),
        "outer": None if picture.scope is None else number[picture.outer],
        "note": " ".join(notes),
        "size": [placed.width, placed.height],
        "grid": placed.grid,
        "boxes": [
            [None if of is None else thing[of], *at, [*map(drawable, lines)], _look(v, isinstance(place, Stub))]
            for v, place, of, lines, at in zip(drawn.vertices, places, stands_for, labels, placed.boxes, strict=True)
        ],
        "lines": [_line(e, drawn, *at) for e, at in zip(drawn.edges, placed.lines, strict=True)],
    }


def _thing(place: Thing, picture: Picture, graph: Graph, number: Mapping[int | None, int]) -> dict[str, Any]:
    """Return the data of an operation or a scope: its facts, the picture that it is in, and the one that it opens."""
    v = picture.graph.vertices[picture.places.index(place)]
    opens = {"opens": number[place.scope]} if isinstance(place, Part) else {}
    what = {"title": drawable(_label(v, place, graph)[0]), "home": number[picture.scope]}
    return {**what, "facts": _facts(v, picture.graph), **opens}


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
    """Return the facts about a box, as labels and texts."""
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
        "contains": holding(v) if v.holds else "",
        "shapes": v.detail if v.holds else "",
        "results": ", ".join(v.results),
        "shape": "" if v.holds or v.refused else in_words(v.shape),
        "dtype": v.dtype,
        "gradient of": "" if beside is None else beside.called or title_of(beside),
        "rule": v.formula or "",
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
