"""Primitives and functions composed of them. They take arrays or Tensors; operations on Tensors are recorded."""

# Each module lists its public names in `__all__`; importing the first two fills the table of NumPy functions.
from . import advice, numpy_functions  # noqa: F401
from .composite import *
from .core import *
from .differences import *
from .elementwise import *
from .matrices import *
from .products import *
from .rearranging import *
from .reductions import *
from .shape import *
from .some import *
from .statistics import *
from .ufuncs import *
from .windows import *
