"""Context managers that control recording: disable it, or group operations under a name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Mapping
from functools import wraps
from typing import Any, TypeVar
from weakref import ref

from .context import STATE, Scope, State

Function = TypeVar("Function", bound=Callable[..., Any])


def is_recording() -> bool:
    """Return whether operations are currently recorded."""
    return STATE.get().recording


def is_examined() -> bool:
    """Return whether a checker or an explorer is running the code. Layers then do not update their buffers."""
    return STATE.get().examined


def composition(function: Function) -> Function:
    """Decorate a function composed of primitives, so that an active fuser can handle its calls."""

    @wraps(function)
    def composed(*args: Any, **kwargs: Any) -> Any:
        fuser = STATE.get().fuser
        return function(*args, **kwargs) if fuser is None else fuser(composed, args, kwargs)

    return composed  # type: ignore[return-value]


COMPOSED: Any = composition(is_recording).__code__
"""The code object of the wrapper around a composition, which listings of the user's code leave out."""


def once_known(action: Callable[[], None]) -> None:
    """Run an action on values that a fuser may compute later: now, or once they are computed."""
    fuser = STATE.get().fuser
    if fuser is None:
        action()
    else:
        fuser.later(action)


def settle() -> None:
    """Make an active fuser compute its pending values and run the actions that wait for them."""
    fuser = STATE.get().fuser
    if fuser is not None:
        fuser.settle()


class Step(Scope):
    """A named composition such as softmax, which drawings show as one box.

    ``inputs`` are its inputs, and ``static`` the parameters that the drawing shows.
    """

    __slots__ = ("inputs", "static")

    def __init__(self, name: str, parent: Scope | None, inputs: tuple[Any, ...], static: Mapping[str, Any]) -> None:
        self.name, self.parent = name, parent
        self.inputs, self.static = inputs, static


class ModuleScope(Scope):
    """One call of a module, named after its class. ``place`` is its path in the outermost module: "block1.norm"."""

    __slots__ = ("module", "place")

    def __init__(self, name: str, parent: Scope | None, place: str, module: Any) -> None:
        self.name, self.parent, self.place = name, parent, place
        # A weak reference, because a module may hold Tensors computed in it: a cycle would need garbage collection.
        self.module: Any = ref(module)


class scope:  # noqa: N801 (a context manager is named like the function it stands for)
    """Group the operations recorded in a ``with`` block under a name, as one cluster of a drawing. Scopes can nest.

    Examples
    --------
    >>> import tinygrad_norm as tn
    >>> with tn.scope("layer 1"):
    ...     y = tn.tensor([1.0], requires_grad=True) * 2
    >>> y.node.scope.name
    'layer 1'
    """

    __slots__ = ("_entered", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        self._entered: list[tuple[State, State]] = []

    def __enter__(self) -> None:
        outer = inner = STATE.get()
        if outer.recording or outer.origins:
            # Every norm opens a scope, and `_replace` takes three times as long.
            inner = State._make((outer.recording, self._inside(outer.scope), *outer[2:]))
            STATE.set(inner)
        self._entered.append((outer, inner))

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        outer, inner = self._entered.pop()
        state = STATE.get()
        if state is not outer:
            STATE.set(outer if state is inner else state._replace(scope=outer.scope))
        if error is not None and outer.trail is not None:
            outer.trail.left(inner.scope, error)

    def _inside(self, outer: Scope | None) -> Scope:
        return Scope(self._name, outer)


class step(scope):  # noqa: N801 (a context manager is named like the function it stands for)
    """Record the operations in a ``with`` block as one named step, which drawings show as one box.

    Parameters
    ----------
    name : str
        The name shown in the box, such as "log-softmax".
    *inputs : Tensors or arrays
        The inputs of the step.
    **static
        Parameters shown in the box, such as ``axis``.

    Examples
    --------
    >>> import tinygrad_norm as tn
    >>> x = tn.tensor([1.0, 2.0], requires_grad=True)
    >>> with step("double", x):
    ...     y = x + x
    >>> tn.draw(y).graph.vertices[1].symbol
    'double'
    """

    __slots__ = ("_inputs", "_static")

    def __init__(self, name: str, *inputs: Any, **static: Any) -> None:
        super().__init__(name)
        self._inputs, self._static = inputs, static

    def _inside(self, outer: Scope | None) -> Scope:
        return Step(self._name, outer, self._inputs, self._static)


class no_grad:  # noqa: N801 (a context manager is named like the function it stands for)
    """Disable recording in a ``with`` block, or in a decorated function, generator function or coroutine function.

    In a decorated generator, recording is disabled only while the generator runs, not while its caller does. A block
    ``with no_grad()`` around a ``yield`` also affects the caller until the generator resumes.

    Examples
    --------
    >>> import tinygrad_norm as tn
    >>> x = tn.tensor([1.0], requires_grad=True)
    >>> with tn.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> None:
        state = STATE.get()
        self._before.append(state.recording)
        STATE.set(state._replace(recording=False))

    def __exit__(self, *exception: object) -> None:
        STATE.set(STATE.get()._replace(recording=self._before.pop()))

    def __call__(self, function: Function) -> Function:
        if inspect.isasyncgenfunction(function):
            raise TypeError("no_grad() cannot decorate an asynchronous generator; use `with no_grad():` between yields")
        if inspect.isgeneratorfunction(function):
            return _unrecorded_generator(function)  # type: ignore[return-value]
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def coroutine(*args: Any, **kwargs: Any) -> Any:
                with no_grad():
                    return await function(*args, **kwargs)

            return coroutine  # type: ignore[return-value]

        @wraps(function)
        def unrecorded(*args: Any, **kwargs: Any) -> Any:
            with no_grad():
                return function(*args, **kwargs)

        return unrecorded  # type: ignore[return-value]


def _unrecorded_generator(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def generator(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        running = function(*args, **kwargs)
        resume, argument = running.send, None
        while True:
            try:
                with no_grad():
                    value = resume(argument)
            except StopIteration as stop:
                return stop.value
            try:
                resume, argument = running.send, (yield value)
            except GeneratorExit:
                with no_grad():
                    running.close()
                raise
            except BaseException as error:
                resume, argument = running.throw, error

    return generator
