"""The pages in headless Chromium, where it and Playwright are installed."""
