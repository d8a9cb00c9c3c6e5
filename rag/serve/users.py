"""People who may use a served application: names, argon2 hashes of passwords, hashes of API keys, in one JSON file."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from rag.errors import ConfigError
from rag.files import write_json

LOOPBACK = ("127.0.0.1", "localhost", "::1")
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")  # the same as requests name them
MIN_PASSWORD_CHARACTERS = 8
KEY_PREFIX = "rag-"
NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$MIIRqgvgQbgj220jfp0MPA$YfwJSVjtjSU0zzV/P3S9nnQ/USre2wvJMjfCIjrTQbg"
"""A hash to check against where there is no such person: as much work, and never right."""
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")


class Users:
    """The users file, read anew when it has changed; nobody is let in while it is missing or damaged."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._read_at: tuple[int, int] | None = None
        self._users: dict[str, dict] = {}
        self._lock = threading.Lock()

    def add(self, name: str, password: str) -> str:
        """Add a person, or give one a new password; returns a new API key, which is stored as a hash only."""
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
        users = self._load()
        if users.pop(name, None) is None:
            raise ConfigError(f"{self.path} knows no {name!r}; it knows {', '.join(sorted(users)) or 'nobody'}")
        self._write(users)

    def names(self) -> list[str]:
        return sorted(self._load())

    def check_password(self, name: str, password: str) -> bool:
        """Whether the password is that person's; it takes as long for a name that is not there."""
        from argon2 import PasswordHasher
        from argon2.exceptions import Argon2Error, InvalidHashError

        user = self._current().get(name)
        hasher = PasswordHasher()
        try:
            return hasher.verify(user["password"] if user else NOBODY, password) and user is not None
        except (Argon2Error, InvalidHashError):
            return False

    def knows(self, name: str) -> bool:
        """Whether this person is still on the list."""
        return name in self._current()

    def of_key(self, key: str) -> str | None:
        """Whose API key this is."""
        digest = _sha256(key)
        for name, user in self._current().items():
            if secrets.compare_digest(user["key_sha256"], digest):
                return name
        return None

    def _current(self) -> dict[str, dict]:
        with self._lock:
            try:
                status = self.path.stat()
                if self._read_at != (status.st_mtime_ns, status.st_size):
                    self._users, self._read_at = self._load(), (status.st_mtime_ns, status.st_size)
            except (OSError, ConfigError):
                self._users, self._read_at = {}, None
            return self._users

    def _load(self) -> dict[str, dict]:
        try:
            users = json.loads(self.path.read_text(encoding="utf-8"))
            if all(
                isinstance(user["password"], str) and isinstance(user["key_sha256"], str) for user in users.values()
            ):
                return users
        except FileNotFoundError as error:
            raise ConfigError(f"{self.path} does not exist; add somebody: rag user add NAME {self.path}") from error
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            pass
        raise ConfigError(f"{self.path} is no users file; make one: rag user add NAME {self.path}")

    def _write(self, users: dict[str, dict]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, users)
        self.path.chmod(0o600)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class RateLimit:
    """At most `per_minute` questions of each person in any sixty seconds; 0 is no limit."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic):
        self.per_minute, self._clock = per_minute, clock
        self._asked: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def wait_seconds(self, who: str) -> float:
        """0 where `who` may ask now, which counts; else how long to wait, which does not."""
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
