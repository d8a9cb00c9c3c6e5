"""Work of which a process does one piece at a time, while its models load side by side."""

from __future__ import annotations

import threading

TORCH = threading.RLock()
"""Held while torch and transformers are imported, and while a model is traced or converted: neither is made for
threads. What is compiled already needs neither, and loads without waiting."""
