"""A real browser for tests of pages: Chromium without a window, spoken to over two pipes by the DevTools protocol.

    with Browser(find()) as browser:
        tab = browser.open(page_path, width=390)
        tab.errors, tab.requests, tab.evaluate("document.title"), tab.screenshot(path), tab.violations()

The protocol needs no package, and no driver that has to fit the browser's release. Nothing that a page asks for leaves the
machine: no name is resolved but 127.0.0.1, where a test may serve pages.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
_SECONDS = 60
SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
"""Where tests leave what they saw; git ignores it."""
MISSING = "no Chromium here (`apt-get install chromium`)"


def find() -> str | None:
    """The command of an installed browser."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


class Browser:
    """One process, which ends with the block."""

    def __init__(self, command: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="chromium-")
        options = [
            "--headless=new",
            "--remote-debugging-pipe",
            f"--user-data-dir={self._folder.name}",
            "--no-first-run",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-extensions",
            "--force-color-profile=srgb",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            *(["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
        ]
        # It reads from file descriptor 3 and writes to 4.
        moved = 'exec "$@" 3<&0 4>&1 0</dev/null 1>/dev/null 2>/dev/null'
        self._process = subprocess.Popen(
            ["sh", "-c", moved, "sh", command, *options, "about:blank"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._rest, self._number = b"", 0
        self.tabs: dict[str, Tab] = {}

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.call("Browser.close")
            self._process.wait(10)
        except (OSError, RuntimeError, subprocess.TimeoutExpired):
            self._process.kill()
        finally:
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._folder.cleanup()

    def open(
        self, page: Path | str, *, width: int = 1200, height: int = 900, dark: bool = False, media: str = "screen"
    ) -> Tab:
        """Load a page, a file or an address; below 500 pixels as on a phone. RuntimeError if it is not there."""
        address = page.resolve().as_uri() if isinstance(page, Path) else page
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = self.tabs[session] = Tab(self, session, target)
        for domain in ("Page", "Runtime", "Network", "Log"):
            tab.call(f"{domain}.enable")
        tab.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        tab.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
        failed = tab.call("Page.navigate", url=address).get("errorText")
        if failed:
            raise RuntimeError(f"{address}: {failed}")
        self._until(lambda: tab.loaded)
        return tab

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """The result of a command; RuntimeError if it fails."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        self._process.stdin.flush()
        answers: list[dict[str, Any]] = []
        self._until(lambda: bool(answers), self._number, answers)
        if "error" in answers[0]:
            raise RuntimeError(f"{method}: {answers[0]['error']['message']}")
        return answers[0]["result"]

    def _until(self, done: Any, number: int = 0, answers: list[dict[str, Any]] | None = None) -> None:
        """Read messages until something holds; those of tabs go to them."""
        assert self._process.stdout is not None
        descriptor, end = self._process.stdout.fileno(), time.monotonic() + _SECONDS
        while not done():
            while b"\0" not in self._rest:
                if not select.select([descriptor], [], [], max(0.0, end - time.monotonic()))[0]:
                    raise RuntimeError(f"the browser said nothing for {_SECONDS} s")
                read = os.read(descriptor, 2**20)
                if not read:
                    raise RuntimeError(f"the browser ended with status {self._process.wait()}")
                self._rest += read
            text, _, self._rest = self._rest.partition(b"\0")
            message = json.loads(text)
            if answers is not None and message.get("id") == number:
                answers.append(message)
            elif message.get("sessionId") in self.tabs:
                self.tabs[message["sessionId"]].hear(message.get("method", ""), message.get("params", {}))


class Tab:
    """One page.

    errors : what the console shows as error or warning, exceptions, and what a content security policy refuses
    requests : addresses that it asked for, its own and those inside the page (data:) aside
    """

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser, self._session, self._target = browser, session, target
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.loaded = False

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """As `Browser.call`, of this page."""
        return self._browser.call(method, self._session, **parameters)

    def hear(self, event: str, said: dict[str, Any]) -> None:
        """Note an event."""
        if event == "Page.loadEventFired":
            self.loaded = True
        elif event == "Network.requestWillBeSent" and said["request"]["url"] != said["documentURL"]:
            if not said["request"]["url"].startswith("data:"):
                self.requests.append(said["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.errors.append(str(said["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
            self.errors.append(str(said["args"]))
        elif event == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            self.errors.append(said["entry"]["text"])

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, of a promise when it is kept; RuntimeError if it throws."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    def screenshot(self, path: Path) -> Path:
        """The whole page as a PNG file."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 16_000), "scale": 1}
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(found["data"]))
        return path

    def pdf(self, path: Path) -> Path:
        """The page as it is printed."""
        self.call("Emulation.setEmulatedMedia", media="print")
        found = self.call("Page.printToPDF", printBackground=False, preferCSSPageSize=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(found["data"]))
        return path

    def violations(self) -> list[str]:
        """Serious violations of accessibility that axe-core finds: rule, and the elements."""
        import axe_core_python

        script = Path(axe_core_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
        self.call("Runtime.evaluate", expression=script)
        found = self.evaluate("axe.run().then(r => r.violations)")
        return [
            f"{each['id']}: {each['help']}: {[node['target'] for node in each['nodes']][:5]}"
            for each in found
            if each["impact"] in ("serious", "critical")
        ]

    def close(self) -> None:
        """Close the page."""
        self._browser.tabs.pop(self._session, None)
        self._browser.call("Target.closeTarget", targetId=self._target)
