"""Connections to checked addresses only: a page on the web may not lead into the network of whoever fetches it."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rag.documents.web.fetch import NotReached

if TYPE_CHECKING:
    import httpx

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # the last four bytes are an IPv4 address


def is_public(address: Address) -> bool:
    """Whether an address is one of the open internet: not private, loopback, link-local, multicast or reserved.

    Where it carries an IPv4 address within it, that must be public too.
    """
    if isinstance(address, ipaddress.IPv6Address):
        carried: list[Address] = [found for found in (address.ipv4_mapped, address.sixtofour) if found is not None]
        if address.teredo is not None:
            carried += address.teredo
        if address in _NAT64:
            carried.append(ipaddress.IPv4Address(address.packed[-4:]))
        if address.ipv4_mapped is not None or address in _NAT64:
            return all(map(is_public, carried))
        if not all(map(is_public, carried)):
            return False
        if address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def checked_addresses(host: str, port: int, *, allow_private: bool) -> list[str]:
    """The IP addresses of a host that a connection may be made to, in the order of the resolver.

    Raises NotReached where there are none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NotReached(f"the name {host} is not known ({getattr(error, 'strerror', None) or error})") from error
    texts = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    allowed = [text for text in texts if allow_private or is_public(ipaddress.ip_address(text.partition("%")[0]))]
    if not allowed:
        raise NotReached(
            f"{host} is in a private network ({', '.join(texts[:2])}); allow it with --set web.allow_private=true"
        )
    return allowed


def checked_transport(*, allow_private: bool) -> httpx.BaseTransport:
    """A transport that resolves each name, checks the addresses, and connects to those that it has checked.

    The name goes along for the certificate and the server. So a name that resolves otherwise a moment later leads
    nowhere else.
    """
    import httpx

    class CheckedTransport(httpx.BaseTransport):
        def __init__(self) -> None:
            # One for each name: a connection is not shared between names that stand for the same machine.
            self._transports: dict[str, httpx.HTTPTransport] = {}

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            host, port = request.url.host, request.url.port or {"http": 80, "https": 443}[request.url.scheme]
            addresses = checked_addresses(host, port, allow_private=allow_private)
            transport = self._transports.setdefault(host, httpx.HTTPTransport())
            return _first_that_answers(transport, request, host, addresses)

        def close(self) -> None:
            for transport in self._transports.values():
                transport.close()

    return CheckedTransport()


def _first_that_answers(
    transport: httpx.BaseTransport, request: httpx.Request, host: str, addresses: Sequence[str]
) -> httpx.Response:
    import httpx

    problem: httpx.ConnectError | httpx.ConnectTimeout | None = None
    for address in addresses:
        literal = f"[{address}]" if ":" in address else address
        request.url = request.url.copy_with(host=literal)
        request.extensions = {**request.extensions, "sni_hostname": host}
        try:
            return transport.handle_request(request)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            problem = error
    assert problem is not None, "there is at least one address"
    raise problem
