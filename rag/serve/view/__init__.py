"""A turn as the page shows it: HTML that is safe to insert, Markdown to copy, and cards of its sources."""

from rag.serve.view.turn import turn_view

__all__ = ["turn_view"]
