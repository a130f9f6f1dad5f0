"""Normalization layers as compositions of primitives, on a small reverse-mode autograd engine built on NumPy.

>>> import numpy as np, tinygrad_norm as tn
>>> x = tn.tensor([[1.0, 2.0], [3.0, 6.0]], requires_grad=True)
>>> y = tn.batch_norm(x)
>>> y.backward(np.array([[1.0, 0.0], [0.0, 0.0]]))
>>> x.grad.data.round(6)
array([[ 5.e-06,  0.e+00],
       [-5.e-06,  0.e+00]])
"""

import lazy_loader

__version__ = "0.1.0"

# The public names and their types are in __init__.pyi. Each name is imported when it is first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
