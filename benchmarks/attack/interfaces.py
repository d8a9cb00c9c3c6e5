"""What clients of every kind send to the API, to the documents behind it, and to a server that generates."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from benchmarks.attack.assistants import ATTACKS as OF_ASSISTANTS
from benchmarks.attack.attempt import Attack, Outcome
from benchmarks.attack.clients import (
    FEW_MODELS,
    QUESTION,
    START_SECONDS,
    Refusing,
    ask,
    counted,
    environment,
    generated_by,
    is_known_error,
    made_index,
    request,
    served_chat,
)

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
MALFORMED = {
    "nothing": b"",
    "half": b'{"messages": [',
    "no object": b"[]",
    "null": b"null",
    "not UTF-8": b'{"messages": "\xff\xfe"}',
    "UTF-16": '{"messages": []}'.encode("utf-16"),
    "NaN": b'{"messages": [], "temperature": NaN}',
    "Infinity": b'{"messages": [], "seed": Infinity}',
    "a key twice": b'{"messages": [], "messages": []}',
    "100,000 brackets": b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "50,000 objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "half a surrogate pair": b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
    "10,000 digits": b'{"n": ' + b"9" * 10_000 + b"}",
    "a control character": b'{"messages": "\x01"}',
    "two MiB": b'{"messages": "' + b"x" * 2**21 + b'"}',
}
WRONG_FIELDS: tuple[dict[str, Any], ...] = (
    {"messages": None},
    {"messages": "who?"},
    {"messages": []},
    {"messages": [7]},
    {"messages": [{"content": "x"}]},
    {"messages": [{"role": "robot", "content": "x"}]},
    {"messages": [{"role": "user", "content": {}}]},
    {"messages": [{"role": "user", "content": [IMAGE]}]},
    {"messages": [{"role": "user", "content": "x" * 100_000}]},
    {"stream": "true"},
    {"stream_options": 3},
    {"n": 2},
    {"n": "1"},
    {"logprobs": True},
    {"response_format": {"type": "json_object"}},
    {"tool_choice": "required"},
    {"model": "gpt-4o"},
    {"model": 3},
    {"collections": ["no such"]},
    {"collections": []},
    {"collections": {"a": 1}},
)


def malformed_requests(scratch: Path) -> Outcome:
    """Bodies, fields, paths and methods that are wrong get an error in OpenAI's form, and the chat answers on."""
    with served_chat(scratch, made_index(scratch)) as port:
        results = [
            (what, is_known_error(request(port, "POST", "/v1/chat/completions", body)))
            for what, body in MALFORMED.items()
        ]
        good = {"messages": [{"role": "user", "content": QUESTION}]}
        for fields in WRONG_FIELDS:
            reply = request(port, "POST", "/v1/chat/completions", {**good, **fields})
            results.append((json.dumps(fields)[:60], is_known_error(reply, 400, 404)))
        for method, path in (
            ("GET", "/v1"),
            ("POST", "/v1/embeddings"),
            ("GET", "/v1/models/x"),
            ("DELETE", "/v1/files/x"),
        ):
            results.append((f"{method} {path}", is_known_error(request(port, method, path), 404)))
        for method, path in (("GET", "/v1/chat/completions"), ("POST", "/v1/models"), ("PUT", "/v1/files")):
            results.append((f"{method} {path}", is_known_error(request(port, method, path), 405)))
        for media_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            reply = request(port, "POST", "/v1/chat/completions", good, {"Content-Type": media_type})
            results.append((media_type, is_known_error(reply, 415)))
        status, answer = request(port, "POST", "/v1/chat/completions", good)
        results.append(("a question afterwards", status == 200 and bool(answer["choices"])))
        return counted(results)


