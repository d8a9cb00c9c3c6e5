"""An address at which the chat cannot listen is one sentence, before anything is loaded."""

import errno
import os
import socket
import subprocess
import sys

import gradio as gr
import httpx
import pytest

from rag.config import load_settings
from rag.errors import ConfigError, RagError
from rag.serve import address, start
from rag.serve.address import check_address


@pytest.fixture
def busy():
    """A port that somebody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize("port", [0, -1, 65_536, 99_999, 2**40])
def test_a_number_that_is_no_port_is_refused(port):
    with pytest.raises(ConfigError, match=f"{port} is no port; choose one from 1 to 65,535"):
        check_address("127.0.0.1", port)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_busy_port_is_refused_with_another_one(busy, host):
    with pytest.raises(RagError, match=f"port {busy} on {host} is in use; .* --port {busy + 1}"):
        check_address(host, busy)


def test_a_port_that_is_free_is_let_in_again_and_again(busy):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    for _ in range(2):
        check_address("127.0.0.1", free)
        check_address(" localhost", free)


@pytest.mark.parametrize("host", ["", " ", "[]"])
def test_no_host_is_refused(host):
    with pytest.raises(ConfigError, match="the host is empty"):
        check_address(host, 7860)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a host", "http://127.0.0.1", "x" * 300, "1.2.3.4.5"])
def test_an_unknown_host_is_refused(host):
    with pytest.raises(RagError, match=r"is not known; --host 127\.0\.0\.1"):
        check_address(host, 7860)


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(RagError, match=r"203\.0\.113\.7 is no address of this machine; --host 127\.0\.0\.1"):
        check_address("203.0.113.7", 7860)  # of a network that stands in examples alone


@pytest.mark.parametrize(
    ("number", "port", "sentence"),
    [
        (errno.EACCES, 80, "port 80 is for administrators; choose one above 1,023, for example --port 7861"),
        (errno.ENOBUFS, 9000, r"port 9000 on 127\.0\.0\.1 cannot be used \(.*\); choose another: --port 9001"),
        (errno.EADDRINUSE, 65_535, "is in use; end what uses it, or choose another: --port 7861"),
    ],
)
def test_what_the_system_refuses_is_told_with_what_to_do(monkeypatch, number, port, sentence):
    def refuse(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(address.socket.socket, "bind", refuse)
    with pytest.raises(RagError, match=sentence):
        check_address("127.0.0.1", port)


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--port", "99999"], 2, "99999 is no port"),
        (["--port", "-1"], 2, "-1 is no port"),
        (["--port", "abc"], 2, "integer"),
        (["--host", ""], 1, "rag: the host is empty"),
    ],
)
def test_the_command_says_it_before_it_looks_at_the_index(tmp_path, options, status, said):
    command = [sys.executable, "-m", "rag", "chat", "-i", str(tmp_path / "no index"), *options]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == status
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_machine_too_busy_to_answer_itself_serves_all_the_same(monkeypatch):
    monkeypatch.setattr("gradio.networking.url_ok", lambda url: False)
    with gr.Blocks() as page:
        gr.Markdown("a page")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    try:
        opened = start._launch(page, "127.0.0.1", free, None, load_settings(), {})
        assert httpx.get(opened, trust_env=False, timeout=120).status_code == 200
    finally:
        page.close(verbose=False)
