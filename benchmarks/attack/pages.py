"""Foreign web pages, the ways to an answer past the limit on questions, and what they may read of the disk."""

from __future__ import annotations

import json
import time
from pathlib import Path

from benchmarks.attack.attempt import Outcome
from benchmarks.attack.served import JSON_ROUTES, LIGHT, LOCAL, NO_MODEL, QUESTION, UPLOAD, served

FOREIGN = (
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1.evil.example"},
    {"origin": "http://localhost:3000"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
)


def foreign_pages(folder: Path) -> Outcome:
    """Requests as a browser sends them for a foreign page."""
    body = {"messages": [{"role": "user", "content": QUESTION}], "data": [QUESTION]}
    tried, bad = 0, []

    def expect(what: str, ok: bool) -> None:
        nonlocal tried
        tried += 1
        if not ok:
            bad.append(what)

    with served(folder, *NO_MODEL, "serving.uploads=on") as chat, chat.client() as client:
        for headers in FOREIGN:
            for path in (*JSON_ROUTES, "/mcp", "/login", UPLOAD, "/v1/files", "/gradio_api/cancel"):
                expect(f"{path} {headers}", client.post(path, json=body, headers=headers).status_code == 403)
            for path in ("/", "/config", "/v1/models"):
                shown = client.get(path, headers=headers).headers
                expect(f"{path} may be read by {headers}", "access-control-allow-origin" not in shown)
            if "origin" in headers:
                asked = {**headers, "access-control-request-method": "POST"}
                expect(f"asked first {headers}", client.options(JSON_ROUTES[3], headers=asked).status_code == 403)
        for kind in ("text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", ""):
            for path in JSON_ROUTES:
                answer = client.post(path, content=json.dumps(body), headers={"content-type": kind})
                expect(f"{path} as {kind}", answer.status_code == 415)
        for host in ("rebound.example", f"rebound.example:{chat.port}", "127.0.0.1.evil.example", "", "localhost."):
            expect(f"for {host}", client.get("/v1/models", headers={"host": host}).status_code == 400)
        for own in (f"{LOCAL}:{chat.port}", f"http://localhost:{chat.port}"):
            answer = client.post("/gradio_api/call/ask", json=body, headers={"origin": own})
            expect(f"our own page {own}", answer.status_code == 200)
    return Outcome(tried, tried - len(bad), "; ".join(bad[:2]))


def past_the_limit(folder: Path) -> Outcome:
    """Each way to an answer, as if from elsewhere each time, at a limit of three questions a minute."""
    answered, tried = 0, 12
    with served(folder, *LIGHT, "serving.questions_per_minute=3") as chat, chat.client() as client:
        started = time.monotonic()
        for n in range(tried):
            elsewhere = {"x-forwarded-for": f"10.0.0.{n}"}
            page = client.post("/page/ask", json={"question": QUESTION}, headers=elsewhere)
            answered += page.status_code == 200 and '"event": "done"' in page.text
            body = {"messages": [{"role": "user", "content": QUESTION}]}
            answered += client.post("/v1/chat/completions", json=body, headers=elsewhere).status_code == 200
            event = client.post("/gradio_api/call/ask", json={"data": [QUESTION]}, headers=elsewhere).json()["event_id"]
            answered += "event: complete" in client.get(f"/gradio_api/call/ask/{event}").text
            called = {"data": [QUESTION], "fn_index": 0, "session_hash": f"visit{n}"}
            answered += client.post("/gradio_api/run/predict", json=called, headers=elsewhere).status_code == 200
        minutes = int((time.monotonic() - started) // 60) + 1
    beyond = max(0, answered - 3 * minutes)
    return Outcome(4 * tried, 4 * tried - beyond, f"{answered} answered within {minutes} min")


def files_of_the_disk(folder: Path) -> Outcome:
    """Paths and addresses in requests to Gradio and to the page, and Gradio's routes that read files or ask others."""
    secret = folder / "secret.txt"
    secret.write_text("the secret of the attack", "utf-8")
    tried, bad = 0, []
    with served(folder, *NO_MODEL, "serving.uploads=on") as chat, chat.client() as client:
        for n, path in enumerate((str(secret), "../secret.txt", "/etc/passwd", f"{LOCAL}:{chat.port}/config")):
            for entry in ({"path": path, "meta": {"_type": "gradio.FileData"}}, {"path": path}):
                tried += 1
                event = {"data": [entry], "fn_index": 0, "session_hash": f"visit{n}"}
                if client.post("/gradio_api/queue/join", json=event).status_code != 403:
                    bad.append(f"{path} was taken")
        for path in (
            *(f"/gradio_api/file={name}" for name in (secret, "/etc/passwd", "http://127.0.0.1/", "../../etc")),
            *(f"/gradio_api/proxy={name}" for name in ("http://127.0.0.1/", "https://evil.hf.space/")),
            "/gradio_api/deep_link", "/gradio_api/token", "/gradio_api/dev/reload", "/gradio_api/runs", "/monitoring",
            "/static/../../etc/passwd", "/static/%2e%2e/%2e%2e/etc/passwd", "/assets/..%2f..%2fetc/passwd",
            "/page/static/1/../../../etc/passwd", "/page/static/1/..%2f..%2f..%2fetc%2fpasswd",
            "/source/../../secret.txt", f"/source/{secret}", "/gradio_api/custom_component/a/client/b/c",
        ):  # fmt: skip
            tried += 1
            answer = client.get(path)
            if answer.status_code == 200:
                bad.append(f"{path} is served")
    return Outcome(tried, tried - len(bad), "; ".join(bad[:2]))
