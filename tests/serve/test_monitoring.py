"""Health, figures and traces of the chat; the dashboard and the container ask for what there is."""

import json
import re
import sys
import threading
from pathlib import Path

import pytest
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.testclient import TestClient

from rag.build.identity import _settings_record
from rag.config import load_settings
from rag.errors import ConfigError, GenerationError
from rag.lazy import Lazy
from rag.pipeline import Depths
from rag.progress import holding, n_in_line
from rag.serve.guard import Guard, Rules
from rag.serve.health import make_health_routes
from rag.serve.metrics import Metrics, make_metrics_route
from rag.serve.monitoring import monitor
from rag.serve.origins import Origins
from rag.serve.traces import Traces, make_traces
from rag.serve.turns import Options, Turn
from rag.serve.watching import STAGES, Asked, watched
from rag.types import Answer, Hit, Passage, Query, Response
from tests.fakes.pipelines import Echo

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = Options("bm25", Depths(10, 10, 2))


class Failing(Echo):
    def stream(self, conversation):
        raise GenerationError("the model is out")
        yield


class Seen:
    def __init__(self):
        self.asked = []

    def saw(self, asked):
        self.asked.append(asked)


def ask(chat, question="who designed the amber line", options=OPTIONS):
    return list(chat.ask(question, [], options))[-1]


def samples(metrics):
    """Every sample by its name and labels, as a text that Prometheus reads."""
    from prometheus_client.parser import text_string_to_metric_families

    client = TestClient(Starlette(routes=[make_metrics_route(metrics, lambda request: True)]))
    text = client.get("/metrics").text
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


# Health


def test_a_chat_lives_before_it_is_ready_and_says_in_a_sentence_what_is_missing(make_chat):
    chat = make_chat()
    client = TestClient(Starlette(routes=make_health_routes(chat)))
    chat.status = "Loading the reranker…"
    assert client.get("/health").json() == {"status": "alive"}
    answer = client.get("/ready")
    assert (answer.status_code, answer.json()["detail"]) == (503, "Loading the reranker…")
    assert answer.headers["retry-after"] == "5"
    chat.preload("bm25").join()
    assert client.get("/ready").status_code == client.head("/ready").status_code == 200


def test_a_chat_whose_models_cannot_be_loaded_names_no_folder_to_strangers(make_chat):
    chat = make_chat()
    chat.reranker = Lazy(Path("/secret/folder/of/mine").read_bytes)
    chat.preload("bm25").join()
    assert "/secret" in chat.status
    answer = TestClient(Starlette(routes=make_health_routes(chat))).get("/ready")
    assert answer.status_code == 503
    assert answer.json()["detail"] == "The models could not be loaded; the chat's log says why."


def test_a_chat_that_ends_gets_no_more_visitors(make_chat):
    chat = make_chat()
    chat.ready = True
    chat.close("over")
    client = TestClient(Starlette(routes=make_health_routes(chat)))
    assert client.get("/ready").json()["detail"] == "The chat is ending."
    assert client.get("/health").status_code == 200


def test_health_needs_no_login_and_still_passes_the_guard(make_chat):
    def nobody(request: Request) -> None:
        return None

    app = Starlette(routes=make_health_routes(make_chat()))
    rules = Rules(Origins.of((), only_local=True), nobody, None, 1000, lambda number: False)
    client = TestClient(Guard(app, rules), base_url="http://127.0.0.1:7860")
    assert client.get("/health").status_code == 200
    assert client.get("/ready").status_code == 503
    assert client.get("/health", headers={"host": "elsewhere.example"}).status_code == 400
    assert (
        client.get("/health", headers={"origin": "https://x.example", "sec-fetch-site": "cross-site"}).status_code
        == 403
    )
    assert client.post("/health", json={}).status_code == 401


# What is told of a question


def test_a_cited_answer_is_told_with_its_stages_and_tokens(make_chat):
    chat, seen = make_chat(), Seen()
    chat.watchers.append(seen)
    turn = ask(chat)
    (asked,) = seen.asked
    timings = {name: seconds for name, seconds in turn.response.timings.items() if seconds > 0}
    assert asked.outcome == "answered"
    assert {stage.name: stage.seconds for stage in asked.stages} == timings
    assert [stage.name for stage in asked.stages] == [name for name in STAGES if name in timings]
    assert asked.tokens == turn.response.tokens
    assert asked.tokens["answer"] > 0
    assert 0 < asked.first_word_seconds <= asked.seconds
    began = [stage.began for stage in asked.stages]
    assert began == sorted(began)
    assert asked.began - 1e-3 <= began[0]
    assert began[-1] + asked.stages[-1].seconds <= asked.began + asked.seconds + 1e-3


