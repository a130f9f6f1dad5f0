"""A browser for a module, as no test of asyncio can run beside it, and pages that note every request and complaint."""

import shutil
from types import SimpleNamespace

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="page tests need Playwright: the browser extra")


@pytest.fixture(scope="module")
def browser():
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("page tests need Chromium on PATH")
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=executable, args=["--no-sandbox", "--headless"])
        yield launched
        launched.close()


@pytest.fixture
def open_page(browser, tmp_path):
    """Open HTML from disk, offline, and return the page with what it asked for and complained about."""
    contexts = []

    def opened(html, **options):
        path = tmp_path / f"page{len(contexts)}.html"
        path.write_text(html, encoding="utf-8")
        context = browser.new_context(offline=True, **{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        seen = SimpleNamespace(page=page, requests=[], messages=[], errors=[])
        page.on("request", lambda request: seen.requests.append(request.url))
        page.on("console", lambda message: seen.messages.append(message.text))
        page.on("pageerror", lambda error: seen.errors.append(str(error)))
        page.goto(path.as_uri())
        return seen

    yield opened
    for context in contexts:
        context.close()
