"""Many clients at once, half of them leaving in the middle, while files are added; signals; addresses of no use."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks.attack.attempt import Attack, Outcome
from rag.models.resolve import rag_home
from rag.serve.api import MAX_AT_ONCE
from rag.serve.history import history_path

CLIENTS = 30
PLACES = (
    *("lighthouse", "bakery", "observatory", "harbour", "library", "greenhouse", "windmill", "monastery", "brewery"),
    *("theatre", "hospital", "museum", "quarry", "vineyard", "foundry", "aquarium", "courthouse", "orchard", "stadium"),
    *("castle", "laundry", "tannery", "sawmill", "chapel", "printery", "bathhouse", "granary", "shipyard", "abbey"),
    "planetarium",
)
QUICK = ("reranker.depth=5", "prompt.contexts=2", "abstain.rerank_threshold=-1000", "serving.questions_per_minute=0")
"""Settings by which every question is answered, and soon."""
LONG_ANSWERS = ("reader.enabled=false", "generator.max_new_tokens=400")
SECONDS_TO_ANSWER = 300.0
SECONDS_TO_STOP = 3.0
SECONDS_OF_REST = 4.0
BUSY_SHARE = 0.25
"""A process that takes more of one core than this is not at rest; the page's own clocks take a few per cent."""


def code_of(number: int) -> str:
    """What the answer to one client's question holds, and no other's."""
    return f"QX{number:02d}-{number * 37 % 100:02d}Z"


def question(number: int) -> str:
    """One client's question."""
    return f"What is the code of the {PLACES[number]}?"


@dataclass(frozen=True, slots=True)
class Told:
    """What one client got: the status, the words of the answer or what came instead, how often it had to come again."""

    status: int
    text: str
    retries: int = 0


@contextlib.contextmanager
def chat_over(folder: Path, *settings: str) -> Iterator[tuple[subprocess.Popen[str], str, Path]]:
    """A real chat over a document for each client: its process, its address and its index."""
    documents, index = folder / "documents", folder / "index"
    documents.mkdir()
    for number, place in enumerate(PLACES):
        text = f"The code of the {place} is {code_of(number)}. The {place} stands in the town and opens in the morning."
        (documents / f"{place}.txt").write_text(text, "utf-8")
    rag("ingest", str(documents), "-i", str(index))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "rag", "chat", "-i", str(index), "--port", str(port)]
    command += [part for setting in (*QUICK, *settings) for part in ("--set", setting)]
    with (folder / "remarks").open("w") as remarks:
        chat = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=remarks, text=True)
        try:
            assert chat.stdout is not None
            if "The chat is at" not in chat.stdout.readline():
                raise RuntimeError((folder / "remarks").read_text()[-500:])
            address = f"http://127.0.0.1:{port}"
            ask_api(address, question(0), stream=False)  # loads the models
            yield chat, address, index
        finally:
            if chat.poll() is None:
                chat.terminate()
            chat.wait(60)
            history_path(rag_home(), index).unlink(missing_ok=True)


