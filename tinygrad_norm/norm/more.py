"""The wider family, each member a composition of the steps of `functional`, under one name.

Everything takes Tensors or arrays, floating (or complex, for complex-step checks); arrays give arrays.
"""

from .conditional import adaptive_instance_norm, conditional_batch_norm, film
from .lengths import l2_normalize, scale_norm
from .virtual_batches import batch_renorm, ghost_batch_norm
from .weights import weight_norm, weight_standardization

__all__ = [
    "adaptive_instance_norm", "batch_renorm", "conditional_batch_norm", "film", "ghost_batch_norm", "l2_normalize",
    "scale_norm", "weight_norm", "weight_standardization",
]  # fmt: skip
