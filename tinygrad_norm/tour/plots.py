"""The plots of the tour, where matplotlib is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .report import Finding

_COLOURS = {"none": "#5b6675", "batch": "#1f5aa6", "layer": "#b3361e", "group": "#2b7a3d"}
_DASHES = {"none": "-", "batch": "--", "layer": "-.", "group": ":"}


def save_plots(findings: list[Finding], out: Path) -> None:
    """Draw steps a, e and g beside the report, and name the files in their findings."""
    from matplotlib.figure import Figure

    for finding in findings:
        make = {"a": _shift, "e": _interaction, "g": _race}.get(finding.letter)
        if make is None:
            continue
        figure = Figure(figsize=(9.5, 3.8), layout="constrained", dpi=120)
        make(figure, finding.data)
        name = f"{finding.letter}_{make.__name__.strip('_')}.png"
        figure.savefig(out / name)
        finding.files.append(name)


def _shift(figure: Any, data: dict[str, Any]) -> None:
    left, right = figure.subplots(1, 2)
    layers = np.arange(1, len(data["depth"]["none"]) + 1)
    for norm, label in (("none", "no normalization"), ("batch", "batch norm")):
        look = {"color": _COLOURS[norm], "linestyle": _DASHES[norm], "marker": "o", "label": label}
        left.semilogy(layers, [std for _, std in data["depth"][norm]], **look)
        right.semilogy(layers, data["moved"][norm], **look)
    left.set(title="Spread over samples, before training", xlabel="layer", ylabel="median standard deviation")
    right.set(title="How far means move in 10 steps", xlabel="layer", ylabel="in standard deviations")
    for axes in (left, right):
        axes.set_xticks(layers)
        axes.grid(alpha=0.3)
    left.legend(frameon=False)


def _interaction(figure: Any, data: dict[str, Any]) -> None:
    axes = figure.subplots(1, 3)
    for ax, (name, jacobian) in zip(axes, data["jacobians"].items(), strict=False):
        samples, features = jacobian.shape[:2]
        matrix = np.abs(jacobian.reshape(samples * features, -1))
        ax.imshow(np.where(matrix == 0, np.nan, matrix) ** 0.5, cmap="Blues", vmin=0)
        edges = np.arange(features, samples * features, features) - 0.5
        ax.set_xticks(edges, labels=[])
        ax.set_yticks(edges, labels=[])
        ax.grid(color="#b9c4d1", linewidth=0.6)
        ax.set(title=f"{name}: dy / dx", xlabel="x, by sample", ylabel="y, by sample")
    for size, values in data["spreads"].items():
        axes[2].hist(values, bins=30, alpha=0.6, density=True, label=f"batches of {size}", histtype="stepfilled")
    axes[2].set(title="One digit's x̂, one feature", xlabel="x̂", ylabel="density")
    axes[2].legend(frameon=False)


def _race(figure: Any, data: dict[str, Any]) -> None:
    depths = sorted({depth for depth, _ in data["curves"]}, reverse=True)
    for ax, depth in zip(figure.subplots(1, 2, sharey=True), depths, strict=True):
        for (d, norm), losses in data["curves"].items():
            if d != depth:
                continue
            window = np.ones(10) / 10
            smooth = np.array([np.convolve(run, window, "valid") for run in losses])
            steps = np.arange(smooth.shape[1]) + len(window)
            label = "no normalization" if norm == "none" else f"{norm} norm"
            ax.plot(steps, smooth.mean(axis=0), color=_COLOURS[norm], linestyle=_DASHES[norm], label=label)
            ax.fill_between(
                steps, smooth.min(axis=0), smooth.max(axis=0), color=_COLOURS[norm], alpha=0.15, linewidth=0
            )
        ax.set(title=f"{depth} hidden layer{'s' if depth > 1 else ''}", xlabel="training step")
        ax.grid(alpha=0.3)
        ax.label_outer()
        if depth == depths[0]:
            ax.set_ylabel("training loss")
            ax.legend(frameon=False)
