"""Renew the pictures of the page in the README, as a browser shows it.

Run it from anywhere: ``python docs/screenshots.py``. It needs Playwright and Chromium.
"""

import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

DOCS = Path(__file__).resolve().parent
SHOWN = {
    "page-backward.png": ("step=19&cell=1,2", 1366, 657),
    "page-phone.png": ("step=19&cell=1,2", 390, 844),
}


def main():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, (state, width, height) in SHOWN.items():
            page = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=1.5)
            page.goto(f"{(DOCS / 'bn.html').as_uri()}#{state}")
            page.wait_for_selector("[aria-current=step]")
            page.screenshot(path=DOCS / name)
        browser.close()


if __name__ == "__main__":
    main()
