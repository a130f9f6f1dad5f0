"""The course: what its pages say of the live pages and of the tour, and what they compute by hand."""

import re
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np
import pytest

from tests.test_explorer_pages import scene_data
from tinygrad_norm.graph.explorer import explore_norm, explore_norms
from tinygrad_norm.graph.explorer.states import States
from tinygrad_norm.tour import run

LEARN = Path(__file__).resolve().parent.parent / "docs" / "learn"
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted(LEARN.glob("*.md"))}
DERIVATION = PAGES["03-the-derivation.md"]
PANELS = {"routes", "shared", "checks", "epsilon", "code"}


@pytest.fixture(scope="module")
def live():
    """The live pages, by file name."""
    return {"bn.html": scene_data(explore_norm("batch_norm")), "norms.html": scene_data(explore_norms())}


def addresses(text):
    """Return (label, file, state) of every link into a live page."""
    found = re.findall(r"\[([^\]]*)\]\(\.\./(\w+\.html)#([^)]+)\)", text)
    return [(" ".join(label.split()), file, {k: v[0] for k, v in parse_qs(s).items()}) for label, file, s in found]


def is_there(data, state):
    """Return whether a page has the state that an address asks for."""
    states = States(data)
    if state["scene"] not in states.scenes or not 1 <= int(state["step"]) <= max(states.steps(state["scene"]).values()):
        return False
    stage = states.stage(state["scene"])
    shape = stage["boxes"][stage["y"]]["shape"]
    cell = [int(i) for i in state["cell"].split(",")] if "cell" in state else [0] * len(shape)
    without = [int(i) for i in state.get("without", "1").split(",")]
    return (
        all(0 <= i < n for i, n in zip(cell, shape, strict=True))
        and {state.get("part", "routes")} <= PANELS
        and max(without) <= len(stage["routes"])
    )


def test_links_into_the_live_pages_lead_to_states_that_exist(live):
    found = [(name, file, state) for name, text in PAGES.items() for _, file, state in addresses(text)]
    assert len(found) > 30
    assert [each for each in found if not is_there(live[each[1]], each[2])] == []
    right = {"scene": "train", "step": "1"}
    for wrong in ({"scene": "trein"}, {"step": "23"}, {"cell": "4,0"}, {"part": "x"}, {"without": "5"}):
        assert not is_there(live["bn.html"], right | wrong), wrong


def test_a_link_that_names_a_step_leads_to_it():
    named = [(label, state) for label, _, state in addresses(DERIVATION) if re.fullmatch(r"step \d+", label)]
    assert len(named) == 13
    for label, state in named:
        assert label == f"step {state['step']}"


MEANT = {
    "the mean": ("train", "μ"),
    "the deviations": ("train", "x−μ"),
    "the variance": ("train", "σ²"),
    "x̂": ("train", "x̂"),
    "y": ("train", "y"),
    "y is x": ("identity", "y"),
    "but dx is not dy": ("identity", "∂L/∂x"),
    "another batch with the same γ and β": ("identity-other", "y"),
    "test time": ("eval", "y"),
    "its gradient": ("eval", "∂L/∂x"),
    "the routes as a sum": ("train", "∂L/∂x"),
}


def test_a_link_that_names_a_value_leads_to_the_step_that_computes_it(live):
    states = States(live["bn.html"])
    links = [link for text in PAGES.values() for link in addresses(text)]
    found = {label: (state["scene"], int(state["step"])) for label, _, state in links}
    assert {label: found[label] for label in MEANT} == {
        label: (scene, states.steps(scene)[name]) for label, (scene, name) in MEANT.items()
    }


def test_the_table_of_nodes_is_that_of_the_live_page(live):
    data = live["bn.html"]
    stage, forward = States(data).stage("train"), States(data).steps("train")
    # The box that a gradient leaves, in every step back: links are stepped through in this order.
    leaves = [stage["boxes"][link["t"]]["name"] for link in stage["links"] if "before" in link]
    first = forward[stage["boxes"][stage["y"]]["slope"]] + 1
    rows = re.findall(r"(?m)^\| (\d) \| .*? \| (?:inside )?(.+?) \| step (\d+) \| steps? ([\d, ]+) \|$", DERIVATION)
    assert [int(number) for number, *_ in rows] == [*range(1, 10)]
    for _, box, computed, back in rows:
        assert int(computed) == forward[box]
        assert [int(step) for step in back.split(", ")] == [first + i for i, name in enumerate(leaves) if name == box]


