"""Forward and backward passes as people write them, called as ``forward(*arrays)`` with one output and its gradients.

`ByHand` and `Layer` know the usual forms: with or without a cache, with one or several outputs, functions or methods.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..engine.operators import Array, plain
from .leaves import Leaves, fresh, is_numbers, of_key, spellings

Given = Callable[..., Any]


# Outputs.


def joined(outputs: Any) -> Any:
    """Return a single output unchanged, and the floating-point arrays of several outputs joined to one array."""
    if not _are_several(outputs):
        return outputs
    parts = Leaves(["y"], [outputs])
    return np.concatenate([parts.arrays[i].reshape(-1) for i in parts.floats]) if parts.floats else outputs


def split(g: Array, outputs: Any) -> Any:
    """Return the cotangent in the structure of the outputs, with None for outputs that are not floating-point."""
    if not _are_several(outputs):
        return g
    parts, start = Leaves(["y"], [outputs]), 0
    cotangents: list[Any] = [None] * len(parts.arrays)
    for i in parts.floats:
        shape = parts.arrays[i].shape
        cotangents[i] = g[start : start + math.prod(shape)].reshape(shape)
        start += math.prod(shape)
    return parts.together(cotangents)[0]


def _are_several(outputs: Any) -> bool:
    """Return whether outputs are a tuple, a dict, or a list that holds arrays."""
    return isinstance(outputs, dict | tuple) or (isinstance(outputs, list) and not is_numbers(outputs))


# Forward and backward passes.


class Signature(NamedTuple):
    """The positional parameters of a function, without those given by keyword, and the keywords that it accepts."""

    names: tuple[str, ...] = ()
    fewest: float = 0
    most: float = math.inf
    keywords: frozenset[str] | None = None

    @staticmethod
    def of(fn: Any, keywords: Iterable[str] = ()) -> Signature:
        try:
            parameters = inspect.signature(fn).parameters.values()
        except (TypeError, ValueError):
            return Signature()
        kinds = [p.kind for p in parameters]
        single = [
            p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.name not in keywords
        ]
        fewest = sum(p.default is p.empty for p in single)
        most = math.inf if inspect.Parameter.VAR_POSITIONAL in kinds else len(single)
        known = None if inspect.Parameter.VAR_KEYWORD in kinds else frozenset(p.name for p in parameters)
        return Signature(tuple(p.name for p in single), fewest, most, known)

    def takes(self, count: int) -> bool:
        return self.fewest <= count <= self.most

    def named(self, count: int) -> list[str]:
        """Return names for that many inputs."""
        return [*self.names[:count], *(f"input {i}" for i in range(len(self.names), count))]


class Read(NamedTuple):
    """What a forward pass returned: outputs, further arguments of backward, and whether it takes several cotangents."""

    outputs: Any
    rest: tuple[Any, ...]
    apart: bool = False


class ByHand:
    """A forward and a backward function.

    The backward function is ``backward(g, *xs)``, or ``backward(g, cache)`` if forward returns ``(y, cache)``. For
    several outputs, ``g`` is a tuple, or there is one argument for each cotangent, depending on how many arguments the
    backward function takes. Without a backward function, forward returns ``(loss, gradient or gradients)``.
    """

    def __init__(
        self, forward: Given, backward: Given | None, keywords: Mapping[str, Any], cached: bool | None
    ) -> None:
        self.forward, self.backward, self.keywords, self.cached = forward, backward, keywords, cached
        self.single = False
        self.signature = Signature.of(forward, keywords)
        self.pulls = Signature.of(backward or forward, keywords)
        known = self.pulls.keywords
        self.pulled = {k: v for k, v in keywords.items() if known is None or k in known}

    def own(self, leaves: Leaves) -> dict[str, Array]:
        """Return parameters that are checked with the inputs."""
        return {}

    def value(self, leaves: Leaves, *arrays: Array) -> Any:
        """Return the outputs, joined to one array."""
        forward, _, _ = self._opened(leaves.parameters(arrays))
        arguments = leaves.together(arrays)
        returned = plain(forward(*arguments, **fresh(self.keywords)))
        outputs = self._read(returned, arguments).outputs
        # Then a backward pass can run without another forward pass.
        self.single = outputs is returned and not _are_several(outputs)
        return joined(outputs)

    def gradients(self, leaves: Leaves, wrt: Any, g: Array, *arrays: Array, again: bool = False) -> list[Any]:
        """Return a gradient or None for each leaf; if ``again``, from a second call with the same cache."""
        forward, backward, after = self._opened(leaves.parameters(arrays))
        arguments = leaves.together(arrays)
        if backward is not None and backward is self.backward and self.single:
            return leaves.gradients(backward(g, *arguments, **fresh(self.pulled)), wrt)
        returned = plain(forward(*arguments, **fresh(self.keywords)))
        if backward is None:
            grads = returned[1] if len(returned) == 2 else returned[1:]
            return _times(g, leaves.gradients(grads, wrt, grads if isinstance(grads, dict) else {}))
        outputs, rest, apart = self._read(returned, arguments)
        if self._is_of_one(outputs):
            return _times(g, leaves.gradients(backward(), wrt, after()))
        cotangent = split(g, outputs)
        cotangents = cotangent if apart else (cotangent,)
        if again and rest is not arguments:
            backward(*fresh(cotangents), *rest, **fresh(self.pulled))
        pulled = backward(*cotangents, *rest, **fresh(self.pulled))
        return leaves.gradients(pulled, wrt, after())

    def _opened(self, own: Mapping[str, Array]) -> tuple[Given, Given | None, Callable[[], dict[str, Any]]]:
        return self.forward, self.backward, dict

    def _read(self, returned: Any, arguments: tuple[Any, ...]) -> Read:
        several = isinstance(returned, tuple) and len(returned) > 1
        if self.backward is None:
            if not several or np.size(returned[0]) != 1:
                raise TypeError("without a backward function, the forward function must return (loss, gradients)")
            return Read(returned[0], ())
        if several and self._is_cached(returned, arguments):
            outputs, rest = returned[0] if len(returned) == 2 else returned[:-1], returned[-1:]
        else:
            outputs, rest = returned, self._rest(arguments)
        count = len(outputs) if isinstance(outputs, tuple | list) else 1
        apart = count > 1 and self.pulls.takes(count + len(rest)) and not self.pulls.takes(1 + len(rest))
        return Read(outputs, rest, apart)

    def _rest(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return arguments

    def _is_of_one(self, outputs: Any) -> bool:
        """Return whether backward belongs to a loss and needs no cotangent, as in ``backward(self, dout=1)``."""
        without = self.pulls.fewest == 0 and self.pulls.most <= 1
        return without and not _are_several(outputs) and np.size(outputs) == 1

    def _is_cached(self, returned: tuple[Any, ...], arguments: tuple[Any, ...]) -> bool:
        """Return whether the last returned value is a cache, judged by the arguments that the backward pass takes."""
        if self.cached is not None:
            return self.cached
        takes, last = self.pulls.takes, returned[-1]
        with_inputs = takes(1 + len(arguments)) or takes(len(returned) + len(arguments))
        with_cache = takes(2) or takes(len(returned))
        if not with_inputs and not with_cache:
            raise TypeError(
                f"forward returns {len(returned)} values, and backward takes {len(self.pulls.names)}: neither "
                f"cotangents and inputs ({len(arguments)}), nor cotangents and a cache (pass options by keyword)"
            )
        if not (with_inputs and with_cache):
            return with_cache
        # If the counts do not decide, the returned value does, and then the names.
        if (
            isinstance(last, dict | list | tuple)
            or any(last is x for x in arguments)
            or not Leaves([""], [last]).floats
        ):
            return True
        return self.pulls.most < math.inf and self.pulls.names[-1] not in self.signature.names


def _times(g: Array, found: Sequence[Any]) -> list[Any]:
    """Return the gradients of a loss times its cotangent, a Python number so that they keep their dtype."""
    return [None if v is None else g.item() * plain(v) for v in found]


def passes(forward: Any, backward: Any, keywords: Mapping[str, Any], cached: bool | None) -> ByHand:
    """Return the passes in callable form: two functions, two methods of one object, or an object with both."""
    if is_layer(forward):
        if isinstance(forward, type):
            if Signature.of(forward).fewest:
                raise TypeError(
                    f"{forward.__name__} takes arguments: give an instance, such as {forward.__name__}(...)"
                )
            forward = forward()
        return Layer(forward, "forward", "backward", keywords, cached)
    for name, function in (("forward", forward), ("backward", forward if backward is None else backward)):
        if not callable(function):
            raise TypeError(f"{name}: expected a function, got {function!r:.40}")
    owner = forward.__self__ if inspect.ismethod(forward) else None
    if owner is not None and not inspect.isclass(owner) and owner is getattr(backward or forward, "__self__", None):
        return Layer(owner, forward.__name__, backward and backward.__name__, keywords, cached)
    return ByHand(forward, backward, keywords, cached)


def is_layer(x: Any) -> bool:
    """Return whether an object has ``forward`` and ``backward``."""
    return callable(getattr(x, "forward", None)) and callable(getattr(x, "backward", None))


class Layer(ByHand):
    """Two methods of an object, or one that returns ``(loss, gradients)``. Each call uses a fresh copy of the object.

    Its parameters are those in ``params`` and ``grads``, and every ``W`` that has a ``dW``, ``grad_W`` or ``W_grad``
    after a backward pass, also in layers inside the object. Without a backward pass, they are those in ``params``.
    """

    def __init__(
        self, layer: Any, forward: str, backward: str | None, keywords: Mapping[str, Any], cached: bool | None
    ) -> None:
        self.layer, self.methods = layer, (forward, backward)
        self.parameters: dict[str, Array] | None = None
        super().__init__(*self._methods(layer), keywords, bool(cached))

    def _methods(self, layer: Any) -> tuple[Given, Given | None]:
        forward, backward = self.methods
        return getattr(layer, forward), getattr(layer, backward) if backward else None

    def own(self, leaves: Leaves) -> dict[str, Array]:
        """Return the parameters, cast to the dtype of the inputs."""
        if self.parameters is None:
            self.parameters = self._found(leaves.together(leaves.arrays))
        dtypes = [leaves.arrays[i].dtype for i in leaves.floats] or [np.dtype(np.float64)]
        return {name: array.astype(np.result_type(*dtypes)) for name, array in self.parameters.items()}

    def _found(self, arguments: tuple[Any, ...]) -> dict[str, Array]:
        """Run a copy once, and return the parameters that have a gradient afterwards."""
        layer = copy.deepcopy(self.layer)
        forward, backward = self._methods(layer)
        if backward is None:
            return dict(getattr(self.layer, "params", {}))
        outputs, rest, apart = self._read(plain(forward(*arguments, **fresh(self.keywords))), arguments)
        ones = split(np.ones(np.shape(joined(outputs))), outputs)
        cotangents = () if self._is_of_one(outputs) else ones if apart else (ones,)
        backward(*cotangents, *rest, **fresh(self.pulled))
        once = {id(array): (name, array) for name, array, _ in reversed([*_pairs(self.layer, layer)])}
        return dict(reversed(once.values()))

    def _opened(self, own: Mapping[str, Array]) -> tuple[Given, Given | None, Callable[[], dict[str, Any]]]:
        parameters = self.parameters or {}
        layer = copy.deepcopy(self.layer, {id(parameters[name]): array for name, array in own.items()})
        return *self._methods(layer), lambda: {name: gradient for name, _, gradient in _pairs(self.layer, layer)}

    def _rest(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        inputs = self.signature.names[: len(arguments)]
        named = inputs and {*inputs} <= {*self.pulls.names}
        return arguments if named and self.pulls.most > len(arguments) else ()


def _pairs(layer: Any, ran: Any, name: str = "", above: tuple[Any, ...] = ()) -> Iterator[tuple[str, Array, Any]]:
    """Yield name, array and gradient of each parameter of a layer. ``ran`` is a copy after a backward pass."""
    if any(layer is one for one in above):
        return
    above = (*above, layer)
    if isinstance(layer, list | tuple | dict):
        held, after = (dict(x if isinstance(x, dict) else enumerate(x or ())) for x in (layer, ran))
        for key, part in held.items():
            yield from _pairs(part, after.get(key), f"{name}[{key!r}]", above)
        return
    held, after, dot = getattr(layer, "__dict__", {}), getattr(ran, "__dict__", {}), f"{name}." if name else ""
    arrays, gradients = held.get("params"), after.get("grads")
    if isinstance(arrays, dict) and isinstance(gradients, dict):
        yield from ((f"{dot}params[{key!r}]", array, of_key(gradients, key)) for key, array in arrays.items())
    elif isinstance(arrays, list | tuple) and isinstance(gradients, list | tuple):
        pairs = zip(arrays, gradients, strict=False)
        yield from ((f"{dot}params[{i}]", array, gradient) for i, (array, gradient) in enumerate(pairs))
    for key, value in held.items():
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            spelled = [s for s in spellings(key) if after.get(s) is not None]
            yield from ((f"{dot}{key}", value, after[s]) for s in spelled[:1])
        elif isinstance(value, list | tuple | dict) or hasattr(value, "backward"):
            yield from _pairs(value, after.get(key), f"{dot}{key}", above)
