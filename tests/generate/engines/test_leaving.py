"""Every engine stops at its next token once nobody waits for the answer, and never starts for who has left before."""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from rag.errors import GenerationError, Left
from rag.generate.engines.ctranslate2 import CTranslate2Generator
from rag.generate.engines.deltas import deltas
from rag.generate.engines.server import ServerGenerator
from rag.generate.engines.transformers import TransformersGenerator
from rag.generate.engines.vllm import VllmGenerator
from rag.progress import Waiting, check_waiting, who_waits, working_for

MOST_TOKENS = 400
CONVERSATION = [{"role": "user", "content": "the old river"}]


def eventually(holds):
    """Whether this holds within a time that is long enough for any machine."""
    for _ in range(12_000):
        if holds():
            return True
        time.sleep(0.01)
    return False


class Steps:
    """Counts the steps of a model; `at` is called behind the step of that number."""

    def __init__(self):
        self.n, self.at = 0, {}

    def __call__(self, *_):
        self.n += 1
        self.at.get(self.n, lambda: None)()


@pytest.fixture(scope="module")
def tiny_transformers(tiny_generator_folder):
    generator = TransformersGenerator(
        tiny_generator_folder, max_new_tokens=MOST_TOKENS, context_window_tokens=500, device="cpu"
    )
    generator._model.generation_config.eos_token_id = None  # it would never end by itself
    generator.steps = Steps()
    generator._model.register_forward_hook(lambda *_: generator.steps())
    return generator


@pytest.fixture(scope="module")
def tiny_ctranslate2(tiny_generator_folder, tmp_path_factory):
    generator = CTranslate2Generator(
        tiny_generator_folder,
        cache_root=tmp_path_factory.mktemp("compiled"),
        max_new_tokens=MOST_TOKENS,
        context_window_tokens=500,
    )
    generator._end = generator._tokenizer.encode("z")
    generator.steps = Steps()
    really = generator._model.generate_batch

    def generate_batch(prompts, callback=None, **options):
        def counting(step):
            generator.steps()
            return callback is not None and callback(step)

        return really(prompts, callback=counting, **options)

    generator._model = SimpleNamespace(generate_batch=generate_batch)
    return generator


class EndlessEngine:
    """vLLM's engine as far as it is used here: it writes a token a step and never ends by itself."""

    def __init__(self, steps):
        self.under_way, self.aborted, self.steps = [], [], steps

    def has_unfinished_requests(self):
        return bool(self.under_way) and self.steps.n < MOST_TOKENS

    def step(self):
        time.sleep(0.001)
        self.steps()
        return [SimpleNamespace(finished=False, request_id=request) for request in self.under_way]

    def abort_request(self, requests, internal=False):
        assert internal
        self.aborted += requests
        self.under_way = [request for request in self.under_way if request not in requests]


@pytest.fixture
def fake_vllm(monkeypatch):
    """The engine over a stand-in for vLLM, which need not be installed."""
    monkeypatch.setitem(__import__("sys").modules, "vllm", SimpleNamespace(SamplingParams=lambda **options: options))
    generator = VllmGenerator.__new__(VllmGenerator)
    generator.steps = Steps()
    engine = EndlessEngine(generator.steps)

    def enqueue(prompts, sampling, use_tqdm):
        engine.under_way += [str(number) for number, _ in enumerate(prompts)]
        return [*engine.under_way]

    generator._llm = SimpleNamespace(llm_engine=engine, enqueue=enqueue)
    generator._lock = threading.Lock()
    generator._render = lambda conversation: "prompt"
    generator.max_new_tokens, generator.temperature, generator.seed = MOST_TOKENS, 0.0, 0
    return generator


@pytest.fixture(params=["tiny_transformers", "tiny_ctranslate2", "fake_vllm"])
def generator(request):
    found = request.getfixturevalue(request.param)
    found.steps.n, found.steps.at = 0, {}
    return found


def raised(work, waiting=None):
    """What a piece of work raises for somebody who waits; None for nothing."""
    try:
        with working_for(waiting):
            work()
    except Exception as error:
        return error
    return None


def asking(generator):
    """The two ways to ask."""
    return {
        "stream": lambda: list(generator.stream(CONVERSATION)),
        "generate": lambda: generator.generate([CONVERSATION]),
    }


def test_who_leaves_during_a_stream_stops_the_model_at_the_next_token(generator):
    waiting = Waiting()
    generator.steps.at[5] = waiting.leave
    assert isinstance(raised(lambda: list(generator.stream(CONVERSATION)), waiting), Left)
    assert eventually(lambda: not generator._lock.locked())
    assert generator.steps.n <= 6


def test_who_leaves_during_an_answer_in_one_piece_stops_the_model_at_the_next_token(generator):
    waiting = Waiting()
    generator.steps.at[5] = waiting.leave
    assert isinstance(raised(lambda: generator.generate([CONVERSATION] * 2), waiting), Left)
    assert not generator._lock.locked()
    assert generator.steps.n <= 12  # of two prompts, each has steps of its own


