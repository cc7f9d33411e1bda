"""Renders the README's pictures from the demo's runs, with the system's Chromium.

    python assets/screenshots.py [--runs data/runs]

Needs the runs of `upstream precompute digits` and `upstream precompute definitions`, and writes explorer-*.png beside
this file.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
PORT = 8797
FLAGS = ["--no-sandbox", "--use-gl=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
SHOTS = {
    "explorer-light": ("digits-frozen", "light", 1440),
    "explorer-dark": ("digits-updated", "dark", 1440),
    "explorer-narrow": ("digits-frozen", "light", 390),
    "explorer-texts": ("definitions-frozen", "light", 1440),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", default="data/runs")
    runs = parser.parse_args().runs
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        sys.exit("No Chromium found: install chromium.")
    server = subprocess.Popen(
        [sys.executable, "-m", "explorer", "--runs", runs, "--port", str(PORT), "--no-browser"], stdout=subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        if not server.stdout.readline():
            sys.exit("The explorer did not start.")
        shoot(browser)
    finally:
        server.terminate()
        server.wait()


def shoot(browser: str) -> None:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=FLAGS)
        for name, (run, scheme, width) in SHOTS.items():
            page = chromium.new_page(viewport={"width": width, "height": 960}, color_scheme=scheme)
            page.goto(f"http://localhost:{PORT}/?run={run}")
            page.wait_for_selector(".js-plotly-plot canvas", timeout=60_000)
            page.wait_for_timeout(1500)
            height = page.evaluate("document.querySelector('[data-testid=stMainBlockContainer]').scrollHeight")
            page.set_viewport_size({"width": width, "height": int(height) + 40})
            page.wait_for_timeout(1500)
            page.screenshot(path=HERE / f"{name}.png")
            page.close()
        chromium.close()


if __name__ == "__main__":
    main()