def test_stages_that_one_snapshot_tells_of_stand_one_after_the_other():
    def turns():
        response = Response(Query("q", "q"), timings={"retrieve": 1.0})
        yield Turn("q", response=response)
        answer = Answer("a")
        timings = {"retrieve": 1.0, "rerank": 2.0, "read": 0.0, "generate": 4.0}
        yield Turn("q", response=Response(Query("q", "q"), timings=timings, answer=answer), done=True)

    seen = Seen()
    list(watched(turns(), [seen], "m", []))
    retrieve, rerank, generate = seen.asked[0].stages
    assert (retrieve.seconds, rerank.seconds, generate.seconds) == (1.0, 2.0, 4.0)
    assert generate.began - rerank.began == pytest.approx(2.0)
    assert seen.asked[0].model == "m"


def test_it_is_told_who_refused(make_chat):
    seen = Seen()
    for chat, question in ((make_chat(threshold=100.0), "who designed the amber line"), (make_chat(), "xylophone")):
        chat.watchers.append(seen)
        ask(chat, question)
    hit = Hit(Passage("a@0", "text"), 1.0)
    refusal = Response(Query("q", "q"), (hit,), (hit,), (hit,), Answer("CANNOTANSWER"), {"generate": 1.0})
    list(watched(iter([Turn("q", response=refusal, done=True)]), [seen], "", []))
    assert [(asked.outcome, asked.refused_by) for asked in seen.asked] == [
        ("refused", "search"),
        ("refused", "search"),
        ("refused", "model"),
    ]


def test_failures_are_told_by_their_class_and_questions_at_fault_as_rejected(make_chat):
    chat, seen = make_chat(Failing()), Seen()
    chat.watchers.append(seen)
    ask(chat)
    ask(chat, "  ")
    ask(chat, "x" * 5000)
    assert [(asked.outcome, asked.failure) for asked in seen.asked] == [
        ("failed", "GenerationError"),
        ("rejected", ""),
        ("rejected", ""),
    ]


def test_whoever_leaves_in_the_middle_or_is_sent_away_has_left(make_chat):
    chat, seen = make_chat(), Seen()
    chat.watchers.append(seen)
    turns = chat.ask("who designed the amber line", [], OPTIONS)
    next(turns)
    turns.close()
    assert chat.n_waiting == 0
    chat.close("over")
    ask(chat)
    assert [asked.outcome for asked in seen.asked] == ["left", "left"]


def test_a_watcher_that_fails_spoils_no_answer(make_chat, caplog):
    class Broken:
        def saw(self, asked):
            raise ValueError("no")

    chat, seen = make_chat(), Seen()
    chat.watchers += [Broken(), seen]
    assert ask(chat).response.answer.citations == ("doc_0@0",)
    assert len(seen.asked) == 1
    assert "could not be counted" in caplog.text


# Figures


def test_figures_count_what_was_answered_refused_and_failed(make_chat):
    chat = make_chat()
    metrics = Metrics(chat, lambda: 12)
    chat.watchers.append(metrics)
    answered, refused = ask(chat), ask(chat, "xylophone")
    assert refused.response.answer.abstained
    chat.generator = Lazy.of(Failing())
    ask(chat)
    found = samples(metrics)
    assert found["rag_questions_total", ("model", ""), ("outcome", "answered")] == 1
    assert found["rag_questions_total", ("model", ""), ("outcome", "refused")] == 1
    assert found["rag_questions_total", ("model", ""), ("outcome", "failed")] == 1
    assert found["rag_questions_total", ("model", ""), ("outcome", "left")] == 0
    assert found["rag_refusals_total", ("by", "search")] == 1
    assert found["rag_errors_total", ("kind", "GenerationError")] == 1
    assert found["rag_tokens_total", ("kind", "answer")] == answered.response.tokens["answer"]
    assert found["rag_stage_seconds_count", ("stage", "retrieve")] == 3
    assert found["rag_stage_seconds_count", ("stage", "generate")] == 1
    assert found["rag_question_seconds_count",] == 2
    assert found["rag_first_word_seconds_count",] == 1
    assert found["rag_index_passages",] == 12
    assert (found["rag_ready",], found["rag_questions_in_progress",]) == (1, 0)


