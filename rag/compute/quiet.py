"""Keeping libraries' progress bars and advice off the terminal."""

from __future__ import annotations

import os


def quiet_libraries() -> None:
    """Keep libraries' progress bars and advice off the terminal; errors still come through."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")


def quiet_transformers() -> None:
    """Keep transformers' progress bars and advice off the terminal; errors still come through."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
