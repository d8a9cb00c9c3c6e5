"""Figures for Prometheus at `/metrics`: questions, refusals, seconds of every stage, queue, errors and tokens.

Off by default (`serving.metrics`). Nothing of a question's or an answer's words is counted, and nobody's name.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from rag import __version__
from rag.errors import ConfigError
from rag.progress import n_in_line
from rag.serve.chat import Chat
from rag.serve.watching import OUTCOMES, Asked

METRICS = "/metrics"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0)
"""Upper bounds of the buckets: from a search in a small index to a long answer on a slow CPU."""
NO_PACKAGE = "serving.metrics needs the package prometheus-client: pip install prometheus-client"


class Metrics:
    """Counts what the chat answers, in a registry of its own. Raises ConfigError where prometheus-client is missing.

    `n_passages` gives the passages of the index as it is now.
    """

    def __init__(self, chat: Chat, n_passages: Callable[[], int]):
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
            from prometheus_client.gc_collector import GCCollector
            from prometheus_client.process_collector import ProcessCollector
        except ImportError as error:
            raise ConfigError(NO_PACKAGE) from error
        on = self.registry = CollectorRegistry()
        ProcessCollector(registry=on)
        GCCollector(registry=on)
        self._questions = Counter(
            "rag_questions", "Questions, by what became of them.", ["outcome", "model"], registry=on
        )
        self._refusals = Counter("rag_refusals", "Refusals, by who refused: search or model.", ["by"], registry=on)
        self._errors = Counter("rag_errors", "Questions that failed, by the kind of error.", ["kind"], registry=on)
        self._tokens = Counter("rag_tokens", "Tokens of prompts and answers.", ["kind"], registry=on)
        self._stages = Histogram("rag_stage_seconds", "Seconds of each stage.", ["stage"], buckets=SECONDS, registry=on)
        self._whole = Histogram("rag_question_seconds", "Seconds to the whole answer.", buckets=SECONDS, registry=on)
        self._first = Histogram("rag_first_word_seconds", "Seconds to the first word.", buckets=SECONDS, registry=on)
        now: dict[str, tuple[str, Callable[[], float]]] = {
            "rag_questions_in_progress": ("Questions being answered, those in line included.", lambda: chat.n_waiting),
            "rag_questions_in_line": ("Of those, how many wait for a model that is busy.", n_in_line),
            "rag_ready": ("1 once the models are loaded.", lambda: float(chat.ready)),
            "rag_index_passages": ("Passages in the index.", n_passages),
        }
        for name, (text, value) in now.items():
            Gauge(name, text, registry=on).set_function(value)
        Info("rag_build", "The version that runs.", registry=on).info({"version": __version__})
        for outcome in OUTCOMES:  # a rate can be drawn from the first question on
            self._questions.labels(outcome, "")
        for who in ("search", "model"):
            self._refusals.labels(who)

    def saw(self, asked: Asked) -> None:
        """Count a question that has ended."""
        self._questions.labels(asked.outcome, asked.model).inc()
        if asked.refused_by:
            self._refusals.labels(asked.refused_by).inc()
        if asked.failure:
            self._errors.labels(asked.failure).inc()
        for kind, n in asked.tokens.items():
            self._tokens.labels(kind).inc(n)
        for stage in asked.stages:
            self._stages.labels(stage.name).observe(stage.seconds)
        if asked.outcome in ("answered", "refused"):
            self._whole.observe(asked.seconds)
        if asked.outcome == "answered" and asked.first_word_seconds is not None:
            self._first.observe(asked.first_word_seconds)


def make_metrics_route(metrics: Metrics, may_read: Callable[[Request], bool]) -> Route:
    """The route, for those who may read."""
    from prometheus_client.exposition import choose_encoder

    def read(request: Request) -> Response:
        if not may_read(request):
            headers = {"WWW-Authenticate": "Bearer"}
            return PlainTextResponse("the API key is missing or wrong", 401, headers)
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(metrics.registry), headers={"Content-Type": content_type})

    return Route(METRICS, read)
