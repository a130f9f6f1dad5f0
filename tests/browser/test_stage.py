"""The stage in a browser: everything in one screen at every step, arithmetic that is true, every number the engine's."""

import re

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.graph.explorer import explore_norm, explore_norms
from tinygrad_norm.graph.explorer.scenes import example, norms, scenes_of_norm

pytestmark = [pytest.mark.browser, pytest.mark.exhaustive]

SCREENS = {"laptop": (1366, 657), "projector": (1280, 720), "phone": (390, 844)}
ON_ALL_SCREENS = pytest.mark.parametrize("screen", SCREENS)


def attention(q, k, v):
    return tn.ops.softmax(q @ k.T / 2.0, axis=-1) @ v


def loss(logits):
    return tn.nn.cross_entropy(logits, np.array([0, 3, 1]))


def explored(name):
    a = np.random.default_rng(0).normal(size=(3, 4)).round(2)
    return {
        "batch norm": lambda: explore_norm("batch_norm"),
        "layer norm": lambda: explore_norm("layer_norm"),
        "images": lambda: explore_norm("group_norm", shape=(2, 4, 2, 2)),
        "four norms": explore_norms,
        "attention": lambda: tn.explore(attention, a, a + 1, a * 2, axes={"q": "n d", "k": "k d"}),
        "loss": lambda: tn.explore(loss, a),
        "large": lambda: tn.explore(lambda x: np.tanh(x).sum(1), np.linspace(0, 1, 400).reshape(20, 20)),
        "too large": lambda: tn.explore(lambda x, w: tn.layer_norm(x @ w, 128), *np.ones((2, 128, 128))),
        "deep": lambda: tn.explore(lambda x: np.tanh(np.tanh(np.tanh(x * 2) * 3) * 4).sum() * np.exp(x[0, 0]), a),
    }[name]()  # fmt: skip


@pytest.fixture(scope="module")
def bn():
    return explore_norm("batch_norm")


@pytest.fixture(scope="module")
def scenes():
    norm = norms()["batch_norm"]
    return scenes_of_norm(norm, example(norm, (4, 3)))


# What of a step can be seen: everything that is wrong with it, in words.
SEEN = """() => {
  const wrong = [], width = innerWidth, height = innerHeight;
  const inside = (what, r, box) => {
    if (r.left < box.left - 1 || r.right > box.right + 1 || r.top < box.top - 1 || r.bottom > box.bottom + 1)
      wrong.push(`${what} sticks out: ${[r.left, r.top, r.right, r.bottom].map(Math.round)}`);
  };
  const screen = { left: 0, top: 0, right: width, bottom: height };
  const rect = (e) => e.getBoundingClientRect();
  const step = document.getElementById("step"), graph = document.getElementById("graph");
  const active = document.querySelectorAll('[aria-current="step"]');
  if (active.length !== 1) wrong.push(`${active.length} active boxes`);
  inside("the active box", rect(active[0]), rect(graph));
  inside("the step", rect(step), screen);
  for (const part of step.querySelectorAll("h2, .line, .term, .sign, .side, .arithmetic, .part"))
    if (!part.closest(".side") || part.classList.contains("side")) inside(part.className || part.tagName, rect(part), rect(step));
  for (const id of ["graph", "strip", "step", "next", "previous", "count"]) inside(id, rect(document.getElementById(id)), screen);
  const apart = (list, what) => list.forEach((a, i) => list.slice(i + 1).forEach((b) => {
    const [r, s] = [rect(a), rect(b)];
    if (r.width && s.width && r.left < s.right - 1 && s.left < r.right - 1 && r.top < s.bottom - 1 && s.top < r.bottom - 1)
      wrong.push(`${what} overlap: ${a.textContent.slice(0, 20)} and ${b.textContent.slice(0, 20)}`);
  }));
  apart([...document.querySelectorAll(".box")], "boxes");
  apart([...step.querySelectorAll(".line > *, .side, h2, .arithmetic")], "parts of the step");
  apart(["graph", "strip", "step", "next", "previous"].map((id) => document.getElementById(id)), "parts of the page");
  apart([...document.querySelectorAll("header > *:not(.steps), #next, #previous")].filter((e) => e.offsetParent), "parts of the header");
  for (const cell of document.querySelectorAll('.digits .matrix [data-cell], .line[data-density="full"] [data-cell], .line[data-density="dense"] [data-cell], .line[data-density="tight"] [data-cell]'))
    if (cell.scrollWidth > cell.clientWidth + 1) wrong.push(`a number is cut: ${cell.textContent}`);
  if (document.documentElement.scrollWidth > width) wrong.push("it scrolls sideways");
  return wrong;
}"""


