"""Whether the model hub can be reached."""

from __future__ import annotations

import contextlib
import functools
import threading

HUB_TIMEOUT_SECONDS = 3.0


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
