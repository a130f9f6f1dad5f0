"""Linear, activation, dropout and flatten layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..engine import ops
from ..engine.recording import scope, step
from ..norm.checks import axis_of, finite, integer, parameter_dtype, positive, real
from .module import Module, Parameter, one_array


def uniform(rng: np.random.Generator, shape: int | tuple[int, ...], terms: int, dtype: Any) -> Parameter:
    """Return a parameter drawn uniformly within ``1 / sqrt(terms)``; ``terms`` is the length of a layer's sums."""
    bound = 1 / np.sqrt(terms)
    return Parameter(rng.uniform(-bound, bound, shape), dtype=parameter_dtype(dtype))


class Linear(Module):
    """Apply an affine map to the last axis: ``y = x @ weight.T + bias``.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
        Whether the layer has a bias.
    dtype : dtype
    rng : numpy.random.Generator or int, optional
        Generator or seed for the initial values, which are uniform within ``1 / sqrt(in_features)``, as in PyTorch.

    Attributes
    ----------
    weight : Parameter of shape (out_features, in_features)
    bias : Parameter of shape (out_features,) or None

    Raises
    ------
    TypeError
        If ``dtype`` is not float16, float32 or float64.
    ValueError
        If a size is not a positive integer, or the input has the wrong number of features.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> tn.nn.Linear(3, 2)(np.zeros((5, 3), np.float32)).shape
    (5, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        dtype: Any = np.float32,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        super().__init__()
        self.in_features = positive("in_features", in_features)
        self.out_features = positive("out_features", out_features)
        rng = np.random.default_rng(rng)
        self.weight = uniform(rng, (out_features, in_features), in_features, dtype)
        self.bias = uniform(rng, out_features, in_features, dtype) if bias else None

    def forward(self, x: Any) -> Any:
        x = one_array(self, x)
        if x.ndim < 1 or x.shape[-1] != self.in_features:
            raise ValueError(f"Linear expects {self.in_features} features in the last axis, got shape {x.shape}")
        with scope("linear"):
            y = x @ self.weight.T
            return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class Identity(Module):
    """Return the input unchanged, as a placeholder for a layer. Arguments are ignored, as in PyTorch.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> tn.nn.Identity()(np.array([1.0, 2.0]))
    Tensor([1., 2.])
    """

    def __init__(self, *ignored: Any, **also_ignored: Any) -> None:
        super().__init__()

    def forward(self, x: Any) -> Any:
        return x


class ReLU(Module):
    """Apply ``max(x, 0)``, with gradient 0 at 0."""

    def forward(self, x: Any) -> Any:
        return ops.relu(x)


class Tanh(Module):
    """Apply the hyperbolic tangent."""

    def forward(self, x: Any) -> Any:
        with step("tanh", x):
            return ops.tanh(x)


class Sigmoid(Module):
    """Apply ``1 / (1 + exp(-x))``, without overflow."""

    def forward(self, x: Any) -> Any:
        with step("sigmoid", x):
            return ops.sigmoid(x)


class LeakyReLU(Module):
    """Apply ``x`` where positive, else ``negative_slope * x``; the derivative at 0 is ``negative_slope``.

    Parameters
    ----------
    negative_slope : float

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> tn.nn.LeakyReLU(0.5)(np.array([-2.0, 2.0]))
    Tensor([-1.,  2.])
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = finite("negative_slope", negative_slope)

    def forward(self, x: Any) -> Any:
        return ops.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class SiLU(Module):
    """Apply ``x * sigmoid(x)``, also called swish (Hendrycks and Gimpel 2016, arXiv:1606.08415).

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> tn.nn.SiLU()(np.array([-1.0, 0.0, 1.0])).data.round(4)
    array([-0.2689,  0.    ,  0.7311])
    """

    def forward(self, x: Any) -> Any:
        return ops.silu(x)