def rag(*arguments: str) -> None:
    """A real `rag` command."""
    ended = subprocess.run([sys.executable, "-m", "rag", *arguments], capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise RuntimeError(ended.stderr.strip()[-500:])


def ask_api(address: str, asked: str, *, stream: bool) -> Told:
    """Ask the API, and come again where it says so."""
    body = {"model": "rag", "messages": [{"role": "user", "content": asked}], "stream": stream}
    end, retries = time.monotonic() + SECONDS_TO_ANSWER, 0
    with httpx.Client(trust_env=False, timeout=SECONDS_TO_ANSWER) as client:
        while True:
            reply = client.post(f"{address}/v1/chat/completions", json=body)
            if reply.status_code not in (429, 503) or time.monotonic() > end:
                return Told(reply.status_code, words_of(reply.text), retries)
            retries += 1
            time.sleep(float(reply.headers.get("retry-after", 1)))


def ask_gradio(address: str, asked: str) -> Told:
    """Ask as Gradio's client does, and come again where the queue is full."""
    call, retries = f"{address}/gradio_api/call/ask", 0
    with httpx.Client(trust_env=False, timeout=SECONDS_TO_ANSWER) as client:
        while (joined := client.post(call, json={"data": [asked]})).status_code == 503:
            retries += 1
            time.sleep(1)
        reply = client.get(f"{call}/{joined.json()['event_id']}")
        failed = "event: complete" not in reply.text
        return Told(500 if failed else reply.status_code, words_of(reply.text), retries)


def words_of(reply: str) -> str:
    """The words of an answer, however it was sent; what was sent itself where it is an error, or breaks off."""
    try:
        if reply.startswith("{"):
            return json.loads(reply)["choices"][0]["message"]["content"].split("Sources:")[0]
        frames = [line.removeprefix("data: ") for line in reply.splitlines() if line.startswith("data: ")]
        if "event: complete" in reply:
            return json.loads(frames[-1])[0]["answer"]
        if frames[-1] != "[DONE]":
            return reply
        pieces = [json.loads(frame)["choices"][0]["delta"].get("content", "") for frame in frames[:-1]]
        return "".join(pieces).split("Sources:")[0]
    except (LookupError, ValueError):
        return reply


WAYS: tuple[Callable[[str, str], Told], ...] = (
    lambda address, asked: ask_api(address, asked, stream=True),
    lambda address, asked: ask_api(address, asked, stream=False),
    ask_gradio,
)


def ask_and_leave(address: str, number: int, seconds: float) -> None:
    """Ask by one of the ways, and close the connection after some seconds, whatever has come."""
    way = number % len(WAYS)
    body: dict[str, object] = {"model": "rag", "messages": [{"role": "user", "content": question(number)}]}
    url = f"{address}/v1/chat/completions"
    with httpx.Client(trust_env=False, timeout=SECONDS_TO_ANSWER) as client:
        request = client.build_request("POST", url, json={**body, "stream": way == 0})
        if way == 2:
            call = f"{address}/gradio_api/call/ask"
            joined = client.post(call, json={"data": [question(number)]})
            if joined.status_code != 200:
                return
            request = client.build_request("GET", f"{call}/{joined.json()['event_id']}")
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            head = f"{request.method} {request.url.raw_path.decode()} HTTP/1.1\r\n"
            head += "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
            connection.sendall(head.encode() + b"\r\n" + request.read())
            time.sleep(seconds)


def seconds_of_work(chat: subprocess.Popen[str], seconds: float) -> float:
    """The CPU seconds that the chat takes within so many seconds."""
    process = psutil.Process(chat.pid)
    before = sum(process.cpu_times()[:2])
    time.sleep(seconds)
    return sum(process.cpu_times()[:2]) - before


def is_at_rest(chat: subprocess.Popen[str]) -> tuple[bool, float]:
    """Whether nothing is generated any more, a few seconds after the last client; with the share of a core it takes."""
    time.sleep(SECONDS_TO_STOP)
    share = seconds_of_work(chat, SECONDS_OF_REST) / SECONDS_OF_REST
    return share <= BUSY_SHARE, share


def faults_of(told: Sequence[tuple[int, Told]]) -> list[str]:
    """What is wrong with what the clients that stayed were told, a line for each fault."""
    faults = []
    for number, got in told:
        codes = set(re.findall(r"QX\d\d-\d\dZ", got.text))
        if got.status != 200 or codes != {code_of(number)}:
            faults.append(f"client {number} got {got.status} {got.text[-120:]!r}")
    return faults


def at_once(folder: Path, *settings: str) -> Outcome:
    """Thirty clients, half of them leaving, while a file is added; then as many at once as have a place."""
    with chat_over(folder, *settings) as (chat, address, index), ThreadPoolExecutor(2 * CLIENTS) as pool:
        more = folder / "more"
        more.mkdir()
        (more / "lagoon.txt").write_text("The code of the lagoon is QX99-99Z.", "utf-8")
        adding = threading.Thread(target=rag, args=("ingest", str(more), "-i", str(index)))
        adding.start()
        staying, leaving = range(0, CLIENTS, 2), range(1, CLIENTS, 2)
        left = [pool.submit(ask_and_leave, address, number, 0.2 + number * 0.15) for number in leaving]
        ways = {number: WAYS[number // 2 % len(WAYS)] for number in staying}
        answers = [(number, pool.submit(way, address, question(number))) for number, way in ways.items()]
        faults = faults_of([(number, answer.result()) for number, answer in answers])
        for client in left:
            client.result()
        adding.join()
        rests, share = is_at_rest(chat)
        if not rests:
            faults.append(f"the chat goes on working, with {share:.2f} of a core")
        # Every place is free again: as many as there are can be asked at once, and none is told to come again.
        last = [
            pool.submit(ask_api, address, question(number), stream=bool(number % 2)) for number in range(MAX_AT_ONCE)
        ]
        again = [(number, answer.result()) for number, answer in enumerate(last)]
        faults += faults_of(again)
        faults += [f"no place for client {number}" for number, got in again if got.retries]
        if "QX99-99Z" not in ask_api(address, "What is the code of the lagoon?", stream=False).text:
            faults.append("the file that was added is not found")
        n_tried = CLIENTS + MAX_AT_ONCE + 2
        if "Traceback" in (folder / "remarks").read_text():
            faults.append("the chat wrote a traceback")
    said = "; ".join(faults[:3]) or f"{share:.2f} of a core at rest"
    return Outcome(n_tried, max(0, n_tried - len(faults)), said)


def long_answers(folder: Path) -> Outcome:
    """The same where the generator writes every answer."""
    return at_once(folder, *LONG_ANSWERS)


def all_leave(folder: Path) -> Outcome:
    """Eight rounds of clients who all leave in the middle of a long answer: what is worked behind them."""
    held, shares = 0, []
    with chat_over(folder, *LONG_ANSWERS) as (chat, address, _), ThreadPoolExecutor(MAX_AT_ONCE) as pool:
        for tried in range(8):
            seconds = 0.5 + tried * 0.5
            list(pool.map(lambda number, s=seconds: ask_and_leave(address, number, s), range(tried % 3, 24, 3)))
            rests, share = is_at_rest(chat)
            held += rests
            shares.append(share)
    return Outcome(8, held, f"at most {max(shares):.2f} of a core once they had left")


def ended_by(folder: Path, number: signal.Signals) -> list[str]:
    """What is wrong with the end of a chat that a signal ends while it streams; a line for each fault."""
    faults: list[str] = []
    with chat_over(folder, *LONG_ANSWERS) as (chat, address, index), ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(WAYS[n % 3], address, f"Tell me all about the {PLACES[n]}.") for n in range(4)]
        time.sleep(2)
        chat.send_signal(number)
        started = time.monotonic()
        for answer in asked:
            with contextlib.suppress(httpx.HTTPError):
                if "ending" not in (text := answer.result().text) and "[DONE]" not in text and "choices" not in text:
                    faults.append(f"an answer ended with {text[-100:]!r}")
        try:
            chat.wait(30)
        except subprocess.TimeoutExpired:
            faults.append("the chat did not end within 30 s")
        if (seconds := time.monotonic() - started) > 10:
            faults.append(f"the chat ended after {seconds:.0f} s")
        if chat.returncode != 0:
            faults.append(f"the exit status is {chat.returncode}")
        if "Traceback" in (folder / "remarks").read_text():
            faults.append("a traceback")
        kept = history_path(rag_home(), index)
        if kept.is_file():
            with contextlib.closing(sqlite3.connect(kept)) as stored:
                if stored.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                    faults.append("the conversations are damaged")
    return faults


def ended_by_signals(folder: Path) -> Outcome:
    """SIGTERM and Ctrl+C while answers are written."""
    faults = []
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        (folder / number.name).mkdir()
        if found := ended_by(folder / number.name, number):
            faults.append(f"{number.name}: {'; '.join(found)}")
    return Outcome(len(numbers), len(numbers) - len(faults), "; ".join(faults))


def addresses(folder: Path) -> Outcome:
    """Ports and hosts that cannot be listened at: one sentence, at once, and no traceback."""
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        tried = [
            *(["--port", port] for port in ("99999", "65536", "0", "-1", "abc", "1e4", "", str(busy.getsockname()[1]))),
            *(["--host", host] for host in ("", "no.such.host.invalid", "203.0.113.7", "http://127.0.0.1")),
        ]
        faults = [fault for options in tried if (fault := _refusal_of(folder, options))]
    return Outcome(len(tried), len(tried) - len(faults), "; ".join(faults))


def _refusal_of(folder: Path, options: list[str]) -> str:
    """What is wrong with the refusal of an address, "" for nothing."""
    command = [sys.executable, "-m", "rag", "chat", "-i", str(folder / "none"), *options]
    environment = {**os.environ, "COLUMNS": "200"}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    if ended.returncode not in (1, 2) or "Traceback" in ended.stderr:
        return f"{options}: exit status {ended.returncode}"
    return (
        ""
        if re.search(r"port|host", ended.stderr.lower()) and "no index" not in ended.stderr
        else f"{options}: not told"
    )


ATTACKS = (
    Attack(
        "load",
        f"{CLIENTS} clients at once over both APIs, half of them leaving in the middle, while a file is added",
        "no error, nobody another's answer, no place lost, at rest afterwards",
        at_once,
    ),
    Attack(
        "load",
        f"the same, {CLIENTS} clients, where the generator writes every answer",
        "no error, nobody another's answer, no place lost, at rest afterwards",
        long_answers,
    ),
    Attack(
        "load",
        "8 rounds of 8 clients who all leave after 0.5 to 4 seconds of a long answer",
        f"the generator is at rest {SECONDS_TO_STOP:g} s later",
        all_leave,
    ),
    Attack(
        "load",
        "SIGTERM and Ctrl+C while answers are written",
        "ends within seconds with status 0, each answer with a sentence, conversations whole",
        ended_by_signals,
    ),
    Attack("load", "`rag chat` at 12 ports and hosts of no use", "a sentence before anything is loaded", addresses),
)
