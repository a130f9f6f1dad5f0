"""The panels below the graph: what they compute is what the engine, NumPy and plain differences say."""

import re

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.graph.explorer import explore_norm, explore_norms
from tinygrad_norm.graph.explorer.insights import statistics_of
from tinygrad_norm.graph.explorer.scenes import example, norms, scenes_of_family, scenes_of_norm

from .test_stage import PAGES, SCREENS, ask

pytestmark = [pytest.mark.browser, pytest.mark.exhaustive]

SHAPES = {"batch_norm": (4, 3), "layer_norm": (4, 3), "instance_norm": (2, 2, 2, 2), "group_norm": (2, 4, 2, 2)}


def own_run(name):
    norm = norms(images=len(SHAPES.get(name, (4, 3))) > 2)[name]
    return scenes_of_norm(norm, example(norm, SHAPES.get(name, (4, 3))))[0].recording


def open_part(page, part, hash_=""):
    page.evaluate("hash => goTo(hash)", f"#{hash_}&part={part}")
    assert page.get_attribute("#panel", "data-panel") == part


def closed_form_terms(recording):
    """The terms of the closed form in NumPy, nothing of the graph's own rules."""
    x = recording.leaves["x"]
    parts = statistics_of(recording, x)
    slope = recording.gradients[parts.x_hat].reshape(parts.centred.shape)
    r = (parts.var.data + parts.eps) ** -0.5
    x_hat = parts.centred.data * r

    def mean(a):
        return a.mean(axis=parts.axes, keepdims=True)

    terms = [slope * r, -mean(slope) * r, -x_hat * mean(slope * x_hat) * r, 0 * slope]
    return [np.broadcast_to(term, slope.shape).reshape(x.shape) for term in terms]


