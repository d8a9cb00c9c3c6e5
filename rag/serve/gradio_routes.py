"""Which of Gradio's routes its clients need to call `ask`, and what they may send. All others are refused.

Gradio serves some seventy routes: a page of its own, a proxy, files of the disk, uploads, tools for developers. Checked
with Gradio 6.31, whose routes are listed by `app.routes`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from rag.serve.limits import Refused, parsed

OF_A_FUNCTION = ("/gradio_api/queue/join", "/gradio_api/run/predict")
CALL = "/gradio_api/call/ask"
_OF_GRADIO = re.compile(
    r"/(?:gradio_api|monitoring|openapi\.json|docs|redoc|static|assets|svelte|theme\.css|pwa_icon|manifest\.json)"
    r"(?:[/=?].*)?",
    re.S,
)
_ID = r"[A-Za-z0-9_-]{1,64}"
_READ = re.compile(
    r"/gradio_api/(?:(?:info|app_id|user|login_check|queue/status)/?|startup-events|queue/data"
    rf"|heartbeat/{_ID}|call/(?:v2/)?ask/{_ID})"
)
_BEFORE_LOGIN = re.compile(r"/gradio_api/(?:(?:info|app_id|user|login_check)/?|startup-events)")
_SENT = re.compile(r"/gradio_api/(?:queue/join|cancel|reset/?|run/predict/?|call/(?:v2/)?ask/?)")
_SESSION = re.compile(_ID)


def is_of_gradio(path: str) -> bool:
    """Whether a path is below those that Gradio keeps for itself."""
    return _OF_GRADIO.fullmatch(path) is not None


def is_needed(method: str, path: str) -> bool:
    """Whether Gradio's client needs this route."""
    return (_SENT if method == "POST" else _READ).fullmatch(path) is not None


def is_before_login(path: str) -> bool:
    """Whether a route of Gradio's is also for those who have not logged in yet."""
    return _BEFORE_LOGIN.fullmatch(path) is not None


def check_session(session: object) -> str:
    """The name of a visit, "" for none. Raises Refused for anything that no client of ours makes up."""
    if session is None:
        return ""
    if not isinstance(session, str) or not _SESSION.fullmatch(session):
        raise Refused(400, "session_hash is no name of a visit")
    return session


def check_event(body: bytes, is_function: Callable[[int], bool] | None = None, *, is_call: bool = False) -> str:
    """Check a JSON body that is sent to Gradio; returns the name of the visit that it belongs to, "" for none.

    With `is_function` it has to name a function that is there: Gradio fails at another number, and at none. With
    `is_call` it is sent to `CALL`, where Gradio fails without `data`.

    Gradio reads any file that such a body names, and fetches any address: none may be named. Raises Refused.
    """
    try:
        event = parsed(body)
    except ValueError as error:
        raise Refused(400, "the request is no JSON") from error
    if not isinstance(event, dict):
        raise Refused(400, "the request is no JSON object")
    for key in ("event_id", "trigger_id", "fn_index"):
        value = event.get(key)
        if not (value is None or isinstance(value, int) or (isinstance(value, str) and _SESSION.fullmatch(value))):
            raise Refused(400, f"{key} is no name of an event")
    number = event.get("fn_index")
    if is_function is not None and not (type(number) is int and is_function(number)):
        raise Refused(400, "fn_index is no function of the page")
    if is_call:
        data = event.get("data")
        if not (isinstance(data, list) and len(data) == 1 and isinstance(data[0], str)):
            raise Refused(400, 'data is not one question: send {"data": ["your question"]}')
        if "fn_index" in event:  # it is not read: the address names the function
            raise Refused(400, "fn_index is not read here: the address names the function")
    if _names_a_file(event):
        raise Refused(403, "the request names a file, and none is taken here")
    return check_session(event.get("session_hash"))


def _names_a_file(value: Any) -> bool:
    """Whether Gradio would take something in a value for a file: an object that has a `path`."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            if "path" in found:
                return True
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)
    return False
