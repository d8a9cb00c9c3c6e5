"""The model hub: whether it answers, and whole snapshots of its models."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Sequence
from pathlib import Path

from rag.errors import ModelError

HUB_TIMEOUT_SECONDS = 3.0
HUB_FILES = ("README.md", "*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*/config.json")
HUB_IGNORED = ("onnx/*", "openvino/*", "tf_*", "flax_*", "*.onnx")


def hub_answers() -> bool:
    """Whether the model hub answers within three seconds; asked once per process and endpoint."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    return endpoint_answers(constants.ENDPOINT)


@functools.cache
def endpoint_answers(endpoint: str) -> bool:
    """Whether a model hub answers at this address within `HUB_TIMEOUT_SECONDS`."""
    import httpx

    answered = threading.Event()

    def ask() -> None:
        with contextlib.suppress(httpx.HTTPError, OSError):
            url = f"{endpoint}/api/models?limit=1"
            reply = httpx.get(url, timeout=HUB_TIMEOUT_SECONDS, follow_redirects=True)
            # A firewall or a sign-in page answers too, but it is not the hub. 429 is the hub, which is busy.
            if reply.status_code < 400 or reply.status_code == 429:
                answered.set()

    # A name server that never answers cannot be timed out from inside the call: wait for it from another thread.
    threading.Thread(target=ask, daemon=True).start()
    return answered.wait(HUB_TIMEOUT_SECONDS)


def hub_snapshot(name: str, needs: Sequence[str] = (), *, local_only: bool) -> Path:
    """The folder of a whole snapshot, downloaded unless `local_only`; raises ModelError with the reason for none.

    A snapshot is whole if it holds config.json, weights, and the files in `needs`.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, HTTPError, LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(
                name,
                local_files_only=local_only,
                allow_patterns=list(HUB_FILES),
                ignore_patterns=list(HUB_IGNORED),
            )
        )
    # HTTPError is the one of the hub's own HTTP client: a connection cut during a download is one, and no OSError.
    except (HTTPError, HFValidationError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(reason[:200] or type(error).__name__) from error
    # A download that was cut off leaves a snapshot without its weights.
    missing = [file for file in ("config.json", *needs) if not (folder / file).exists()]
    if not any(folder.glob("*.safetensors")):
        missing.append("*.safetensors")
    if missing:
        raise ModelError(f"its snapshot lacks {', '.join(missing)}")
    return folder
