"""Compiling and calling kernels: once for each source, dtype and number of axes. Sizes are known at run time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, lru_cache
from itertools import pairwise
from math import prod
from os import getpid
from threading import Lock
from typing import Any

import numpy as np

from ..engine.operators import Array
from .build import Stages, scheduled_backward
from .functions import namespace
from .loops import Kernel, write
from .schedule import Schedule
from .trace import Given
from .unknown import UnfusableError

_made: dict[Any, Callable[..., None]] = {}
_WORTH_SHARING = 65536  # elements; with fewer, starting threads takes longer than the work
_compiling = Lock()  # numba's compiler is not thread-safe


def compiled(kernel: Kernel, dtype: np.dtype[Any]) -> Callable[..., None]:
    """Compile a kernel. Nothing is stored on disk."""
    arrays = (*kernel.inputs, *kernel.outputs)
    key = (kernel.source, dtype, tuple(len(kernel.layouts[name]) for name in arrays))
    with _compiling:
        if key not in _made:
            import numba
            from numba.core import types

            names = dict(namespace(dtype.name))
            exec(compile(kernel.source, f"<{kernel.name}>", "exec"), names)
            number = numba.from_dtype(dtype)
            reads = [types.Array(number, len(kernel.layouts[name]), "C", readonly=True) for name in kernel.inputs]
            writes = [types.Array(number, len(kernel.layouts[name]), "C") for name in kernel.outputs]
            ends = [types.uint64] * 2 if kernel.shared else []  # unsigned, so that no index counts from the end
            signature = types.void(*reads, *writes, *[number] * len(kernel.numbers), *ends)
            # These two flags affect NaN and infinity only if products overflow. The others ignore NaN and infinity.
            options: dict[str, Any] = {"fastmath": {"reassoc", "contract"}, "error_model": "numpy", "nogil": True}
            try:
                _made[key] = numba.njit(signature, **options)(names[kernel.name])
            except Exception as error:
                raise UnfusableError(f"numba cannot compile it: {str(error).splitlines()[0]}") from error
        return _made[key]


class Launch:
    """A kernel for arrays of certain shapes: it reshapes its arguments and allocates its results.

    ``places`` are the positions of the inputs in the list of arrays.
    """

    def __init__(
        self, kernel: Kernel, dtype: np.dtype[Any], sizes: Mapping[str, int],
        places: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]], threads: int = 1,
    ) -> None:  # fmt: skip
        def view(name: str) -> tuple[int, ...] | None:
            own = tuple(sizes[a] for a in kernel.layouts[name])
            return None if own == shapes[name] else own

        self.kernel, self.dtype, self._function = kernel, dtype, compiled(kernel, dtype)
        self._takes = tuple(places[name] for name in kernel.inputs)
        self._makes = [shapes[name] for name in kernel.outputs]
        views = [(i, view(name)) for i, name in enumerate((*kernel.inputs, *kernel.outputs))]
        self._views = [(i, shape) for i, shape in views if shape is not None]
        self._numbers = tuple(dtype.type(value) for value in kernel.numbers)
        self._parts = _parts(sizes, kernel.shared, threads)
        self._partial = [len(kernel.inputs) + kernel.outputs.index(name) for name in kernel.partial]

    def __call__(self, arrays: Sequence[Array], out: Sequence[Array] = ()) -> list[Array]:
        """Run the kernel on arrays and return its results. ``out`` are arrays for the first results."""
        dtype, empty = self.dtype, np.empty
        made = [*out, *[empty(shape, dtype) for shape in (self._makes[len(out) :] if out else self._makes)]]
        given = [arrays[i] for i in self._takes] + made
        for i, shape in self._views:
            given[i] = given[i].reshape(shape)
        if self._parts:
            self._share_out(given)
        else:
            self._function(*given, *self._numbers)
        return made

    def _share_out(self, given: Sequence[Array]) -> None:
        """Run each part in a thread, and add up partial sums."""
        (start, stop), *others = self._parts
        parts = []
        for ends in others:
            own = list(given)
            for i in self._partial:
                own[i] = np.empty_like(given[i])
            parts.append((own, pool(len(others), getpid()).submit(self._function, *own, *self._numbers, *ends)))
        self._function(*given, *self._numbers, start, stop)
        for own, running in parts:
            running.result()
            for i in self._partial:
                given[i] += own[i]


def _parts(sizes: Mapping[str, int], shared: str | None, threads: int) -> list[tuple[int, int]]:
    """Cut the shared loop into one part for each thread, or a single part if there is little work."""
    if shared is None:
        return []
    count = min(threads, sizes[shared]) if prod(sizes.values()) >= _WORTH_SHARING else 1
    ends = [sizes[shared] * i // count for i in range(count + 1)]
    return list(pairwise(ends))


@lru_cache
def pool(workers: int, process: int) -> ThreadPoolExecutor:
    """Return the thread pool of a process. After a fork, the threads of the parent do not exist."""
    return ThreadPoolExecutor(workers, "tinygrad_norm")


class Plan:
    """The kernels for arrays of certain shapes: one forward and, when needed, others backward."""

    def __init__(self, given: Sequence[Given], stages: Stages, threads: int) -> None:
        self.given, self.stages, self.dtype, self.threads = given, stages, given[0].dtype, threads
        self.shapes = [y.shape for y in stages.traced.outputs]
        sizes = stages.traced.sizes
        self._shapes = {each.name: each.shape for each in given}
        self._shapes |= {o.name: tuple(sizes[a] for a in o.layout) for o in stages.saved}
        # The order of arguments: inputs, saved terms, cotangent.
        self._places = {name: i for i, name in enumerate(self._shapes)}
        self._backward: dict[tuple[int, tuple[bool, ...]], tuple[Launch | None, list[int | None]]] = {}

    @cached_property
    def forward(self) -> Launch:
        """The kernel that computes the results, followed by the saved terms."""
        saved = {f"saved_{o.name}": self._shapes[o.name] for o in self.stages.saved}
        results = {y.name: y.shape for y in self.stages.traced.outputs}
        return self._launch(self.stages.forward, {**self._shapes, **results, **saved})

    def _launch(self, schedule: Schedule, shapes: Mapping[str, tuple[int, ...]], *more: str) -> Launch:
        places = self._places | {name: len(self._places) + i for i, name in enumerate(more)}
        return Launch(self.written(schedule), self.dtype, self.stages.traced.sizes, places, shapes, self.threads)

    def written(self, schedule: Schedule) -> Kernel:
        """Write a schedule for the sizes and threads of this plan."""
        return write(schedule, self.dtype, self.stages.traced.sizes, self.threads)

    def schedule_backward(self, index: int, wanted: Sequence[bool]) -> Schedule | None:
        """Schedule the gradients of some inputs from one output. Return None if it depends on none of them."""
        program = self.stages.backward[index]
        names = {f"g_{each.name}" for each, is_wanted in zip(self.given, wanted, strict=True) if is_wanted}
        outputs = tuple(output for output in program.outputs if output.name in names)
        kept = self.stages.forward.loops.kept
        return scheduled_backward(replace(program, outputs=outputs), kept) if outputs else None

    def backward(
        self, index: int, wanted: tuple[bool, ...], arrays: Sequence[Array], saved: Sequence[Array], g: Array
    ) -> list[Array | None]:
        """Return the gradients of the wanted inputs from the cotangent of one output."""
        found = self._backward.get((index, wanted))
        if found is None:
            found = self._backward[index, wanted] = self._prepared(index, wanted)
        launch, order = found
        made = launch([*arrays, *saved, np.asarray(g, order="C")]) if launch else []
        # An input that the output does not depend on has gradient 0.
        return [made[i] if i is not None else self._zeros(operand, wanted) for operand, i in enumerate(order)]

    def _zeros(self, operand: int, wanted: Sequence[bool]) -> Array | None:
        return np.zeros(self.given[operand].shape, self.dtype) if wanted[operand] else None

    def _prepared(self, index: int, wanted: tuple[bool, ...]) -> tuple[Launch | None, list[int | None]]:
        scheduled = self.schedule_backward(index, wanted)
        if scheduled is None:
            return None, [None] * len(wanted)
        gradients = {f"g_{each.name}": each.shape for each in self.given}
        cotangents = {name: self.shapes[index] for name in scheduled.program.inputs if name not in self._shapes}
        launch = self._launch(scheduled, {**self._shapes, **gradients, **cotangents}, *cotangents)
        places = {name: i for i, name in enumerate(launch.kernel.outputs)}
        return launch, [places.get(f"g_{each.name}") for each in self.given]
