"""What .ci/site.py says of broken sites: the check of the documents' site can fail."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("axe_core_python", reason="needs axe-core: the browser extra")

pytestmark = [pytest.mark.browser, pytest.mark.exhaustive]

SPEC = importlib.util.spec_from_file_location("site_check", Path(__file__).parents[2] / ".ci" / "site.py")
site_check = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(site_check)

SOUND = '<a href="a/b.html#place">b</a><img src="dot.svg" alt="a dot"><form action="search.html"></form>'
DOT = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'


@pytest.fixture
def made(tmp_path):
    """Make a site of a few pages, the first one with a body."""

    def make(body):
        (tmp_path / "a").mkdir()
        (tmp_path / "dot.svg").write_text(DOT)
        (tmp_path / "search.html").write_text("<p>search</p>")
        (tmp_path / "a" / "b.html").write_text(
            '<p id="place">there</p><a href="../index.html">back</a><a href="#place">p</a>'
        )
        (tmp_path / "index.html").write_text(f"<!doctype html><html lang=en><title>t</title><main>{body}</main>")
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("body", "problems"),
    [
        (SOUND, []),
        (SOUND.replace("b.html", "c.html"), ["a/c.html#place leads nowhere"]),
        (SOUND.replace("#place", "#elsewhere"), ["a/b.html#elsewhere leads to no place of the page"]),
        (SOUND.replace("dot.svg", "dash.svg"), ["dash.svg leads nowhere"]),
        (SOUND + '<script src="https://example.org/x.js">', ["loads https://example.org/x.js from elsewhere"]),
        (SOUND + '<link rel="stylesheet" href="x.css">', ["x.css leads nowhere"]),
        (SOUND + '<a href="https://example.org">that is fine</a><a href="mailto:a@example.org">and that</a>', []),
    ],
)
def test_dead_links_are_found(made, body, problems):
    site = made(body)
    assert site_check.dead_links(site, site_check.read(site)) == [f"index.html: {problem}" for problem in problems]


def test_a_page_that_no_link_leads_to_is_found(made):
    site = made(SOUND)
    assert site_check.unreached(site_check.read(site)) == []
    (site / "alone.html").write_text('<a href="index.html">back</a>')
    assert site_check.unreached(site_check.read(site)) == ["alone.html: no link leads to it"]


def test_a_public_name_that_no_page_describes_is_found(made):
    site = made(SOUND)
    names = [
        name
        for name in site_check.tn.__all__
        if name not in ("check", "distributed", "graph", "nn", "norm", "ops", "optim")
    ]
    (site / "api.html").write_text("".join(f'<p id="tinygrad_norm.{name}">' for name in names))
    assert site_check.undescribed(site_check.read(site)) == []
    (site / "api.html").write_text("".join(f'<p id="tinygrad_norm.{name}">' for name in names if name != "grad"))
    assert site_check.undescribed(site_check.read(site)) == ["no page describes grad"]


CARD = '<a href="bn.html">bn</a><img src="../_images/sphx_glr_bn_thumb.png" alt="">'
SHOWN = '<a href="../_downloads/0/bn.py">py</a><a href="../_downloads/0/bn.ipynb">ipynb</a><div class="drawing"></div>'


@pytest.mark.parametrize(
    ("cards", "shown", "problem"),
    [
        (CARD, SHOWN, None),
        (CARD, SHOWN.replace('<div class="drawing">', '<img src="../_images/sphx_glr_bn_001.png">'), None),
        (CARD.replace("bn.html", "in.html"), SHOWN, "bn has no card with a picture"),
        (CARD.replace("_bn_", "_in_"), SHOWN, "bn has no card with a picture"),
        (CARD, SHOWN.replace("drawing", "text"), "the page of bn has no picture"),
        (CARD, SHOWN.replace("ipynb", "zip"), "no link leads to bn.ipynb"),
        (CARD, SHOWN.replace(".py", ".rst"), "no link leads to bn.py"),
        (CARD, None, "bn has no page in the gallery"),
    ],
)
def test_a_script_that_the_gallery_does_not_show_is_found(cards, shown, problem):
    pages = {"gallery/index.html": site_check.Page(cards)}
    if shown is not None:
        pages["gallery/bn.html"] = site_check.Page(shown)
    assert site_check.gallery(pages, ["bn"]) == ([problem] if problem else [])


def test_a_notebook_that_does_not_run_is_found(tmp_path):
    nbformat = site_check.nbformat
    for name, code in (("right", "1 / 1"), ("wrong", "1 / 0"), ("not_a_script", "1 / 0")):
        path = tmp_path / "_downloads" / name / f"{name}.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)]), path)
    found = site_check.notebooks(tmp_path, {"right", "wrong"})
    assert found == ["wrong.ipynb: ZeroDivisionError: division by zero"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (SOUND, None),
        ('<table style="width: 2000px"><tr><td>wide</td></tr></table>', "wider than the window"),
        ('<img src="dash.svg" alt="">', "dash.svg does not show"),
        ("<script>console.error('oh')</script>", "oh"),
        ("<script>missing()</script>", "missing is not defined"),
        ('<script src="x.js"></script>', "x.js: status 404"),
        ('<img src="https://example.invalid/x.png" alt="">', "https://example.invalid/x.png is elsewhere"),
        ('<p style="color: #999; background: #aaa">faint</p>', "color-contrast"),
        ('<img src="dot.svg">', "image-alt"),
    ],
)
@pytest.mark.parametrize("size", site_check.SIZES)
def test_what_goes_wrong_in_a_browser_is_found(browser, made, body, problem, size):
    site = made(body)
    with site_check.served(site) as address, site_check.opened(browser, size, "light") as (page, wrong):
        page.goto(f"{address}/index.html")
        found = site_check.layout(page) + site_check.axe(page) + wrong
    found = [each for each in found if "favicon" not in each and "status of 404" not in each]
    assert any(problem in each for each in found) if problem else not found


RESULTS = """<ul id="search-results"></ul><script>
document.getElementById("search-results").innerHTML = location.search === "?q=found" ? "<li><a href='x'>x</a></li>" : ""
</script>"""


def test_a_search_that_finds_nothing_is_found(browser, made):
    site = made(SOUND)
    (site / "search.html").write_text(RESULTS)
    with site_check.served(site) as address, site_check.opened(browser, "desktop", "light") as (page, _):
        assert site_check.search(page, address, "found") == []
        assert site_check.search(page, address, "lost") == ["search does not find 'lost'"]


STEPS = """<p id="step">Step 1 of 3</p><script>
addEventListener("keydown", () => (document.getElementById("step").textContent = "Step 2 of 3"))
</script>"""


@pytest.mark.parametrize(
    ("style", "inside", "problem"),
    [
        ("width: 98%; height: 700px", STEPS, None),
        ("width: 98%; height: 150px", STEPS, "too small"),
        ("width: 300px; height: 700px", STEPS, "too small"),
        ("width: 98%; height: 700px", STEPS.replace("addEventListener", "missing"), "does not lead to step 2"),
    ],
)
def test_a_live_page_without_room_or_life_is_found(browser, made, style, inside, problem):
    site = made(f'<iframe class="live" src="live.html" style="{style}"></iframe>')
    (site / "live.html").write_text(inside)
    with site_check.served(site) as address, site_check.opened(browser, "desktop", "light") as (page, _):
        found = site_check.live(page, f"{address}/index.html")
    assert len(found) == 1 and problem in found[0] if problem else not found
