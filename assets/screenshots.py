"""Renders pages of the explorer from the demo's runs, with the system's Chromium.

    python assets/screenshots.py                   # the README's pictures, explorer-*.png beside this file
    python assets/screenshots.py --all FOLDER      # every page, wide and narrow, light and dark, pictures and texts

Needs the runs of `upstream precompute digits` and `upstream precompute definitions`.
"""

from __future__ import annotations

import argparse
import itertools
import re
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

HERE = Path(__file__).parent
ROOT = HERE.parent
PORT = 8797
FLAGS = ["--no-sandbox", "--use-gl=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
OPENING, PICTURES, TEXTS = "digits-scanner", "digits-frozen", "definitions-frozen"
Shot = tuple[str, str, str, int]
"""Page, run, colours, width."""
README: dict[str, Shot] = {
    "explorer-light": ("explore", OPENING, "light", 1440),
    "explorer-dark": ("explore", "digits-updated", "dark", 1440),
    "explorer-narrow": ("explore", OPENING, "light", 390),
    "explorer-texts": ("explore", TEXTS, "light", 1440),
    "explorer-trust": ("trust", PICTURES, "light", 1440),
}
WIDTHS = (1440, 1024, 390)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", default=str(ROOT / "data" / "runs"))
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="every page, into a folder")
    given = parser.parse_args()
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        sys.exit("No Chromium found: install chromium.")
    command = [sys.executable, "-m", "explorer", "--runs", given.runs, "--port", str(PORT), "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert server.stdout is not None
        if not server.stdout.readline():
            sys.exit("The explorer did not start.")
        with sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=browser, args=FLAGS)
            for path, shot in shots(given.all).items():
                path.parent.mkdir(parents=True, exist_ok=True)
                shoot(chromium, path, *shot)
    finally:
        server.terminate()
        server.wait()


def shots(folder: Path | None) -> dict[Path, Shot]:
    """Where each picture goes, and of what it is."""
    if folder is None:
        return {HERE / f"{name}.png": shot for name, shot in README.items()}
    every = itertools.product(addresses(), (PICTURES, TEXTS), ("light", "dark"), WIDTHS)
    return {folder / f"{'-'.join(map(str, shot))}.png": shot for shot in every}


def addresses() -> list[str]:
    """Of all pages, as the app registers them."""
    sys.path.insert(0, str(ROOT))
    from explorer.ui import state

    script = (ROOT / "explorer" / "app.py").read_text(encoding="utf-8")
    registered = script.split("PAGES: ")[1].split("{")[1].split("}")[0]
    named = re.findall(r'^ +(?:state\.(\w+)|"([\w-]+)"):', registered, re.MULTILINE)
    return [literal or getattr(state, name) for name, literal in named]


def shoot(chromium: Browser, path: Path, address: str, run: str, scheme: str, width: int) -> None:
    page = chromium.new_page(viewport={"width": width, "height": 960}, color_scheme=scheme)
    page.goto(f"http://localhost:{PORT}/{'' if address == 'explore' else address}?run={run}")
    page.wait_for_selector(".up-identity", timeout=120_000)
    busy = "[data-testid=stStatusWidget], [data-testid=stSpinner]"
    page.wait_for_function("(busy) => !document.querySelector(busy)", arg=busy, timeout=120_000)
    if address == "explore":
        page.wait_for_selector(".js-plotly-plot canvas", timeout=60_000)
    page.wait_for_timeout(2500)
    height = page.evaluate("document.querySelector('[data-testid=stMainBlockContainer]').scrollHeight")
    page.set_viewport_size({"width": width, "height": int(height) + 40})
    page.wait_for_timeout(1500)
    page.screenshot(path=path)
    page.close()


if __name__ == "__main__":
    main()
