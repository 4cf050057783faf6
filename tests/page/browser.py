"""A Chromium without a window, driven over its debugging pipe: nothing but Python's own library.

Everything that a page logs, throws or asks the network for is kept, so that a test can say there was nothing.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def find():
    """The browser's path, or None."""
    asked = os.environ.get("CHROMIUM")
    return asked if asked else next(filter(None, map(shutil.which, NAMES)), None)


class Failed(Exception):
    """The page did what it should not, or did not do what it should."""


class Browser:
    def __init__(self, path):
        self.folder = tempfile.TemporaryDirectory(prefix="esp0-page-", ignore_cleanup_errors=True)
        there, back = os.pipe(), os.pipe()
        command = [
            path, "--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu", "--no-sandbox",
            "--disable-dev-shm-usage", "--hide-scrollbars", f"--user-data-dir={self.folder.name}", "about:blank",
        ]
        # The browser reads from its descriptor 3 and writes to 4.
        low = f'exec "$@" 3<&{there[0]} 4>&{back[1]}'
        self.process = subprocess.Popen(
            ["bash", "-c", low, "bash", *command], pass_fds=(there[0], back[1]),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        os.close(there[0])
        os.close(back[1])
        self.out, self.input = there[1], back[0]
        self.buffer, self.number, self.answers, self.events = b"", 0, {}, []
        self.session = None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.ask(f"{domain}.enable")

    def close(self):
        try:
            os.close(self.out)
            os.close(self.input)
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def ask(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + 120
        while self.number not in self.answers:
            self.read(end - time.monotonic())
        answer = self.answers.pop(self.number)
        if "error" in answer:
            raise Failed(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def read(self, seconds):
        if seconds <= 0:
            raise Failed("the browser does not answer")
        ready, _, _ = select.select([self.input], [], [], seconds)
        if not ready:
            return
        piece = os.read(self.input, 1 << 20)
        if not piece:
            raise Failed("the browser has ended")
        self.buffer += piece
        *messages, self.buffer = self.buffer.split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self.answers[message["id"]] = message
            else:
                self.events.append(message)

    def open(self, path, width=1400, height=900, dark=False):
        """Opens a page from disk, and waits until it has drawn itself; the milliseconds to its first picture and
        to the end of its work."""
        self.events.clear()
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.ask("Emulation.setEmulatedMedia", media="", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.ask("Page.navigate", url="about:blank")
        file, hash, entry = str(path).partition("#")
        self.ask("Page.navigate", url=Path(file).resolve().as_uri() + hash + entry)
        self.wait("document.documentElement?.dataset.ready === 'all'")
        return self.value(
            "new Promise((done) => { const paint = () => performance.getEntriesByName('first-contentful-paint')[0];"
            " const look = () => (paint() ? done([paint().startTime, performance.now()]) : setTimeout(look, 20)); look(); })"
        )

    def value(self, expression):
        result = self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise Failed(details.get("exception", {}).get("description", details["text"]))
        return result["result"].get("value")

    def wait(self, condition, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if self.value(condition):
                    return
            except Failed as error:
                # The page before this one is going away.
                if "context" not in str(error):
                    raise
            time.sleep(0.05)
        raise Failed(f"waited in vain for {condition}")

    def type(self, text):
        self.ask("Input.insertText", text=text)

    def key(self, name, text=None):
        codes = {"Enter": 13, "ArrowDown": 40, "ArrowUp": 38, "ArrowLeft": 37, "ArrowRight": 39, "Escape": 27, "Tab": 9, "Home": 36, "End": 35}
        base = {"key": name, "windowsVirtualKeyCode": codes.get(name, ord(name.upper()) if len(name) == 1 else 0)}
        text = text or ("\r" if name == "Enter" else name if len(name) == 1 else "")
        self.ask("Input.dispatchKeyEvent", type="keyDown", text=text, **base)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **base)

    def click(self, selector):
        place = self.value(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)}); if (!one) return null; one.scrollIntoView({{ block: 'center' }});"
            " const box = one.getBoundingClientRect(); return [box.left + box.width / 2, box.top + box.height / 2]; })()"
        )
        if place is None:
            raise Failed(f"there is no {selector}")
        self.click_at(*place)

    def click_at(self, x, y):
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def drag(self, x, y, to_x):
        self.ask("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, button="left", clickCount=1)
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=(x + to_x) / 2, y=y, button="left", buttons=1)
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=to_x, y=y, button="left", buttons=1)
        self.ask("Input.dispatchMouseEvent", type="mouseReleased", x=to_x, y=y, button="left", clickCount=1)

    def box(self, selector):
        """Where an element is in the document, for a picture of it."""
        return self.value(
            f"(() => {{ const box = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            " return { x: box.x + scrollX, y: box.y + scrollY, width: box.width, height: box.height }; })()"
        )

    def picture(self, path, clip=None, whole=False):
        """A picture of the window, of the whole page, or of a part of it; as PNG or WebP, as the name says."""
        parameters = {"format": Path(path).suffix[1:], "captureBeyondViewport": whole or clip is not None}
        if parameters["format"] == "webp":
            parameters["quality"] = 85
        if clip:
            parameters["clip"] = {"scale": 1, **clip}
        elif whole:
            size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
            parameters["clip"] = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        Path(path).write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", **parameters)["data"]))

    def complaints(self):
        """What the page logged as an error, threw, or asked anybody else for."""
        said = []
        for event in self.events:
            method, parameters = event["method"], event["params"]
            if method == "Runtime.exceptionThrown":
                details = parameters["exceptionDetails"]
                said.append(details.get("exception", {}).get("description", details["text"]))
            elif method == "Runtime.consoleAPICalled":
                said.append(f"console.{parameters['type']}")
            elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
                said.append(parameters["entry"]["text"])
            elif method == "Network.requestWillBeSent" and not parameters["request"]["url"].startswith(("file:", "about:")):
                said.append(f"a request of {parameters['request']['url'][:80]}")
        return said
