"""Check the built site: ``python .ci/site.py site``.

Every link and picture of every page leads somewhere, links lead from the first page to every other, and every public
name is described. Each script in examples/ has a card, a picture and a notebook, and the notebooks run. In Chromium, at
the width of a desktop and of a phone, in light and dark: no errors, no page wider than the window, nothing loaded from
elsewhere. Search finds, the live pages run, and axe finds nothing serious.
"""

import inspect
import posixpath
import shutil
import sys
import tempfile
import threading
from contextlib import contextmanager
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
from axe_core_python.sync_playwright import Axe
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from playwright.sync_api import TimeoutError, sync_playwright

import tinygrad_norm as tn

WHOLE = {"bn.html", "norms.html"}
"""Pages that Sphinx only copies: tests/browser tests them."""
LIVE = ("batch-norm-live", "norms-live", "gallery/draw_your_own_norm")
"""Pages with a live page inside."""
SIZES = {"desktop": {"width": 1366, "height": 657}, "phone": {"width": 390, "height": 844}}
MAIN = (
    "index.html",
    "learn/03-the-derivation.html",
    "api/generated/tinygrad_norm.batch_norm.html",
    "gallery/index.html",
    "gallery/draw_your_own_norm.html",
)
"""What axe looks at."""
SCRIPTS = sorted(path.stem for path in (Path(__file__).resolve().parents[1] / "examples").glob("*.py"))
ON_PROCESSES = "several_processes"
"""The script that the build shows without running it: it needs MPI."""


class Page(HTMLParser):
    """The ids of a page, where its links lead, what it loads, and whether there is a drawing in it."""

    def __init__(self, html):
        super().__init__()
        self.ids, self.links, self.loads, self.has_drawing = set(), [], [], False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.has_drawing |= found.get("class") == "drawing"
        self.ids |= {found[name] for name in ("id", "name") if found.get(name)}
        if found.get({"a": "href", "form": "action"}.get(tag)):
            self.links.append(found.get("href") or found["action"])
        elif found.get("src") or (tag == "link" and found.get("rel") in ("stylesheet", "icon") and found.get("href")):
            self.loads.append(found.get("src") or found["href"])


def read(site):
    """Return the pages of a site by their paths from its root."""
    paths = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))
    shown = [path for path in paths if path not in WHOLE and not path.startswith(".doctrees/")]
    return {path: Page((site / path).read_text(encoding="utf-8")) for path in shown}


def target(path, link):
    """Return where a link of a page leads, as a path from the root of the site, and the place there."""
    parts = urlsplit(link)
    there = posixpath.join(posixpath.dirname(path), unquote(parts.path)) if parts.path else path
    return posixpath.normpath(there), unquote(parts.fragment)


def dead_links(site, pages):
    """Return the links and pictures that lead nowhere, and what is loaded from elsewhere."""
    problems = []
    for path, page in pages.items():
        problems += [f"{path}: loads {x} from elsewhere" for x in page.loads if urlsplit(x).netloc]
        for link in {*page.links, *page.loads}:
            if urlsplit(link).scheme or urlsplit(link).netloc:
                if urlsplit(link).scheme not in ("http", "https", "mailto"):
                    problems.append(f"{path}: {link} is no link for a browser")
                continue
            there, place = target(path, link)
            known = pages.get(there)
            if not (site / there).is_file():
                problems.append(f"{path}: {link} leads nowhere")
            elif place and known and place not in known.ids:
                problems.append(f"{path}: {link} leads to no place of the page")
    return problems


def unreached(pages):
    """Return the pages that no links lead to from the first one."""
    reached, waiting = {"index.html"}, ["index.html"]
    while waiting:
        path = waiting.pop()
        found = {target(path, link)[0] for link in pages[path].links if not urlsplit(link).scheme}
        waiting += (found & pages.keys()) - reached
        reached |= found & pages.keys()
    return [f"{path}: no link leads to it" for path in pages.keys() - reached]


def undescribed(pages):
    """Return the public names that no page describes."""
    ids = set().union(*(page.ids for page in pages.values()))
    names = [name for name in tn.__all__ if not inspect.ismodule(getattr(tn, name))]
    return [f"no page describes {name}" for name in names if f"{tn.__name__}.{name}" not in ids]


