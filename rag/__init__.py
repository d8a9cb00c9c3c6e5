"""Question answering over your own documents: cited answers, honest refusals, measured quality."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rag.build.door import Index, open_index

__all__ = ["Index", "open_index"]
__version__: str


def __getattr__(name: str) -> object:
    """`open_index`, `Index` and the version, found when they are first asked for: `import rag` stays instant."""
    if name in __all__:
        from rag.build import door

        return getattr(door, name)
    if name == "__version__":
        return _version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _version() -> str:
    """The version in the metadata of the installed package; "unknown" where this code runs without being installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("rag-qa")
    except PackageNotFoundError:
        return "unknown"
