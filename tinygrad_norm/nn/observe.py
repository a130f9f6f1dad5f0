"""Statistics of a running model: mean, spread, saturation and gradient norm of every layer's output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine.autodiff import grad
from ..engine.operators import Array, plain
from ..engine.tensor import Tensor, walk
from ..table import Table
from .layers import ReLU, Sigmoid, Tanh
from .module import Module, as_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BOUNDS: Mapping[type[Module], tuple[float, float]] = {Tanh: (-1.0, 1.0), Sigmoid: (0.0, 1.0)}
"""The bounds of the output of each saturating layer."""

MARGIN = 0.01
"""The distance from a bound below which an element counts as saturated."""


@dataclass(eq=False, slots=True)
class Observation:
    """Statistics of one output ``y`` of a layer; ``mean, std = observation`` unpacks the two that every layer has.

    The first axis of ``y`` holds the samples; each index of the other axes is a feature.

    Attributes
    ----------
    mean, std : ndarray of shape y.shape[1:]
        Mean and standard deviation over samples for each feature; NaN if there are no samples.
    saturated : float or None
        The fraction of elements within 0.01 of a bound, where the derivative is nearly zero: ``|y| > 0.99`` for a Tanh,
        ``y < 0.01`` or ``y > 0.99`` for a Sigmoid. None for other layers.
    dead : float or None
        The fraction of features of a ReLU that are 0 for every sample, so that no gradient passes. None for other
        layers.
    gradient_norm : float or None
        ``‖dL/dy‖``, the Euclidean norm over all elements; None before `Observations.backward` is called.
    """

    mean: Array
    std: Array
    saturated: float | None = None
    dead: float | None = None
    gradient_norm: float | None = None

    def __iter__(self) -> Iterator[Array]:
        yield self.mean
        yield self.std

    def summary(self) -> tuple[float | None, ...]:
        """Return one number for each entry of `SUMMARY`; for the mean and std it is the median over features."""
        center, spread = (float(np.median(values)) if values.size else np.nan for values in (abs(self.mean), self.std))
        return center, spread, self.saturated, self.dead, self.gradient_norm


SUMMARY = ("|mean|", "std", "saturated", "dead", "gradient norm")

PANELS: Mapping[str, tuple[list[int], str]] = {
    "Median std over samples": ([1], "log"),
    "Median |mean| over samples": ([0], "linear"),
    "Share saturated or dead": ([2, 3], "linear"),
    "Gradient norm": ([4], "log"),
}
"""The panels of a plot: for each title, the indices in `SUMMARY` and the scale."""


class Observations(dict[str, list[Observation]]):
    """The result of `observe`: a dict from the path of each layer to one Observation for each of its calls.

    Attributes
    ----------
    layers : dict from path to str
        The class name of each layer.
    """

    def __init__(self, layers: Mapping[str, Module]) -> None:
        super().__init__({path: [] for path in layers})
        self.layers = {path: type(layer).__name__ for path, layer in layers.items()}
        # Keyed by the serial number of the output's node, which identifies it without keeping the graph alive.
        self._by_serial: dict[int, list[Observation]] = {}

    def _note(self, path: str, layer: Module, inputs: Any, y: Any) -> None:
        if (y := _first_array(y)) is None:
            return
        observation = _observed(layer, np.asarray(plain(y)))
        self[path].append(observation)
        if isinstance(y, Tensor) and y.node is not None:
            self._by_serial.setdefault(y.node.serial, []).append(observation)

    def backward(self, loss: Tensor, cotangent: Any = None) -> None:
        """Call ``loss.backward(cotangent)`` and store the gradient norm of every observed output.

        Only outputs that the loss depends on are updated, from any call; other observations do not change. The single
        backward pass keeps the gradients of all these outputs until it ends. Outputs computed under ``no_grad`` have no
        gradient.

        Parameters
        ----------
        loss : Tensor
            The Tensor to differentiate.
        cotangent : array_like, optional
            The gradient with respect to ``loss``, of the same shape. Required unless ``loss`` has one element.

        Raises
        ------
        RuntimeError
            If no operation was recorded for the loss.
        ValueError
            If the cotangent is missing or has the wrong shape.

        Examples
        --------
        >>> import numpy as np, tinygrad_norm as tn
        >>> model = tn.nn.Sequential(tn.nn.ReLU(), tn.nn.Tanh())
        >>> x = tn.tensor([[-1.0, 0.5]], requires_grad=True)
        >>> with tn.observe(model) as seen:
        ...     y = model(x)
        >>> seen.backward(y, np.array([[3.0, 4.0]]))
        >>> x.grad.data.round(4)
        array([[0.    , 3.1458]])
        >>> [round(seen[path][0].gradient_norm, 4) for path in ("0", "1")]
        [4.347, 5.0]
        """
        reached = {y: y.node for y in walk([loss]) if y.node is not None}
        if not reached:
            loss.backward(cotangent)  # raises the error
        outputs = {y: self._by_serial[n.serial] for y, n in reached.items() if n.serial in self._by_serial}
        inputs = (x for node in reached.values() for x in node.inputs if isinstance(x, Tensor))
        leaves = dict.fromkeys(x for x in inputs if x.node is None and x.requires_grad)
        gradients = grad(loss, [*outputs, *leaves], cotangent)
        for observations, gradient in zip(outputs.values(), gradients, strict=False):
            for observation in observations:
                observation.gradient_norm = _norm(gradient.data)
        for leaf, gradient in zip(leaves, gradients[len(outputs) :], strict=True):
            # Detached, because a backward pass never records.
            leaf.grad = gradient if leaf.grad is None else leaf.grad.detach() + gradient

    def table(self, steps: Sequence[int] | None = None) -> Table:
        """Return the statistics of each layer for selected calls; ``print(seen.table().text())`` prints them.

        Parameters
        ----------
        steps : sequence of int, optional
            The indices of the calls of each layer; negative indices count from the end. The default is the first and
            the last call. Calls that a layer does not have are left out.

        Returns
        -------
        Table
            One row for each layer and step: path, kind of layer, step, the medians over features of ``|mean|`` and
            ``std``, the fractions saturated and dead, and the gradient norm; "-" if a number does not exist.

        Examples
        --------
        >>> import numpy as np, tinygrad_norm as tn
        >>> model = tn.nn.Sequential(tn.nn.ReLU(), tn.nn.Tanh())
        >>> x = tn.tensor([[-1.0, 0.5, 1.0], [-2.0, 0.0, 2.0]], requires_grad=True)
        >>> with tn.observe(model) as seen:
        ...     for step in range(100):
        ...         y = model(x * (step + 1))
        ...         seen.backward((y * y).sum())
        >>> print(seen.table().text())
        Every layer's output: |mean| and std over samples are medians over features
        layer  kind  step  |mean|    std  saturated   dead  gradient norm
        0      ReLU     0    0.25   0.25          -  0.333          0.978
        0      ReLU    99      25     25          -  0.333              0
        1      Tanh     0   0.231  0.101          0      -           2.63
        1      Tanh    99     0.5      0        0.5      -           3.46
        """
        chosen = (0, -1) if steps is None else steps
        rows = [
            (path, self.layers[path], call, *observations[call].summary())
            for path, observations in self.items()
            for calls in [range(len(observations))]
            for call in dict.fromkeys(calls[step] for step in chosen if -len(calls) <= step < len(calls))
        ]
        title = "Every layer's output: |mean| and std over samples are medians over features"
        return Table(title, ("layer", "kind", "step", *SUMMARY), rows)

    def plot(self) -> Figure:
        """Plot the statistics over the steps, one line for each layer. Requires the extra ``plot``.

        Returns
        -------
        matplotlib.figure.Figure
            Panels for the spread, the mean, the fractions saturated or dead, and the gradient norm, if these numbers
            exist. ``figure.savefig("layers.png")`` writes it to a file.

        Raises
        ------
        ImportError
            If matplotlib is not installed: ``pip install 'tinygrad_norm[plot]'``.
        ValueError
            If no layer was called with samples.
        """
        series = {path: np.array([o.summary() for o in seen], np.float64) for path, seen in self.items() if seen}
        measured = sum(np.count_nonzero(~np.isnan(values), axis=0) for values in series.values())
        panels = [(title, *panel) for title, panel in PANELS.items() if series and measured[panel[0]].any()]
        if not panels:
            raise ValueError("nothing to plot: no layer was called with samples while it was observed")
        return _figure({f"{path} {self.layers[path]}".lstrip(): values for path, values in series.items()}, panels)


@contextmanager
def observe(model: Module) -> Iterator[Observations]:
    """Record statistics of the output of each layer in a model: mean, spread, saturation and dead features.

    The mean and standard deviation are computed over samples, the first axis, for each feature. Statistics pooled over
    features would not show a collapse, in which all samples have the same output. Observing adds nothing to the graph
    and keeps no graph alive.

        mean = 1/n Σ_i y_i        std = sqrt(1/n Σ_i (y_i - mean)²)

    Statistics of float16 are computed in float32. The mean of an output without samples is NaN; a 0-d output is one
    sample. If an output has several parts, such as ``(h, c)``, the first array is observed.

    Parameters
    ----------
    model : Module
        The model to observe.

    Yields
    ------
    Observations
        A dict from the path of each layer, such as "1.0", to a list with one Observation for each of its calls. The
        path of a model without submodules is "". A layer used in two places is listed under both paths.
        ``seen.backward(loss)`` instead of ``loss.backward()`` adds the gradient norms; ``seen.table()`` and
        ``seen.plot()`` show the results.

    Raises
    ------
    TypeError
        If ``model`` is not a Module.

    Examples
    --------
    >>> import numpy as np, tinygrad_norm as tn
    >>> model = tn.nn.Sequential(tn.nn.Tanh())
    >>> with tn.observe(model) as seen:
    ...     y = model(np.array([[0.0, 1.0], [0.0, -1.0], [0.0, 9.0]]))
    >>> seen["0"][0].std.round(4)
    array([0.    , 0.7803])
    >>> seen["0"][0].saturated
    0.16666666666666666
    """
    layers = {path: module for path, module in as_model("observe", model).named_modules() if not any(module.children())}
    seen = Observations(layers)
    observers = [(layer, partial(seen._note, path)) for path, layer in layers.items()]
    for layer, note in observers:
        layer._observers.append(note)
    try:
        yield seen
    finally:
        for layer, note in observers:
            layer._observers.remove(note)


def _observed(layer: Module, y: Array) -> Observation:
    y = np.atleast_1d(y)
    bounds = next((bounds for kind, bounds in BOUNDS.items() if isinstance(layer, kind)), None)
    saturated = dead = None
    # At least float32, because squares of float16 values overflow at 256.
    wide = y.astype(np.promote_types(y.dtype, np.float32), copy=False)
    # Networks that diverge are observed, too: inf and NaN are valid statistics.
    with np.errstate(all="ignore"):
        mean, std = (wide.mean(axis=0), wide.std(axis=0)) if len(y) else [np.full(y.shape[1:], np.nan)] * 2
        if bounds is not None:
            saturated = _share((y < bounds[0] + MARGIN) | (y > bounds[1] - MARGIN))
        if isinstance(layer, ReLU):
            dead = _share((y <= 0).all(axis=0)) if len(y) else np.nan
    return Observation(np.asarray(mean), np.asarray(std), saturated, dead)


def _first_array(y: Any) -> Any:
    """Return the first Tensor, array or number of an output, also inside tuples, lists and dicts, or None."""
    if isinstance(y, tuple | list | dict):
        found = map(_first_array, y.values() if isinstance(y, dict) else y)
        return next((x for x in found if x is not None), None)
    return y if isinstance(y, Tensor | np.ndarray | Number) else None


def _share(holds: Any) -> float:
    """Return the fraction of elements for which a condition holds."""
    return float(np.mean(holds)) if np.size(holds) else np.nan


def _norm(values: Array) -> float:
    # Use float64, because squares of a float16 gradient overflow at 256.
    return float(np.linalg.norm(values.ravel().astype(np.float64)))


def _figure(series: Mapping[str, Array], panels: Sequence[tuple[str, list[int], str]]) -> Figure:
    """Plot selected columns of every series in each panel, over the rows, with one legend."""
    try:
        from matplotlib import colormaps
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError as error:
        raise ImportError("plots require matplotlib: pip install 'tinygrad_norm[plot]'") from error
    rows = 1 if len(panels) < 4 else 2
    names_wide = 1 + (len(series) - 1) // (12 * rows)
    size = (3.6 * len(panels) / rows + 2 * names_wide, 3 * rows + 0.4)
    figure = Figure(size, dpi=120, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    grid = figure.subplots(rows, len(panels) // rows, sharex=True, squeeze=False)
    # From dark to light, so that the order of the layers is visible in greyscale, but not too light to read. Adjacent
    # lines also differ in style.
    colours = colormaps["plasma"](np.linspace(0, 0.85, len(series)))
    looks = list(zip(series.values(), colours, cycle(("-", "--", "-.", ":")), strict=False))
    for axes, (title, columns, scale) in zip(grid.flat, panels, strict=True):
        drawn = np.concatenate([values[:, columns] for values in series.values()])
        # In a dead network all values are zero, which a logarithmic scale cannot show.
        axes.set(title=title, yscale=scale if ((drawn > 0) & np.isfinite(drawn)).any() else "linear")
        axes.grid(alpha=0.3)
        lines = [
            axes.plot(values[:, columns], color=colour, linestyle=style, marker="." if len(values) < 20 else "")[0]
            for values, colour, style in looks
        ]
        if axes.get_yscale() == "linear":
            axes.axhline(0, color="0.7", linewidth=0.8, zorder=1)  # so that the panel reaches down to zero
    for axes in grid[-1]:
        axes.set(xlabel="step", xlim=(-0.5, max(map(len, series.values())) - 0.5))
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    beside = {"ncols": names_wide, "borderaxespad": 1, "frameon": False, "handlelength": 3.5}
    figure.legend(lines, [*series], loc="outside right upper", **beside)
    return figure