@pytest.mark.parametrize("name", norms())
def test_routes_carry_the_terms_of_the_closed_form(name, open_page):
    page = open_page(explore_norm(name, shape=SHAPES.get(name, (4, 3))).html).page
    recording = own_run(name)
    terms, dx = closed_form_terms(recording), recording.gradients[recording.leaves["x"]]
    carried = page.evaluate("now.stage.routes.map((route) => [route.term, [...carriedBy(route)]])")
    assert len(carried) == (2 if name == "rms_norm" else 4)
    for term, values in carried:
        np.testing.assert_allclose(np.reshape(values, dx.shape), terms[term], rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(sum(np.reshape(v, dx.shape) for _, v in carried), dx, rtol=1e-11, atol=1e-13)


def test_routes_of_any_function_add_up(open_page):
    for name in ("attention", "loss"):
        page = open_page(PAGES[name]().html).page
        carried = page.evaluate("now.stage.routes.map((route) => [...carriedBy(route)])")
        whole = page.evaluate("[...now.values[now.stage.boxes[now.stage.x].g]]")
        assert len(carried) == 2
        np.testing.assert_allclose(np.sum(carried, axis=0), whole, rtol=1e-11, atol=1e-14)


def test_how_wrong_constant_statistics_are(open_page):
    page = open_page(explore_norm("batch_norm").html).page
    recording = own_run("batch_norm")
    dx = recording.gradients[recording.leaves["x"]]
    wrong = closed_form_terms(recording)[0] - dx
    open_part(page, "routes", "scene=train&cell=1,2&without=2,3,4")
    said = page.text_content("#panel .arithmetic")
    assert f"wrong by {100 * np.linalg.norm(wrong) / np.linalg.norm(dx):.0f} %" in said
    where = np.unravel_index(np.abs(wrong).argmax(), wrong.shape)
    assert f"largest error at [{where[0]},{where[1]}]" in said
    # By hand: a route is put back, another cell chosen, and the address says so.
    page.check('[data-route="1"] input')
    assert page.evaluate("document.activeElement.parentNode.textContent") == " through μ"
    assert "without=3,4" in page.evaluate("location.hash")
    page.check('[data-route="2"] input')
    page.check('[data-route="3"] input')
    assert "wrong" not in page.text_content("#panel .arithmetic")


def test_a_route_lights_up_in_the_graph(open_page):
    page = open_page(explore_norm("batch_norm").html).page
    open_part(page, "routes")
    page.hover('[data-route="1"]')
    lit = page.eval_on_selector_all(".box.lit", "boxes => boxes.map(b => b.getAttribute('aria-label')).sort()")
    assert lit == sorted(["x", "μ", "x−μ", "x̂", "x̂ · γ", "y"])
    assert page.eval_on_selector_all(".curve.lit", "curves => curves.length") == 5
    page.mouse.move(5, 5)
    assert page.query_selector(".lit") is None
    page.focus('[data-route="2"] input')
    assert page.query_selector('.box.lit[aria-label="σ²"]') is not None


def test_checks_hold_and_would_not_for_a_wrong_gradient(open_page):
    page = open_page(explore_norm("batch_norm").html).page
    open_part(page, "checks", "cell=2,1")
    recording = own_run("batch_norm")
    x, dx = recording.leaves["x"], recording.gradients[recording.leaves["x"]]
    x_hat = statistics_of(recording, x).x_hat.data
    rows = page.eval_on_selector_all("#panel tr", "rows => rows.map(r => [...r.children].map(c => c.textContent))")
    assert [row[0].split(" = ")[0] for row in rows] == [
        "Σ ∂L/∂x", "Σ ∂L/∂x · x̂", "mean(x̂²)", "∂L/∂x", "∂L/∂x by finite differences",
    ]  # fmt: skip
    printed = [float(row[1].split(" = ")[-1].replace("−", "-")) for row in rows]
    expected = [0, (dx * x_hat).sum(0)[1], (x_hat**2).mean(0)[1], dx[2, 1], dx[2, 1]]
    np.testing.assert_allclose(printed, expected, atol=5e-4)
    assert printed[1] == pytest.approx(expected[1], rel=5e-3)
    differs = [float(re.search(r"differs by (\S+)", row[2])[1].replace("−", "-")) for row in rows[3:]]
    assert max(differs) < 1e-8
    # A rule that is wrong: a contribution is added where it should be multiplied.
    page.evaluate("""() => {
        const link = now.stage.links.find(({ s, t }) => now.stage.boxes[s].name === "r"
            && now.stage.boxes[t].name === "x̂");
        now.program.vertices[link.before].op = "add"; compute(); redraw("values");
    }""")
    texts = page.eval_on_selector_all("#panel tr", "rows => rows.map(r => r.children[2].textContent)")
    assert all(float(re.search(r"differs by (\S+)", text)[1].replace("−", "-")) > 0.1 for text in texts[3:])


def test_with_given_statistics_sums_are_not_zero(open_page):
    page = open_page(explore_norm("batch_norm").html).page
    norm = norms()["batch_norm"]
    scenes = {s.key: s.recording for s in scenes_of_norm(norm, example(norm, (4, 3)))}
    found = scenes["eval-batch"]
    sums = found.gradients[found.leaves["x"]].sum(0)
    for column in range(3):
        open_part(page, "checks", f"scene=eval-batch&cell=0,{column}")
        row = page.text_content("#panel tr")
        assert f"= {sums[column]:.3f}".replace("-", "−") in row
        assert "not 0" in row
    # One cell of y depends on one cell of x.
    open_part(page, "shared", "scene=eval-batch&cell=2,1")
    assert "depends on 1 of 12" in page.text_content("#panel .arithmetic")


def jacobian_cells(call, x, i, others):
    """Which cells of x move y's cell i, by moving each."""
    y = call(x, *others)
    found = []
    for j in range(x.size):
        moved = x.copy().ravel()
        moved[j] += 0.37
        found.append(abs((call(moved.reshape(x.shape), *others) - y).ravel()[i]) > 1e-9)
    return np.flatnonzero(found).tolist()


@pytest.mark.parametrize("page_of", ["rows", "images"])
def test_cells_are_coloured_by_the_statistic_that_they_share(page_of, open_page):
    if page_of == "rows":
        page = open_page(explore_norm("batch_norm").html).page
        norm = norms()["batch_norm"]
        scenes = [
            s for s in scenes_of_norm(norm, example(norm, (4, 3))) if s.key in norms() and s.key != "instance_norm"
        ]
        counts = {
            "layer_norm": "4 means and 4 variances over c, each of 3",
            "rms_norm": "4 mean squares over c, each of 3",
        }
    else:
        page = open_page(explore_norms((2, 4, 2, 2), 2).html).page
        scenes = scenes_of_family((2, 4, 2, 2), 2)
        counts = {
            "batch_norm": "4 means and 4 variances over n, h, w, each of 8",
            "layer_norm": "2 means and 2 variances over c, h, w, each of 16",
            "instance_norm": "8 means and 8 variances over h, w, each of 4",
            "group_norm": "4 means and 4 variances over c, h, w, each of 8",
            "rms_norm": "2 mean squares over c, h, w, each of 16",
        }
    assert {scene.key for scene in scenes} == set(counts)
    for scene in scenes:
        leaves = [leaf.data for leaf in scene.recording.leaves.values()]
        x, others = leaves[0], leaves[1:]
        call = norms(2, page_of == "images")[scene.key].call
        for i in (0, 5, x.size - 1):
            cell = ",".join(map(str, np.unravel_index(i, x.shape)))
            open_part(page, "shared", f"scene={scene.key}&cell={cell}")
            assert counts[scene.key] in page.text_content("#panel h2")
            together = page.eval_on_selector_all(
                '#boxes [data-array="x"].together', "cells => cells.map(c => c.dataset.cell)"
            )
            expected = jacobian_cells(call, x, i, others)
            assert {np.ravel_multi_index(tuple(map(int, c.split(","))), x.shape) for c in together} == set(expected)
            said = page.text_content("#panel .arithmetic")
            assert said.count(f"depends on {len(expected)} of {x.size}") == 2
            colours = page.eval_on_selector_all(
                '#boxes [data-array="x"]', "cells => new Set(cells.map(c => c.style.backgroundColor)).size"
            )
            assert colours == x.size // len(expected)


def test_another_norm_is_shown_on_the_numbers_that_were_changed(open_page):
    page = open_page(explore_norm("batch_norm").html).page
    page.evaluate("cell => change(now.stage.boxes[now.stage.x].v, cell)", list(range(12)))
    page.fill("#epsilon", "0.5")
    page.press("#epsilon", "Enter")
    open_part(page, "shared")
    page.click('[data-norm="layer_norm"]')
    x = np.arange(12.0).reshape(4, 3)
    values = example(norms()["batch_norm"], (4, 3))
    expected = tn.layer_norm(x, 3, values["γ"], values["β"], 0.5)
    found = page.evaluate("[...now.values[now.stage.boxes[now.stage.y].v]]")
    np.testing.assert_allclose(np.reshape(found, (4, 3)), expected, rtol=1e-12)
    assert page.evaluate("document.activeElement.dataset.norm") == "layer_norm"
    page.evaluate("goTo('#scene=identity')")
    assert page.evaluate("state.changes.size") == 0  # a scene with numbers of its own


def test_as_the_variance_goes_to_0_eps_keeps_the_gradient_finite(open_page):
    page = open_page(explore_norm("batch_norm").html).page
    open_part(page, "epsilon", "scene=train&cell=1,2")
    slider = page.query_selector("#squeeze")
    recording = own_run("batch_norm")
    leaves = {name: leaf.data for name, leaf in recording.leaves.items()}
    for power in (-1, -3, -5):
        page.evaluate(
            """power => { const s = get("squeeze"); s.value = power; s.dispatchEvent(new Event("input")); }""", power
        )
        assert slider.evaluate("s => s.isConnected")  # it is not replaced under the pointer
        assert float(page.input_value("#squeeze")) == power
        x = leaves["x"].copy()
        x[:, 2] = x[:, 2].mean() + (x[:, 2] - x[:, 2].mean()) * 10.0**power
        changed = type(recording)(norms()["batch_norm"].call, {**leaves, "x": x}, recording.cotangent)
        dx = np.abs(changed.gradients[changed.leaves["x"]][:, 2]).max()
        rows = page.eval_on_selector_all(".here tr", "rows => rows.map(r => r.children[1].textContent)")
        assert float(rows[2]) == pytest.approx(dx, rel=2e-3, abs=5e-4)
        assert float(rows[1].split(" = ")[-1]) == pytest.approx((x[:, 2].var() + 1e-5) ** -0.5, rel=1e-3)
        assert float(rows[3]) == pytest.approx(1e-5**-0.5, rel=1e-3)
    assert page.evaluate("state.past.length") == 1
    page.click("#undo")
    assert page.evaluate("state.changes.size") == 0
    assert page.input_value("#squeeze") == "0"
    page.focus("#squeeze")
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    assert page.input_value("#squeeze") == "-0.5"
    page.click("#undo")
    # Where both are 0, the page says so.
    page.evaluate("goTo('#scene=train&cell=1,2&times=0&eps=0&part=epsilon')")
    assert "are both 0" in page.text_content("#panel h2")
    open_part(page, "checks", "scene=train&cell=1,2")
    assert page.text_content("#panel").count("r is 1/0") == 4
    open_part(page, "epsilon", "scene=train&cell=1,2")
    page.click("#reset")
    # The slope at the variance, two ways, at the numbers that are shown.
    r = (leaves["x"][:, 2].var() + 1e-5) ** -0.5
    ends = page.eval_on_selector_all(".slopes tr", "rows => rows.map(r => r.textContent.split(' = ').pop())")
    assert ends[0] == ends[3] == f"{-0.5 * r**3:.3f}".replace("-", "−")


def test_what_checks_say_follows_from_the_numbers(open_page):
    page = open_page(explore_norm("batch_norm").html).page
    for hash_, words in (
        ("scene=train&eps=1", ("not 0: ε is not small", "σ² / (σ² + ε): ε is not small")),
        ("scene=train&eps=1e-5", ("nearly 0", "nearly 1")),
        ("scene=one", ("0: all values that share the variance are equal",)),
    ):
        open_part(page, "checks", hash_)
        for each in words:
            assert each in page.text_content("#panel"), (hash_, each)


def test_the_last_step_stays_the_last_in_another_scene(open_page):
    page = open_page(explore_norm("batch_norm").html).page
    page.keyboard.press("End")
    for scene in ("rms_norm", "train", "eval"):
        page.select_option("#scene", str(page.evaluate(f"data.scenes.findIndex(s => s.key === '{scene}')")))
        assert page.is_disabled("#next")


def test_numbers_that_are_none_are_refused_in_sight(open_page):
    page = open_page(explore_norm("batch_norm").html).page
    for text in ("-1", "x", ""):
        page.fill("#epsilon", text)
        page.press("#epsilon", "Enter")
        assert page.input_value("#epsilon") == "0.00001"
    page.dblclick('#boxes [data-array="x"][data-cell="0,0"]')
    page.keyboard.type("abc")
    page.keyboard.press("Enter")
    assert page.get_attribute("#typing", "aria-invalid") == "true"
    assert "is not a number" in page.text_content("#status")
    page.keyboard.press("Escape")
    assert page.evaluate("state.changes.size") == 0


def test_the_address_changes_numbers_too(open_page):
    page = open_page(explore_norm("batch_norm").html).page
    x = own_run("batch_norm").leaves["x"].data
    for asked, expected in (("add=3", x + np.array([0, 0, 3])), ("times=2", x * [1, 1, 2])):
        page.evaluate("hash => goTo(hash)", f"#scene=train&cell=1,2&{asked}")
        found = page.evaluate("[...now.values[now.stage.boxes[now.stage.x].v]]")
        np.testing.assert_allclose(np.reshape(found, (4, 3)), expected, rtol=1e-12)
    page.evaluate("goTo('#scene=train&cell=1,2&eps=0.25')")
    assert page.input_value("#epsilon") == "0.25"
    for broken in ("add=x", "times=", "eps=-1", "without=9,x"):
        page.evaluate("hash => goTo(hash)", f"#scene=train&cell=1,2&{broken}")
        assert page.evaluate("state.without.size") == 0


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("name", PAGES)
def test_every_panel_of_every_scene_fits(name, screen, open_page):
    width, height = SCREENS[screen]
    seen = open_page(PAGES[name]().html, viewport={"width": width, "height": height}, reduced_motion="reduce")
    assert ask(seen.page, "walkPanels()") == []
    assert seen.errors == seen.messages == []
