"""Whether the model hub answers."""

import socket

from rag.models import hub


def test_a_hub_that_is_silent_is_given_up(monkeypatch):
    monkeypatch.setattr(hub, "HUB_TIMEOUT_SECONDS", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert not hub.endpoint_answers(f"http://127.0.0.1:{silent.getsockname()[1]}")
