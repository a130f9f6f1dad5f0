"""The family of normalizations as data: name, axes, parameters and source of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..norm import functional, more
from ..norm.pattern import Fitted, parse
from ..table import Table
from . import more as wider_layers
from .conditional import AdaIN, ConditionalBatchNorm, FiLM
from .convolution import Conv2d
from .lengths import L2Norm, ScaleNorm
from .module import Module
from .normalization import BatchNorm2d, GroupNorm, InstanceNorm2d, LayerNorm, LocalResponseNorm, RMSNorm
from .pattern_norm import Norm
from .virtual_batches import BatchRenorm, GhostBatchNorm
from .weights import WeightNorm, WeightStandardization

SHAPE = (4, 6, 8, 8)
WEIGHT_SHAPE = (12, 6, 3, 3)
"""The example shapes of the table: a batch of images (n c h w), and the weights of a convolution (o i h w)."""


@dataclass(frozen=True)
class Member:
    """One normalization.

    Attributes
    ----------
    name : str
    wording : str
        The description used in lecture notes, which usually name the reduced axes.
    pattern : str
        The pattern; for a member without one, a description.
    function : callable
    make : callable
        Creates the layer for an input of shape `SHAPE`.
    paper : str
    statistic : str
        The statistic for each index of the kept axes: "mean" for mean and variance, or the name of another one.
    lengths : mapping
        Sizes of axes in parentheses.
    of_weights : bool
        Whether the pattern describes weights instead of the input.
    """

    name: str
    wording: str
    pattern: str
    function: Callable[..., Any]
    make: Callable[[], Module]
    paper: str
    statistic: str = "mean"
    lengths: Mapping[str, int] = field(default_factory=dict)
    of_weights: bool = False

    @property
    def fitted(self) -> Fitted | None:
        """The pattern fitted to the example shape."""
        if "->" not in self.pattern:
            return None
        return parse(self.pattern).fit(WEIGHT_SHAPE if self.of_weights else SHAPE, self.lengths)

    @property
    def reduced(self) -> str:
        """The axes that statistics are computed over."""
        return "–" if self.fitted is None else " ".join(self.fitted.names[i] for i in self.fitted.axes)

    @property
    def means(self) -> str:
        """The number of means, or of other statistics."""
        if self.fitted is None:
            return "0" if self.statistic == "mean" else f"0; {self.statistic}"
        count = self.fitted.number_of_means
        return str(count) if self.statistic == "mean" else f"0; {count} {self.statistic}"


FAMILY = (
    Member(
        "batch norm", "each channel, over the batch and space", "n c h w -> c",
        functional.batch_norm, lambda: BatchNorm2d(6), "Ioffe and Szegedy 2015, arXiv:1502.03167",
    ),
    Member(
        "layer norm: a whole sample", "across the channels: all features of a sample", "n c h w -> n",
        functional.layer_norm, lambda: LayerNorm(SHAPE[1:]), "Ba, Kiros and Hinton 2016, arXiv:1607.06450",
    ),
    Member(
        "layer norm: the channels", "across the channels, at each position", "n c h w -> n h w",
        functional.normalize, lambda: Norm("n c h w -> n h w", affine="c", c=6),
        "Ba, Kiros and Hinton 2016, arXiv:1607.06450",
    ),
    Member(
        "layer norm: the last axes", "over the last k axes: normalized_shape, here k = 1",
        "n c h w -> n c h",
        functional.layer_norm, lambda: LayerNorm(SHAPE[-1]), "Ba, Kiros and Hinton 2016, arXiv:1607.06450",
    ),
    Member(
        "instance norm", "each channel of each sample, over space", "n c h w -> n c",
        functional.instance_norm, lambda: InstanceNorm2d(6), "Ulyanov, Vedaldi and Lempitsky 2016, arXiv:1607.08022",
    ),
    Member(
        "group norm", "layer norm on a subset of the channels", "n (g c) h w -> n g",
        functional.group_norm, lambda: GroupNorm(3, 6), "Wu and He 2018, arXiv:1803.08494", lengths={"g": 3},
    ),
    Member(
        "RMS norm", "layer norm in which no mean is subtracted", "n c h w -> n",
        functional.rms_norm, lambda: RMSNorm(SHAPE[1:]), "Zhang and Sennrich 2019, arXiv:1910.07467", "mean squares",
    ),
    Member(
        "local response norm", "each value, over neighbouring channels", "a window of channels",
        functional.local_response_norm, lambda: LocalResponseNorm(5), "Krizhevsky, Sutskever and Hinton 2012",
        "1536 mean squares",
    ),
    Member(
        "weight norm", "the weights of each output, with a learned length", "o i h w -> o",
        more.weight_norm, lambda: WeightNorm(Conv2d(6, 12, 3)), "Salimans and Kingma 2016, arXiv:1602.07868",
        "lengths", of_weights=True,
    ),
    Member(
        "weight standardization", "the weights of each output", "o i h w -> o",
        more.weight_standardization, lambda: WeightStandardization(Conv2d(6, 12, 3)),
        "Qiao et al. 2019, arXiv:1903.10520", of_weights=True,
    ),
    Member(
        "ghost batch norm", "batch norm of virtual batches", "(v n) c h w -> v c",
        more.ghost_batch_norm, lambda: GhostBatchNorm(6, 2), "Hoffer, Hubara and Soudry 2017, arXiv:1705.08741",
        lengths={"n": 2},
    ),
    Member(
        "batch renorm", "batch norm, corrected by running statistics", "n c h w -> c",
        more.batch_renorm, lambda: BatchRenorm(6), "Ioffe 2017, arXiv:1702.03275",
    ),
    Member(
        "conditional batch norm", "batch norm whose γ and β come from data", "n c h w -> c",
        more.conditional_batch_norm, lambda: ConditionalBatchNorm(6, 10), "de Vries et al. 2017, arXiv:1707.00683",
    ),
    Member(
        "AdaIN", "instance norm with another image's statistics", "n c h w -> n c",
        more.adaptive_instance_norm, AdaIN, "Huang and Belongie 2017, arXiv:1703.06868",
    ),
    Member(
        "FiLM", "γ and β from data, without normalization", "none",
        more.film, lambda: FiLM(6, 10), "Perez et al. 2018, arXiv:1709.07871",
    ),
    Member(
        "scale norm", "the last axis, with one learned length", "n c h w -> n c h",
        more.scale_norm, lambda: ScaleNorm(SHAPE[-1]), "Nguyen and Salazar 2019, arXiv:1910.05895", "lengths",
    ),
    Member(
        "L2 normalization", "the last axis, with length 1", "n c h w -> n c h",
        more.l2_normalize, L2Norm, "PyTorch's torch.nn.functional.normalize", "lengths",
    ),
)  # fmt: skip


def family_tables() -> tuple[Table, Table]:
    """Return a table of the axes of each member, and a table of its parameters, buffers and sources."""
    shapes = f"{' × '.join(map(str, SHAPE))} (n c h w), weights {' × '.join(map(str, WEIGHT_SHAPE))} (o i h w)"
    runs_over = Table(
        f"The axes of each normalization, and the number of means for {shapes}",
        ("norm", "in lecture notes", "averaged over", "pattern", "means"),
        [(m.name, m.wording, m.reduced, m.pattern, m.means) for m in FAMILY],
    )
    made_of = Table(
        "Function, layer, parameters, buffers and source of each normalization",
        ("norm", "function", "layer", "parameters", "buffers", "source"),
        [(m.name, _function_name(m), _layer_name(m), *_contents(m.make()), m.paper) for m in FAMILY],
    )
    return runs_over, made_of


def family_text() -> str:
    """Return both tables as text, the second as a list."""
    runs_over, made_of = family_tables()
    parts = []
    for name, *cells in made_of.cells():
        lines = (f"  {heading:<11} {cell}" for heading, cell in zip(made_of.headings[1:], cells, strict=True))
        parts.append("\n".join([name, *lines]))
    return "\n\n".join([runs_over.text(), made_of.title, *parts])


def _function_name(member: Member) -> str:
    name = member.function.__name__
    return f"tn.norm.more.{name}" if name in more.__all__ else f"tn.{name}"


def _layer_name(member: Member) -> str:
    name = type(member.make()).__name__
    return f"tn.nn.more.{name}" if name in wider_layers.__all__ else f"tn.nn.{name}"


def _contents(layer: Module) -> tuple[str, str]:
    parameters = [f"{path} {_shape(p.shape)}" for path, p in layer.named_parameters()]
    buffers = [f"{path} {_shape(b.shape)}" for path, b in layer.named_buffers()]
    return ", ".join(parameters) or "none", ", ".join(buffers) or "none"


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"
