"""Whether the model hub answers."""

import socket

from rag import online


def test_a_hub_that_is_silent_is_given_up(monkeypatch):
    monkeypatch.setattr(online, "HUB_TIMEOUT_SECONDS", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert not online.endpoint_answers(f"http://127.0.0.1:{silent.getsockname()[1]}")
