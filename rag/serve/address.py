"""Whether the chat can listen at an address, found out before anything is loaded."""

from __future__ import annotations

import errno
import socket

from rag.errors import ConfigError, RagError

LAST_PORT = 65_535
LAST_PRIVILEGED_PORT = 1_023
_FOR_THIS_MACHINE = "--host 127.0.0.1 is for this machine alone, --host 0.0.0.0 for every network"


def check_address(host: str, port: int) -> None:
    """Raises ConfigError where no machine could listen at this address, RagError where this one cannot now."""
    if not 1 <= port <= LAST_PORT:
        raise ConfigError(f"{port} is no port; choose one from 1 to {LAST_PORT:,}, for example --port 7861")
    name = host.strip().removeprefix("[").removesuffix("]")
    if not name:
        raise ConfigError(f"the host is empty; {_FOR_THIS_MACHINE}")
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise RagError(f"the host {host!r} is not known; {_FOR_THIS_MACHINE}") from error
    for family, kind, protocol, _, address in found:
        _try_to_listen(host, port, family, kind, protocol, address)


def _try_to_listen(host: str, port: int, family: int, kind: int, protocol: int, address: tuple) -> None:
    try:
        with socket.socket(family, kind, protocol) as listener:
            # As the server does: a port that a server has just left can be used again at once.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        raise RagError(_sentence(host, port, error)) from error


def _sentence(host: str, port: int, error: OSError) -> str:
    other = port + 1 if LAST_PRIVILEGED_PORT < port < LAST_PORT else 7861
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use; end what uses it, or choose another: --port {other}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"port {port} is for administrators; choose one above {LAST_PRIVILEGED_PORT:,}, for example --port 7861"
    if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return f"{host} is no address of this machine; {_FOR_THIS_MACHINE}"
    return f"port {port} on {host} cannot be used ({error.strerror}); choose another: --port {other}"
