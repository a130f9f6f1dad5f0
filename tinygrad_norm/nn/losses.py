"""Loss functions, and the same as layers."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any, ClassVar

import numpy as np

from ..engine import ops
from ..engine.operators import plain
from ..engine.recording import step
from ..norm.checks import finite, real
from .module import Module


def cross_entropy(
    input: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:  # fmt: skip
    """Return ``-log softmax(input)[label]``, averaged over samples.

    Parameters
    ----------
    input : Tensor or array of shape (N, C), (C,) or (N, C, d1, ...), floating
        Logits of C classes.
    target : integer array of shape (N,), () or (N, d1, ...), or floating array of the shape of ``input``
        Labels, or probabilities of the classes. The loss of probabilities t is ``-Σ_c t[c] * log softmax(input)[c]``.
    weight : array of shape (C,), optional
        A factor for each class. The mean over labels is then weighted.
    ignore_index : int
        Samples with this label are ignored. If all have it, the mean is NaN, with gradient 0.
    reduction : {"mean", "sum", "none"}
    label_smoothing : float
        The fraction of the uniform distribution that is mixed into the target, from 0 to 1.

    Returns
    -------
    Tensor or array
        One element, or with ``reduction="none"`` an array of the shape of labels. The dtype is that of ``input``.

    Raises
    ------
    TypeError
        If the target holds neither integers nor floats in the shape of ``input``.
    ValueError
        If shapes do not match, a label is outside ``0 .. C - 1``, or an argument is out of range.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> round(float(tn.nn.cross_entropy(np.zeros((3, 4)), np.array([0, 1, 2]))), 6)
    1.386294
    """
    input, target = ops.operand(input), ops.operand(target)
    smoothing = real("label_smoothing", label_smoothing)
    if not 0 <= smoothing <= 1:
        raise ValueError(f"label_smoothing must be between 0 and 1, not {label_smoothing!r}")
    with step("cross-entropy", input, target, weight, smoothing=smoothing, reduction=reduction):
        log_p = ops.log_softmax(input, axis=_class_axis(input))
        if target.dtype.kind == "f" and target.shape == input.shape:
            return _of_probabilities(log_p, target, weight, reduction, smoothing)
        return _of_labels("cross_entropy", log_p, target, weight, ignore_index, reduction, smoothing)


def nll_loss(input: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> Any:
    """Return ``-input[label]``, averaged over samples: the cross-entropy of log-probabilities.

    The parameters, result and errors are those of `cross_entropy` with labels.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> float(tn.nn.nll_loss(np.array([[-0.5, -1.0], [-2.0, -0.25]]), np.array([0, 1])))
    0.375
    """
    with step("NLL loss", input, target, weight, reduction=reduction):
        return _of_labels("nll_loss", ops.operand(input), ops.operand(target), weight, ignore_index, reduction, 0.0)


def _of_labels(
    name: str, log_p: Any, labels: Any, weight: Any, ignore_index: int, reduction: str, smoothing: float
) -> Any:
    axis = _class_axis(log_p)
    if log_p.ndim == 0 or labels.shape != log_p.shape[:axis] + log_p.shape[axis + 1 :]:
        expected = "(N, classes) and (N,), (classes,) and (), or (N, classes, d1, ...) and (N, d1, ...)"
        raise ValueError(f"{name} expects {expected}, got {log_p.shape} and {labels.shape}")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, not {labels.dtype}; probabilities must have the shape of the logits")
    classes, values = log_p.shape[axis], np.asarray(plain(labels))
    found = values[values != ignore_index]
    if found.size and not (found.min() >= 0 and found.max() < classes):
        raise ValueError(f"labels must be from 0 to {classes - 1}, got {found.min()} to {found.max()}")
    counts = None if found.size == values.size else labels != ignore_index
    if counts is not None:
        labels = ops.where(counts, labels, 0)
    index: list[Any] = list(np.indices(labels.shape, sparse=True))
    index.insert(axis, labels)
    losses, weights = -ops.getitem(log_p, tuple(index)), None
    if weight is not None:
        weight = _factors_of_classes(weight, log_p)
        weights = ops.getitem(weight, (labels,))
        losses = losses * weights
    if smoothing:
        every = log_p if weight is None else log_p * _beside(weight, log_p)
        losses = losses * (1 - smoothing) - ops.sum(every, axis=axis) * (smoothing / classes)
    if counts is not None:
        losses = ops.where(counts, losses, 0)
        weights = ops.where(counts, np.ones((), log_p.dtype) if weights is None else weights, 0)
    return _reduced(losses, reduction, weights)


def _of_probabilities(log_p: Any, target: Any, weight: Any, reduction: str, smoothing: float) -> Any:
    axis = _class_axis(log_p)
    target = ops.astype(target, log_p.dtype)
    if smoothing:
        target = target * (1 - smoothing) + smoothing / log_p.shape[axis]
    if weight is not None:
        target = target * _beside(_factors_of_classes(weight, log_p), log_p)
    return _reduced(-ops.sum(target * log_p, axis=axis), reduction)


def _class_axis(x: Any) -> int:
    return 1 if x.ndim > 1 else 0


def _factors_of_classes(weight: Any, log_p: Any) -> Any:
    weight, classes = ops.astype(weight, log_p.dtype), log_p.shape[_class_axis(log_p)]
    if weight.shape != (classes,):
        raise ValueError(f"weight must have shape ({classes},), a factor for each class, not {weight.shape}")
    return weight


def _beside(weight: Any, log_p: Any) -> Any:
    return ops.reshape(weight, (-1, *(1,) * (log_p.ndim - 1 - _class_axis(log_p))))


def _reduced(losses: Any, reduction: str, weights: Any = None) -> Any:
    """Return the losses, their sum, or their mean, which is weighted if weights are given."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', not {reduction!r}")
    if reduction != "mean":
        return losses if reduction == "none" else ops.sum(losses)
    if weights is None:
        return ops.mean(losses)
    # If all samples are ignored, this is 0 / 0.
    with np.errstate(divide="ignore", invalid="ignore"):
        return ops.mean(losses) / ops.mean(weights)


