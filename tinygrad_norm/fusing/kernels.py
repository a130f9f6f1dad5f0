"""Kernels are compiled here, and called: once for each text, dtype and number of axes; sizes are known at run time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from threading import Lock
from typing import Any

import numpy as np

from ..engine.operators import Array
from .build import Stages, scheduled_backward
from .functions import namespace
from .loops import Kernel, write
from .schedule import Schedule
from .trace import Given

_made: dict[Any, Callable[..., None]] = {}
_compiling = Lock()  # numba's compiler is not safe to enter twice


def compiled(kernel: Kernel, dtype: np.dtype[Any]) -> Callable[..., None]:
    """Compile the text of a kernel; nothing is kept on the disk."""
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
            signature = types.void(*reads, *writes, *[number] * len(kernel.numbers))
            # These two flags change no NaN and no infinity; the other ones do.
            options: dict[str, Any] = {"fastmath": {"reassoc", "contract"}, "error_model": "numpy", "nogil": True}
            try:
                _made[key] = numba.njit(signature, **options)(names[kernel.name])
            except Exception:
                print(kernel.source); raise
        return _made[key]


class Launch:
    """A kernel with the views in which it takes arrays of certain shapes, and the shapes of what it makes."""

    def __init__(
        self, kernel: Kernel, dtype: np.dtype[Any], sizes: Mapping[str, int],
        places: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]],
    ) -> None:  # fmt: skip
        def view(name: str) -> tuple[int, ...] | None:
            own = tuple(sizes[a] for a in kernel.layouts[name])
            return None if own == shapes[name] else own

        self.kernel, self.dtype, self._function = kernel, dtype, compiled(kernel, dtype)
        self._takes = [(places[name], view(name)) for name in kernel.inputs]
        self._makes = [(shapes[name], view(name)) for name in kernel.outputs]
        self._numbers = [dtype.type(value) for value in kernel.numbers]

    def __call__(self, arrays: Sequence[Array], out: Sequence[Array] = ()) -> list[Array]:
        """Run it on arrays and return what it makes; ``out`` are the first of its results."""
        dtype, made = self.dtype, list(out)
        for shape, _ in self._makes[len(made) :]:
            made.append(np.empty(shape, dtype))  # noqa: PERF401 (the fastest way)
        self._function(
            *[arrays[i] if shape is None else arrays[i].reshape(shape) for i, shape in self._takes],
            *[y if shape is None else y.reshape(shape) for y, (_, shape) in zip(made, self._makes)],  # noqa: B905
            *self._numbers,
        )
        return made


class Plan:
    """What is run for arrays of certain shapes: a kernel forward and, once they are needed, others backward."""

    def __init__(self, name: str, given: Sequence[Given], stages: Stages) -> None:
        self.given, self.stages, self.dtype = given, stages, given[0].dtype
        self.shapes = [y.shape for y in stages.traced.outputs]
        sizes = stages.traced.sizes
        self._shapes = {each.name: each.shape for each in given}
        self._shapes |= {o.name: tuple(sizes[a] for a in o.layout) for o in stages.saved}
        # In an argument list: the inputs, what was saved, the cotangent.
        self._places = {name: i for i, name in enumerate(self._shapes)}
        saved = {f"saved_{o.name}": self._shapes[o.name] for o in stages.saved}
        results = {y.name: y.shape for y in stages.traced.outputs}
        self.forward = self._launch(stages.forward, {**self._shapes, **results, **saved})
        self._backward: dict[tuple[int, tuple[bool, ...]], tuple[Launch | None, list[int | None]]] = {}

    def _launch(self, schedule: Schedule, shapes: Mapping[str, tuple[int, ...]], *more: str) -> Launch:
        places = self._places | {name: len(self._places) + i for i, name in enumerate(more)}
        sizes = self.stages.traced.sizes
        return Launch(write(schedule, self.dtype, sizes), self.dtype, sizes, places, shapes)

    def schedule_backward(self, index: int, wanted: Sequence[bool]) -> Schedule | None:
        """Schedule the gradients of some inputs from one output; None if it depends on none of them."""
        program = self.stages.backward[index]
        names = {f"g_{each.name}" for each, is_wanted in zip(self.given, wanted, strict=True) if is_wanted}
        outputs = tuple(output for output in program.outputs if output.name in names)
        kept = self.stages.forward.loops.kept
        return scheduled_backward(replace(program, outputs=outputs), kept) if outputs else None

    def backward(
        self, index: int, wanted: tuple[bool, ...], arrays: Sequence[Array], saved: Sequence[Array], g: Array
    ) -> list[Array | None]:
        """Return the gradients of the inputs that are wanted, from the cotangent of one output."""
        found = self._backward.get((index, wanted))
        if found is None:
            found = self._backward[index, wanted] = self._prepared(index, wanted)
        launch, order = found
        made = launch([*arrays, *saved, np.asarray(g, order="C")]) if launch else []
        return [None if i is None else made[i] for i in order]

    def _prepared(self, index: int, wanted: tuple[bool, ...]) -> tuple[Launch | None, list[int | None]]:
        scheduled = self.schedule_backward(index, wanted)
        if scheduled is None:
            return None, [None] * len(wanted)
        cotangent = f"g_{self.stages.traced.outputs[index].name}"
        gradients = {f"g_{each.name}": each.shape for each in self.given}
        cotangents = {name: self.shapes[index] for name in scheduled.program.inputs if name not in self._shapes}
        launch = self._launch(scheduled, {**self._shapes, **gradients, **cotangents}, *cotangents)
        places = {name: i for i, name in enumerate(launch.kernel.outputs)}
        return launch, [places.get(f"g_{each.name}") for each in self.given]
