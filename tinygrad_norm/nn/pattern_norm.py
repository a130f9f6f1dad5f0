"""Norm: a normalization layer defined by a pattern."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..engine import ops
from ..engine.operators import Array
from ..engine.recording import scope
from ..engine.tensor import named
from ..norm.checks import admitted, finite_eps, floating, in_shape, parameter_dtype, several_values, statistics_dtype
from ..norm.functional import affine as affine_step
from ..norm.functional import standardized
from ..norm.pattern import ELLIPSIS, Fitted, Terms, among, parse
from .module import Parameter
from .running import Running, unbiased

_ARGUMENTS = ("affine", "bias", "eps", "momentum", "track_running_stats", "stats_dtype", "dtype")


class Norm(Running):
    """Normalize over the axes that a pattern drops, with one mean and one variance for each index of the kept axes.

    ``y = (x - mean) / sqrt(var + eps) * weight + bias``. Batch, layer, instance and group norm are four patterns; any
    other pattern defines a new normalization.

    Parameters
    ----------
    pattern : str
        As in `tinygrad_norm.normalize`: ``"n (g c) ... -> n g"``.
    affine : str, optional
        The axes of ``weight`` (γ) and ``bias`` (β), in the order of the pattern: ``"(g c)"`` for one joined axis, as in
        GroupNorm; ``"c"`` for parameters shared by the groups; ``"c h w"`` for three axes. By default the layer has no
        parameters.
    bias : bool
        Whether the layer has a bias in addition to the weight.
    eps : float
        Added to the variance, inside the square root.
    momentum : float or None
        The weight of the new value in the running statistics; None for the plain average of all batches.
    track_running_stats : bool
        Whether the layer keeps running averages of the mean and the unbiased variance and uses them in eval mode. They
        are averaged over axes that come from the first axis of the input, the batch: ``"n c ... -> n c"`` tracks one
        mean for each ``c``.
    stats_dtype : dtype, optional
        The dtype in which statistics are computed; by default that of the input, but float32 for float16.
    dtype : dtype
        The dtype of parameters and buffers.
    **axis_lengths : int
        Sizes of axes, such as ``g=8``. If parameters or buffers need a size that is not given, it is taken from the
        first input. Before that, access to parameters or the state raises an error. No axis may have the name of an
        argument, such as ``eps``.

    Raises
    ------
    TypeError
        If the input or a given dtype is not floating.
    ValueError
        If the pattern is malformed or does not match the input; the message quotes it and points to the error. If
        ``eps`` is negative or not finite, or sizes differ from those of the parameters. With tracking, if there is only
        one value for each mean, or the pattern starts with ``...`` and keeps it.

    Notes
    -----
    *Gradient.* See `tinygrad_norm.normalize`. In eval mode with tracked statistics it is that of an affine map.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> layer = tn.nn.Norm("n (g c) ... -> n g", g=2, affine="(g c)")
    >>> y = layer(np.random.default_rng(0).normal(size=(4, 6, 8, 8)))
    >>> layer.weight.shape
    (6,)
    >>> tn.nn.Norm("n (g c) ... -> n g", g=2)
    Norm('n (g c) ... -> n g', g=2, eps=1e-05: one mean and variance per n, g)
    >>> tn.describe("n (g c) ... -> n g", (4, 6, 8, 8), g=2)
    'one mean and variance per n, g; 3 × 8 × 8 = 192 values each'
    """

    def __init__(
        self, pattern: str, /, *, affine: str | None = None, bias: bool = True, eps: float = 1e-5,
        momentum: float | None = 0.1, track_running_stats: bool = False, stats_dtype: Any = None,
        dtype: Any = np.float32, **axis_lengths: int,
    ) -> None:  # fmt: skip
        super().__init__(momentum, track_running_stats)
        self._pattern = parse(pattern)
        self._pattern.leave_free(_ARGUMENTS)
        self.pattern, self.axis_lengths = pattern, self._pattern.checked_lengths(axis_lengths)
        self.affine, self.eps = affine, finite_eps(eps)
        self.stats_dtype, self.dtype, self._has_bias = statistics_dtype(stats_dtype), parameter_dtype(dtype), bias
        self._affine = None if affine is None else self._pattern.select(affine, "affine")
        if track_running_stats and self._batch == (ELLIPSIS,) and ELLIPSIS in self._pattern.kept:
            reason = "running statistics are averaged over the batch, but '...' does not distinguish it from other axes"
            self._pattern.fail(f"{reason}; name the first axis, as in 'n ...'", ELLIPSIS)
        self.weight: Parameter | None = None
        self.bias: Parameter | None = None
        self._is_made = False
        self._last: Fitted | None = None
        if self._sized_axes <= self.axis_lengths.keys():
            self._make(Fitted(tuple(self.axis_lengths.values()), tuple(self.axis_lengths), ()))

    @property
    def _batch(self) -> tuple[str, ...]:
        """The axes of the batch, over which running statistics are averaged."""
        return self._pattern.first_axis

    @property
    def _tracked(self) -> Terms:
        names = [name for axis in self._pattern.input_axes for name in axis]
        return tuple((name,) for name in names if name in self._pattern.kept and name not in self._batch)

    @property
    def _sized_axes(self) -> set[str]:
        """The axes whose sizes the parameters and buffers depend on."""
        terms = (*(self._affine or ()), *(self._tracked if self.track_running_stats else ()))
        return {name for term in terms for name in term}

    def _make(self, fitted: Fitted) -> None:
        if self._affine is not None:
            shape = fitted.sizes(self._affine)
            self.weight = Parameter(np.ones(shape), dtype=self.dtype)
            self.bias = Parameter(np.zeros(shape), dtype=self.dtype) if self._has_bias else None
        if self.track_running_stats:
            self.start_tracking(fitted.sizes(self._tracked), self.dtype)
        self._is_made = True

    def _own_parameters(self) -> Iterator[tuple[str, Parameter]]:
        self._check_is_made()
        return super()._own_parameters()

    def _own_buffers(self) -> Iterator[tuple[str, Array]]:
        self._check_is_made()
        return super()._own_buffers()

    def _check_is_made(self) -> None:
        if not self._is_made:
            unknown = ", ".join(repr(name) for name in sorted(self._sized_axes - self.axis_lengths.keys()))
            raise ValueError(
                f"{self!r} has no parameters and no state yet, because the size of {unknown} is unknown; "
                "give the size, such as c=64, or call the layer once first"
            )

    @property
    def has_running_stats(self) -> bool:
        return super().has_running_stats if self._is_made else self.track_running_stats

    @property
    def pools(self) -> bool:
        return self.has_running_stats and not any(among(name, self._pattern.kept) for name in self._batch)

    def pooled(self, x: Array) -> Array:
        fitted = self._pattern.fit(x.shape, self.axis_lengths)
        values = np.moveaxis(x.reshape(fitted.shape), fitted.axes, range(len(fitted.axes)))
        return values.reshape(-1, *self.running_mean.shape)

    def forward(self, x: Any) -> Any:
        fitted = self._pattern.fit(floating(x).shape, self.axis_lengths)
        tracks = self.moves_running_stats and x.size > 0
        if tracks:
            several_values(x, fitted, "Norm", "value for each mean")
        if not self._is_made:
            self._make(fitted)
        weight, bias = (self._beside(p, self._affine or (), fitted, x) for p in (self.weight, self.bias))
        mean = var = None
        if self.uses_running_stats:
            mean, var = (self._beside(v, self._tracked, fitted, x) for v in (self.running_mean, self.running_var))
        self._last = fitted
        with scope("norm"):
            given = admitted(x, fitted, fitted.shape, self.eps, self.stats_dtype)
            x_hat, mean, var = standardized(given._replace(mean=mean, var=var))
            y = in_shape(affine_step(named("x̂", x_hat), weight, bias), x.shape)
        if tracks:
            over = tuple(i for i, name in enumerate(fitted.names) if i not in fitted.axes and among(name, self._batch))
            self.track(mean.data.mean(axis=over), unbiased(var, fitted.values_per_mean).mean(axis=over))
        return y

    def _beside(self, v: Any, terms: Terms, fitted: Fitted, x: Any) -> Any:
        """Return a parameter or a statistic in the shape that broadcasts against the input."""
        if v is None:
            return None
        if v.shape != fitted.sizes(terms):
            axes = " ".join(f"({' '.join(term)})" if len(term) > 1 else term[0] for term in terms)
            raise ValueError(f"{self!r} has {axes} of shape {v.shape}, which does not match the input shape {x.shape}")
        return ops.reshape(v, fitted.beside(terms))

    def extra_repr(self) -> str:
        lengths = "".join(f", {name}={size}" for name, size in self.axis_lengths.items())
        affine = "" if self.affine is None else f", affine={self.affine!r}"
        tracking = ", track_running_stats=True" if self.track_running_stats else ""
        shares = "" if self._last is None else f"; {self._last.shares}"
        return f"{self.pattern!r}{lengths}{affine}, eps={self.eps}{tracking}: {self._pattern.sharing}{shares}"
