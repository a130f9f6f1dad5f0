"""Layers, losses and models under PyTorch's names."""

from .checkpoint import load, save
from .inference import fold_batch_norm, recalibrate
from .layers import Flatten, Linear, ReLU, Sequential, Tanh
from .losses import cross_entropy, mse_loss
from .module import Module, Parameter
from .normalization import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    GroupNorm,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
    LayerNorm,
    RMSNorm,
)
from .observe import Observation, observe

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Flatten",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "Linear",
    "Module",
    "Observation",
    "Parameter",
    "RMSNorm",
    "ReLU",
    "Sequential",
    "Tanh",
    "cross_entropy",
    "fold_batch_norm",
    "load",
    "mse_loss",
    "observe",
    "recalibrate",
    "save",
]
