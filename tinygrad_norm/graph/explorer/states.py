"""The states of a page that texts link to, and the numbers in texts, computed from the recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ...engine.operators import Array
from .insights import routes
from .recording import Recording
from .scenes import Norm, Scene

CELL = 1
"""The index of the chosen cell along each axis that is long enough."""


class States:
    """The addresses of a page's states. Steps are identified by name."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = data
        self.scenes = {scene["key"]: scene for scene in data["scenes"]}
        self.first = data["scenes"][0]["key"]

    def stage(self, scene: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._data["stages"][self.scenes[scene]["stage"]]
        return found

    def is_live(self, scene: str) -> bool:
        return bool(self._data["programs"][self.scenes[scene]["program"]]["live"])

    def explains(self, scene: str) -> bool:
        """Return whether the scene has the panels about norms."""
        return self.is_live(scene) and "norm" in self.stage(scene)

    def steps(self, scene: str) -> dict[str, int]:
        """Return the step that computes each box, by its name, and the step that completes its gradient, by ∂L/∂name.

        The order is the same as in ``stepsOf`` in state.js.
        """
        boxes, links = self.stage(scene)["boxes"], self.stage(scene)["links"]
        names = [
            "given",
            *(box["name"] for box in boxes if "made" in box),
            boxes[self.stage(scene)["y"]].get("slope", ""),
        ]
        names += [boxes[link["s"]]["slope"] for link in links if "before" in link]
        return {name: i + 1 for i, name in enumerate(names)}

    def output(self, scene: str) -> str:
        stage = self.stage(scene)
        name: str = stage["boxes"][stage["y"]]["name"]
        return name

    def __call__(self, scene: str, step: str, part: str = "", **more: object) -> str:
        """Return the address of a step, by its name in `steps`, or of the last step if the name is empty."""
        steps = self.steps(scene)
        number = steps[step] if step else max(steps.values())
        stage = self.stage(scene)
        of_y, of_x = (stage["boxes"][stage[end]]["shape"] for end in ("y", "x"))
        shape = of_y if np.prod(of_y) > 1 else of_x
        parts = {"scene": scene, "step": number, "cell": ",".join(str(min(CELL, size - 1)) for size in shape)}
        parts |= {"part": part} if part else {}
        return "#" + "&".join(f"{key}={value}" for key, value in (parts | more).items() if value != "")


class Facts:
    """The words and numbers for the texts of a page about norms, from its first scene."""

    def __init__(self, at: States, scenes: Sequence[Scene]) -> None:
        self.at, self.key = at, at.first
        self.scenes = {scene.key: scene for scene in scenes}
        self.known = {scene.key: scene.norm for scene in scenes if scene.norm is not None}
        self.norm: Norm = self.known[self.key]
        self.recording = self.scenes[self.key].recording
        self.x = self.recording.leaves["x"]
        self.y, self.m = at.output(self.key), "σ²" if self.norm.subtracts else "mean x²"
        self.ids = self.shared_in(self.key)
        self.count = int(self.ids.max()) + 1
        self.each = self.x.size // self.count
        self.unit = self.norm.unit
        self.short = "group" if self.unit.startswith("group") else self.unit
        # An address changes a column of x by default. Only in batch norm does a column share its statistics.
        self.to = "" if self.norm.name == "batch_norm" else "unit"

    def shared_in(self, scene: str) -> Array:
        """Return an array with equal entries for cells that share a statistic."""
        shares = self.scenes[scene].shares
        assert shares is not None
        return shares.ids

    def over(self, scene: str) -> str:
        """Return the axes over which a scene's statistics are computed."""
        shares = self.scenes[scene].shares
        return shares.over if shares and self.x.size > int(shares.ids.max()) + 1 else "no axis"

    @property
    def statistics(self) -> str:
        return "μ and σ²" if self.norm.subtracts else "mean square"

    @property
    def were_constant(self) -> str:
        return "μ and σ² were constants" if self.norm.subtracts else "the mean square were a constant"

    @property
    def moments(self) -> tuple[Array, Array]:
        """The mean and the variance of x for each unit, or zeros and the mean square for RMS norm."""
        given = list(self.norm.given_statistics(self.x.data).values())
        mean = given[0] if self.norm.subtracts else np.zeros_like(given[0])
        return mean.ravel(), given[-1].ravel()

    @cached_property
    def wrong_by(self) -> str:
        """The difference between dx and its value for constant statistics, in percent of the length of dx."""
        inputs = {name: leaf.data for name, leaf in self.recording.leaves.items()}
        held = Recording(
            self.norm.with_statistics, inputs | self.norm.given_statistics(self.x.data), self.recording.cotangent
        )
        dx = self.recording.gradients[self.x]
        length = float(np.linalg.norm(dx))
        difference = float(np.linalg.norm(held.gradients[held.leaves["x"]] - dx))
        return f"{100 * difference / length:.0f} %" if length else "100 %"

    @property
    def why_no_identity(self) -> str:
        """The reason why no γ and β restore every input."""
        owner = "feature" if self.norm.per_feature else "channel"
        if not self.norm.subtracts:
            return f"there is one mean square for each {self.unit}, but one γ for each {owner}."
        return f"there is one μ and σ² for each {self.unit}, but one γ and β for each {owner}."

    @property
    def through_statistics(self) -> list[str]:
        """The numbers, from 1, of the routes that constant statistics would remove."""
        return [str(i + 1) for i, route in enumerate(routes(self.recording, self.x)) if route.term != 0]


def shown(value: float) -> str:
    """Return a number as it is printed in the graph."""
    return f"{value:.2f}".replace("-", "−")
