"""Renew the pictures of the page in the README, as a browser shows it.

Run it from anywhere: ``python docs/screenshots.py``. It needs Playwright and Chromium.
"""

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tinygrad_norm.graph.explorer import explore_norm

DOCS = Path(__file__).resolve().parent
SHOWN = {
    "page-first.png": ("", 1366, 657, None),
    "page-backward.png": ("step=19&cell=1,2", 1366, 657, None),
    "page-routes.png": ("step=22&cell=1,2&part=routes", 1366, 657, '[data-route="2"]'),
    "page-phone.png": ("step=19&cell=1,2", 390, 844, None),
}
"""Of each picture the state of the page, the size of the window, and what the pointer is on."""


def main():
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        live = explore_norm("batch_norm").save(Path(folder) / "bn.html")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, (state, width, height, hovered) in SHOWN.items():
            page = browser.new_page(
                viewport={"width": width, "height": height}, device_scale_factor=1.5, reduced_motion="reduce"
            )
            page.goto(f"{live.as_uri()}#{state}")
            page.wait_for_selector(hovered or "[aria-current=step]")
            if hovered:
                page.hover(hovered)
                page.wait_for_timeout(300)
            page.screenshot(path=DOCS / name)
        browser.close()


if __name__ == "__main__":
    main()