def mse_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """Return the mean of squared differences.

    Parameters
    ----------
    input, target : Tensors or arrays of the same shape
        Integers are converted to the dtype of the other argument.
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    Tensor or array
        One element, or with ``reduction="none"`` an array of the shape of the inputs.

    Raises
    ------
    ValueError
        If the shapes differ, because broadcasting a target is nearly always a mistake, or if ``reduction`` has another
        value.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> float(tn.nn.mse_loss(np.array([1.0, 2.0]), np.array([0.0, 4.0])))
    2.5
    """
    x, t = _compared("mse_loss", input, target)
    with step("MSE loss", x, t, reduction=reduction):
        return _reduced(ops.square(x - t), reduction)


def l1_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """Return the mean of absolute differences, with gradient 0 at a difference of 0. See `mse_loss`.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> float(tn.nn.l1_loss(np.array([1.0, 2.0]), np.array([0.0, 4.0])))
    1.5
    """
    x, t = _compared("l1_loss", input, target)
    with step("L1 loss", x, t, reduction=reduction):
        return _reduced(ops.absolute(x - t), reduction)


def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0) -> Any:
    """Return the mean of ``d² / 2`` for differences up to ``delta``, and of ``delta * (|d| - delta / 2)`` beyond.

    See `mse_loss`. A ``delta`` that is not positive raises a ValueError.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> tn.nn.huber_loss(np.array([1.0, 4.0]), np.array([0.0, 0.0]), "none", delta=2.0)
    array([0.5, 6. ])
    """
    if not finite("delta", delta) > 0:
        raise ValueError(f"delta must be positive, not {delta!r}")
    x, t = _compared("huber_loss", input, target)
    with step("Huber loss", x, t, delta=delta, reduction=reduction):
        return _reduced(_huber(x - t, delta), reduction)


def smooth_l1_loss(input: Any, target: Any, reduction: str = "mean", beta: float = 1.0) -> Any:
    """Return `huber_loss` with ``delta=beta``, divided by ``beta``; for ``beta=0`` return `l1_loss`.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> tn.nn.smooth_l1_loss(np.array([1.0, 4.0]), np.array([0.0, 0.0]), "none", beta=2.0)
    array([0.25, 3.  ])
    """
    if not finite("beta", beta) >= 0:
        raise ValueError(f"beta must not be negative, not {beta!r}")
    x, t = _compared("smooth_l1_loss", input, target)
    with step("smooth L1 loss", x, t, beta=beta, reduction=reduction):
        d = x - t
        return _reduced(_huber(d, beta) * (1 / beta) if beta else ops.absolute(d), reduction)


def _huber(d: Any, delta: float) -> Any:
    within = ops.clip(d, -float(delta), float(delta))
    return within * (d - 0.5 * within)


