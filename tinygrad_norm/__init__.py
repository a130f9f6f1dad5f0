"""Normalization layers as plain compositions, on a small reverse-mode autograd engine written on NumPy.

>>> import numpy as np, tinygrad_norm as tn
>>> x = tn.tensor([[1.0, 2.0], [3.0, 6.0]], requires_grad=True)
>>> y = tn.batch_norm(x)
>>> y.backward(np.array([[1.0, 0.0], [0.0, 0.0]]))
>>> x.grad.data.round(6)
array([[ 5.e-06,  0.e+00],
       [-5.e-06,  0.e+00]])
"""

from . import check, nn
from .check import GradientMismatch, GradientReport, check_backward, check_gradients, check_module
from .engine import ops
from .engine.autodiff import grad, hvp, jacobian, vjp
from .engine.recording import is_recording, no_grad, scope
from .engine.tensor import Tensor, named, tensor
from .graph import draw, draw_jacobian, draw_pattern, explore
from .nn import fold_batch_norm, load, observe, optim, recalibrate, save
from .norm.functional import (
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
    moments,
    normalize,
    rms_norm,
)
from .norm.pattern import describe

__version__ = "0.1.0"

__all__ = [
    "GradientMismatch",
    "GradientReport",
    "Tensor",
    "batch_norm",
    "check",
    "check_backward",
    "check_gradients",
    "check_module",
    "describe",
    "draw",
    "draw_jacobian",
    "draw_pattern",
    "explore",
    "fold_batch_norm",
    "grad",
    "group_norm",
    "hvp",
    "instance_norm",
    "is_recording",
    "jacobian",
    "layer_norm",
    "load",
    "local_response_norm",
    "moments",
    "named",
    "nn",
    "no_grad",
    "normalize",
    "observe",
    "ops",
    "optim",
    "recalibrate",
    "rms_norm",
    "save",
    "scope",
    "tensor",
    "vjp",
]
