"""Who may use the chat: names, argon2 hashes of passwords and hashes of API keys, in one JSON file."""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from rag import fixes
from rag.errors import ConfigError
from rag.files import read_json, write_json

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
        self._users: dict[str, dict] = {}
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
        users = self._load() if self.path.is_file() else {}
        key = KEY_PREFIX + secrets.token_urlsafe(32)
        users[name] = {"password": PasswordHasher().hash(password), "key_sha256": _sha256(key)}
        self._write(users)
        return key

    def remove(self, name: str) -> None:
        """Remove a person. Raises ConfigError where there is none of that name."""
        users = self._load()
        if users.pop(name, None) is None:
            raise ConfigError(f"{self.path} knows no {name!r}; it knows {', '.join(sorted(users)) or 'nobody'}")
        self._write(users)

    def names(self) -> list[str]:
        """The names of all users, sorted. Raises ConfigError where the file is missing or damaged."""
        return sorted(self._load())

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
                    self._users, self._read_at = self._load(), (status.st_mtime_ns, status.st_size)
            except (OSError, ConfigError):
                self._users, self._read_at = {}, None
            return self._users

    def _load(self) -> dict[str, dict]:
        """The users in the file. Raises ConfigError where it is missing or damaged."""
        if not self.path.exists():
            raise ConfigError(f"{self.path} does not exist; add somebody: {fixes.add_user(self.path)}")
        fix = f"move it away and make another: {fixes.add_user(self.path)}"
        users = read_json(self.path, ConfigError, fix=fix)
        if not all(_is_user(entry) for entry in users.values()):
            raise ConfigError(f"{self.path} is damaged (a user has no password or no key); {fix}")
        return users

    def _write(self, users: dict[str, dict]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, users)
        self.path.chmod(0o600)


def _is_user(entry: object) -> bool:
    fields = ("password", "key_sha256")
    return isinstance(entry, dict) and all(isinstance(entry.get(field), str) for field in fields)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class RateLimit:
    """At most `per_minute` questions from each person in any sixty seconds; 0 means no limit."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic):
        self.per_minute, self._clock = per_minute, clock
        self._asked: dict[str, deque[float]] = {}
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
            for other in [name for name, times in self._asked.items() if times and times[-1] <= now - 60]:
                del self._asked[other]
            return 0.0
