"""A chat that is attacked: a process of its own, started by the real commands over two small documents."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

SECONDS_TO_START = 600
LOCAL = "http://127.0.0.1"
QUESTION = "Who designed the Amber Line?"
JSON_ROUTES = (
    "/gradio_api/queue/join",
    "/gradio_api/run/predict",
    "/gradio_api/call/ask",
    "/v1/chat/completions",
    "/page/ask",
)
UPLOAD = "/page/documents/files"
LIGHT = ("retriever.kind=bm25", "reranker.enabled=false", "reader.enabled=false")
NO_MODEL = (*LIGHT, "generator.kind=server", "generator.server_url=http://127.0.0.1:9/v1")


@dataclass(frozen=True, slots=True)
class Served:
    """A chat that runs as a process of its own, and the folder in which it keeps temporary files."""

    process: subprocess.Popen
    port: int
    temporary: Path

    def client(self, **options: object) -> httpx.Client:
        """A client that is given the chat's address; it follows no redirection and uses no proxy."""
        return httpx.Client(base_url=f"{LOCAL}:{self.port}", timeout=120, trust_env=False, **options)  # type: ignore[arg-type]

    def peak_mib(self) -> int:
        """The most memory that the process has had, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text("utf-8")
        found = re.search(r"VmHWM:\s+(\d+)", status)
        assert found is not None
        return int(found[1]) // 1024

    def is_up(self) -> bool:
        """Whether it still answers."""
        with contextlib.suppress(httpx.HTTPError), self.client() as client:
            return client.get("/gradio_api/app_id").status_code == 200
        return False

    def stored_bytes(self) -> int:
        """The bytes of all temporary files."""
        return sum(path.stat().st_size for path in self.temporary.rglob("*") if path.is_file())


@contextlib.contextmanager
def served(folder: Path, *settings: str, users: Path | None = None) -> Iterator[Served]:
    """A chat over two small documents, started by the real commands, until the end of the context."""
    (folder / "documents").mkdir()
    (folder / "documents" / "line.md").write_text("# Amber Line\n\nClara Voss designed the Amber Line.\n", "utf-8")
    (folder / "documents" / "ferry.md").write_text("# Ferry\n\nThe ferry leaves at nine.\n", "utf-8")
    temporary = Path(tempfile.mkdtemp(dir=folder))
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"}
    run = [sys.executable, "-m", "rag"]
    index = str(folder / "my.index")
    subprocess.run([*run, "ingest", str(folder / "documents"), "-i", index], check=True, capture_output=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*run, "chat", "-i", index, "--port", str(port), *(["--auth", str(users)] if users else [])]
    command += [word for setting in settings for word in ("--set", setting)]
    log = folder / "chat.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=environment)
    try:
        deadline = time.monotonic() + SECONDS_TO_START
        while "The chat is at" not in log.read_text("utf-8", "replace"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text("utf-8", "replace")[-500:])
            time.sleep(0.2)
        yield Served(process, port, temporary)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()


def settled_peak_mib(chat: Served) -> int:
    """The peak in MiB once nothing more is loaded: it stands still for five seconds."""
    peak, since = chat.peak_mib(), time.monotonic()
    while time.monotonic() - since < 5:
        time.sleep(0.5)
        if (now := chat.peak_mib()) > peak:
            peak, since = now, time.monotonic()
    return peak
