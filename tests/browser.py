"""Debian's Chromium without a window, for pages on disk; what it complains of and what it asks the network for."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
    *("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--force-color-profile=srgb"),
)


class Page:
    """An open page."""

    def __init__(self, driver, path: Path, width: int, height: int = 900) -> None:
        self.driver = driver
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        for log in ("browser", "performance"):  # of the empty page before
            driver.get_log(log)
        driver.get(path.as_uri())

    def js(self, script: str, *arguments):
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str):
        return self.driver.find_element("css selector", selector)

    def wait(self, condition: str) -> None:
        """Until a JavaScript expression is true; a busy machine takes its time."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, 120).until(lambda _: self.js(f"return {condition}"), condition)

    def viewer(self) -> None:
        """Until the viewer shows something."""
        self.wait(
            "document.querySelector('.viewer').dataset.ready === 'true' || document.querySelector('.viewer').hidden"
        )
        assert not self.js("return document.querySelector('.viewer').hidden"), self.find(".no-viewer").text

    def set(self, name: str, value) -> None:
        """Move a control of the viewer."""
        self.js(
            "const c = document.querySelector(`[data-is=${arguments[0]}]`); c.value = arguments[1];"
            "c.dispatchEvent(new Event('input'))",
            name,
            value,
        )

    def keys(self, selector: str, *keys: str) -> None:
        self.find(selector).send_keys(*keys)

    def wheel(self, selector: str, by: int) -> None:
        """Turn the mouse's wheel over the middle of an element's left half."""
        box = self.js(
            "const e = document.querySelector(arguments[0]); e.scrollIntoView({block: 'center'});"
            "return e.getBoundingClientRect()",
            selector,
        )
        place = {"x": box["x"] + box["width"] * 0.4, "y": box["y"] + box["height"] / 2}
        for event in ({"type": "mouseMoved"}, {"type": "mouseWheel", "deltaX": 0, "deltaY": by}):
            self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", place | event)

    def click(self, selector: str, across: float, down: float) -> None:
        """Press the mouse over an element, at shares of its width and height."""
        box = self.js(
            "const e = document.querySelector(arguments[0]); e.scrollIntoView({block: 'center'});"
            "return e.getBoundingClientRect()",
            selector,
        )
        place = {"x": box["x"] + box["width"] * across, "y": box["y"] + box["height"] * down}
        button = {"button": "left", "clickCount": 1}
        for event in ({"type": "mouseMoved"}, {"type": "mousePressed"} | button, {"type": "mouseReleased"} | button):
            self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", place | event)

    def pixels(self, selector: str = ".stage") -> np.ndarray:
        """What is seen of an element, ``(rows, columns, 3)``."""
        box = self.js(
            "return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {"
            "const box = document.querySelector(arguments[0]).getBoundingClientRect();"
            "done({x: box.x + scrollX, y: box.y + scrollY, width: box.width, height: box.height, scale: 1})})))",
            selector,
        )
        shot = {"clip": box, "captureBeyondViewport": True}
        with Image.open(io.BytesIO(self._screenshot(shot))) as image:
            return np.asarray(image.convert("RGB")).astype(int)

    def shot(self, path: Path, whole: bool = True) -> None:
        """Save a screenshot."""
        path.write_bytes(self._screenshot({"captureBeyondViewport": whole}))

    def _screenshot(self, options: dict) -> bytes:
        return base64.b64decode(self.driver.execute_cdp_cmd("Page.captureScreenshot", options)["data"])

    def complaints(self) -> list[str]:
        """Messages of the console since the last call; a missing icon is none of the page's."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """What was asked for since the last call, but for what stands in the page itself."""
        sent = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        urls = [one["params"]["request"]["url"] for one in sent if one["method"] == "Network.requestWillBeSent"]
        return [url for url in urls if not url.startswith(("data:", "blob:"))]


@contextmanager
def chromium(profile: Path) -> Iterator[object]:
    """A driver of a Chromium of its own; skips where there is none.

    Args:
        profile: an empty folder for its files.
    """
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("there is no Chromium with its driver; apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(DRIVER, env={**os.environ, "HOME": str(profile)})
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_script_timeout(120)
    driver.set_page_load_timeout(120)
    try:
        yield driver
    finally:
        driver.quit()