def test_figures_say_what_is_in_progress(make_chat):
    chat = make_chat()
    metrics = Metrics(chat, lambda: 0)
    turns = chat.ask("who designed the amber line", [], OPTIONS)
    next(turns)
    assert samples(metrics)["rag_questions_in_progress",] == 1
    turns.close()
    assert samples(metrics)["rag_questions_in_progress",] == 0


def test_whoever_waits_for_something_busy_stands_in_line():
    lock, before = threading.Lock(), n_in_line()
    with holding(lock):
        assert n_in_line() == before
        waiting = threading.Thread(target=lambda: holding(lock).__enter__(), daemon=True)
        waiting.start()
        while n_in_line() == before:
            waiting.join(0.01)
    waiting.join()
    assert n_in_line() == before


def test_figures_are_for_those_who_may_read_them_and_off_by_default(make_chat):
    metrics = Metrics(make_chat(), lambda: 0)
    client = TestClient(Starlette(routes=[make_metrics_route(metrics, lambda r: "authorization" in r.headers)]))
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"authorization": "Bearer k"}).status_code == 200
    routes = monitor(make_chat(), load_settings(), lambda: 0, lambda request: True)
    assert [route.path for route in routes] == ["/health", "/ready"]
    routes = monitor(make_chat(), load_settings(None, ["serving.metrics=true"]), lambda: 0, lambda request: True)
    assert [route.path for route in routes] == ["/health", "/ready", "/metrics"]


def test_a_missing_package_is_named_with_the_command_that_installs_it(make_chat, monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ConfigError, match="pip install prometheus-client"):
        Metrics(make_chat(), lambda: 0)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigError, match="pip install opentelemetry-sdk"):
        make_traces(wanted=False, environment={"OTEL_TRACES_EXPORTER": "console"})


# Traces


