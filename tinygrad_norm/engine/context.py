"""What surrounds an operation while it is computed: is it recorded, in which scope, on whose behalf.

One immutable `State` stands in one context variable, so threads and tasks have their own, and an operation looks it
up once. Every `with` restores the field it changed, by value, and leaves the other fields as it finds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .primitive import Node


class Scope:
    """One entry into ``with scope(name)``: two entries are two scopes, though their names be equal."""

    __slots__ = ("name", "parent")

    def __init__(self, name: str, parent: Scope | None) -> None:
        self.name = name
        self.parent = parent

    @property
    def path(self) -> tuple[Scope, ...]:
        """The scopes around and including this one, outermost first."""
        return (*self.parent.path, self) if self.parent else (self,)


class State(NamedTuple):
    """What an operation finds around it.

    ``order``, ``differentiates`` and ``operand`` say what it is in a gradient: of which order of differentiation (0 in
    the forward pass), made for which node, by the rule for which operand; no operand for a sum of contributions.
    ``examined`` says that a checker or an explorer is running the code, so that layers leave their buffers alone, and
    ``origins`` that data, too, keep how they were computed: what needs no gradient, comparisons, indices. ``analytic``
    says that a complex step is being taken, so that what branches does so by the real part. A ``trail`` keeps what is
    computed, in case an error comes. A ``fuser`` computes compositions in its own way.
    """

    recording: bool = True
    scope: Scope | None = None
    order: int = 0
    differentiates: Node | None = None
    operand: int | None = None
    examined: bool = False
    origins: bool = False
    analytic: bool = False
    trail: Any = None
    fuser: Any = None


STATE: ContextVar[State] = ContextVar("tinygrad_norm", default=State())  # noqa: B039 (a State is immutable)


@contextmanager
def surrounding(**fields: Any) -> Iterator[None]:
    """Set the given fields of the State for the duration of a ``with``."""
    before = STATE.get()
    STATE.set(before._replace(**fields))
    try:
        yield
    finally:
        STATE.set(STATE.get()._replace(**{field: getattr(before, field) for field in fields}))


def differentiating(tensors: Iterable[Any]) -> AbstractContextManager[None]:
    """Record what follows as a derivative, one order higher than the highest of what was computed."""
    highest = max((tensor.node.order for tensor in tensors), default=0)
    return surrounding(recording=True, order=highest + 1, scope=None, differentiates=None, operand=None)


def record_for(node: Node | None, operand: int | None) -> None:
    """Record what follows beside the node it differentiates."""
    STATE.set(STATE.get()._replace(scope=node.scope if node else None, differentiates=node, operand=operand))
