"""The state in which an operation runs: whether it is recorded, in which scope, and for which derivative.

A context variable holds one immutable `State`, so each thread and task has its own, and an operation looks it up once.
Every context manager restores the fields that it changed and leaves the others alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .primitive import Node


class Scope:
    """One entry into ``with scope(name)``. Two entries are two scopes, even if they have the same name."""

    __slots__ = ("name", "parent")

    def __init__(self, name: str, parent: Scope | None) -> None:
        self.name = name
        self.parent = parent

    @property
    def path(self) -> tuple[Scope, ...]:
        """The enclosing scopes and this one, outermost first."""
        return (*self.parent.path, self) if self.parent else (self,)


class State(NamedTuple):
    """The state in which an operation runs.

    ``order``, ``differentiates`` and ``operand`` describe an operation in a backward pass: its order of differentiation
    (0 in the forward pass), the node that it differentiates, and the operand whose rule it belongs to (None for a sum
    of contributions). ``examined`` is set while a checker or an explorer runs the code: layers then do not update their
    buffers. With ``origins``, operations without a gradient, comparisons and index functions are recorded, too.
    ``analytic`` is set during a complex step: functions then branch on the real part. ``trail`` collects the computed
    Tensors for error reports. ``fuser`` handles the calls of compositions.
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
    """Set fields of the State for the duration of a ``with`` block."""
    before = STATE.get()
    STATE.set(before._replace(**fields))
    try:
        yield
    finally:
        STATE.set(STATE.get()._replace(**{field: getattr(before, field) for field in fields}))


def differentiating(tensors: Iterable[Any]) -> AbstractContextManager[None]:
    """Record the following operations as a derivative, one order higher than the highest order of the Tensors."""
    highest = max((tensor.node.order for tensor in tensors), default=0)
    return surrounding(recording=True, order=highest + 1, scope=None, differentiates=None, operand=None)


def record_for(node: Node | None, operand: int | None) -> None:
    """Record the following operations as the derivative of a node, in its scope."""
    STATE.set(STATE.get()._replace(scope=node.scope if node else None, differentiates=node, operand=operand))