class GELU(Module):
    """Apply ``x * Phi(x)`` with the normal distribution function Phi (Hendrycks and Gimpel 2016, arXiv:1606.08415).

    Parameters
    ----------
    approximate : {"none", "tanh"}
        "tanh" is ``x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))`` and requires only NumPy; the exact form
        uses ``erf`` from SciPy.

    Raises
    ------
    ValueError
        If ``approximate`` has another value.
    ImportError
        On a call of the exact form, if SciPy is not installed.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> tn.nn.GELU(approximate="tanh")(np.array([-1.0, 0.0, 1.0])).data.round(4)
    array([-0.1588,  0.    ,  0.8412])
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(f"approximate must be 'none' or 'tanh', not {approximate!r}")
        self.approximate = approximate

    def forward(self, x: Any) -> Any:
        return ops.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Softmax(Module):
    """Apply ``exp(x) / sum(exp(x))`` along an axis, without overflow.

    Parameters
    ----------
    dim : int
        The axis along which the values sum to 1; by default the last.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> tn.nn.Softmax()(np.log([[1.0, 3.0], [4.0, 1.0]])).data.round(4)
    array([[0.25, 0.75],
           [0.8 , 0.2 ]])
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Any) -> Any:
        if x.ndim == 0:  # treated as one axis of size 1, as in Flatten
            return ops.softmax(x.reshape(1), axis=self.dim).reshape(())
        return ops.softmax(x, axis=self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Dropout(Module):
    """Set elements to 0 with probability ``p`` in training, and scale the others by ``1 / (1 - p)``.

    The expected output is ``x``. Each call draws new elements to drop. The gradient is the cotangent, scaled in the
    same way, and 0 at dropped elements. In eval mode the output is ``x``.

    Parameters
    ----------
    p : float
        The probability of dropping an element, from 0 to 1.
    rng : numpy.random.Generator or int, optional
        Generator or seed for the draws.

    Raises
    ------
    ValueError
        If ``p`` is not between 0 and 1.

    References
    ----------
    Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov 2014, JMLR 15.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> layer = tn.nn.Dropout(0.5, rng=0)
    >>> layer(np.ones(6)), layer(np.ones(6))
    (Tensor([2., 0., 0., 0., 2., 2.]), Tensor([2., 2., 2., 2., 2., 0.]))
    >>> layer.eval()(np.ones(6))
    Tensor([1., 1., 1., 1., 1., 1.])
    """

    def __init__(self, p: float = 0.5, rng: np.random.Generator | int | None = None) -> None:
        super().__init__()
        self.p = real("p", p)
        if not 0 <= self.p <= 1:
            raise ValueError(f"p must be a probability from 0 to 1, not {p!r}")
        self.rng = np.random.default_rng(rng)

    def forward(self, x: Any) -> Any:
        if not self.training or self.p == 0:
            return x
        with step("dropout", x, p=self.p):
            stays = self.rng.random(one_array(self, x).shape) >= self.p
            return ops.where(stays, x, 0) * (1 / (1 - self.p) if self.p < 1 else 0.0)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Flatten(Module):
    """Join the axes from ``start_dim`` to ``end_dim``, inclusive, into one.

    Parameters
    ----------
    start_dim, end_dim : int
        Negative axes count from the end. A 0-d input is treated as having one axis.

    Raises
    ------
    TypeError
        If an axis is not an integer.
    IndexError, ValueError
        On a call, if the input does not have an axis, or if ``start_dim`` comes after ``end_dim``.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> tn.nn.Flatten()(np.zeros((2, 3, 4))).shape
    (2, 12)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = integer("start_dim", start_dim), integer("end_dim", end_dim)

    def forward(self, x: Any) -> Any:
        shape = one_array(self, x).shape or (1,)
        start, end = (axis_of(name, getattr(self, name), len(shape)) for name in ("start_dim", "end_dim"))
        if start > end:
            raise ValueError(f"start_dim={self.start_dim} comes after end_dim={self.end_dim} in shape {x.shape}")
        return x.reshape((*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
