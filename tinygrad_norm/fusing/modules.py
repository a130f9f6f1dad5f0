"""`fuse` for modules: normalizations are compiled together with the elementwise steps that follow.

The module's own code runs. A norm returns a `Pending`, a Tensor whose values are computed when they are needed.
Activations and sums that follow extend its chain of steps. So all of these steps are known when it is compiled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from inspect import Parameter as Argument
from inspect import Signature
from typing import Any
from weakref import ref

import numpy as np

from ..engine.context import STATE, State, surrounding
from ..engine.operators import FUNCTIONS, Operators
from ..engine.tensor import Tensor
from ..nn.module import Module
from .arguments import constant_key, parameter_names
from .run import Fused
from .sweeps import Sweeps


@dataclass(frozen=True, eq=False)
class Step:
    """One function of a chain and its arguments: Tensors, constants, or the places of earlier results."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    options: Mapping[str, Any]

    def given(self) -> list[Any]:
        return [*self.args, *self.options.values()]

    def replacing(self, new: Callable[[Any], Any]) -> Step:
        return Step(self.function, tuple(map(new, self.args)), {name: new(x) for name, x in self.options.items()})


@dataclass(frozen=True)
class Place:
    """The place of an earlier result: the number of its step, and which result if there are several."""

    step: int
    part: int | None


@dataclass(frozen=True)
class Leaf:
    """The place of an array among the arguments of a chain."""

    number: int


def _told(x: Any) -> Any:
    return x if isinstance(x, Leaf | Place) else constant_key(x)


class Chain:
    """The steps of a chain as one function of their arrays."""

    def __init__(self, steps: Sequence[Step], results: Sequence[Place]) -> None:
        self.results = tuple(results)
        self.leaves: list[Any] = []
        names: list[str] = []
        key: list[Any] = [self.results]
        self._steps = []
        for step in steps:
            called = parameter_names(step.function, step.args, step.options)
            values = []
            for name, x in zip(called, (*step.args, *step.options.values()), strict=True):
                is_leaf = isinstance(x, Tensor) or type(x) is np.ndarray
                values.append(Leaf(len(self.leaves)) if is_leaf else x)
                if is_leaf:
                    self.leaves.append(x)
                    names.append(name if name not in names else f"{name}{len(names)}")
            options = dict(zip(step.options, values[len(step.args) :], strict=True))
            self._steps.append((step.function, tuple(values[: len(step.args)]), options))
            key.append((step.function, *map(_told, values), *step.options))
        self.key = tuple(key)
        self.__name__ = "_".join(function.__name__ for function, _, _ in self._steps)
        self.__signature__ = Signature([Argument(name, Argument.POSITIONAL_OR_KEYWORD) for name in names])

    def __call__(self, *leaves: Any) -> Any:
        made: list[Any] = []

        def value(x: Any) -> Any:
            if isinstance(x, Leaf):
                return leaves[x.number]
            if isinstance(x, Place):
                return made[x.step] if x.part is None else made[x.step][x.part]
            return x

        for function, args, options in self._steps:
            made.append(function(*map(value, args), **{name: value(x) for name, x in options.items()}))
        results = tuple(map(value, self.results))
        return results if len(results) != 1 else results[0]


def _operator(ufunc: np.ufunc, reflected: bool = False) -> Callable[..., Any]:
    def operator(self: Pending, *other: Any) -> Any:
        return self._extended(FUNCTIONS[ufunc], (*other, self) if reflected else (self, *other))

    return operator


def _once_computed(slot: str) -> Any:
    def look(self: Pending) -> Any:
        compute(self)
        return getattr(self, slot)

    return property(look)