@pytest.mark.parametrize("way", ["stream", "generate"])
def test_who_leaves_while_another_has_the_model_never_starts(generator, way):
    waiting, found = Waiting(), []

    def work():
        asked = asking(generator)
        found.append(raised(asked[way], waiting))

    with generator._lock:
        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(0.05)
        assert not found
        waiting.leave()
        thread.join(120)
        assert isinstance(found[0], Left)  # and the model is still taken
    time.sleep(0.3)
    assert generator.steps.n == 0
    assert not generator._lock.locked()


@pytest.mark.parametrize("way", ["stream", "generate"])
def test_who_left_before_never_starts(generator, way):
    waiting = Waiting()
    waiting.leave()
    work = asking(generator)
    assert isinstance(raised(work[way], waiting), Left)
    assert eventually(lambda: not generator._lock.locked())
    assert generator.steps.n == 0


def test_whoever_comes_after_one_who_left_gets_the_whole_answer(tiny_ctranslate2, tiny_transformers):
    for generator in (tiny_ctranslate2, tiny_transformers):
        generator.steps.at = {}
        whole = generator.generate([CONVERSATION])
        waiting = Waiting()
        generator.steps.n, generator.steps.at = 0, {5: waiting.leave}
        assert isinstance(raised(lambda g=generator: g.generate([CONVERSATION]), waiting), Left)
        generator.steps.at = {}
        with working_for(Waiting()):
            assert generator.generate([CONVERSATION]) == whole
            assert "".join(generator.stream(CONVERSATION)).strip() == whole[0].strip()


def test_vllm_drops_the_requests_of_who_has_left(fake_vllm):
    waiting = Waiting()
    fake_vllm.steps.at[3] = waiting.leave
    assert isinstance(raised(lambda: fake_vllm.generate([CONVERSATION] * 2), waiting), Left)
    assert fake_vllm._llm.llm_engine.aborted == ["0", "1"]
    assert not fake_vllm._llm.llm_engine.under_way


class EndlessServer(ThreadingHTTPServer):
    """A server of the chat protocol that writes until its client is gone; silent where `is_silent`."""

    daemon_threads = True

    def __init__(self, *, is_silent):
        super().__init__(("127.0.0.1", 0), _Endless)
        self.is_silent, self.asked, self.gone = is_silent, threading.Event(), threading.Event()


class _Endless(BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.set()
        if self.server.is_silent:
            self.connection.settimeout(30)
            with contextlib.suppress(OSError):
                if not self.connection.recv(1):  # the client has closed the connection
                    self.server.gone.set()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        chunk = json.dumps({"choices": [{"index": 0, "delta": {"content": "word "}}]})
        try:
            for _ in range(12_000):
                self.wfile.write(f"data: {chunk}\n\n".encode())
                time.sleep(0.01)
        except OSError:
            self.server.gone.set()


@contextlib.contextmanager
def serving(**options):
    server = EndlessServer(**options)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("way", ["stream", "generate"])
@pytest.mark.parametrize("is_silent", [True, False])
def test_the_connection_to_a_server_ends_with_whoever_leaves(way, is_silent):
    with serving(is_silent=is_silent or way == "generate") as server:
        generator = ServerGenerator("m", base_url=f"http://127.0.0.1:{server.server_port}/v1", retries=0)
        work = {
            "stream": lambda: list(generator.stream(CONVERSATION)),
            "generate": lambda: generator.generate([CONVERSATION] * 3),
        }
        waiting, found = Waiting(), []
        thread = threading.Thread(target=lambda: found.append(raised(work[way], waiting)))
        thread.start()
        assert server.asked.wait(120)
        waiting.leave()
        thread.join(120)
        assert isinstance(found[0], Left)
        assert server.gone.wait(120)


def test_pieces_come_in_order_and_the_work_begins_with_the_first_one():
    begun = []

    def write(put):
        begun.append(True)
        for piece in "abc":
            put(piece)

    pieces = deltas(write)
    assert not begun
    assert list(pieces) == ["a", "b", "c"]
    unread = deltas(write)
    unread.close()
    assert begun == [True]


def test_what_the_work_raises_reaches_the_reader_behind_the_pieces_before_it():
    def write(put):
        put("a")
        raise GenerationError("no memory")

    pieces = deltas(write)
    assert next(pieces) == "a"
    with pytest.raises(GenerationError, match="no memory"):
        next(pieces)


def test_closing_the_pieces_tells_the_work():
    seen = threading.Event()

    def write(put):
        put("a")
        while not who_waits().has_left:
            time.sleep(0.01)
        seen.set()
        check_waiting()

    pieces = deltas(write)
    assert next(pieces) == "a"
    pieces.close()
    assert seen.wait(120)


def test_a_reader_that_waits_for_a_piece_is_woken_by_leaving():
    go_on, waiting = threading.Event(), Waiting()
    found = []

    def read():
        found.append(raised(lambda: list(deltas(lambda put: go_on.wait(120))), waiting))

    thread = threading.Thread(target=read)
    thread.start()
    time.sleep(0.05)
    waiting.leave("closed")
    thread.join(120)
    assert str(found[0]) == "closed"  # though the work goes on
    go_on.set()
