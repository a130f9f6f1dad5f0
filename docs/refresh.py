"""Renew what documents take from a run: pictures, the tour's report, the lists of norms and functions, line counts.

Run it from anywhere: ``python docs/refresh.py``.
"""

import ast
import io
import re
import shutil
import tempfile
import tokenize
from pathlib import Path

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm.distributed import ThreadComm, shard, sync_batch_norm
from tinygrad_norm.engine.operators import FUNCTIONS
from tinygrad_norm.engine.ops.advice import ADVICE, advice, qualified
from tinygrad_norm.engine.ops.numpy_functions import _PLAIN
from tinygrad_norm.graph import draw_jacobian
from tinygrad_norm.nn.family import family_tables
from tinygrad_norm.tour import run

FILES = (
    "batch_norm.svg",
    "batch_norm_backward.svg",
    "norms.svg",
    "bn.html",
    "norms.html",
    "a_shift.png",
    "e_interaction.png",
    "g_race.png",
)
DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent


def lines_of_code(path):
    """Count the lines that hold code: not blank, not comment, not docstring."""
    source = path.read_text(encoding="utf-8")
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in skipped:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        # A string that stands by itself documents what is around or above it.
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, node.end_lineno + 1))
    return len(lines)


def counted(readme):
    """Return the README with the line counts of its reading order renewed."""

    def renew(match):
        return f"{match[1]}{lines_of_code(ROOT / match[2])}{match[3]}"

    return re.sub(r"(\]\((tinygrad_norm/[\w/]+\.py)\) \| )\d+( \|)", renew, readme)


def tabulated(page):
    """Return the page of the family with its tables renewed."""
    tables = "\n\n".join(table.markdown() for table in family_tables())
    return re.sub(r"(?s)(<!-- family -->\n).*(<!-- /family -->)", lambda match: f"{match[1]}{tables}\n{match[2]}", page)


def paragraph(title, names):
    return f"**{title}.** {', '.join(f'`{name}`' for name in sorted(names))}."


def functions_of(module):
    """Return the functions of a module of NumPy's that Tensors reach, by the names that users write."""
    functions = {f"{module.__name__}.{name}".replace("numpy", "np", 1): getattr(module, name) for name in dir(module)}
    return {
        name: function
        for name, function in functions.items()
        if isinstance(function, np.ufunc) or hasattr(function, "_implementation")
    }


def listed(page):
    """Return the page of NumPy's functions with what the engine's own tables say of each."""
    every = functions_of(np) | functions_of(np.linalg)
    known = {name for name, function in every.items() if function in FUNCTIONS}
    plain = {name for name in known if every[name] in _PLAIN}
    data = {name for name in known if name in ("np.zeros_like", "np.ones_like", "np.empty_like")}
    recorded = known - plain - data
    matrices = {name for name in recorded if name.startswith("np.linalg.")}
    elementwise = {name for name in recorded if isinstance(every[name], np.ufunc) and not every[name].signature}
    methods = {qualified(f) for f in FUNCTIONS if isinstance(getattr(f, "__self__", None), np.ufunc)}
    of_arrays = {name for name in dir(np.ndarray) if not name.startswith("_") and hasattr(tn.Tensor, name)}
    refused = set(every) - known
    advised = {name: re.split("; use |; make another with ", advice(every[name])) for name in sorted(refused)}
    in_place = [f"| `{name}` | {_code(ADVICE[name])} |" for name in sorted(ADVICE) if name not in every]
    found = f"""With NumPy {np.__version__.rpartition(".")[0]}:

## With a gradient

{paragraph("Element by element", elementwise)}

{paragraph("Matrices", matrices)}

{paragraph("Everything else", recorded - matrices - elementwise)}

{paragraph("Methods of ufuncs", methods)}

{paragraph("Attributes and methods of arrays that Tensors have", of_arrays)}

## Plain results

{paragraph("Answers about the values, as arrays, numbers and booleans", plain)}

## Data

{paragraph("Tensors that need no gradient", data)}

## Refused, with what to use

| function | use |
|---|---|
""" + "\n".join([f"| `{name}` | {_code(use[1])} |" for name, use in advised.items() if len(use) > 1] + in_place)
    silent = [name for name, use in advised.items() if len(use) == 1]
    found += f"""

## Refused: no gradient here

For their values alone, call them with `.data`. The transforms of `np.fft` are among them: their
values are complex.

{paragraph("The rest", silent)}
"""
    return re.sub(r"(?s)(<!-- functions -->\n).*(<!-- /functions -->)", lambda m: f"{m[1]}{found}{m[2]}", page)


def _code(advised):
    """Set an expression, up to the words that may follow it, as code."""
    expression, words = re.fullmatch(r"(.*?)(, (?:if|for|a new) .*)?", advised).groups(default="")
    return f"`{expression}`{words}"


def quoted(story, findings):
    """Return the story of the tour with the numbers of a run."""
    numbers = {finding.letter: finding.number for finding in findings}
    return re.sub(r"(?m)^> \*\*(\w)\.\*\* .*$", lambda line: f"> **{line[1]}.** {numbers[line[1]]}", story)


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


def rewrite(path, change):
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


def main():
    rewrite(ROOT / "README.md", counted)
    rewrite(DOCS / "family.md", tabulated)
    rewrite(DOCS / "numpy.md", listed)
    with tempfile.TemporaryDirectory() as folder:
        findings = run(folder)
        rewrite(DOCS / "the-tour.md", lambda story: quoted(story, findings))
        for name in FILES:
            shutil.copy(Path(folder) / name, DOCS / name)
        shutil.copy(Path(folder) / "report.md", DOCS / "tour-report.md")
    x = np.random.default_rng(1).normal(size=(4, 3))
    side_by_side(on_two_ranks()).save(DOCS / "two_ranks.svg")
    on_two_ranks(backward=True)[0].save(DOCS / "one_rank_backward.svg")
    draw_jacobian(tn.batch_norm, x).save(DOCS / "jacobian_batch_norm.svg")
    draw_jacobian(lambda x: tn.layer_norm(x, 3), x, title="dy/dx of layer_norm").save(DOCS / "jacobian_layer_norm.svg")


if __name__ == "__main__":
    main()