@pytest.fixture
def traces():
    """Traces that keep their spans in memory."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Traces(provider), exporter


def test_a_question_is_a_trace_with_a_span_for_each_stage_and_without_its_words(make_chat, traces):
    making, exporter = traces
    chat, seen = make_chat(), Seen()
    chat.watchers += [making, seen]
    ask(chat)
    *stages, whole = exporter.get_finished_spans()
    assert [span.name for span in stages] == [f"rag.{stage.name}" for stage in seen.asked[0].stages]
    assert {span.parent.span_id for span in stages} == {whole.context.span_id}
    assert whole.name == "rag.ask"
    assert whole.attributes["rag.outcome"] == "answered"
    (generate,) = (span for span in stages if span.name == "rag.generate")
    assert generate.attributes["gen_ai.usage.output_tokens"] == seen.asked[0].tokens["answer"]
    assert (generate.end_time - generate.start_time) / 1e9 == pytest.approx(seen.asked[0].stages[-1].seconds, abs=1e-6)
    everything = " ".join(span.to_json() for span in exporter.get_finished_spans())
    assert "amber" not in everything
    assert "doc_0" not in everything


def test_a_failure_marks_its_trace(traces):
    making, exporter = traces
    making.saw(Asked("failed", "ollama:x", 1000.0, 2.5, failure="GenerationError"))
    (whole,) = exporter.get_finished_spans()
    assert whole.status.status_code.name == "ERROR"
    assert whole.attributes["error.type"] == "GenerationError"
    assert whole.attributes["gen_ai.request.model"] == "ollama:x"
    assert (whole.start_time, whole.end_time) == (1000 * 10**9, 1002.5 * 10**9)


@pytest.mark.parametrize(
    "environment",
    [{}, {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}],
)
def test_no_trace_is_made_where_none_is_asked_for(environment):
    assert make_traces(wanted=False, environment=environment) is None


def test_the_standard_switch_turns_traces_off():
    environment = {"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "true"}
    assert make_traces(wanted=True, environment=environment) is None


def test_traces_without_a_place_to_go_are_refused_with_the_variable_that_names_one():
    with pytest.raises(ConfigError, match="OTEL_EXPORTER_OTLP_ENDPOINT"):
        make_traces(wanted=True, environment={})
    with pytest.raises(ConfigError, match="known here are otlp"):
        make_traces(wanted=True, environment={"OTEL_TRACES_EXPORTER": "zipkin"})


def test_traces_on_the_console_go_to_stderr_with_the_name_of_the_service(capsys, make_chat):
    making = make_traces(wanted=False, environment={"OTEL_TRACES_EXPORTER": "console"})
    making.saw(Asked("answered", "", 1000.0, 1.0))
    making.close()
    said = capsys.readouterr()
    assert said.out == ""
    assert '"service.name": "rag"' in said.err


def test_a_collector_that_is_not_there_does_not_hold_up_the_end(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("rag.serve.traces.SECONDS_TO_SEND", 0.0)
    making = make_traces(wanted=False)
    answer, ended = threading.Event(), threading.Event()
    monkeypatch.setattr(making._provider, "shutdown", lambda: answer.wait() and ended.set())
    making.close()
    assert not ended.is_set()  # it is still at it, and nobody waits
    answer.set()
    assert ended.wait(60)


def test_traces_reach_a_collector(monkeypatch):
    from http.server import BaseHTTPRequestHandler, HTTPServer

    received = []

    class Collector(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_POST(self):
            received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        making = make_traces(wanted=False)
        making.saw(Asked("answered", "", 1000.0, 1.0))
        making.close()
        server.shutdown()
    ((path, body),) = received
    assert path == "/v1/traces"
    assert b"rag.ask" in body


# What asks for them


def test_the_dashboard_draws_figures_that_there_are(make_chat):
    dashboard = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())
    chat = make_chat()
    metrics = Metrics(chat, lambda: 0)
    chat.watchers.append(metrics)
    ask(chat)
    chat.generator = Lazy.of(Failing())
    ask(chat)
    names = {name for name, *_ in samples(metrics)}
    labels = {label for _, *labels in samples(metrics) for label, _ in labels}
    targets = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked = {name for expr in targets for name in re.findall(r"\b(?:rag|process)_\w+", expr)}
    assert asked <= names
    own = {
        name for name in names if name.startswith("rag_") and not name.endswith(("_created", "_count", "_build_info"))
    }
    assert {re.sub(r"_(bucket|sum)$", "", name) for name in own} == {
        re.sub(r"_(bucket|sum)$", "", name) for name in asked if name.startswith("rag_")
    }
    grouped = {
        label for expr in targets for group in re.findall(r"by \(([^)]*)\)", expr) for label in group.split(", ")
    }
    assert grouped <= labels


def test_the_dashboard_has_the_structure_that_grafana_loads():
    dashboard = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())
    assert isinstance(dashboard["schemaVersion"], int)
    variables = {variable["name"]: variable["type"] for variable in dashboard["templating"]["list"]}
    assert variables == {"datasource": "datasource", "instance": "query"}
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = set()
    for panel in panels:
        place = panel["gridPos"]
        taken = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not cells & taken
        cells |= taken
        assert panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert [target["refId"] for target in panel["targets"]] == ["A", "B"][: len(panel["targets"])]


def test_prometheus_and_the_container_ask_for_routes_that_there_are(make_chat):
    routes = monitor(make_chat(), load_settings(None, ["serving.metrics=true"]), lambda: 0, lambda request: True)
    paths = {route.path for route in routes}
    (job,) = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text())["scrape_configs"]
    assert job.get("metrics_path", "/metrics") in paths
    checks = [
        (ROOT / "Dockerfile").read_text().split("HEALTHCHECK", 1)[1].split("ENTRYPOINT")[0],
        json.dumps(yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["chat"]["healthcheck"]["test"]),
    ]
    for check in checks:
        (path,) = re.findall(r"127\.0\.0\.1:7860(/\w*)", check)
        assert path in paths


def test_what_watches_a_chat_is_no_part_of_a_run():
    plain = _settings_record(load_settings())
    watched_one = ["serving.metrics=true", "serving.traces=true", 'serving.models=["packaged"]']
    assert _settings_record(load_settings(None, watched_one)) == plain
