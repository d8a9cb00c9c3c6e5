"""A RAG_HOME of the tests' own, so that none of their indexes and conversations are anybody's."""

import atexit
import shutil
import tempfile
from pathlib import Path

from rag.models.resolve import rag_home


def home_of_tests() -> str:
    """Make it; it shares models and compiled graphs with the home that there was, and goes with the process."""
    own = Path(tempfile.mkdtemp(prefix="rag-home-"))
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    for shared in ("models", "compiled"):
        kept = rag_home() / shared
        kept.mkdir(parents=True, exist_ok=True)
        (own / shared).symlink_to(kept.resolve())
    return str(own)
