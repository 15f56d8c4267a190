"""A page as headless Chromium shows it: what a person would see, and what the page tried to do.

The browser has a proxy for its only way out, which is the server of the page: whatever the page or
the browser asks for is seen and nothing leaves. The page is looked at from a frame around it, as
its own policy allows no script.
"""

from __future__ import annotations

import html
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_TIMEOUT_S = 90
_HOST = "page.test"
_OF_THE_BROWSER = re.compile(r"(?:https?://)?[a-z0-9.-]+\.(?:google|googleapis|gvt1)\.com[:/]")
"""What Chromium asks for by itself, whatever page it shows and whatever it is told."""

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-default-apps", "--disable-extensions", "--hide-scrollbars",
    "--enable-logging=stderr", "--proxy-bypass-list=<-loopback>",
)  # fmt: skip

_AROUND = """<!doctype html><title>around</title><link rel="icon" href="data:,">
<pre id="seen"></pre>
<iframe src="/page.html" width="WIDTH" height="2000" id="frame"></iframe>
<script>
const frame = document.getElementById("frame");
frame.addEventListener("load", async () => {
  const page = frame.contentDocument, root = page.documentElement;
  const all = selector => [...page.querySelectorAll(selector)];
  await Promise.all(all("video, audio").map(media => new Promise(done => {
    if (media.readyState || media.error) done();
    for (const name of ["loadedmetadata", "error"]) media.addEventListener(name, done);
  })));
  document.getElementById("seen").textContent = JSON.stringify({
    title: page.title,
    lang: root.lang,
    ran: frame.contentWindow.ran === undefined ? null : frame.contentWindow.ran,
    images: all("img").map(image => [image.naturalWidth, image.naturalHeight, image.alt]),
    media: all("video, audio").map(media => [
      media.tagName.toLowerCase(), media.duration, media.error && media.error.message,
      media.videoWidth || 0, media.controls, media.autoplay, (media.poster || "").slice(0, 22),
    ]),
    crops: all(".picture svg").map(drawing => ["image", ".box"].map(part => {
      const at = drawing.querySelector(part).getBoundingClientRect();
      return [at.left, at.top, at.width, at.height];
    })),
    texts: all(".text").map(text => text.textContent),
    names: all(".name b").map(name => name.textContent),
    problems: all(".picture p").map(problem => problem.textContent),
    headings: all("h1, h2, h3").map(heading => heading.textContent),
    tags: [...new Set(all("*").map(element => element.tagName.toLowerCase()))],
    scripted: all("*").filter(e => [...e.attributes].some(a => /^on/i.test(a.name))).length,
    columns: getComputedStyle(page.querySelector(".sheet") || root).gridTemplateColumns,
    wide: root.scrollWidth - root.clientWidth,
    ground: getComputedStyle(page.body).backgroundColor,
  });
});
</script>
"""


@dataclass(frozen=True)
class Visit:
    """What a look at a page found: what is on it, what the browser had to say of it (violations of
    its policy too), and what it asked for.
    """

    seen: dict[str, Any]
    console: list[str]
    requests: list[str]


def visit(page: Path, scratch: Path, *, width: int = 1280, flags: tuple[str, ...] = ()) -> Visit:
    """Load a page from its file and look at it."""
    with _serve(page.read_bytes(), width) as (port, requests):
        dom, log = _run(
            scratch, f"--proxy-server=127.0.0.1:{port}", f"--window-size={width + 100},2200",
            "--virtual-time-budget=20000", *flags, "--dump-dom", f"http://{_HOST}/",
        )  # fmt: skip
    found = re.search(r'<pre id="seen">(.+?)</pre>', dom, re.DOTALL)
    assert found, f"the page did not load: {dom[:500]} {log[-2000:]}"
    console = [line for line in log.splitlines() if ":CONSOLE" in line]
    asked = [request for request in requests if not _OF_THE_BROWSER.match(request)]
    return Visit(json.loads(html.unescape(found[1])), console, asked)


def photograph(page: Path, scratch: Path, *, width: int, height: int) -> Path:
    """A PNG of the top of a page, in a window of that size."""
    path = scratch / "page.png"
    with _serve(page.read_bytes(), width) as (port, _):
        _run(
            scratch, f"--proxy-server=127.0.0.1:{port}", f"--window-size={width},{height}",
            f"--screenshot={path}", f"http://{_HOST}/page.html",
        )  # fmt: skip
    return path


def _run(scratch: Path, *arguments: str) -> tuple[str, str]:
    command = ["chromium", *_FLAGS, f"--user-data-dir={scratch / 'browser'}", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, cwd=scratch
    )
    return done.stdout, done.stderr


@contextmanager
def _serve(page: bytes, width: int) -> Iterator[tuple[int, list[str]]]:
    requests: list[str] = []
    answers = {"/": _AROUND.replace("WIDTH", str(width)).encode(), "/page.html": page}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            address = urlsplit(self.path)
            body = answers.get(address.path) if address.hostname == _HOST else None
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def do_CONNECT(self) -> None:
            requests.append(self.path)
            self.send_error(403)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1], requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
