"""`fuse` for functions: each is compiled for the shapes of its arguments, and recorded as one node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from keyword import iskeyword
from threading import RLock
from typing import Any

import numpy as np

from ..engine.autodiff import grad
from ..engine.context import STATE, State, surrounding
from ..engine.operators import Array
from ..engine.primitive import Node, Primitive
from ..engine.recording import step
from ..engine.tensor import Tensor, constant, frozen, serial, walk
from .arguments import checked, constant_key, example, kernel_name, numbers_of, outside, parameter_names, several
from .build import staged
from .kernels import Plan
from .sweeps import Sweeps, counted
from .trace import Given, trace
from .unknown import UnfusableError

_MOST_PLANS = 256


class Fused:
    """A function whose composition is compiled, as `tinygrad_norm.fuse` returns it.

    Attributes
    ----------
    fallbacks : Counter
        How often the composition ran instead, by reason.
    """

    def __init__(
        self, fn: Callable[..., Any], threads: int = 1, available: bool = True,
        fallbacks: Counter[str] | None = None, closed: bool = False,
    ) -> None:  # fmt: skip
        """Take a function, and the Counter for fallbacks. A ``closed`` function reads only its arguments."""
        self.fn, self.threads, self.available = fn, threads, available
        self.fallbacks: Counter[str] = Counter() if fallbacks is None else fallbacks
        name = getattr(fn, "__name__", "fused")
        self.__name__ = name if name.isidentifier() and not iskeyword(name) else "fused"
        self.__doc__ = fn.__doc__
        self._outside, self._refused = (tuple, "") if closed else outside(fn)
        self._calls: dict[Any, Call | str] = {}
        self._lock = RLock()
        self._latest: Call | None = None

    def __repr__(self) -> str:
        return f"fuse({self.__name__})"

    def __reduce__(self) -> Any:
        return Fused, (self.fn, self.threads, self.available)

    def __call__(self, *args: Any, out: Any = None, **options: Any) -> Any:
        key: list[Any] = []
        inputs: list[Any] = []
        arrays: list[Array] = []
        needed: list[bool | None] = []  # whether each Tensor needs a gradient; None for arrays
        tensors, ordered, plain = False, True, True
        for x in (*args, *options.values()) if options else args:
            if isinstance(x, Tensor):
                array, tensors = x._array, True
                needed.append(x._requires_grad)
            elif type(x) is np.ndarray:
                array = x
                needed.append(None)
            else:
                key.append(constant_key(x))
                plain = plain and key[-1] is not None
                continue
            inputs.append(x)
            arrays.append(array)
            key.append(array.shape)
            key.append(array.dtype)
            ordered = ordered and array.flags.c_contiguous
        state = STATE.get()
        key.append(tuple(needed) if tensors else None)
        call = self._call_for(key if plain else None, ordered, state, args, options)
        if not isinstance(call, Call):
            return self._composed(call, args, options, out)
        self._latest = call
        if out is not None:
            call.plan.forward(arrays, checked(out, inputs, call.plan.shapes, call.plan.dtype))
            return out
        made = call.plan.forward(arrays)
        results: list[Any] = made[: call.count]
        if tensors or call.gives_tensors:
            results = [constant(y, label) for y, label in zip(results, call.labels, strict=True)]
        elif call.gives_numbers:
            results = [y if y.ndim else y[()] for y in results]
        if True in needed and state.recording:
            self._record(call, results, inputs, tuple(made[call.count :]), state)
        return results[0] if call.sequence is None else call.sequence(results)

    def _record(
        self, call: Call, results: Sequence[Tensor], inputs: Sequence[Any], saved: tuple[Array, ...], state: State
    ) -> None:
        """Give each result that needs a gradient its node."""
        # The caller may change arrays later, so they are copied.
        own = tuple([x if isinstance(x, Tensor) else frozen(x) for x in inputs])
        values = tuple([x._array if isinstance(x, Tensor) else x for x in own])
        for i, (y, is_needed) in enumerate(zip(results, call.needed, strict=True)):
            if is_needed:
                y._requires_grad = True
                static = {"one": Recorded(self, call, i, saved, state)}
                y.node = Node(call.primitive, own, values, static, state, serial())

    def _call_for(self, key: list[Any] | None, ordered: bool, state: State, args: Any, options: Any) -> Call | str:
        """Return the compiled call, or the reason why the composition runs: "" if that is not a fallback."""
        if state.origins:
            return ""
        if key is None:
            return "an argument is neither an array nor a plain constant"
        if self._refused:
            return self._refused
        whole = (*key, *options, *self._outside())
        call = self._calls.get(whole)
        if call is None:
            call = self._prepared(whole, args, options, key[-1])
        return call if ordered or isinstance(call, str) else "an array is not in C order"

    def _prepared(self, key: Any, args: Sequence[Any], options: Mapping[str, Any], needed: Any) -> Call | str:
        """Record and compile the function for the shapes of a call, and cache the call or the reason of failure."""
        with self._lock:
            if key not in self._calls:
                try:
                    self._calls[key] = call = Call(self, args, options, needed)
                    if needed is None and not call.gives_tensors and not call.as_numpy:
                        raise UnfusableError("for arrays the result has another shape or dtype than for Tensors")
                    call.plan.forward  # noqa: B018 (compiled here, so that a failure leads to the composition)
                except UnfusableError as error:
                    self._calls[key] = str(error)
                except RecursionError:
                    self._calls[key] = "the recursion limit is exceeded"
                except Exception as error:
                    # An error of the function, which the composition raises again, or one due to missing values.
                    self._calls[key] = f"recording raises {type(error).__name__}"
                if len(self._calls) > _MOST_PLANS:
                    del self._calls[next(iter(self._calls))]
            return self._calls[key]

    def _composed(self, reason: str, args: Any, options: Any, out: Any) -> Any:
        result = self.fn(*args, **options)
        if reason:
            self.fallbacks[reason] += 1
        if out is None:
            return result
        found = [y.data if isinstance(y, Tensor) else np.asarray(y) for y in several(result)]
        shapes, dtypes = [y.shape for y in found], {y.dtype for y in found}
        targets = checked(out, [*args, *options.values()], shapes, *dtypes)
        for target, y in zip(targets, found, strict=True):
            target[...] = y
        return out

    def latest(self) -> Call:
        """Return the latest compiled call or, for a norm that has not been called, a typical one."""
        if self._latest is None and not self.fallbacks and (typical := example(self.fn)):
            self._latest = Call(self, *typical, needed=None, runs=False)
        if self._latest is None:
            raise ValueError(f"{self!r} has compiled nothing: {'; '.join(self.fallbacks) or 'call it first'}")
        return self._latest

    @property
    def compiled(self) -> bool:
        """Whether any call was compiled."""
        return self._latest is not None

    @property
    def source(self) -> str:
        """The kernels of the latest call as Python: forward, and backward from the first result to all inputs."""
        plan = self.latest().plan
        backward = plan.schedule_backward(0, [True] * len(plan.given))
        kernels = [plan.written(each) for each in (plan.stages.forward, backward) if each]
        return "\n\n".join(kernel.source for kernel in kernels)

    @property
    def sweeps(self) -> Sweeps:
        """How often the latest call reads and writes each array, forward and backward."""
        plan = self.latest().plan
        return counted(plan.stages, plan.schedule_backward(0, [True] * len(plan.given)))


class Call:
    """A function called with arrays of certain shapes, and with certain constants.

    Raises
    ------
    UnfusableError
        If it cannot be compiled.
    """

    def __init__(
        self, fused: Fused, args: Sequence[Any], options: Mapping[str, Any], needed: Any, runs: bool = True
    ) -> None:
        self._fn, self._values, self._count = fused.fn, (*args, *options.values()), len(args)
        self._options = tuple(options)
        self._places = [i for i, x in enumerate(self._values) if isinstance(x, Tensor) or type(x) is np.ndarray]
        names = parameter_names(fused.fn, args, options)
        flags = [True] * len(self._places) if needed is None else map(bool, needed)
        given = [
            Given(names[i], self._values[i].shape, self._values[i].dtype, flag)
            for i, flag in zip(self._places, flags, strict=True)
        ]
        _check(given, fused.available or not runs)
        self._values = tuple(None if i in self._places else x for i, x in enumerate(self._values))
        traced = trace(self.compose, given, kernel_name(fused.__name__), numbers_of(fused.fn, args, options))
        self.count, self.sequence = len(traced.outputs), traced.sequence
        self.labels = [y.label for y in traced.outputs]
        self.needed = [y.needed for y in traced.outputs]
        self.plan = Plan(given, staged(traced, given[0].dtype), fused.threads)
        self.primitive = _primitive(fused.__name__)

    @cached_property
    def _plain(self) -> Sequence[Any]:
        """The results of the function for arrays."""
        ones = [np.broadcast_to(np.ones((), each.dtype), each.shape) for each in self.plan.given]
        with surrounding(examined=True, fuser=None), np.errstate(all="ignore"):
            return several(self.compose(*ones))

    @cached_property
    def gives_tensors(self) -> bool:
        """Whether the function returns Tensors for arrays."""
        return isinstance(self._plain[0], Tensor)

    @cached_property
    def gives_numbers(self) -> bool:
        """Whether the function returns NumPy scalars for 0-d results."""
        return any(isinstance(y, np.generic) for y in self._plain)

    @cached_property
    def as_numpy(self) -> bool:
        """Whether shapes and dtypes are the same for arrays and Tensors. NumPy scalars may change that of arrays."""
        found = [(np.shape(y), y.dtype) for y in self._plain]
        return found == [(shape, self.plan.dtype) for shape in self.plan.shapes]

    def compose(self, *inputs: Any) -> Any:
        """Call the function with other arrays of the same shapes."""
        values = list(self._values)
        for place, x in zip(self._places, inputs, strict=True):
            values[place] = x
        return self._fn(*values[: self._count], **dict(zip(self._options, values[self._count :], strict=True)))


def _check(given: Sequence[Given], available: bool) -> None:
    """Refuse arrays that kernels cannot take, before anything is recorded."""
    if any(each.dtype.kind == "c" for each in given):
        raise UnfusableError("")  # a complex step uses the composition, which is not a fallback
    if not available:
        raise UnfusableError("numba is not installed")
    if not given:
        raise UnfusableError("the function is given no array")
    for each in given:
        if each.dtype.str not in (np.dtype(np.float32).str, np.dtype(np.float64).str):
            raise UnfusableError(f"an array has dtype {each.dtype}, not float32 or float64")
        if each.dtype != given[0].dtype:
            raise UnfusableError("float32 and float64 arrays are mixed")
        if 0 in each.shape:
            raise UnfusableError("an array is empty")


class Recorded:
    """One compiled result in a graph, with the data that its gradient needs."""

    __slots__ = ("_composed", "call", "fused", "index", "saved", "state")

    def __init__(self, fused: Fused, call: Call, index: int, saved: tuple[Array, ...], state: State) -> None:
        self.fused, self.call, self.index, self.saved, self.state = fused, call, index, saved, state
        self._composed: tuple[Sequence[Any], Tensor] | None = None

    def __repr__(self) -> str:
        return f"result {self.index}"

    def composed(self, inputs: Sequence[Any]) -> tuple[Sequence[Any], Tensor]:
        """Return the inputs and the same result by the composition, recorded in place of the compiled one."""
        if self._composed is None:
            around = surrounding(**(self.state._asdict() | {"recording": True, "fuser": None}))
            with around, step(f"fused {self.fused.__name__}", *inputs):
                # If an input depends on another or occurs twice, aliases give each its own gradient.
                own = inputs if _independent(inputs) else [*map(_alias, inputs)]
                self._composed = own, several(self.call.compose(*own))[self.index]
        return self._composed

    def gradients(self, g: Tensor, inputs: Sequence[Any], wanted: Sequence[bool], create_graph: bool) -> list[Any]:
        """Return the gradients of the composition."""
        own, y = self.composed(inputs)
        found = iter(grad(y, [x for x, is_wanted in zip(own, wanted, strict=True) if is_wanted], g, create_graph))
        return [next(found) if is_wanted else None for is_wanted in wanted]

    def plain_gradients(self, g: Array, arrays: Sequence[Array], wanted: tuple[bool, ...]) -> list[Any]:
        """Return the gradients from the kernel or, if there is none, from the composition."""
        try:
            return self.call.plan.backward(self.index, wanted, arrays, self.saved, g)
        except UnfusableError as error:
            self.fused.fallbacks[f"backward: {error}"] += 1
        leaves = [Tensor(x, is_wanted) for x, is_wanted in zip(arrays, wanted, strict=True)]
        apart = Recorded(self.fused, self.call, self.index, (), self.state)
        return [
            None if x is None else x.numpy() for x in apart.gradients(Tensor(g), leaves, wanted, create_graph=False)
        ]


def _independent(inputs: Sequence[Any]) -> bool:
    """Return whether no Tensor occurs twice, and none is computed from another."""
    tensors = [x for x in inputs if isinstance(x, Tensor)]
    before = {x for y in walk(tensors) for x in y.node.inputs if isinstance(x, Tensor)}  # type: ignore[union-attr]
    return len({*tensors}) == len(tensors) and not before.intersection(tensors)


def _alias(x: Any) -> Any:
    return x.reshape(x.shape) if isinstance(x, Tensor) else x


def _pullback(node: Node, g: Any, y: Any, reached: Any) -> list[Callable[..., Any]]:
    """Compute all gradients of a compiled result at once, and return rules that look them up."""
    one: Recorded = node.static["one"]
    wanted = tuple(
        [isinstance(x, Tensor) and x._requires_grad and (reached is None or x in reached) for x in node.inputs]
    )
    if isinstance(g, Tensor):
        found = one.gradients(g, node.inputs, wanted, create_graph=True)
    else:
        found = one.plain_gradients(g, node.arrays, wanted)
    return [lambda *_, x=x, **__: x for x in found]


def _primitive(name: str) -> Primitive:
    """Return the primitive of a compiled function. It has no rules, and is not in the table of primitives."""
    primitive = Primitive(name, name, lambda *arrays, one: several(one.call.compose(*arrays))[one.index])
    primitive.pullback = _pullback
    primitive.composition = lambda node: node.static["one"].composed(node.inputs)[1]
    return primitive
