"""Normalization layers as plain compositions, on a small reverse-mode autograd engine written on NumPy."""

from . import nn
from .engine import ops
from .engine.autodiff import grad, hvp, jacobian, vjp
from .engine.context import is_recording, no_grad, scope
from .engine.tensor import Tensor, named, tensor
from .nn import observe, optim
from .norm.functional import batch_norm, group_norm, instance_norm, layer_norm, moments, normalize, rms_norm
