"""What the programs around a chat are told of it: health, figures and traces, as far as the settings want them."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.routing import Route

from rag.config import Settings
from rag.serve.chat import Chat
from rag.serve.health import make_health_routes
from rag.serve.traces import make_traces

if TYPE_CHECKING:
    from rag.index.manifest import Manifest
    from rag.serve.shelf import Shelf


def monitor(
    chat: Chat, settings: Settings, n_passages: Callable[[], int], may_read: Callable[[Request], bool]
) -> list[Route]:
    """The routes to watch a chat by, which is watched from now on. `may_read` says who may read the figures.

    Raises ConfigError where packages are missing, or where nothing says where traces go.
    """
    routes = make_health_routes(chat)
    if (traces := make_traces(wanted=settings.serving.traces)) is not None:
        chat.watchers.append(traces)
        atexit.register(traces.close)
    if settings.serving.metrics:
        from rag.serve.metrics import Metrics, make_metrics_route

        metrics = Metrics(chat, n_passages)
        chat.watchers.append(metrics)
        routes.append(make_metrics_route(metrics, may_read))
    return routes


def passages_on(shelf: Shelf, at_start: Manifest) -> Callable[[], int]:
    """How many passages the index holds now; before it is loaded, how many it held when the chat started."""
    return partial(_n_passages, shelf, at_start)


def _n_passages(shelf: Shelf, at_start: Manifest) -> int:
    index = shelf.retrievers.index
    return (index.get().manifest if index.loaded else at_start).n_passages
