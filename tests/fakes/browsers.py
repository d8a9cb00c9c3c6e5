"""What the tests in a real browser share: chromium, a page served on a port of its own, and axe-core."""

import contextlib
import shutil
import socket
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest
import uvicorn

from tests.fakes.writers import eventually

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = "axe-core-4.10.3"
NEEDS_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; on Debian: apt-get install chromium")


@contextlib.contextmanager
def chromium():
    """The browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def served(app):
    """An application on a port of its own; its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=free_port(), log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert eventually(lambda: server.started)
    yield f"http://127.0.0.1:{server.config.port}/"
    server.should_exit = True
    server.force_exit = True
    thread.join(10)


def axe_source():
    """The JavaScript of axe-core, which npm fetches once into the cache; skips the test where it cannot."""
    cache = Path.home() / ".cache" / "axe-core"
    archive = cache / f"{AXE}.tgz"
    if not archive.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        name, version = AXE.rsplit("-", 1)
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(["npm", "pack", f"{name}@{version}"], cwd=cache, timeout=120, capture_output=True)
    if not archive.is_file():
        pytest.skip("axe-core is not here, and npm cannot fetch it")
    with tarfile.open(archive) as files:
        return files.extractfile("package/axe.min.js").read().decode("utf-8")
