"""From which web pages a request may come, and to which names it may be addressed.

A browser sends the cookies of a chat, and reaches a chat on its own machine, for any page that asks it to. What it says
about that page (`Origin`, `Sec-Fetch-*`) cannot be forged by the page.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.datastructures import Headers

from rag.serve.users import LOOPBACK_HOSTS

READING = ("GET", "HEAD")
_HOST = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[^\s:/?#@\[\]]{1,255})(?::(\d{1,5}))?", re.I)
_ORIGIN = re.compile(r"(https?)://([^\s/?#@]{1,300})", re.I)
_USUAL_PORTS = {"http": "80", "https": "443"}


@dataclass(frozen=True, slots=True)
class Origins:
    """The addresses of the chat, as browsers write them: `https://docs.example.org`, without a path.

    `named` are those that the settings name, beside the one that a request is addressed to. With `only_local` requests
    to this machine's own names, and to the named ones, are heard alone.
    """

    named: tuple[str, ...] = ()
    only_local: bool = False

    @classmethod
    def of(cls, addresses: Sequence[str], *, only_local: bool = False) -> Origins:
        """The origins of whole addresses, which may have a path."""
        found = filter(None, (_ORIGIN.match(address) for address in addresses))
        return cls(tuple(f"{match[1].lower()}://{_plain(match[1], match[2])}" for match in found), only_local)

    def hears(self, headers: Headers) -> bool:
        """Whether the name that a request is addressed to is one of ours; a request without one is not heard."""
        hosts = headers.getlist("host")
        match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if match is None:
            return False
        if not self.only_local or match[1].lower() in LOOPBACK_HOSTS:
            return True
        return _plain("http", hosts[0]) in self._hosts() or _plain("https", hosts[0]) in self._hosts()

    def are_own(self, headers: Headers) -> bool:
        """Whether the page that sends a request, if it says which it is, is one of ours."""
        return all(self._is_own(origin, headers) for origin in headers.getlist("origin"))

    def lets_in(self, method: str, headers: Headers) -> bool:
        """Whether a request may come from where it comes from.

        A foreign page may link here, and nothing else. A program that is no browser says nothing of a page.
        """
        is_foreign = headers.get("sec-fetch-site", "none") in ("cross-site", "same-site")
        if "origin" in headers:
            return self.are_own(headers) or (method in READING and not is_foreign)
        if not is_foreign:
            return True
        is_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        return method in READING and is_link

    def _is_own(self, origin: str, headers: Headers) -> bool:
        match = _ORIGIN.fullmatch(origin)
        if match is None:  # "null" for one: a page of a file, or in a frame that is shut in
            return False
        scheme, host = match[1].lower(), _plain(match[1], match[2])
        if f"{scheme}://{host}" in self.named:
            return True
        asked = headers.getlist("host")
        if not self.only_local:  # no page can make a browser send this without being asked first, which is refused
            asked = [*asked, *headers.getlist("x-forwarded-host")]
        return any(_is_same(host, _plain(scheme, name)) for name in asked)

    def _hosts(self) -> set[str]:
        return {origin.split("://", 1)[1] for origin in self.named}


def _plain(scheme: str, host: str) -> str:
    """A host in lower case, without the port that its scheme has anyway."""
    return host.lower().removesuffix(":" + _USUAL_PORTS[scheme.lower()])


def _is_same(one: str, other: str) -> bool:
    """Whether two hosts are the same; the names of this machine are, with the same port."""
    if one == other:
        return True
    names = [_HOST.fullmatch(host) for host in (one, other)]
    return all(match is not None and match[1] in LOOPBACK_HOSTS for match in names) and (
        names[0][2] == names[1][2]  # type: ignore[index]
    )