def gallery(pages, scripts):
    """Return what scripts lack: a card with a picture, a page with a picture, or a link to their code or notebook."""
    problems = []
    cards = pages["gallery/index.html"]
    for name in scripts:
        page = pages.get(f"gallery/{name}.html")
        if page is None:
            problems.append(f"{name} has no page in the gallery")
            continue
        if f"{name}.html" not in cards.links or not any(f"_{name}_thumb." in source for source in cards.loads):
            problems.append(f"{name} has no card with a picture")
        if name != ON_PROCESSES and not page.has_drawing and not any(f"_{name}_0" in source for source in page.loads):
            problems.append(f"the page of {name} has no picture")
        files = {posixpath.basename(link) for link in page.links}
        problems += [f"no link leads to {file}" for file in (f"{name}.py", f"{name}.ipynb") if file not in files]
    return problems


def notebooks(site, scripts):
    """Return what goes wrong in the notebooks of scripts, which run in an empty folder."""
    problems = []
    for path in sorted(site.glob("_downloads/*/*.ipynb")):
        if path.stem not in scripts:
            continue
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            try:
                NotebookClient(
                    notebook,
                    timeout=120,
                    extra_arguments=["--log-level=ERROR"],
                    resources={"metadata": {"path": folder}},
                ).execute()
            except CellExecutionError as error:
                problems.append(f"{path.name}: {error.ename}: {error.evalue}")
    return problems


@contextmanager
def served(site):
    """Serve a folder, and give the address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@contextmanager
def opened(browser, size, scheme):
    """Open a page of a size and a scheme, with a list of what goes wrong on it."""
    page = browser.new_page(viewport=SIZES[size], color_scheme=scheme)
    wrong = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("response", lambda r: wrong.append(f"{r.url}: status {r.status}") if r.status >= 400 else None)
    page.on("request", lambda r: None if _is_local(r.url) else wrong.append(f"{r.url} is elsewhere"))
    yield page, wrong
    page.close()


def _is_local(url):
    return urlsplit(url).scheme in ("file", "data", "blob", "about") or urlsplit(url).hostname == "127.0.0.1"


def layout(page):
    """Return what is too wide, and which pictures do not show."""
    problems = []
    if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
        problems.append("wider than the window")
    page.eval_on_selector_all("img", "all => all.forEach(img => (img.loading = 'eager'))")
    page.wait_for_function("[...document.images].every(img => img.complete)")
    sources = page.eval_on_selector_all("img", "all => all.filter(i => !i.naturalWidth).map(i => i.src)")
    return problems + [f"{source} does not show" for source in sources]


def axe(page):
    """Return the serious violations of accessibility."""
    found = Axe().run(page)["violations"]
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    return [f"{each['id']}: {node['html'][:120]}" for each in serious for node in each["nodes"]]


def search(page, address, word):
    """Return a problem if a search finds nothing."""
    page.goto(f"{address}/search.html?q={word}")
    page.wait_for_load_state("networkidle")  # it fetches the pages that it found
    return [] if page.locator("#search-results li a").count() else [f"search does not find {word!r}"]


def live(page, address):
    """Return what is wrong with a live page inside of a page: it needs room, and a key leads to its next step."""
    page.goto(address)
    frame, room = page.locator("iframe"), page.viewport_size
    box = frame.bounding_box()
    problems = [] if box["width"] > 0.7 * room["width"] and box["height"] > 600 else [f"{address}: too small: {box}"]
    frame.focus()
    page.keyboard.press("ArrowRight")
    try:
        frame.content_frame.get_by_text("Step 2 of ").first.wait_for(timeout=5000)
    except TimeoutError:
        problems.append(f"{address}: the right arrow does not lead to step 2")
    return problems


def in_browser(site, pages):
    shown = [path for path in pages if path.count("/") < 2 or path in MAIN]
    problems = []
    with sync_playwright() as driver, served(site) as address:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", "--headless"])
        for size in SIZES:
            for scheme in ("light", "dark"):
                with opened(browser, size, scheme) as (page, wrong):
                    for path in shown if scheme == "light" else MAIN:
                        page.goto(f"{address}/{path}")
                        found = layout(page) + (axe(page) if path in MAIN else []) + wrong
                        problems += [f"{path}, {size}, {scheme}: {each}" for each in found]
                        wrong.clear()
            with opened(browser, size, "light") as (page, wrong):
                found = search(page, address, "cotangent")
                for start in (address, site.resolve().as_uri()):
                    found += [each for path in LIVE for each in live(page, f"{start}/{path}.html")]
                problems += [f"{size}: {each}" for each in found + wrong]
        browser.close()
    return problems


def main(site):
    pages = read(site)
    problems = dead_links(site, pages) + unreached(pages) + undescribed(pages)
    problems += gallery(pages, SCRIPTS) + notebooks(site, {*SCRIPTS} - {ON_PROCESSES})
    problems += in_browser(site, pages)
    if problems:
        sys.exit("\n".join(problems))
    print(f"{len(pages)} pages: links lead somewhere, names are described, and it looks right in a browser")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
