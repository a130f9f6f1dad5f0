"""Recorded computations as graphs, and pictures of them."""

from .cube import draw_norms, draw_pattern
from .drawing import Drawing, draw
from .explorer import Page, explore
from .jacobian import draw_jacobian
from .model import Edge, Graph, Vertex
from .picture import Picture
from .render import RenderError
from .tracing import trace

__all__ = [
    "Drawing",
    "Edge",
    "Graph",
    "Page",
    "Picture",
    "RenderError",
    "Vertex",
    "draw",
    "draw_jacobian",
    "draw_norms",
    "draw_pattern",
    "explore",
    "trace",
]
