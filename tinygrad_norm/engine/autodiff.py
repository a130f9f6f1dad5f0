"""Functional differentiation: grad, vjp, jacobian and hvp, each a few lines around `backpropagate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .context import surrounding
from .operators import Array
from .ops.core import operand
from .tensor import Tensor, backpropagate, constant, seed, slope_name


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    cotangents: Any = None,
    create_graph: bool = False,
) -> Any:
    """Return the gradients of the outputs with respect to the inputs, without accumulating them.

    Parameters
    ----------
    outputs : Tensor or sequence of Tensors
        The Tensors to differentiate.
    inputs : Tensor or sequence of Tensors
        Leaves or intermediate results; each must require a gradient.
    cotangents : array_like or Tensor, or a sequence of them, optional
        ``dL/dy`` for each output ``y``, of the same shape; cast to the dtype of ``y``. The default for an output with
        one element is 1.
    create_graph : bool
        Record the backward pass, even under ``no_grad``, so that the gradients can be differentiated again.

    Returns
    -------
    Tensor or tuple of Tensors
        One Tensor if ``inputs`` is a Tensor, otherwise a tuple. Each gradient has the shape and dtype of its input. It
        is zero if the outputs do not depend on the input.

    Raises
    ------
    ValueError
        If an input does not require a gradient, or a cotangent is missing or has the wrong shape.
    RuntimeError
        Under ``create_graph``, if a leaf was given new data after the graph was recorded.

    Examples
    --------
    >>> import tinygrad_norm as tn
    >>> x = tn.tensor(2.0, requires_grad=True)
    >>> slope = tn.grad(x * x * x, x, create_graph=True)
    >>> slope.item(), tn.grad(slope, x).item()
    (12.0, 12.0)
    """
    ys, xs = tensors_of("output", outputs), tensors_of("input", inputs)
    if isinstance(outputs, Tensor) or cotangents is None:
        cotangents = (cotangents,) * len(ys)
    if not hasattr(cotangents, "__len__") or len(cotangents) != len(ys):
        raise ValueError(f"{len(ys)} outputs require a sequence of {len(ys)} cotangents, one for each output")
    for i, x in enumerate(xs):
        if not x._requires_grad:
            raise ValueError(f"input {i}, {x._label()}, does not require a gradient; create it with requires_grad=True")
    seeds = [(y, _seed(y, g, create_graph)) for y, g in zip(ys, cotangents, strict=True)]
    found = backpropagate([each for each in seeds if each[0]._requires_grad], xs, create_graph)
    gradients = tuple([_gradient(x, found.get(x)) for x in xs])
    return gradients[0] if isinstance(inputs, Tensor) else gradients


def tensors_of(what: str, given: Any) -> tuple[Tensor, ...]:
    tensors = (given,) if isinstance(given, Tensor) or not hasattr(given, "__iter__") else tuple(given)
    for i, x in enumerate(tensors):
        if not isinstance(x, Tensor):
            raise TypeError(f"{what} {i} must be a Tensor, not {type(x).__name__}")
    return tensors


def _seed(y: Tensor, cotangent: Any, create_graph: bool) -> Any:
    checked = seed(y, cotangent)
    if not create_graph:
        return checked
    cotangent = Tensor(checked, name=slope_name(y.name or "output")) if cotangent is None else operand(cotangent)
    return cotangent.astype(y.dtype) if isinstance(cotangent, Tensor) else Tensor(checked)


def _gradient(x: Tensor, found: Any) -> Tensor:
    if isinstance(found, Tensor):
        return found
    return constant(np.zeros(x.shape, x.dtype) if found is None else found)


def vjp(fn: Callable[..., Any], *inputs: Any) -> tuple[Any, Callable[..., Any]]:
    """Return ``fn(*inputs)`` and its pullback, which maps a cotangent to the gradients of the inputs.

    Parameters
    ----------
    fn : callable
        Takes Tensors and returns a Tensor, or a tuple or list of Tensors.
    *inputs : arrays or Tensors of floating dtype
        The point at which ``fn`` is differentiated. If all inputs are arrays, the results are arrays, too.

    Returns
    -------
    y : array or Tensor, or a tuple or list of them
        The output.
    pullback : callable
        ``pullback(cotangent)`` returns the gradient, or a tuple of gradients if there are several inputs. For several
        outputs, pass a sequence with one cotangent for each. The pullback can be called repeatedly.

    Raises
    ------
    TypeError
        If ``fn`` returns anything else.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> y, pullback = tn.vjp(np.sin, np.array([0.0, np.pi]))
    >>> pullback(np.array([1.0, 2.0]))
    array([ 1., -2.])
    """
    like = _like(inputs)
    leaves = [_leaf(x) for x in inputs]
    y = _evaluated(fn, leaves)

    def pullback(cotangent: Any = None) -> Any:
        gradients = tuple(like(g) for g in grad(y, leaves, cotangent))
        return gradients if len(gradients) != 1 else gradients[0]

    return _each(y, lambda part: like(part.detach())), pullback


def jacobian(fn: Callable[[Any], Any], x: Any) -> Any:
    """Return the derivative of every element of ``fn(x)`` with respect to every element of ``x``.

    Parameters
    ----------
    fn : callable
        Takes a Tensor and returns a Tensor, or a tuple or list of them.
    x : array or Tensor of floating dtype
        The point at which ``fn`` is differentiated.

    Returns
    -------
    array or Tensor, like ``x``; a tuple or list of them if ``fn`` returns one
        Shape ``y.shape + x.shape``, dtype of ``x``.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> tn.jacobian(lambda x: x * x, np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    leaf, like = _leaf(x), _like((x,))

    def rows(y: Tensor) -> Any:
        found: Array = np.zeros((y.size, *leaf.shape), leaf.dtype)
        if y.requires_grad:
            for row in range(y.size):
                cotangent = np.zeros(y.size, y.dtype)
                cotangent[row] = 1
                found[row] = grad(y, leaf, cotangent.reshape(y.shape)).data
        return like(constant(found.reshape(y.shape + leaf.shape)))

    return _each(_evaluated(fn, [leaf]), rows)


def hvp(fn: Callable[[Any], Any], x: Any, v: Any) -> Any:
    """Return the product of a scalar function's Hessian with a vector, without computing the Hessian.

    Parameters
    ----------
    fn : callable
        Takes a Tensor and returns a Tensor with one element, or a tuple or list of them.
    x, v : arrays or Tensors of the same shape
        The point at which ``fn`` is differentiated, and the vector.

    Returns
    -------
    array or Tensor, like ``x``; a tuple or list of them if ``fn`` returns one

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> tn.hvp(lambda x: (x * x * x).sum(), np.array([1.0, 2.0]), np.array([1.0, 10.0]))
    array([  6., 120.])
    """
    leaf, like = _leaf(x), _like((x,))

    def product(y: Tensor) -> Any:
        slope = grad(y, leaf, create_graph=True)
        return like(grad(slope, leaf, v) if slope.requires_grad else constant(np.zeros(leaf.shape, leaf.dtype)))

    return _each(_evaluated(fn, [leaf]), product)


def _leaf(x: Any) -> Tensor:
    return Tensor(x, requires_grad=True)


def _like(inputs: Sequence[Any]) -> Callable[[Tensor], Any]:
    """Return a function that converts a Tensor to the kind of the inputs: to an array if all of them are arrays."""
    return (lambda y: y) if any(isinstance(x, Tensor) for x in inputs) else Tensor.numpy


def _evaluated(fn: Callable[..., Any], leaves: Sequence[Tensor]) -> Any:
    """Return the output of a function: a Tensor, or a tuple or list of Tensors."""
    with surrounding(recording=True):
        y = fn(*leaves)
    if not (isinstance(y, Tensor | np.ndarray | tuple | list) or np.isscalar(y)):
        raise TypeError(f"the function must return a Tensor, or a tuple or list of Tensors, not {type(y).__name__}")
    return _each(y, lambda part: part if isinstance(part, Tensor) else Tensor(part))


def _each(y: Any, function: Callable[[Any], Any]) -> Any:
    """Apply a function to the output, or to each output in a tuple or list."""
    if not isinstance(y, tuple | list):
        return function(y)
    return list(map(function, y)) if isinstance(y, list) else tuple(map(function, y))
