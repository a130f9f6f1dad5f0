"""Layers, losses and models under PyTorch's names."""

from . import more, optim
from .checkpoint import load, save
from .containers import ModuleDict, ModuleList, Sequential
from .convolution import AvgPool2d, Conv1d, Conv2d, Conv3d, MaxPool2d
from .inference import fold_batch_norm, recalibrate
from .layers import GELU, Dropout, Flatten, Identity, LeakyReLU, Linear, ReLU, Sigmoid, SiLU, Softmax, Tanh
from .losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    l1_loss,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
)
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
    "GELU", "AvgPool2d", "BCELoss", "BCEWithLogitsLoss", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "Conv1d",
    "Conv2d", "Conv3d", "CrossEntropyLoss", "Dropout", "Flatten", "GroupNorm", "HuberLoss", "Identity",
    "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", "L1Loss", "LayerNorm", "LeakyReLU", "Linear",
    "LocalResponseNorm", "MSELoss", "MaxPool2d", "Module", "ModuleDict", "ModuleList", "NLLLoss", "Norm", "Observation",
    "Observations", "Parameter", "RMSNorm", "ReLU", "Sequential", "SiLU", "Sigmoid", "SmoothL1Loss", "Softmax", "Tanh",
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy", "fold_batch_norm", "huber_loss",
    "l1_loss", "load", "more", "mse_loss", "nll_loss", "observe", "optim", "recalibrate", "save", "smooth_l1_loss",
]  # fmt: skip
