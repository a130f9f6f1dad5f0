"""Losses: averages over the batch of how far an output is from its target."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..engine import ops
from ..engine.operators import plain
from ..engine.recording import scope


def cross_entropy(logits: Any, labels: Any) -> Any:
    """Return the mean of ``-log softmax(logits)[label]`` over samples.

    Parameters
    ----------
    logits : Tensor or array of shape (N, classes), floating
    labels : integer array of shape (N,)

    Returns
    -------
    Tensor or array with one element

    Raises
    ------
    TypeError
        If labels are not integers.
    ValueError
        If shapes do not match, or a label is outside ``0 .. classes - 1``.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> round(float(tn.nn.cross_entropy(np.zeros((3, 4)), np.array([0, 1, 2]))), 6)
    1.386294
    """
    logits, labels = ops.operand(logits), np.asarray(plain(labels))
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"cross_entropy expects (N, classes) and (N,), got {logits.shape} and {labels.shape}")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, not {labels.dtype}")
    if labels.size and not (labels.min() >= 0 and labels.max() < logits.shape[1]):
        raise ValueError(f"labels must be from 0 to {logits.shape[1] - 1}, got {labels.min()} to {labels.max()}")
    with scope("cross_entropy"):
        picked = ops.getitem(ops.log_softmax(logits, axis=1), (np.arange(len(labels)), labels))
        return -ops.mean(picked)


def mse_loss(prediction: Any, target: Any) -> Any:
    """Return the mean of squared differences.

    Parameters
    ----------
    prediction, target : Tensors or arrays of one shape

    Returns
    -------
    Tensor or array with one element

    Raises
    ------
    ValueError
        If the shapes differ: broadcasting a target is nearly always a mistake.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> float(tn.nn.mse_loss(np.array([1.0, 2.0]), np.array([0.0, 4.0])))
    2.5
    """
    prediction, target = ops.operand(prediction), ops.operand(target)
    if prediction.shape != target.shape:
        raise ValueError(f"mse_loss expects one shape, got {prediction.shape} and {target.shape}")
    with scope("mse_loss"):
        return ops.mean(ops.square(prediction - target))
