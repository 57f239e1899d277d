#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw the compliance report's page from sample reports, to look at it, and the picture in docs/compliance.md.

compliance_page.py              write docs/compliance-chain.svg, and pages of samples to build/compliance-pages
compliance_page.py --pictures   also pictures of them at three widths, light and dark, by Chromium
compliance_page.py --check      change nothing; exit code 1 where docs/compliance-chain.svg is not current
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "collections")]

from ansible_collections.certlogon.core.plugins.module_utils.compliance.outputs import page  # noqa: E402
from ansible_collections.certlogon.core.tests.unit.compliance import page_samples  # noqa: E402

PICTURE = ROOT / "docs/compliance-chain.svg"
FOLDER = ROOT / "build/compliance-pages"
SAMPLES = ("ordinary", "good", "bad", "unanswered", "empty", "hostile", "huge")
WIDTHS, SCHEMES = (390, 820, 1440), ("light", "dark")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing, report what is not current")
    parser.add_argument("--pictures", action="store_true", help="pictures of the pages too")
    asked = parser.parse_args()
    current = picture()
    if asked.check:
        if not PICTURE.is_file() or PICTURE.read_text(encoding="utf-8") != current:
            print(f"{PICTURE.name} is not current; run tests/tools/compliance_page.py", file=sys.stderr)
            return 1
        return 0
    PICTURE.write_text(current, encoding="utf-8")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in SAMPLES:
        (FOLDER / f"{name}.html").write_text(page.render(getattr(page_samples, name)()), encoding="utf-8")
    if asked.pictures:
        photograph()
    print(FOLDER)
    return 0


def picture() -> str:
    """The chain of the ordinary sample as a file of its own, with those rules of the page's style that it needs."""
    drawn = page.picture(page_samples.ordinary()["chain"], "across")
    style = (page.HERE / "page.css").read_text(encoding="utf-8")
    rules = [rule for rule in re.findall(r"^(?:\.chain|svg\.chain|\.break) .*$", style, re.MULTILINE) if "display: none" not in rule]
    root = style[style.index(":root {") : style.index(':root[data-theme="dark"]')]
    words = "\n".join([root.strip(), "svg { background: var(--paper); }", *rules])
    drawn = re.sub(r'viewBox="0 0 (\d+) (\d+)"', lambda size: f'viewBox="-12 -8 {int(size[1]) + 24} {int(size[2]) + 16}"', drawn, count=1)
    return drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(">\n", f">\n<style>\n{words}\n</style>\n", 1)


def photograph() -> None:
    from lab.judges import browser_on_client1 as browser

    with tempfile.TemporaryDirectory() as home, contextlib.ExitStack() as stack:
        environment = {"PATH": "/usr/bin:/bin", "HOME": home, "LC_ALL": "C.UTF-8"}
        deadline = browser.Deadline(300)
        process = stack.enter_context(browser.chromium(Path(home), environment, headless=True))
        with browser.Page(browser.port(Path(home), process, deadline), deadline) as tab:
            tab.call("Page.enable")
            for name, width, scheme in ((name, width, scheme) for name in SAMPLES for width in WIDTHS for scheme in SCHEMES):
                tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
                tab.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
                tab.call("Page.navigate", url=f"{(FOLDER / name).as_uri()}.html")
                tab.wait_until_loaded()
                height = min(int(tab.evaluate("document.documentElement.scrollHeight")), 8000)
                clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
                shot = tab.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
                (FOLDER / f"{name}-{width}-{scheme}.png").write_bytes(base64.b64decode(shot["data"]))


if __name__ == "__main__":
    sys.exit(main())
