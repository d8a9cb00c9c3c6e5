"""Conversations of people who need not log in, where others may be: for as long as the chat runs, and at most a day."""

from __future__ import annotations

import atexit
import datetime
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from rag.serve.history import History
from rag.serve.kept import Begun

KEPT_SECONDS = 24 * 3600.0
SECONDS_BETWEEN_SWEEPS = 600.0


class VisitsHistory(History):
    """A store that is deleted when the process ends. Conversations that nobody has added to for a day go before."""

    def __init__(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="rag-visits-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        self._swept = 0.0
        super().__init__(folder / "visits.sqlite")

    def begin(self, *given: Any, **more: Any) -> Begun:
        """As `History.begin`; what is old goes now and then."""
        if time.monotonic() - self._swept > SECONDS_BETWEEN_SWEEPS:
            self.sweep()
        return super().begin(*given, **more)

    def sweep(self) -> None:
        """Delete what is old, and what was deleted."""
        super().sweep()
        self._swept = time.monotonic()
        old = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=KEPT_SECONDS)
        with self._store.open() as database:
            database.execute("DELETE FROM conversations WHERE updated < ?", (old.isoformat(timespec="seconds"),))