def tolerant_requests(scratch: Path) -> Outcome:
    """What clients send beside a question, in forms that must not refuse it: each is answered, with a note."""
    last = {"role": "user", "content": QUESTION}
    parts: list[Any] = [
        IMAGE,
        {"type": "input_audio", "input_audio": {}},
        {"type": "file", "file": {}},
        {"type": "new"},
    ]
    conversations = [
        *([{"role": "user", "content": [part]}, {"role": "assistant", "content": "Yes."}, last] for part in parts),
        *([{"role": "user", "content": [part, {"type": "text", "text": QUESTION}]}] for part in [*parts, None, 7, {}]),
        [{"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}, last],
        [{"role": "critic", "content": "x"}, last],
        [{"role": "system", "content": "Say hello."}, last],
    ]
    nulls = dict.fromkeys(("stream", "stream_options", "tools", "n", "stop", "model", "response_format", "collections"))
    with served_chat(scratch, made_index(scratch)) as port:
        results = []
        for messages in conversations:
            status, answer = ask(port, messages)
            results.append((json.dumps(messages)[:60], status == 200 and bool(answer["notes"])))
        for fields in (nulls, {"temperature": 2, "unknown": {"a": [1]}}, {"tools": [], "tool_choice": "auto"}):
            results.append((json.dumps(fields)[:60], ask(port, [last], **fields)[0] == 200))
        return counted(results)


def _form(name: str, data: bytes) -> tuple[bytes, dict[str, str]]:
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    tail = f"\r\n--{boundary}--\r\n".encode()
    return head.encode() + data + tail, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


HOSTILE_NAMES = (
    "../../x.txt",
    "..\\..\\x.txt",
    "/etc/x.txt",
    "C:\\x.txt",
    "..",
    "",
    ".x.txt",
    "a\x00b.txt",
    "é" * 500 + ".txt",
)
BROKEN_FILES = {
    "x.exe": b"MZ",
    "x.pdf": b"%PDF-1.7 x",
    "x.docx": b"PK\x03\x04x",
    "x.txt": b"",
    "y.txt": b"\x00\x01" * 99,
}


def hostile_files(scratch: Path) -> Outcome:
    """Files by names that lead elsewhere, and broken files: nothing is written outside the folder of uploads."""
    index = made_index(scratch)
    uploads = index.with_name(index.name + ".uploads")
    outside = {path for path in scratch.rglob("*") if not path.is_relative_to(index)}
    with served_chat(scratch, index) as port:
        results = []
        for n, name in enumerate(HOSTILE_NAMES):
            body, headers = _form(name, f"Rule {n} of the boats.".encode())
            status, answer = request(port, "POST", "/v1/files", body, headers)
            results.append((repr(name)[:40], status == 200 or is_known_error((status, answer))))
        for name, data in BROKEN_FILES.items():
            body, headers = _form(name, data)
            results.append((name, is_known_error(request(port, "POST", "/v1/files", body, headers), 400)))
        for wrong in ("..%2F..%2Fetc%2Fpasswd", "file-..", "%00"):
            for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/content")):
                reply = request(port, method, f"/v1/files/{wrong}{path}")
                results.append((f"{method} {wrong}{path}", is_known_error(reply, 404)))
        body, headers = _form("new.txt", b"The keeper of the lighthouse of Tern is Ada Brandt.")
        status, file = request(port, "POST", "/v1/files", body, headers)
        results.append(("a new file is added", status == 200 and file["status"] == "processed"))
        results.append(("deleted", request(port, "DELETE", f"/v1/files/{file['id']}")[0] == 200))
        results.append(("gone", request(port, "GET", f"/v1/files/{file['id']}")[0] == 404))
        new = {path for path in scratch.rglob("*") if not path.is_relative_to(index)} - outside
        strays = [path for path in new if path != uploads and path.parent != uploads and path.name != "chat.log"]
        results.append((f"outside: {strays[:3]}", not strays))
        return counted(results)


def refusing_generator(scratch: Path) -> Outcome:
    """A generator's server that refuses one field after another: every question is answered all the same."""
    index = made_index(scratch)
    fields = ("max_tokens", "max_completion_tokens", "temperature", "seed", "chat_template_kwargs", "stream")
    results = []
    for n in range(len(fields) + 1):
        server = Refusing(fields[:n])
        settings = [*generated_by(server), *FEW_MODELS]
        command = [sys.executable, "-m", "rag", "ask", QUESTION, "-i", str(index)]
        command += [word for setting in settings for word in ("--set", setting)]
        ended = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment(), timeout=START_SECONDS
        )
        server.shutdown()
        results.append((f"{n} fields refused", ended.returncode == 0 and "At noon" in ended.stdout))
    return counted(results)


ATTACKS: tuple[Attack, ...] = (
    Attack(
        "API",
        "malformed bodies, wrong fields, unknown paths and methods",
        "an error in OpenAI's form; the next question is answered",
        malformed_requests,
    ),
    Attack(
        "API",
        "images, sounds, files, unknown parts, roles and fields, nulls",
        "an answer, with a note on what was ignored",
        tolerant_requests,
    ),
    Attack(
        "API",
        "files by names that lead elsewhere, broken files, ids that are paths",
        "an error in OpenAI's form; nothing is written outside the folder of uploads",
        hostile_files,
    ),
    Attack(
        "generator",
        "a server that refuses one field of a request after another",
        "an answer without them",
        refusing_generator,
    ),
    *OF_ASSISTANTS,
)
