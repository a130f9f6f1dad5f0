"""More normalization layers, collected under one name."""

from .conditional import AdaIN, ConditionalBatchNorm, FiLM
from .lengths import L2Norm, ScaleNorm
from .virtual_batches import BatchRenorm, GhostBatchNorm
from .weights import WeightNorm, WeightStandardization

__all__ = [
    "AdaIN",
    "BatchRenorm",
    "ConditionalBatchNorm",
    "FiLM",
    "GhostBatchNorm",
    "L2Norm",
    "ScaleNorm",
    "WeightNorm",
    "WeightStandardization",
]
