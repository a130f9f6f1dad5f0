"""The atlas in a browser: walked through, moved and searched by keyboard, pointer and touch."""

import re

import numpy as np
import pytest

import tinygrad_norm as tn
from tests.benchmarks.graphs import Attention
from tinygrad_norm import nn

pytestmark = [pytest.mark.browser, pytest.mark.exhaustive]


WIDER_THAN_THEIR_BOX = """[...document.querySelectorAll('.box')].filter((box) => {
        const frame = box.querySelector('.frame').getBoundingClientRect();
        return [...box.querySelectorAll('text')].some((text) => {
            const said = text.getBoundingClientRect();
            return said.left < frame.left || said.right > frame.right;
        });
}).map((box) => box.textContent)"""


def leaf(name, *shape):
    return tn.tensor(np.ones(shape), requires_grad=True, name=name)


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """Twelve blocks of attention and a loss, with the gradient and values."""
    model = nn.Sequential(nn.Linear(8, 8, rng=0), *[Attention(8, 2) for _ in range(12)], nn.Linear(8, 3, rng=1))
    loss = nn.cross_entropy(model(leaf("tokens", 1, 5, 8)).reshape(5, 3), np.arange(5) % 3)
    path = tmp_path_factory.mktemp("atlas") / "net.html"
    return tn.draw(loss, backward=True, values=True).save(path).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """5,000 operations without a scope, and their gradient."""
    h = leaf("x", 4, 3)
    for i in range(2500):
        h = np.tanh(h * float(i % 9))
    path = tmp_path_factory.mktemp("atlas") / "large.html"
    return tn.draw(h, backward=True, max_nodes=10**6).save(path).read_text(encoding="utf-8")


def where(page):
    return page.text_content("#crumbs [aria-current]")


def box(page, text):
    return page.locator(".box", has_text=re.compile(text)).first


def moved(page):
    return page.get_attribute("#world", "transform")


def focused(page):
    return page.evaluate("document.activeElement.dataset.box ?? document.activeElement.id")


def test_it_opens_without_a_request_or_a_word(net, open_page):
    for dark in (False, True):
        for width, height in ((390, 844), (1280, 720), (1366, 657)):
            seen = open_page(net, viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light")
            page = seen.page
            assert where(page) == page.title() == page.text_content("h1") == "net"
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
            assert page.evaluate("document.documentElement.scrollHeight <= window.innerHeight")
            assert len(seen.requests) == 1
            assert seen.errors == seen.messages == []
            background = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) == dark


def test_5000_operations_open_and_answer_in_less_than_a_second(large, open_page):
    times = []
    for _ in range(3):
        seen = open_page(large)
        times.append(seen.page.evaluate("performance.getEntriesByType('navigation')[0].domComplete"))
    assert min(times) < 1000, times
    page = seen.page
    assert page.locator(".box").count() > 5
    walk = """async (at) => {
        const start = performance.now();
        location.hash = at;
        await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
        return performance.now() - start;
    }"""
    assert min(page.evaluate(walk, at) for at in ("#40", "#60", "#80")) < 1000
    search = """() => {
        const start = performance.now(), input = document.getElementById("search");
        input.value = "tanh";
        input.dispatchEvent(new Event("input"));
        return performance.now() - start;
    }"""
    assert min(page.evaluate(search) for _ in range(3)) < 300
    assert page.text_content("#status") == "5000 hits, the first 40 listed" or "hits" in page.text_content("#status")


def test_one_walks_in_and_out_by_pointer_crumbs_and_back(net, open_page):
    seen = open_page(net)
    page = seen.page
    group = box(page, "Attention × 12")
    group.click()
    assert where(page) == "net"
    assert "1 … 12: Attention × 12" in page.text_content("#panel h2")
    assert "operations" in page.text_content("#panel dl")
    group.click()
    assert where(page) == "1 … 12: Attention × 12"
    box(page, "^3: Attention").click()
    page.click("#panel .go")
    assert where(page) == "3: Attention"
    assert page.locator("#crumbs li").count() == 3
    box(page, r"^3\.norm").locator(".target").click()
    assert where(page) == "3.norm: layer_norm"
    page.go_back()
    page.wait_for_function("document.querySelector('#crumbs [aria-current]').textContent === '3: Attention'")
    page.go_forward()
    page.wait_for_function("document.querySelector('#crumbs [aria-current]').textContent === '3.norm: layer_norm'")
    page.click("#crumbs button >> nth=1")
    assert where(page) == "1 … 12: Attention × 12"
    # One stands at the box that one came out of.
    assert "3: Attention" in page.text_content(".box.chosen")
    page.keyboard.press("Escape")
    assert where(page) == "net"
    assert "Attention × 12" in page.text_content(".box.chosen")
    page.keyboard.press("Escape")
    assert where(page) == "net"
    assert seen.errors == seen.messages == []


