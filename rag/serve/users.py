"""Who may use the chat, and read which collections, in one JSON file.

    {"ada": {"password": ARGON2, "key_sha256": …, "collections": [what was granted]}, "*": {"closed": [collections]}}

Passwords and keys are kept as hashes alone. What a grant means: `rag.serve.grants`.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rag import fixes
from rag.errors import ConfigError
from rag.files import read_json
from rag.private import keep_private, write_private
from rag.serve.grants import EVERYBODY, Grants, plain, without

LOOPBACK = ("127.0.0.1", "localhost", "::1")
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")  # the same, as they stand in the Host header of a request
MIN_PASSWORD_CHARACTERS = 8
KEY_PREFIX = "rag-"
# Checked where there is no such person: as much work as another hash, and no password matches it.
NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$MIIRqgvgQbgj220jfp0MPA$YfwJSVjtjSU0zzV/P3S9nnQ/USre2wvJMjfCIjrTQbg"
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")


class Users:
    """The users file. It is read again when it has changed; while it is missing or damaged, nobody is let in."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._read_at: tuple[int, int] | None = None
        self._content = _Content({}, set())
        self._grants = Grants()
        self._lock = threading.Lock()

    def add(self, name: str, password: str) -> str:
        """Add a person, or give them a new password. Returns a new API key, which is stored only as a hash.

        Raises ConfigError for a name or password that is not allowed.
        """
        from argon2 import PasswordHasher

        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} is no user name; use letters, digits and . _ @ - (at most 64)")
        if len(password) < MIN_PASSWORD_CHARACTERS:
            raise ConfigError(f"the password is shorter than {MIN_PASSWORD_CHARACTERS} characters")
        content = self._load() if self.path.is_file() else _Content({}, set())
        key = KEY_PREFIX + secrets.token_urlsafe(32)
        new = {"password": PasswordHasher().hash(password), "key_sha256": _sha256(key)}
        content.users[name] = {**content.users.get(name, {}), **new}
        self._write(content)
        return key

    def remove(self, name: str) -> None:
        """Remove a person. Raises ConfigError where there is none of that name."""
        content = self._load()
        del content.users[self._known(name, content)]
        self._write(content)

    def grant(self, name: str, collections: Sequence[str]) -> None:
        """Let a person read collections, which are closed from now on; `EVERYBODY` opens them again.

        Raises ConfigError where there is no such person, and for a name that is empty.
        """
        content, names = self._load(), _collections(collections)
        if name == EVERYBODY:
            self._write(content._replace(closed=without(content.closed, names)))
            return
        user = content.users[self._known(name, content)]
        user["collections"] = sorted({*user.get("collections", ()), *names})
        self._write(content._replace(closed={*content.closed, *names}))

    def revoke(self, name: str, collections: Sequence[str]) -> None:
        """Let a person no longer read collections; with `EVERYBODY` only people to whom they were granted read them.

        Raises ConfigError where there is no such person, and for a collection that was not granted to them.
        """
        content, names = self._load(), _collections(collections)
        if name == EVERYBODY:
            self._write(content._replace(closed={*content.closed, *names}))
            return
        user = content.users[self._known(name, content)]
        granted = set(user.get("collections", ()))
        if missing := [each for each in names if each not in granted]:
            is_open = not Grants(frozenset(content.closed)).is_closed(missing[0])
            close = f"; everybody reads it, close it: {fixes.close_collection(missing[0], self.path)}"
            raise ConfigError(f"{missing[0]!r} was not granted to {name}{close if is_open else ''}")
        user["collections"] = sorted(granted - set(names))
        self._write(content)

    def collections(self) -> list[str]:
        """The names of the collections that are closed, or granted, sorted. Raises ConfigError as `names`."""
        content = self._load()
        granted = {name for user in content.users.values() for name in user.get("collections", ())}
        return sorted({*content.closed, *granted})

    def grants(self) -> Grants:
        """Who may read what, now; nobody reads anything where the file cannot be read (`knows`)."""
        self._current()
        return self._grants

    def names(self) -> list[str]:
        """The names of all users, sorted. Raises ConfigError where the file is missing or damaged."""
        return sorted(self._load().users)

    def check_password(self, name: str, password: str) -> bool:
        """Whether it is that person's password. For an unknown name the check takes as long."""
        from argon2 import PasswordHasher
        from argon2.exceptions import Argon2Error, InvalidHashError

        user = self._current().get(name)
        hasher = PasswordHasher()
        try:
            return hasher.verify(user["password"] if user else NOBODY, password) and user is not None
        except (Argon2Error, InvalidHashError):
            return False

    def knows(self, name: str) -> bool:
        """Whether there is still a person of this name."""
        return name in self._current()

    def stamp(self, name: str) -> str | None:
        """What changes with the person's password; None where there is no such person. It tells nothing of it."""
        user = self._current().get(name)
        return _sha256(user["password"]) if user else None

    def of_key(self, key: str) -> str | None:
        """The name of the person whose API key this is, or None."""
        digest = _sha256(key)
        for name, user in self._current().items():
            if secrets.compare_digest(user["key_sha256"], digest):
                return name
        return None

    def _current(self) -> dict[str, dict]:
        """The users now, read from the file only when it has changed; {} where it cannot be read."""
        with self._lock:
            try:
                status = self.path.stat()
                if self._read_at != (status.st_mtime_ns, status.st_size):
                    self._take(self._load())
                    self._read_at = status.st_mtime_ns, status.st_size
            except (OSError, ConfigError):
                self._take(_Content({}, set()))
                self._read_at = None
            return self._content.users

    def _take(self, content: _Content) -> None:
        granted = {name: frozenset(user.get("collections", ())) for name, user in content.users.items()}
        self._content, self._grants = content, Grants(frozenset(content.closed), granted)

    def _known(self, name: str, content: _Content) -> str:
        """The name. Raises ConfigError where there is no such person."""
        if name not in content.users:
            known = ", ".join(sorted(content.users)) or "nobody"
            raise ConfigError(f"{self.path} knows no {name!r}; it knows {known}")
        return name

    def _load(self) -> _Content:
        """What is in the file. Raises ConfigError where it is missing or damaged."""
        if not self.path.exists():
            raise ConfigError(f"{self.path} does not exist; add somebody: {fixes.add_user(self.path)}")
        fix = f"move it away and make another: {fixes.add_user(self.path)}"
        keep_private(self.path)
        users = read_json(self.path, ConfigError, fix=fix)
        everybody = users.pop(EVERYBODY, {"closed": []})
        if not all(_is_user(entry) for entry in users.values()):
            raise ConfigError(f"{self.path} is damaged (a user has no password or no key); {fix}")
        if not isinstance(everybody, dict) or not _are_texts(everybody.get("closed")):
            raise ConfigError(f"{self.path} is damaged (nobody can say which collections are closed); {fix}")
        return _Content(users, set(everybody["closed"]))

    def _write(self, content: _Content) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        everybody = {EVERYBODY: {"closed": sorted(content.closed)}} if content.closed else {}
        write_private(self.path, json.dumps({**content.users, **everybody}, indent=2) + "\n")


