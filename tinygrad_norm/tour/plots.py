"""The plots of the tour, which require matplotlib."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .report import Finding


class Look(NamedTuple):
    """The style of plots: their colours, and whether panels are stacked."""

    narrow: bool
    paper: str
    ink: str
    grid: str
    shades: str
    colours: dict[str, str]

    def panels(self, figure: Any, count: int, **settings: Any) -> Any:
        """Return the axes of a figure, stacked or side by side."""
        return figure.subplots(*((count, 1) if self.narrow else (1, count)), **settings)

    @property
    def settings(self) -> Any:
        """The settings for matplotlib."""
        lines = dict.fromkeys(
            ("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color"), self.ink
        )
        return {**lines, "figure.facecolor": self.paper, "axes.facecolor": self.paper, "grid.color": self.grid}


def look(narrow: bool, dark: bool) -> Look:
    """Return the style of plots for a wide or narrow page, in light or dark."""
    if dark:
        colours = {"none": "#b4c2d3", "batch": "#7fb4f5", "layer": "#f5957f", "group": "#7fd195"}
        return Look(narrow, "#10171f", "#e8edf3", "#3b4a5e", "Blues_r", colours)
    colours = {"none": "#5b6675", "batch": "#1f5aa6", "layer": "#b3361e", "group": "#2b7a3d"}
    return Look(narrow, "#ffffff", "#1b2430", "#d6dde6", "Blues", colours)


_DASHES = {"none": "-", "batch": "--", "layer": "-.", "group": ":"}


def save_plot(finding: Finding, out: Path, variant: Callable[[str, bool, bool], str]) -> str:
    """Draw the plot of a section for every kind of page, and return its name."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    name, make, panels = PLOTS[finding.letter]
    for narrow, dark in product((False, True), repeat=2):
        style = look(narrow, dark)
        with rc_context(style.settings):
            size = (3.9, 3.1 * panels) if narrow else (9.5, 3.8)
            figure = Figure(figsize=size, layout="constrained", dpi=160)
            make(figure, finding.data, style)
            figure.savefig(out / variant(name, narrow, dark))
    return name


def _shift(figure: Any, data: dict[str, Any], style: Look) -> None:
    spread, movement = style.panels(figure, 2)
    layers = np.arange(1, len(data["depth"]["none"]) + 1)
    for norm, label in (("none", "no normalization"), ("batch", "batch norm")):
        line = {"color": style.colours[norm], "linestyle": _DASHES[norm], "marker": "o", "label": label}
        spread.semilogy(layers, [std for _, std in data["depth"][norm]], **line)
        movement.semilogy(layers, data["moved"][norm], **line)
    spread.set(title="Spread over samples, before training", xlabel="layer", ylabel="median standard deviation")
    movement.set(title="How far means move in 10 steps", xlabel="layer", ylabel="in standard deviations")
    for axes in (spread, movement):
        axes.set_xticks(layers)
        axes.grid()
    spread.legend(frameon=False)


def _interaction(figure: Any, data: dict[str, Any], style: Look) -> None:
    axes = style.panels(figure, 3)
    for ax, (name, jacobian) in zip(axes, data["jacobians"].items(), strict=False):
        samples, features = jacobian.shape[:2]
        matrix = np.abs(jacobian.reshape(samples * features, -1))
        ax.imshow(np.where(matrix == 0, np.nan, matrix) ** 0.5, cmap=style.shades, vmin=0)
        edges = np.arange(features, samples * features, features) - 0.5
        ax.set_xticks(edges, labels=[])
        ax.set_yticks(edges, labels=[])
        ax.grid(linewidth=0.6)
        ax.set(title=f"{name}: |dy / dx|, dark is large", xlabel="x, by sample", ylabel="y, by sample")
    for (size, values), norm in zip(data["spreads"].items(), ("layer", "batch", "group"), strict=True):
        axes[2].hist(
            values,
            30,
            density=True,
            histtype="stepfilled",
            alpha=0.7,
            color=style.colours[norm],
            label=f"batches of {size}",
        )
    axes[2].set(title="One digit's x̂, one feature", xlabel="x̂", ylabel="density")
    axes[2].legend(frameon=False)


def _race(figure: Any, data: dict[str, Any], style: Look) -> None:
    depths = sorted({depth for depth, _ in data["curves"]}, reverse=True)
    for ax, depth in zip(style.panels(figure, 2, sharey=True), depths, strict=True):
        for (d, norm), losses in data["curves"].items():
            if d != depth:
                continue
            window = np.ones(10) / 10
            smooth = np.array([np.convolve(run, window, "valid") for run in losses])
            steps = np.arange(smooth.shape[1]) + len(window)
            label = "no normalization" if norm == "none" else f"{norm} norm"
            colour = style.colours[norm]
            ax.plot(steps, smooth.mean(axis=0), color=colour, linestyle=_DASHES[norm], label=label)
            ax.fill_between(steps, smooth.min(axis=0), smooth.max(axis=0), color=colour, alpha=0.15, linewidth=0)
        ax.set(title=f"{depth} hidden layer{'s' if depth > 1 else ''}", xlabel="training step")
        ax.grid()
        if depth == depths[0] or style.narrow:
            ax.set_ylabel("training loss")
        if depth == depths[0]:
            ax.legend(frameon=False)


PLOTS = {
    "a": ("a_shift.png", _shift, 2),
    "e": ("e_interaction.png", _interaction, 3),
    "g": ("g_race.png", _race, 2),
}
"""For each section with a plot: its file name, the function that draws it, and its number of panels."""
