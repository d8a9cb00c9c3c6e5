"""Measure how long a question waits for its first token, stage by stage, where a fast server writes the answer.

    python -m benchmarks first_token [--set reranker.depth=10]

The server is one on this machine that answers at once, so that what is measured is the work before the answer: search,
reranker, reader, sentences, prompt, and one request over HTTP. Everything is loaded. Each question is asked `ROUNDS`
times, in another order each time. All figures are medians over the questions, in seconds on the clock; with `_cpu`
behind their name in seconds that all cores together computed, which tell more where other programs run beside it:

    first_token     from the question to the first piece of the answer
    slowest         the same of the slowest question
    encode, search  the question becomes a vector; passages are found, by vectors and by words
    rerank, read    the cross-encoder over `reranker.depth` passages; the span reader over `reader.depth`
    excerpt         sentences are chosen, where the prompt asks for some
    request         the prompt is written, and the server's first piece comes
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from rag.build.pipelines import make_pipeline
from rag.build.serving import serving_over
from rag.config import Settings
from rag.pipeline import Pipeline
from rag.retrieve.encoder import Encoder
from rag.types import Query

ROUNDS = 3
DEPTH = 10
PIECES = ("The ", "documents ", "say ", "so ", "[1].")
STAGES = ("retrieve", "rerank", "read", "excerpt")


class FastModel(BaseHTTPRequestHandler):
    """A chat server of OpenAI's protocol that streams the same few words to everybody at once."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        """Nothing is logged."""

    def do_GET(self) -> None:
        """The models that it serves."""
        self._send(json.dumps({"data": [{"id": "fast", "max_model_len": 32_768}]}).encode(), "application/json")

    def do_POST(self) -> None:
        """An answer, as a stream of events."""
        self.rfile.read(int(self.headers["Content-Length"]))
        events = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in PIECES]
        lines = [f"data: {json.dumps(event)}\n\n" for event in events]
        self._send("".join([*lines, "data: [DONE]\n\n"]).encode(), "text/event-stream")

    def _send(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def fast_model() -> Iterator[str]:
    """The address of the server, until the end of the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), FastModel)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


def measure(settings: Settings, index: Path, questions: Sequence[str]) -> dict[str, Any]:
    """The figures over an index; `reranker.depth` is `DEPTH` unless the settings say less."""
    with fast_model() as address:
        served = {"kind": "server", "model": "fast", "server_url": address}
        depth = min(settings.reranker.depth, DEPTH)
        settings = settings.model_copy(
            update={
                "generator": settings.generator.model_copy(update=served),
                "reranker": settings.reranker.model_copy(update={"depth": depth}),
            }
        )
        pipeline, timers = make_pipeline(serving_over(settings, index), interactive=True), Timers()
        for stage in STAGES:
            timers.wrap(pipeline, stage)
        timers.wrap(Encoder, "encode_queries")
        for question in questions:  # what is loaded, and made for each length, is there
            _ask(pipeline, question, timers)
        asked = []
        for n in range(ROUNDS):
            order = random.Random(n).sample(list(questions), len(questions))
            asked += [_ask(pipeline, question, timers) for question in order]
    rows = [row for row in asked if row is not None]
    figures = {name: round(float(np.median([row[name] for row in rows])), 4) for name in rows[0]}
    slowest = round(max(row["first_token"] for row in rows), 4)
    return {"reranked": depth, **figures, "slowest": slowest, "n": len(rows)}


class Timers:
    """Seconds that calls have taken, by their name: [on the clock, of computing]."""

    def __init__(self) -> None:
        self.taken: dict[str, np.ndarray] = {}

    def wrap(self, owner: Any, name: str) -> None:
        """Count the calls of a method of this object, or of all objects of this class."""
        inner, self.taken[name] = getattr(owner, name), np.zeros(2)

        def timed(*arguments: Any, **named: Any) -> Any:
            started = _now()
            try:
                return inner(*arguments, **named)
            finally:
                self.taken[name] += _now() - started

        setattr(owner, name, timed)


def _now() -> np.ndarray:
    """Seconds on the clock, and seconds that all threads of this process have computed."""
    return np.array([time.perf_counter(), time.process_time()])


def _ask(pipeline: Pipeline, question: str, timers: Timers) -> dict[str, float] | None:
    """Seconds of each stage until the first piece of the answer; None where the question was refused before it."""
    for taken in timers.taken.values():
        taken[:] = 0.0
    started = _now()
    answers = pipeline.stream(Query("q", question))
    growing = next((response for response in answers if response.answer is not None), None)
    first = _now() - started
    stages = {name: taken.copy() for name, taken in timers.taken.items()}
    for _ in answers:
        pass
    if growing is None or growing.answer is None or growing.answer.abstained:
        return None
    encode = stages.pop("encode_queries")
    search = stages.pop("retrieve") - encode
    named = {"encode": encode, "search": search, **stages, "request": first - encode - search - sum(stages.values())}
    return {
        "first_token": float(first[0]),
        "first_token_cpu": float(first[1]),
        **{name: float(seconds[0]) for name, seconds in named.items()},
        **{f"{name}_cpu": float(seconds[1]) for name, seconds in named.items()},
    }