class _Content(NamedTuple):
    """What the file holds: the people by their names, and the names of closed collections."""

    users: dict[str, dict]
    closed: set[str]


def _is_user(entry: object) -> bool:
    fields = ("password", "key_sha256")
    if not isinstance(entry, dict) or not all(isinstance(entry.get(field), str) for field in fields):
        return False
    return _are_texts(entry.get("collections", []))


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _collections(names: Sequence[str]) -> list[str]:
    """The names as they are kept. Raises ConfigError for an empty one."""
    if not names or not all(map(plain, names)):
        raise ConfigError("name at least one collection, as the page and rag user collections show them")
    return [plain(name) for name in names]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def bearer_key(authorization: str) -> str:
    """The API key in an Authorization header: behind `Bearer`, in any case and with any blanks, or alone."""
    scheme, *key = authorization.split(maxsplit=1) or [""]
    return "".join(key).strip() if scheme.lower() == "bearer" else authorization.strip()


def address_of(host: str) -> str:
    """The address that questions are counted for: of IPv6 the network, in which one machine has any number of them."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 4 or address.is_loopback:
        return host
    return str(ipaddress.ip_network((int(address), 64), strict=False))


class RateLimit:
    """At most `per_minute` questions from each person in any sixty seconds; 0 means no limit."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic):
        self.per_minute, self._clock = per_minute, clock
        self._asked: dict[str, deque[float]] = {}
        self._swept = clock()
        self._lock = threading.Lock()

    def wait_seconds(self, who: str) -> float:
        """0 where `who` may ask now, and that counts as a question; else how many seconds to wait."""
        if not self.per_minute:
            return 0.0
        with self._lock:
            now = self._clock()
            asked = self._asked.setdefault(who, deque())
            while asked and asked[0] <= now - 60:
                asked.popleft()
            if len(asked) >= self.per_minute:
                return asked[0] + 60 - now
            asked.append(now)
            if self._swept <= now - 60:
                self._swept = now
                self._asked = {name: times for name, times in self._asked.items() if times and times[-1] > now - 60}
            return 0.0
