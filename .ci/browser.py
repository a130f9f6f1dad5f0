"""Open the tour's page in headless Chromium: every picture loads, nothing is requested from elsewhere, no errors."""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

page_path = Path(sys.argv[1]).resolve()
problems: list[str] = []
with sync_playwright() as playwright:
    arguments = ["--no-sandbox", "--headless", "--disable-gpu", "--disable-background-networking"]
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("requestfailed", lambda request: problems.append(f"failed: {request.url}"))
    page.on("request", lambda r: None if r.url.startswith("file:") else problems.append(f"requested: {r.url}"))
    page.goto(page_path.as_uri())
    pictures = page.eval_on_selector_all("img", "list => list.map(i => [i.getAttribute('src'), i.naturalWidth])")
    problems += [f"picture {source} did not load" for source, width in pictures if not width]
    if len(pictures) < 5:
        problems.append(f"only {len(pictures)} pictures")
    if page.locator("section").count() != 8:
        problems.append("not eight sections")
    if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
        problems.append("the page is wider than a phone")
    browser.close()
if problems:
    sys.exit("\n".join(problems))
print(f"{len(pictures)} pictures load, no request leaves the page, and it fits a phone")
