"""What a site's robots.txt allows (RFC 9309), in time linear in its length."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, unquote_to_bytes

MAX_BYTES = 500 * 1024
MAX_DELAY_SECONDS = 30.0


@dataclass(slots=True)
class Robots:
    """The rules for one program: (allowed, pattern) pairs, and the seconds between requests that are asked for.

    `unknown` is why the rules could not be read: nothing may be asked for then.
    """

    rules: list[tuple[bool, str]] = field(default_factory=list)
    delay_seconds: float = 0.0
    unknown: str = ""

    def allows(self, path: str) -> bool:
        """Whether a path, with its query, may be asked for: by the longest rule that fits, Allow before Disallow."""
        if self.unknown:
            return False
        path = _written_alike(path)
        fitting = [(len(pattern), allowed) for allowed, pattern in self.rules if _fits(pattern, path)]
        return max(fitting)[1] if fitting else True


def read_robots(data: bytes, agent: str) -> Robots:
    """The rules of a robots.txt for a program: of the groups that name it, else of those for all."""
    own, for_all = Robots(), Robots()
    current: list[Robots] = []
    own_named = in_agents = False
    for line in data[:MAX_BYTES].decode("utf-8-sig", "replace").splitlines():
        key, colon, value = line.partition("#")[0].partition(":")
        key, value = key.strip().lower(), value.strip()
        if not colon:
            continue
        if key == "user-agent":
            if not in_agents:
                current = []
            in_agents = True
            name = re.match(r"[A-Za-z_-]*", value.lower())
            if value == "*":
                current.append(for_all)
            elif name and name.group() == agent:
                own_named = True
                current.append(own)
        elif key != "sitemap":  # which belongs to no group
            in_agents = False
            for group in current:
                _add(group, key, value)
    return own if own_named else for_all


def _add(group: Robots, key: str, value: str) -> None:
    if key in ("allow", "disallow") and value:
        group.rules.append((key == "allow", _written_alike(value)))
    elif key == "crawl-delay" and re.fullmatch(r"\d{1,6}(\.\d{1,6})?", value):
        group.delay_seconds = min(max(group.delay_seconds, float(value)), MAX_DELAY_SECONDS)


def _written_alike(path: str) -> str:
    """A path or pattern with the same characters escaped, however it was written."""
    return quote(unquote_to_bytes(path.replace("%2F", "%252F").replace("%2f", "%252F")), safe="/*$?&=+,;:@!~%'()[]")


def _fits(pattern: str, path: str) -> bool:
    """Whether a pattern fits the beginning of a path; `*` stands for anything, `$` for the end."""
    to_end = pattern.endswith("$")
    parts: Sequence[str] = (pattern[:-1] if to_end else pattern).split("*")
    if not path.startswith(parts[0]):
        return False
    at = len(parts[0])
    for part in parts[1:-1]:
        found = path.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    if len(parts) == 1:
        return at == len(path) if to_end else True
    if to_end:
        return path.endswith(parts[-1]) and len(path) - len(parts[-1]) >= at
    return path.find(parts[-1], at) >= 0