class Pending(Tensor):
    """A Tensor that is computed when its values are needed. Then it becomes an ordinary Tensor."""

    __slots__ = ()

    _array, _requires_grad, node = map(_once_computed, ("_array", "_requires_grad", "node"))

    __add__, __radd__ = _operator(np.add), _operator(np.add, reflected=True)
    __sub__, __rsub__ = _operator(np.subtract), _operator(np.subtract, reflected=True)
    __mul__, __rmul__ = _operator(np.multiply), _operator(np.multiply, reflected=True)
    __truediv__, __rtruediv__ = _operator(np.divide), _operator(np.divide, reflected=True)
    __neg__ = _operator(np.negative)

    def _extended(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        run = _waiting(self).run
        if STATE.get().fuser is run:
            return run.extended(self, function, args, {})
        compute(self)
        return function(*args)


@dataclass(eq=False)
class Waiting:
    """The computation that a Pending waits for: its steps, with the engine's state and the data of that moment.

    ``made`` are the Pendings that the steps have returned, by place. ``arrays`` are the data of their Tensors.
    """

    run: Run
    steps: tuple[Step, ...]
    place: Place
    state: State
    made: Mapping[Place, ref[Pending]]
    arrays: Mapping[Tensor, Any]


_slot = vars(Operators)["node"]  # a Pending stores its Waiting in the slot of a Tensor's node


def _waiting(x: Pending) -> Waiting:
    return _slot.__get__(x)  # type: ignore[no-any-return]


def _pending(waiting: Waiting) -> Pending:
    result = Tensor.__new__(Pending)
    _slot.__set__(result, waiting)
    result._grad = result.name = None
    return result


def compute(x: Pending) -> None:
    """Compute a Pending, and with it other results of its norm that are still referenced, such as the statistics."""
    waiting = _waiting(x)
    steps, place = _from_what_is_held(waiting)
    # Its statistics, if they are still referenced.
    places = [each for each in waiting.made if each.step == 0 and each.part and len(steps) == len(waiting.steps)]
    others = {each: other for each in places if type(other := waiting.made[each]()) is Pending and other is not x}
    chain = Chain(steps, [place, *others])
    now = {leaf: leaf._array for leaf, array in waiting.arrays.items() if leaf._array is not array}
    leaves, chain.leaves = chain.leaves, []  # the chain is cached for others like it
    try:
        for leaf in now:  # it has received new data since
            leaf._array = waiting.arrays[leaf]
        with surrounding(**(waiting.state._asdict() | {"fuser": None})):
            made = waiting.run.fuser.function(chain)(*leaves)
    finally:
        for leaf, array in now.items():
            leaf._array = array
    for pending, y in zip((x, *others.values()), made if others else (made,), strict=True):
        y = y if isinstance(y, Tensor) else Tensor(y)  # noqa: PLW2901
        pending.__class__ = Tensor  # type: ignore[assignment]
        pending._array, pending._requires_grad, pending.node = y._array, y._requires_grad, y.node
        pending.name = pending.name or y.name


def _from_what_is_held(waiting: Waiting) -> tuple[list[Step], Place]:
    """Compute the intermediate results that are still referenced, and return the steps that remain.

    The user may ask for gradients with respect to them.
    """
    used = {x for step in waiting.steps for x in step.given() if isinstance(x, Place)}
    held = {place: y for place, each in waiting.made.items() if place in used and (y := each()) is not None}
    for y in held.values():
        if type(y) is Pending:
            compute(y)
    needed, pending = set[int](), [waiting.place.step]
    while pending:
        i = pending.pop()
        if i not in needed:
            needed.add(i)
            pending += [p.step for p in waiting.steps[i].given() if isinstance(p, Place) and p not in held]
    number = {old: new for new, old in enumerate(sorted(needed))}

    def left(x: Any) -> Any:
        return x if not isinstance(x, Place) else held[x] if x in held else Place(number[x.step], x.part)

    return [waiting.steps[i].replacing(left) for i in sorted(needed)], left(waiting.place)


class Run:
    """One call of a fused module: at most one chain that waits, and actions to run after it."""

    def __init__(self, fuser: Fuser) -> None:
        self.fuser = fuser
        self._latest: ref[Pending] | None = None
        self._later: list[Callable[[], None]] = []

    def __call__(self, function: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        """Add a composition. It continues the chain that waits, if that is one of its arguments."""
        state = STATE.get()
        if state.origins:
            return function(*args, **options)
        pending = next((x for x in (*args, *options.values()) if type(x) is Pending), None)
        if pending is not None and not options.get("return_statistics"):
            return self.extended(pending, function, args, options)
        self.settle()
        return self._started(function, args, options, state)

    def later(self, action: Callable[[], None]) -> None:
        """Run an action once the chain that waits is computed."""
        self._later.append(action)

    def settle(self) -> None:
        """Compute the chain that waits, and run the actions that follow."""
        latest = self._latest and self._latest()
        if type(latest) is Pending:
            compute(latest)
        self._latest, actions, self._later = None, self._later, []
        for action in actions:
            action()

    def _started(self, function: Any, args: tuple[Any, ...], options: Mapping[str, Any], state: State) -> Any:
        step = Step(function, _settled(args), dict(zip(options, _settled(options.values()), strict=True)))
        parts: list[int | None] = [0, 1, 2] if options.get("return_statistics") else [None]
        arrays, refs = _arrays_of(step), dict[Place, ref[Pending]]()
        made = [_pending(Waiting(self, (step,), Place(0, part), state, refs, arrays)) for part in parts]
        refs |= {Place(0, part): ref(each) for part, each in zip(parts, made, strict=True)}
        self._latest = ref(made[0])
        return made[0] if len(made) == 1 else tuple(made)

    def extended(self, pending: Pending, function: Any, args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        """Add a function to a chain. Other chains among its arguments are computed first."""
        waiting = _waiting(pending)
        steps, state = waiting.steps, STATE.get()
        if state.recording != waiting.state.recording:
            compute(pending)
            return function(*args, **options)

        def given(x: Any) -> Any:
            if type(x) is Pending and _waiting(x).steps == steps[: len(_waiting(x).steps)]:
                return _waiting(x).place
            return _settled((x,))[0]

        step = Step(function, tuple(map(given, args)), {name: given(x) for name, x in options.items()})
        place, made = Place(len(steps), None), dict(waiting.made)
        longer = Waiting(self, (*steps, step), place, state, made, {**_arrays_of(step), **waiting.arrays})
        result = _pending(longer)
        made[place] = self._latest = ref(result)
        return result


def _arrays_of(step: Step) -> dict[Tensor, Any]:
    return {x: x._array for x in step.given() if isinstance(x, Tensor)}


def _compute_inside(x: Any) -> None:
    """Compute the Pendings in a nested structure."""
    if type(x) is Pending:
        compute(x)
    elif isinstance(x, dict | list | tuple):
        for part in x.values() if isinstance(x, dict) else x:
            _compute_inside(part)


def _settled(values: Any) -> tuple[Any, ...]:
    found = tuple(values)
    _compute_inside(found)
    return found


class Fuser:
    """The compiled functions of one fused module."""

    def __init__(self, threads: int, available: bool) -> None:
        self.threads, self.available = threads, available
        self.functions: dict[Any, Fused] = {}
        self.fallbacks: Counter[str] = Counter()

    def function(self, chain: Chain) -> Fused:
        found = self.functions.get(chain.key)
        if found is None:
            found = self.functions[chain.key] = Fused(chain, self.threads, self.available, self.fallbacks, closed=True)
            if len(self.functions) > _MOST_FUNCTIONS:
                del self.functions[next(iter(self.functions))]
        return found


_MOST_FUNCTIONS = 256


class FusedModule(Module):
    """The base that fused modules add to their class."""

    fuser: Fuser

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        state = STATE.get()
        if state.fuser is not None or state.origins:
            return super().__call__(*inputs, **options)
        run = Run(self.fuser)
        with surrounding(fuser=run):
            try:
                y = super().__call__(*inputs, **options)
                _compute_inside(y)
            except BaseException:
                with suppress(Exception):
                    run.settle()
                raise
            run.settle()
        return y

    @property
    def fallbacks(self) -> Counter[str]:
        """How often a composition ran instead, by reason."""
        return self.fuser.fallbacks

    @property
    def source(self) -> str:
        """The compiled kernels as Python."""
        return "\n\n".join(function.source for function in self.fuser.functions.values() if function.compiled)

    @property
    def sweeps(self) -> Mapping[str, Sweeps]:
        """How often the kernels read and write each array, by kernel name."""
        return {function.__name__: function.sweeps for function in self.fuser.functions.values() if function.compiled}

    def __reduce_ex__(self, protocol: Any) -> Any:
        own: Any = object.__new__(type(self).__mro__[2])
        own.__dict__ = self.__dict__
        return fused_module, (own, self.fuser.threads, self.fuser.available)

    def __repr__(self) -> str:
        return f"fuse({super().__repr__()})"


def fused_module(module: Module, threads: int, available: bool) -> Module:
    """Return a module that shares its state with another, and compiles its normalizations."""
    own = type(module)
    fused: Module = object.__new__(type(own.__name__, (FusedModule, own), {"fuser": Fuser(threads, available)}))
    fused.__dict__ = module.__dict__
    return fused
