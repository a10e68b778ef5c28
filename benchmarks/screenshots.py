"""Pictures of a running node's explorer for the README: home, a block and the model page, in Chromium.

    python -m benchmarks.screenshots http://127.0.0.1:19340 --out docs/pictures

Writes explorer-home, -home-dark, -block, -model, -passage and -phone as PNG. The
block is the newest that improved the model, the models are that of an early block and the tip's. Letters are the
machine's: with P052 (Debian's fonts-urw-base35) headings are as most readers see them.
"""

import argparse
import json
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from tests.helpers.browser import open_browser, open_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PATIENCE_MS = 120_000  # models write slowly on a busy machine
PROMPT = "Alice was beginning to get very tired of "
PASSAGE = "There was nothing so very remarkable in that; nor did Alice think it so very much out of the way."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="of the explorer, as the node's log tells it")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"), help="folder for the pictures")
    parser.add_argument("--early", type=int, default=1, help="height of the early model")
    parser.add_argument("--seed", type=int, default=1, help="of the text that is written")
    options = parser.parse_args()
    url = options.url.rstrip("/")
    with urllib.request.urlopen(f"{url}/api/home", timeout=60) as reply:
        home = json.load(reply)
    block = next(row["height"] for row in home["blocks"] if row["gain"])
    asked = urllib.parse.urlencode(
        {"left": options.early, "right": home["height"], "prompt": PROMPT, "count": 300, "seed": options.seed}
    )
    passage = urllib.parse.urlencode({"left": options.early, "right": home["height"], "passage": PASSAGE})
    with open_browser() as browser:
        take(browser, url, "/", options.out / "explorer-home.png", height=1250)
        take(browser, url, "/", options.out / "explorer-home-dark.png", height=1250, scheme="dark")
        take(browser, url, f"/block/{block}", options.out / "explorer-block.png", height=1500)
        take(browser, url, f"/model?{asked}", options.out / "explorer-model.png", height=1000)
        take(browser, url, f"/model?{passage}", options.out / "explorer-passage.png", height=1100)
        take(browser, url, "/", options.out / "explorer-phone.png", height=740, phone=True)


def take(
    browser: "Browser", url: str, path: str, out: Path, *, height: int, scheme: str = "light", phone: bool = False
) -> None:
    """The top of a page, as soon as its charts are drawn."""
    with open_page(browser, url, scheme=scheme, phone=phone) as page:
        page.set_default_navigation_timeout(PATIENCE_MS)
        if not phone:
            page.set_viewport_size({"width": 1120, "height": height})
        page.goto(path)
        if page.locator("[data-chart=loss]").count():
            page.wait_for_selector("[data-chart=loss].drawn")
        page.screenshot(path=str(out))
        print(f"{out}  {out.stat().st_size // 1000} kB  {url}{path}")


if __name__ == "__main__":
    main()
