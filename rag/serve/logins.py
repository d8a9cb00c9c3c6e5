"""Who is logged in: what Gradio's login hands out, as long as it is worth something."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from rag.serve.users import Users

KEPT_SECONDS = 14 * 24 * 3600.0
MOST = 10_000
VISITS = 20_000


class Logins(dict[str, str]):
    """Gradio's store of logins, by the token in the cookie.

    A login ends when the person is removed or gets another password, and after two weeks. The oldest go where there are
    too many.
    """

    def __init__(self, users: Users, clock: Callable[[], float] = time.time):
        super().__init__()
        self._users, self._clock = users, clock
        self._given: dict[str, tuple[float, str | None]] = {}

    def __setitem__(self, token: str, name: str) -> None:
        super().__setitem__(token, name)
        self._given[token] = self._clock(), self._users.stamp(name)
        while len(self) > MOST:
            del self[next(iter(self))]

    def __delitem__(self, token: str) -> None:
        super().__delitem__(token)
        self._given.pop(token, None)

    def get(self, token: Any, default: Any = None) -> Any:
        """The person whose token it is, `default` where it is nobody's, or no longer."""
        name = super().get(token)
        if name is None:
            return default
        at, stamp = self._given[token]
        if stamp is None or stamp != self._users.stamp(name) or self._clock() - at > KEPT_SECONDS:
            del self[token]
            return default
        return name


class Visits:
    """Whose each visit of the page is: who first used its name. Nobody else may listen to it, or act in it."""

    def __init__(self) -> None:
        self._owners: OrderedDict[str, str] = OrderedDict()

    def is_of(self, visit: str, person: str) -> bool:
        """Whether the visit is this person's, which it is from now on where it was nobody's."""
        owner = self._owners.setdefault(visit, person)
        self._owners.move_to_end(visit)
        if len(self._owners) > VISITS:
            self._owners.popitem(last=False)
        return owner == person
