"""A trace of every question for OpenTelemetry: one span for the question, and one for each stage within it.

Off by default. It is on where `serving.traces` is set, or where a standard variable says where traces go:

    OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT    a collector's address
    OTEL_TRACES_EXPORTER                                               otlp, console or none

Spans are sent nowhere else. They hold no word of a question or an answer, and nobody's name.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rag import __version__
from rag.errors import ConfigError
from rag.serve.watching import Asked

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

SERVICE = "rag"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
EXPORTER = "OTEL_TRACES_EXPORTER"
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
NO_PACKAGE = (
    "traces need packages that are missing: pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"
)
NOWHERE = (
    "serving.traces is on, and nothing says where traces go: set OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318, or "
    "OTEL_TRACES_EXPORTER=console to see them here"
)
NANOSECONDS = 1_000_000_000
SECONDS_TO_SEND = 3.0


class Traces:
    """Makes a trace of every question that has ended."""

    def __init__(self, provider: TracerProvider):
        self._provider = provider
        self._tracer = provider.get_tracer("rag", __version__)

    def saw(self, asked: Asked) -> None:
        """Make the spans of a question. Their names and fields follow OpenTelemetry's conventions for generative AI."""
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        fields: dict[str, str | int | float] = {"rag.outcome": asked.outcome}
        if asked.model:
            fields["gen_ai.request.model"] = asked.model
        if asked.refused_by:
            fields["rag.refused_by"] = asked.refused_by
        if asked.first_word_seconds is not None:
            fields["rag.first_word_seconds"] = asked.first_word_seconds
        if asked.failure:
            fields["error.type"] = asked.failure
        whole = self._tracer.start_span(
            "rag.ask", kind=SpanKind.SERVER, attributes=fields, start_time=_nanoseconds(asked.began)
        )
        within = set_span_in_context(whole)
        for stage in asked.stages:
            span = self._tracer.start_span(
                f"rag.{stage.name}",
                context=within,
                attributes=_token_fields(asked.tokens) if stage.name == "generate" else {},
                start_time=_nanoseconds(stage.began),
            )
            span.end(_nanoseconds(stage.began + stage.seconds))
        if asked.outcome == "failed":
            whole.set_status(Status(StatusCode.ERROR))
        whole.end(_nanoseconds(asked.began + asked.seconds))

    def close(self) -> None:
        """Send what is left, and end. A collector that does not answer is not waited for."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        with contextlib.suppress(RuntimeError):  # the interpreter ends, and begins no thread any more
            closing.start()
            closing.join(SECONDS_TO_SEND)


def make_traces(*, wanted: bool, environment: Mapping[str, str] = os.environ) -> Traces | None:
    """The traces that the setting or the standard variables ask for; None where neither does.

    Raises ConfigError where packages are missing, or where nothing says where traces go.
    """
    kind = _exporter_kind(environment)
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or (kind == "none" and not wanted):
        return None
    if kind == "none":
        if environment.get(EXPORTER, "").strip().lower() == "none":
            return None
        raise ConfigError(NOWHERE)
    try:
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

        exporter = _console() if kind == "console" else _otlp(environment)
    except ImportError as error:
        raise ConfigError(NO_PACKAGE) from error
    own = Resource.create({"service.name": SERVICE, "service.version": __version__})
    resource = own.merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    processor = SimpleSpanProcessor(exporter) if kind == "console" else BatchSpanProcessor(exporter)
    provider.add_span_processor(processor)
    return Traces(provider)


def _exporter_kind(environment: Mapping[str, str]) -> str:
    """Where traces go: otlp, console or none. Raises ConfigError for another kind of exporter."""
    named = environment.get(EXPORTER, "").strip().lower()
    if named not in ("", "otlp", "console", "none"):
        raise ConfigError(f"{EXPORTER} is {named!r}; known here are otlp, console and none")
    if named:
        return named
    return "otlp" if any(environment.get(name, "").strip() for name in ENDPOINTS) else "none"


def _console() -> SpanExporter:
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter

    return ConsoleSpanExporter(out=sys.stderr)


def _otlp(environment: Mapping[str, str]) -> SpanExporter:
    """The exporter of the protocol that the variables name; they tell it address and headers themselves."""
    protocol = next((environment[name] for name in PROTOCOLS if environment.get(name)), "http/protobuf")
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc

        return Grpc()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Http

    return Http()


def _token_fields(tokens: Mapping[str, int]) -> dict[str, int]:
    names = {"prompt": "gen_ai.usage.input_tokens", "answer": "gen_ai.usage.output_tokens"}
    return {names[kind]: n for kind, n in tokens.items() if kind in names}


def _nanoseconds(seconds: float) -> int:
    return int(seconds * NANOSECONDS)
