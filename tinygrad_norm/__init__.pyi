from . import check, distributed, graph, nn, norm
from .check import (
    GradientMismatch,
    GradientReport,
    UncheckedGradient,
    check_backward,
    check_gradients,
    check_module,
)
from .engine import ops
from .engine.autodiff import grad, hvp, jacobian, vjp
from .engine.recording import is_recording, no_grad, scope
from .engine.tensor import Tensor, named, tensor
from .fusing import fuse
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

__version__: str

__all__ = [
    "GradientMismatch",
    "GradientReport",
    "Tensor",
    "UncheckedGradient",
    "batch_norm",
    "check",
    "check_backward",
    "check_gradients",
    "check_module",
    "describe",
    "distributed",
    "draw",
    "draw_jacobian",
    "draw_pattern",
    "explore",
    "fold_batch_norm",
    "fuse",
    "grad",
    "graph",
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
    "norm",
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
