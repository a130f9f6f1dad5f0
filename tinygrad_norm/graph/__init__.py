"""Recorded steps as data, and their pictures."""

from .drawing import Drawing, draw
from .model import Edge, Graph, Vertex, trace
from .render import RenderError

__all__ = ["Drawing", "Edge", "Graph", "RenderError", "Vertex", "draw", "trace"]