def test_a_place_has_an_address(net, open_page):
    page = open_page(net).page
    page.fill("#search", "3.norm")
    page.keyboard.press("Enter")
    address, chosen = page.url, page.text_content(".box.chosen")
    assert re.search(r"#\d+\.\d+$", address)
    page.goto("about:blank")
    page.goto(address)
    assert where(page) == "3: Attention"
    assert page.text_content(".box.chosen") == chosen
    for wrong in ("#999.5", "#1.99999", "#x", "#-1", "#"):
        page.goto("about:blank")
        page.goto(address.split("#")[0] + wrong)
        assert where(page)


def test_the_keyboard_suffices(net, open_page):
    seen = open_page(net)
    page = seen.page
    page.keyboard.press("/")
    assert focused(page) == "search"
    page.keyboard.type("layer_norm")
    options = page.locator("#hits [role=option]")
    assert options.count() == 24
    assert page.get_attribute("#search", "aria-activedescendant") == "hit-0"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    title = page.evaluate("document.querySelector('#hits [aria-selected=true]').firstChild.textContent")
    page.keyboard.press("Enter")
    assert page.text_content("#panel h2") == title
    assert page.is_hidden("#hits")
    assert focused(page).isdigit()
    inside = where(page)
    page.keyboard.press("Enter")
    assert where(page) == title.removesuffix(" · gradient")
    assert page.text_content("#status").startswith(where(page))
    # Tab goes from box to box, and the panel tells of each.
    told = set()
    for _ in range(4):
        page.keyboard.press("Tab")
        assert page.get_attribute(f".box[data-box='{focused(page)}']", "aria-current") == "true"
        told.add(page.text_content("#panel"))
        outline = page.evaluate("getComputedStyle(document.activeElement.querySelector('.frame')).strokeWidth")
        assert float(outline.removesuffix("px")) >= 3
    assert len(told) == 4
    # Where one is, is in the address, also after choosing.
    chosen = page.text_content(".box.chosen")
    page.reload()
    assert page.text_content(".box.chosen") == chosen
    page.keyboard.press("Escape")
    assert where(page) == inside
    # Neighbours, by buttons in the panel.
    page.locator("#panel .list button").first.focus()
    label = page.text_content("#panel .list button >> nth=0").split(" · ")[0]
    page.keyboard.press("Enter")
    assert label in page.text_content(".box.chosen")
    page.keyboard.press("/")
    page.keyboard.type("nothing like it")
    assert "0 hits" in page.text_content("#status")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    assert focused(page) == "map"
    assert where(page) == inside
    assert seen.errors == seen.messages == []


def test_moving_and_zooming(net, open_page):
    page = open_page(net).page

    def number():
        return [float(text) for text in re.findall(r"-?[\d.]+(?:e-\d+)?", moved(page))]

    page.focus("#map")
    x, y, k = number()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert number() == pytest.approx([x - 90, y - 90, k])
    page.keyboard.press("+")
    assert number()[2] == pytest.approx(1.25 * k)
    page.click("#out")
    assert number()[2] == pytest.approx(k)
    page.keyboard.press("0")
    page.mouse.move(300, 300)
    x, y, k = number()
    page.mouse.down()
    page.mouse.move(340, 330, steps=4)
    page.mouse.up()
    assert number() == pytest.approx([x + 40, y + 30, k])
    page.mouse.wheel(10, 25)
    page.wait_for_function(
        "before => document.getElementById('world').getAttribute('transform') !== before",
        arg=f"translate({x + 40} {y + 30}) scale({k})",
    )
    assert number() == pytest.approx([x + 30, y + 5, k])
    page.keyboard.down("Control")
    page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    page.wait_for_timeout(100)
    assert number()[2] > k
    page.click("#fit")
    seen = page.evaluate("""[...document.querySelectorAll('.box')].every((box) => {
        const a = box.getBoundingClientRect(), b = document.getElementById('map').getBoundingClientRect();
        return a.left >= b.left && a.right <= b.right && a.top >= b.top && a.bottom <= b.bottom;
    })""")
    assert seen