def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, reduction: str = "mean", pos_weight: Any = None
) -> Any:
    """Return the mean of ``-t * log σ(x) - (1 - t) * log(1 - σ(x))``, without overflow or cancellation.

    Parameters
    ----------
    input, target : Tensors or arrays of the same shape
        Floating logits, and floating or integer targets from 0 to 1.
    weight : array, optional
        A factor for each element, which is broadcast.
    reduction : {"mean", "sum", "none"}
    pos_weight : array, optional
        A factor for the first term, the one of positive examples, which is broadcast.

    Raises
    ------
    ValueError
        If the shapes differ, or ``reduction`` has another value.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> x, t = np.array([0.0, 1e4, -1e4]), np.array([1, 1, 1])
    >>> tn.nn.binary_cross_entropy_with_logits(x, t, reduction="none").round(4).tolist()
    [0.6931, 0.0, 10000.0]
    """
    x, t = _compared("binary_cross_entropy_with_logits", input, target)
    with step("binary cross-entropy of logits", x, t, weight, pos_weight, reduction=reduction):
        positive = t * ops.softplus(-x)
        if pos_weight is not None:
            positive = positive * ops.astype(pos_weight, x.dtype)
        return _weighted(positive + (1 - t) * ops.softplus(x), weight, reduction)


def binary_cross_entropy(input: Any, target: Any, weight: Any = None, reduction: str = "mean") -> Any:
    """Return the mean of ``-t * log p - (1 - t) * log(1 - p)``; each logarithm is at least -100, as in PyTorch.

    The parameters are those of `binary_cross_entropy_with_logits`, which is more accurate, but the input holds
    probabilities. A probability outside 0 to 1 raises a ValueError.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> tn.nn.binary_cross_entropy(np.array([0.5, 0.0]), np.array([1, 1]), reduction="none").round(4)
    array([  0.6931, 100.    ])
    """
    p, t = _compared("binary_cross_entropy", input, target)
    if not ((plain(p) >= 0) & (plain(p) <= 1)).all():
        advice = "for logits use binary_cross_entropy_with_logits"
        raise ValueError(f"binary_cross_entropy expects probabilities from 0 to 1; {advice}")
    with step("binary cross-entropy", p, t, weight, reduction=reduction):
        log_p = ops.maximum(ops.where(p > 0, ops.log(ops.where(p > 0, p, 1)), -100), -100)
        log_q = ops.where(p < 1, ops.log1p(-ops.where(p < 1, p, 0)), -100)
        return _weighted(-t * log_p - (1 - t) * log_q, weight, reduction)


def _weighted(losses: Any, weight: Any, reduction: str) -> Any:
    return _reduced(losses if weight is None else losses * ops.astype(weight, losses.dtype), reduction)


def _compared(name: str, input: Any, target: Any) -> tuple[Any, Any]:
    """Check that both have the same shape, and convert integers to the dtype of the other."""
    input, target = ops.operand(input), ops.operand(target)
    if input.shape != target.shape:
        raise ValueError(f"{name} expects input and target of the same shape, got {input.shape} and {target.shape}")
    if input.dtype.kind in "biu":
        return ops.astype(input, target.dtype), target
    return input, ops.astype(target, input.dtype) if target.dtype.kind in "biu" else target


class _Loss(Module):
    """A loss as a layer, which stores the options of its function, and weights as buffers."""

    function: ClassVar[Callable[..., Any]]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__()
        bound = signature(self.function).bind(None, None, *arguments, **options)
        bound.apply_defaults()
        self._options = list(bound.arguments)[2:]
        for name in self._options:
            if name.endswith("weight"):
                self.register_buffer(name, None)
            setattr(self, name, bound.arguments[name])

    def forward(self, input: Any, target: Any) -> Any:
        return type(self).function(input, target, **{name: getattr(self, name) for name in self._options})


class CrossEntropyLoss(_Loss):
    """`cross_entropy` as a layer, with its options."""

    function = staticmethod(cross_entropy)


class NLLLoss(_Loss):
    """`nll_loss` as a layer, with its options."""

    function = staticmethod(nll_loss)


class MSELoss(_Loss):
    """`mse_loss` as a layer, with its options."""

    function = staticmethod(mse_loss)


class L1Loss(_Loss):
    """`l1_loss` as a layer, with its options."""

    function = staticmethod(l1_loss)


class HuberLoss(_Loss):
    """`huber_loss` as a layer, with its options."""

    function = staticmethod(huber_loss)


class SmoothL1Loss(_Loss):
    """`smooth_l1_loss` as a layer, with its options."""

    function = staticmethod(smooth_l1_loss)


class BCEWithLogitsLoss(_Loss):
    """`binary_cross_entropy_with_logits` as a layer, with its options."""

    function = staticmethod(binary_cross_entropy_with_logits)


class BCELoss(_Loss):
    """`binary_cross_entropy` as a layer, with its options."""

    function = staticmethod(binary_cross_entropy)
