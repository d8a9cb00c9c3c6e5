"""Checkpoints opened for reading, with a sentence for each way in which that fails."""

from __future__ import annotations

import contextlib
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

from rag.compute.hardware import is_out_of_memory
from rag.errors import ModelError

_FIRST_SENTENCE = re.compile(r"[^.\n]{1,200}")


@contextlib.contextmanager
def reading_weights(folder: str | Path) -> Iterator[None]:
    """Inside this, a checkpoint that cannot be read raises ModelError.

    It is damaged, its weights do not fit its config.json, it brings code of its own, or a package for it is missing.
    """
    from safetensors import SafetensorError

    try:
        yield
    except ImportError as error:
        raise ModelError(f"{folder} needs a package that is not installed: {_brief(error)}") from error
    except (SafetensorError, RuntimeError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        if is_out_of_memory(error):
            raise
        raise ModelError(_sentence(folder, error)) from error


def _sentence(folder: str | Path, error: Exception) -> str:
    text = str(error)
    if "trust_remote_code" in text or "custom code" in text:
        return own_code_sentence(folder)
    if "does not recognize this architecture" in text:
        return (
            f"{folder} is of a kind that this version of transformers does not know; update it: pip install -U "
            "transformers"
        )
    if "no file named" in text:
        return f"{folder} holds no weights that are read (*.safetensors); fetch the model again"
    return f"the weights in {folder} cannot be read ({text}); fetch the model again"


def own_code_sentence(folder: str | Path) -> str:
    """What is said of a checkpoint that runs only by Python code of its own (`trust_remote_code`)."""
    return (
        f"{folder} brings Python code of its own (trust_remote_code), which is never run here; choose a model that "
        "transformers knows by itself"
    )


def _brief(error: Exception) -> str:
    found = _FIRST_SENTENCE.search(" ".join(str(error).split()))
    return found[0] if found else type(error).__name__
