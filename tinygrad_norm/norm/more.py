"""More normalizations, each a composition of the steps of `functional`, collected under one name.

All functions take Tensors or arrays of floating dtype, or complex dtype for complex-step checks. Arrays return arrays.
"""

from .conditional import adaptive_instance_norm, conditional_batch_norm, film
from .lengths import l2_normalize, scale_norm
from .virtual_batches import batch_renorm, ghost_batch_norm
from .weights import weight_norm, weight_standardization

__all__ = [
    "adaptive_instance_norm", "batch_renorm", "conditional_batch_norm", "film", "ghost_batch_norm", "l2_normalize",
    "scale_norm", "weight_norm", "weight_standardization",
]  # fmt: skip