def test_two_fingers_zoom_and_a_tap_tells(net, open_page):
    seen = open_page(net, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = seen.page
    before = moved(page)
    client = page.context.new_cdp_session(page)

    def touch(kind, *points):
        client.send(
            "Input.dispatchTouchEvent",
            {"type": kind, "touchPoints": [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]},
        )

    touch("touchStart", (150, 300), (250, 300))
    for far in (10, 20, 40, 60):
        touch("touchMove", (150 - far, 300), (250 + far, 300))
    touch("touchEnd")
    scale = [float(re.search(r"scale\(([\d.]+)\)", text)[1]) for text in (before, moved(page))]
    assert scale[1] == pytest.approx(scale[0] * 2.2, rel=0.15)
    page.click("#fit")
    target = box(page, "Attention × 12")
    target.tap()
    assert where(page) == "net"
    assert "Attention × 12" in page.text_content("#panel h2")
    assert page.evaluate("document.querySelector('#panel h2').getBoundingClientRect().bottom <= innerHeight")
    target.tap()
    assert where(page) == "1 … 12: Attention × 12"
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    for button in ("#in", "#out", "#fit"):
        assert page.locator(button).bounding_box()["height"] >= 44
    assert seen.errors == seen.messages == []


def test_what_a_box_says_stays_inside_and_is_large_enough(net, open_page):
    page = open_page(net).page
    for at in range(0, 60, 6):
        page.evaluate("at => { location.hash = `#${at}`; }", at)
        page.wait_for_timeout(50)
        assert page.evaluate(WIDER_THAN_THEIR_BOX) == []
        assert page.evaluate("document.getElementById('world').getScreenCTM().a * 13") >= 10


@pytest.mark.parametrize(
    "hostile", ["</script><img src=x onerror=alert(1)>", "<b>x</b>", "javascript:alert(1)", "W" * 300]
)
def test_hostile_names_are_text(open_page, tmp_path, hostile):
    with tn.scope(hostile):
        y = tn.named(hostile, np.tanh(leaf(hostile, 2)) * 2.0)
    seen = open_page(tn.draw(y + 1.0, backward=True).save(tmp_path / "x.html").read_text(encoding="utf-8"))
    page, short = seen.page, hostile[:60]
    assert page.query_selector("img") is None
    assert page.query_selector("#panel b, #crumbs b, .box b") is None
    page.fill("#search", short)
    assert short in page.text_content("#hits")
    page.keyboard.press("Enter")
    assert short in page.text_content("#panel h2")
    assert page.evaluate(WIDER_THAN_THEIR_BOX) == []
    assert short in page.get_attribute(".box.chosen", "aria-label")
    page.evaluate("location.hash = '#1'")
    page.wait_for_function("document.querySelectorAll('#crumbs li').length === 2")
    assert short in where(page)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert seen.errors == seen.messages == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_no_violation(net, open_page, dark):
    axe = pytest.importorskip("axe_core_python.sync_playwright", reason="needs axe-core: the browser extra")
    page = open_page(net, color_scheme="dark" if dark else "light").page
    for prepare in (
        lambda: None,
        lambda: page.evaluate("location.hash = '#2'"),
        lambda: page.locator(".box").nth(3).focus(),
        lambda: page.fill("#search", "norm"),
    ):
        prepare()
        page.wait_for_timeout(300)
        found = axe.Axe().run(page)
        assert [(v["id"], v["nodes"][0]["html"][:200]) for v in found["violations"]] == []


def test_reduced_motion_is_respected(net, open_page):
    names = [
        open_page(net, reduced_motion=motion).page.evaluate(
            "getComputedStyle(document.getElementById('world')).animationName"
        )
        for motion in ("no-preference", "reduce")
    ]
    assert names == ["appear", "none"]
