"""The primitives, and the functions composed of them. Plain arrays give plain arrays; Tensors are recorded."""

# Each room says in its `__all__` what is public; importing the first two fills the table of NumPy's functions.
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