WALK = f"""() => {{
  const look = {SEEN}, found = [];
  for (let scene = 0; scene < data.scenes.length; scene++) {{
    chooseScene(scene, 0);
    for (;;) {{
      look().forEach((wrong) => found.push(`${{scene}} ${{get("count").textContent}}: ${{wrong}}`));
      if (get("next").disabled) break;
      get("next").click();
    }}
  }}
  return found;
}}"""


@ON_ALL_SCREENS
@pytest.mark.parametrize(
    "name",
    ["batch norm", "layer norm", "images", "four norms", "attention", "loss", "large", "too large", "deep"],
)
def test_every_step_of_every_scene_fits_one_screen(name, screen, open_page):
    width, height = SCREENS[screen]
    seen = open_page(explored(name).html, viewport={"width": width, "height": height}, reduced_motion="reduce")
    assert seen.page.evaluate(WALK) == []
    assert seen.errors == seen.messages == []
    assert len(seen.requests) == 1


# What the page says of every cell at every step, and what it computes: the printed line, and true values.
SAID = """() => {
  const lines = [];
  const { shape } = now.reference;
  for (let step = 0; step < now.steps.length; step++) {
    go(step);
    for (let flat = 0; flat < product(shape); flat++) {
      pick(indexOf(shape, flat));
      for (const part of document.querySelectorAll("#step .part:not(.changed)")) lines.push([step, flat, part.textContent]);
    }
  }
  return lines;
}"""


def number(text):
    return float(text.replace("−", "-"))


def evaluate(text):
    """Evaluate arithmetic as a person reads it; None where it holds names."""
    text = text.replace("−", "-").replace("·", "*").replace("²", "**2").replace("^", "**")
    text = re.sub(r"√(\([^()]*\)|[\d.]+)", r"sqrt(\1)", text)
    known = {name: getattr(np, name) for name in ("sqrt", "exp", "log", "tanh", "maximum")} | {"max": max, "min": min}
    if set(re.findall(r"[^\W\d_]\w*", re.sub(r"\de[-+]?\d", "", text))) - set(known):
        return None
    return float(eval(text, {"__builtins__": {}}, known))  # our own page's arithmetic


def assert_true(lines):
    checked = 0
    for step, cell, text in lines:
        *_, expression, result = text.split(" = ") if text.count(" = ") else [text]
        found = evaluate(expression)
        if found is None:
            continue
        digits = len(result.partition("e")[0].partition(".")[2])
        exponent = int(number("1e" + result.partition("e")[2])) if "e" in result else 1
        step_of_last_digit = 10.0**-digits * (
            10.0 ** int(result.partition("e")[2].replace("−", "-")) if "e" in result else 1
        )
        assert abs(found - number(result)) <= 0.5001 * step_of_last_digit, (step, cell, text, exponent)
        checked += 1
    return checked


@pytest.mark.parametrize("name", ["batch norm", "layer norm", "attention", "images"])
def test_printed_arithmetic_is_true_for_every_cell_at_every_step(name, open_page):
    page = open_page(explored(name).html).page
    lines = page.evaluate(SAID)
    assert assert_true(lines) > 0.6 * len(lines)
    assert not [text for *_, text in lines if "NaN" in text or "undefined" in text]