def test_the_batch_of_the_course_is_that_of_the_live_page(live):
    (given,) = (scene["given"] for scene in live["bn.html"]["scenes"] if scene["key"] == "train")
    numbers = [values for _, values in given]
    boxes = {}
    for name in ("x", "gamma, beta", "dy"):
        line = re.search(rf"(?m)^>>> {name} = (np\.array.*)$", DERIVATION)[1]
        for i, text in enumerate(re.findall(r"\[[^a-z]*\]", line)):
            boxes[name, i] = np.array(eval(text)).ravel().tolist()
    assert sorted(boxes.values()) == sorted([float(n) for n in values] for values in numbers)
    batch = re.search(r"\[\[-1\.4.*?\]\]", DERIVATION)[0]
    elsewhere = [text for text in PAGES.values() if "[[-1.4" in text]
    assert len(elsewhere) >= 5
    assert all(set(re.findall(r"\[\[-1\.4.*?\]\]", text)) == {batch} for text in elsewhere)


def rounded_alike(equation):
    """Return whether all sides of an equation agree to the digits of the last one."""
    sides = equation.replace("−", "-").replace("·", "*").replace("½", "0.5").replace("³", "**3").split(" = ")
    digits = len(sides[-1].partition(".")[2])
    return all(abs(eval(side) - float(sides[-1])) <= 0.5 * 10**-digits * 1.01 for side in sides)


def test_what_is_computed_by_hand_is_right():
    sentences = re.findall(r"(?s)By hand,.*?\n\n", DERIVATION)
    equations = [" ".join(e.split()) for s in sentences for e in re.findall(r"`([^`]*=[^`]*)`", s)]
    assert len(equations) == 8
    assert [e for e in equations if not rounded_alike(e)] == []
    assert not rounded_alike("−0.9 · 0.9 = −0.82")


NUMBER = r"(?<![\d.])\d+(?:\.\d+)?"
QUOTED = [
    ("01-distributions-shift.md", "0.74 standard deviations", "a", "the means move by # standard deviations"),
    ("01-distributions-shift.md", "0.002 with it", "a", "without it and by # with it"),
    ("01-distributions-shift.md", "60 % of the test digits without and 97 % with", "g", "test accuracy # % and # %"),
    ("05-samples-interact.md", "by 0.55, 0.20 and 0.04 over random batches", "e", "features) is #, # and # over"),
    ("05-samples-interact.md", "of 4, 32 and 512", "e", "over random batches of #, # and #"),
    ("06-test-time.md", "504 in a thousand steps", "c", "a bias grows to # in a thousand steps"),
    ("06-test-time.md", "97.5 %", "f", "accuracy is # % in eval mode"),
    ("06-test-time.md", "96.4 % right", "f", "# % on random batches"),
    ("06-test-time.md", "31.1 % of the time", "f", "# % on batches sorted by class"),
]
"""What pages say, and what a section of the tour says of the same numbers."""


def test_pages_hold_what_is_compared_with_the_tour():
    assert [each for each in QUOTED if each[1] not in " ".join(PAGES[each[0]].split())] == []


def confirms(finding, words, quoted):
    """Return whether a run says the same, to 2 %: rounding, which training enlarges, differs between processors."""
    found = re.search(re.escape(words).replace(r"\#", f"({NUMBER})"), finding)
    pairs = zip(found.groups(), re.findall(NUMBER, quoted), strict=True) if found else [(0, 1)]
    return all(abs(float(a) / float(b) - 1) <= 0.02 for a, b in pairs)


@pytest.mark.exhaustive
def test_the_tour_finds_what_the_course_quotes(tmp_path):
    findings = {finding.letter: finding.number for finding in run(tmp_path, say=lambda text: None)}
    for _, quoted, letter, words in QUOTED:
        assert confirms(findings[letter], words, quoted), (findings[letter], quoted)


def test_a_quotation_that_a_run_does_not_confirm_is_found():
    words = "Accuracy # % in eval mode"
    assert confirms("Accuracy 97.5 % in eval mode; 31.1 % on", words, "97.3 %")
    for wrong in ("Accuracy 94.2 % in eval mode", "Accuracy 97.5 % in training"):
        assert not confirms(wrong, words, "97.3 %")


def test_the_rule_that_is_quoted_stands_in_the_engine():
    (quoted,) = re.findall(r"(?s)```python\n(multiply = .*?)```", PAGES["10-the-engine.md"])
    assert quoted in (LEARN.parent.parent / "tinygrad_norm" / "engine" / "ops" / "core.py").read_text(encoding="utf-8")


def test_the_glossary_is_in_alphabetical_order():
    terms = re.findall(r"(?m)^## (.+)$", PAGES["glossary.md"])
    spoken = [term.replace("ε (epsilon)", "epsilon").casefold() for term in terms]
    assert len(terms) >= 30
    assert spoken == sorted(spoken)


def test_every_page_of_the_course_asks_first_and_answers_last():
    course = [text for name, text in PAGES.items() if name[0].isdigit()]
    assert len(course) == 10
    for text in course:
        assert text.index("**A question first.**") < text.index("## Answer\n") < text.index("<details>")
    questions = PAGES["questions.md"]
    assert len(re.findall(r"(?m)^\*\*\d+\.\*\*", questions)) == questions.count("<details>") == 12
