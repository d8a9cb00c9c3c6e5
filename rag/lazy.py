"""Components that are loaded when they are first used."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from rag.progress import holding

T = TypeVar("T")


class Lazy(Generic[T]):
    """A component that is loaded when it is first asked for, and can be released to give its memory back.

    Several threads may ask at once; it is loaded once.
    """

    def __init__(self, load: Callable[[], T]):
        self._load = load
        self._value: T | None = None
        self._lock = threading.Lock()

    @classmethod
    def of(cls, value: T) -> Lazy[T]:
        """A component that is there already."""
        return cls(lambda: value)

    def get(self) -> T:
        """The component, loaded now if it is not there. Whoever leaves while others load it waits no longer."""
        with holding(self._lock):
            if self._value is None:
                self._value = self._load()
            return self._value

    @property
    def loaded(self) -> bool:
        """Whether the component is in memory."""
        return self._value is not None

    def release(self) -> None:
        """Give the component's memory back, on the GPU too; the next `get` loads it again."""
        with self._lock:
            close = getattr(self._value, "close", None)
            if close is not None:
                close()
            self._value = None
        # Models hold cycles, and torch keeps freed GPU memory for itself: both have to be asked.
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()
