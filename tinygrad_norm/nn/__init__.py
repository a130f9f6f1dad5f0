"""Layers, losses and models under PyTorch's names."""

from . import more
from .checkpoint import load, save
from .containers import ModuleDict, ModuleList, Sequential
from .convolution import AvgPool2d, Conv2d, MaxPool2d
from .inference import fold_batch_norm, recalibrate
from .layers import GELU, Dropout, Flatten, Identity, LeakyReLU, Linear, ReLU, Sigmoid, SiLU, Softmax, Tanh
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
    LocalResponseNorm,
    RMSNorm,
)
from .observe import Observation, Observations, observe
from .pattern_norm import Norm

__all__ = [
    "GELU",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Conv2d",
    "Dropout",
    "Flatten",
    "GroupNorm",
    "Identity",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "MaxPool2d",
    "Module",
    "ModuleDict",
    "ModuleList",
    "Norm",
    "Observation",
    "Observations",
    "Parameter",
    "RMSNorm",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "cross_entropy",
    "fold_batch_norm",
    "load",
    "more",
    "mse_loss",
    "observe",
    "recalibrate",
    "save",
]
