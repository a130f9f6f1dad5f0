"""The questions of a page, each with a short answer and the state that shows it.

Formulas are between backticks.
"""

from __future__ import annotations

from typing import Any

from .states import Facts

Texts = list[dict[str, Any]]
Question = tuple[str, str, str]
"""The question, the answer, and the address of the state that shows it."""


def questions_of(page: Facts) -> Texts:
    asked = [*_of_routes(page), *_of_sums(page), *_of_family(page), *_of_parameters(page)]
    asked += [*_of_changes(page), *_of_test_time(page), *_of_epsilon(page)]
    return [{"ask": ask, "answer": answer, "show": show} for ask, answer, show in asked]


def _of_routes(page: Facts) -> list[Question]:
    at, key = page.at, page.key
    closed = (
        "dx = (dx̂ − mean(dx̂) − x̂ · mean(dx̂ · x̂)) · r" if page.norm.subtracts else "dx = (dx̂ − x̂ · mean(dx̂ · x̂)) · r"
    )
    carried = (
        "Four: through the numerator (`dx̂ · r`), through μ (`−mean(dx̂) · r`), through σ² "
        "(`−x̂ · mean(dx̂ · x̂) · r`), and through σ² and then μ (0)."
        if page.norm.subtracts
        else "Two: through the numerator (`dx̂ · r`), and through the mean square (`−x̂ · mean(dx̂ · x̂) · r`)."
    )
    return [
        (
            "Which routes lead back to x, and what does each carry?",
            f"{carried} Their sum is dx, cell by cell. The last line shows it for your cell.",
            at(key, "∂L/∂x", "routes"),
        ),
        (
            "How does the closed form follow from the graph?",
            f"Multiply the local derivatives along each route, and add the routes. With mean for Σ/n and `x̂` for "
            f"`{'(x−μ)' if page.norm.subtracts else 'x'} · r`: `{closed}`.",
            at(key, "∂L/∂x", "routes"),
        ),
        (
            f"How wrong would dx be if {page.were_constant}?",
            "y would be the same, but only the route through the numerator would be left. "
            f"Here the error is {page.wrong_by} of the length of dx.",
            at(key, "∂L/∂x", "routes", without=",".join(page.through_statistics)),
        ),
    ]  # fmt: skip


def _of_sums(page: Facts) -> list[Question]:
    at, key, unit, y = page.at, page.key, page.short, page.y
    if page.norm.subtracts:
        sums = (
            f"Why does dx sum to zero over a {unit}?",
            f"Add a constant to a whole {unit} of x: μ grows by it, too, so {y} and L do not change. "
            "So the derivatives sum to 0.",
            at(key, "∂L/∂x", "checks"),
        )
    else:
        sums = (
            f"Does dx sum to zero over a {unit}?",
            f"No. No mean is subtracted, so adding a constant to a whole {unit} of x changes {y}. Show me adds 3.",
            at(key, y, add=3, to=page.to),
        )
    found = [sums]
    if "eval-batch" in page.scenes:
        found.append((
            "Why does dx not sum to zero at test time?",
            f"μ is a stored constant there. Add a constant to a whole {unit} of x: μ does not change, but {y} does. "
            "So the derivatives do not sum to 0.",
            at("eval-batch", "∂L/∂x", "checks"),
        ))  # fmt: skip
    centred = "deviations of a {} from μ" if page.norm.subtracts else "values of a {}"
    scaled = centred.format(unit)
    found.append((
        "Why is sum(dx · x̂) nearly zero?",
        f"Multiply the {scaled} by a constant: r cancels it, so {y} does not change, except for ε. "
        "The remainder is `Σ dx · x̂ = ε · r³ · Σ dx̂ · x̂`.",
        at(key, "∂L/∂x", "checks"),
    ))  # fmt: skip
    return found


def _of_family(page: Facts) -> list[Question]:
    at, key = page.at, page.key
    size = page.x.size
    cells, means = [], []
    for other, norm in page.known.items():
        count = int(page.shared_in(other).max()) + 1
        each = size // count
        name = norm.title.partition(" ")[0]
        cells.append(f"{name} norm: the {each} cells of a {norm.unit}" if each > 1 else f"{name} norm: none, dx is 0")
        kind = ("mean" if norm.subtracts else "mean square") + "s" * (count > 1)
        means.append(f"{name} norm: {count} {kind} over {page.over(other)}, of {each} value{'s' * (each > 1)} each")
    return [
        (
            "What does dx[i, j] depend on?" if page.x.ndim == 2 else "What does one cell of dx depend on?",
            f"On those of the {size} cells of x that share its statistics. {'. '.join(cells)}.",
            at(key, "∂L/∂x", "shared"),
        ),
        (
            "Over which axes does each norm average, and how many means are there?",
            f"{'. '.join(means)}.",
            at(key, "∂L/∂x", "shared"),
        ),
    ]  # fmt: skip


