"""Pictures that the pages show beside those of the tour."""

import re
from math import prod
from pathlib import Path

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm.distributed import ThreadComm, shard, sync_batch_norm
from tinygrad_norm.graph import draw_jacobian
from tinygrad_norm.graph.explorer.scenes import example, norms

FIGURES = Path(__file__).resolve().parents[1] / "fusing-figures.md"
EXCHANGE = "#1d7a3a"


def on_two_ranks(**options):
    """Return drawings of batch norm over two ranks, one of each rank, with the exchanges in green."""
    x = np.random.default_rng(0).normal(size=(4, 3))

    def rank(comm):
        part = tn.tensor(shard(x, comm), requires_grad=True, name="x")
        with tn.scope(f"rank {comm.rank}"):
            y = sync_batch_norm(part, comm)
        drawing = tn.draw(y, **options)
        lines = drawing.source.splitlines()
        green = [re.sub(r'fillcolor="[^"]*"', 'fillcolor="#d8f3dc"', line) for line in lines]
        drawing.source = "\n".join(
            g if "Σ over 2 processes" in g else line for g, line in zip(green, lines, strict=True)
        )
        return drawing

    return ThreadComm.run(2, rank)


def side_by_side(drawings):
    """Return a drawing of both, in which a dashed line joins the sums that are one exchange."""
    left, _ = drawings
    parts = [re.sub(r"(?<!\\)\b(n|cluster_)(?=\d)", rf"\g<1>{i}_", d.source).strip() for i, d in enumerate(drawings)]
    sums = [[v.id for v in d.graph.vertices if v.operation == "allreduce_sum"] for d in drawings]
    style = f'dir=none style=dashed penwidth=2.5 color="{EXCHANGE}" fontcolor="{EXCHANGE}" constraint=false'
    for a, b in zip(*sums, strict=True):
        line = f"n0_{a} -> n1_{b} [{style} label=exchange]"
        parts[1] = parts[1][:-1] + f"{line}\n{{rank=same; n0_{a}; n1_{b}}}\n}}"
    left.source = parts[0][:-1] + parts[1].partition("{")[2]
    return left


def growth():
    """Return what is measured under "Time by size": for each contender the numbers of elements and milliseconds."""
    table = FIGURES.read_text(encoding="utf-8").partition("## Time by size\n")[2]
    (_, *names), _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]
    elements = [prod(int(n) for n in re.findall(r"\d+", title)) for title, *_ in rows]
    return {name: (elements, [float(row[i]) for row in rows]) for i, name in enumerate(names, 1)}


def plot_growth(path):
    """Plot how time grows with the number of elements."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, points in growth().items():
        axes.loglog(*points, marker="o", ms=4, lw=2.5 if name == "fused" else 1.2, label=name)
    axes.set(xlabel="elements of x", ylabel="forward and backward, ms", title="Layer norm, float32, one thread")
    axes.grid(alpha=0.3, which="both")
    axes.legend(frameon=False)
    figure.savefig(path)


def jacobian(function, **options):
    """Return a drawing of a norm's Jacobian at the batch of the live page, which is that of the course."""
    return draw_jacobian(function, example(norms()["batch_norm"], (4, 3))["x"], **options)


DRAWINGS = {
    "two_ranks.svg": lambda: side_by_side(on_two_ranks()),
    "one_rank_backward.svg": lambda: on_two_ranks(backward=True)[0],
    "jacobian_batch_norm.svg": lambda: jacobian(tn.batch_norm),
    "jacobian_layer_norm.svg": lambda: jacobian(lambda x: tn.layer_norm(x, 3), title="dy/dx of layer_norm"),
}
"""What draws each."""