def _of_parameters(page: Facts) -> list[Question]:
    at, key, y = page.at, page.key, page.y
    gamma = page.recording.leaves.get("γ")
    if gamma is None:
        return []
    found = []
    copies = page.x.size // gamma.size
    if copies > 1:
        found.append((
            "Where does the sum in ∂L/∂γ come from?",
            f"Each element of γ is used in {copies} cells of y. The contributions of these cells are added: "
            f"`∂L/∂γ = Σ ∂L/∂{'(x̂ · γ)' if 'β' in page.recording.leaves else 'y'} · x̂`.",
            at(key, "∂L/∂γ"),
        ))  # fmt: skip
    if "identity" in page.scenes:
        return [
            *found,
            (
                "Which γ and β make the norm the identity?",
                "`γ = √(σ² + ε)`, the standard deviation, and `β = μ`. Then y is x, for this batch.",
                at("identity", "y"),
            ),
            (
                "Is y still x for another batch, with this γ and β?",
                "No: another batch has a different μ and σ². Only with stored statistics is y = x for every input, and "
                "then `dx = ∂L/∂y`.",
                at("identity-other", "y"),
            ),
        ]  # fmt: skip
    if key == "train":
        found.append((
            "Can γ and β make this norm the identity?" if page.norm.subtracts else "Can γ make this norm the identity?",
            f"Not for every input: {page.why_no_identity}",
            at(key, y),
        ))  # fmt: skip
    return found


def _of_changes(page: Facts) -> list[Question]:
    at, key, unit, y = page.at, page.key, page.short, page.y
    added = (
        f"μ also grows by 3, so `{'x−μ'}`, {y} and dx do not change."
        if page.norm.subtracts
        else f"{y} changes, since no mean is subtracted."
    )
    return [
        (
            f"What happens if 3 is added to a whole {unit} of x?",
            f"{added} The last step shows the old and the new numbers of your cell.",
            at(key, "∂L/∂x", add=3, to=page.to),
        ),
        (
            f"What happens if a whole {unit} of x is doubled?",
            f"r is halved, so x̂ and {y} do not change, except for ε, and dx is halved.",
            at(key, "∂L/∂x", times=2, to=page.to),
        ),
    ]  # fmt: skip


def _of_test_time(page: Facts) -> list[Question]:
    at, key = page.at, page.key
    if "eval" in page.scenes:
        gamma = "γ · " if "γ" in page.recording.leaves else ""
        return [
            (
                "What changes at test time?",
                "μ and σ² were stored during training. A single sample is enough, each cell of y depends on the same "
                f"cell of x only, and `dx = ∂L/∂y · {gamma}r`.",
                at("eval", "∂L/∂x"),
            ),
            ("What happens in training with a batch of one?", page.scenes["one"].text, at("one", "∂L/∂x")),
        ]  # fmt: skip
    if key != "train":
        return []
    return [
        (
            "What changes at test time, and for a batch of one?",
            f"Nothing: every {page.norm.unit} has its own {page.statistics}, which do not depend on other samples."
            if page.norm.subtracts
            else f"Nothing: every {page.norm.unit} has its own mean square, which does not depend on other samples.",
            at(key, "∂L/∂x", "shared"),
        )
    ]


def _of_epsilon(page: Facts) -> list[Question]:
    at, key, eps = page.at, page.key, page.recording.epsilon
    if not eps or page.each < 2:
        return []
    v = f"v = {'σ²' if page.norm.subtracts else 'm'} + ε"
    return [
        (
            f"What does ε do as {page.m} goes to 0?",
            f"It keeps `r = 1/√({page.m} + ε)` finite: at most `1/√ε`, here {eps**-0.5:.0f}. dx grows with r, "
            "but stays finite, too.",
            at(key, "∂L/∂x", "epsilon"),
        ),
        (
            "What is the derivative at the variance, in one step and in two?",
            f"In one step, with `{v}`: `∂r/∂v = −½ r³`. In two steps, with `s = √v`: `1/(2s) · (−1/s²)`. "
            "Both are the same number.",
            at(key, "∂L/∂x", "epsilon"),
        ),
    ]  # fmt: skip
