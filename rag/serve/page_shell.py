"""The page itself: its HTML with what the server says of itself, its CSS and JavaScript, and the login before it.

GET /                        the page, or the login where somebody has to log in first
GET /page/static/…           its files, for everybody
GET /page/overview           what is indexed, as far as the person may read it
GET /page/suggestions        questions that can be asked
"""

from __future__ import annotations

import functools
import hashlib
import json
import secrets
from collections import Counter
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from rag.serve.assets import STATIC
from rag.serve.page_parts import VISIT_CHARACTERS, VISIT_COOKIE, PageParts

APP = STATIC / "app"
TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
RETRIEVERS = {"hybrid": "Meaning and words", "dense": "Meaning", "bm25": "Words"}
HUES = ("#0b6655", "#7a3e9d", "#b3461e", "#1f5fa8", "#8a5a00", "#a12a5e", "#3d6b1d", "#4b4fae")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; frame-src 'self'; form-action 'self'; frame-ancestors 'self'; base-uri 'none'",
    "Cache-Control": "no-store",
}


def make_shell_router(parts: PageParts) -> APIRouter:
    """The routes."""
    router = APIRouter()

    def page(request: Request) -> Response:
        try:
            person = parts.person(request)
        except HTTPException:
            if parts.access.users is not None:
                return HTMLResponse(_filled("login.html", _words(parts)), 200, HEADERS)
            person = ""  # a new visit
        config = json.dumps(config_of(parts, person), ensure_ascii=False).replace("<", "\\u003c")
        response = HTMLResponse(_filled("page.html", {**_words(parts), "config": config}), 200, HEADERS)
        if not person and not parts.knows_everybody:
            response.set_cookie(VISIT_COOKIE, secrets.token_hex(VISIT_CHARACTERS // 2), httponly=True, samesite="lax")
        return response

    def icon() -> Response:
        # For pages that name none: those of sources.
        return Response(icon_svg(_name(parts)), media_type="image/svg+xml")

    def overview(request: Request) -> Response:
        return JSONResponse(overview_of(parts, parts.person(request)), headers={"Cache-Control": "no-store"})

    def suggestions(request: Request) -> Response:
        person, chat, found = parts.person(request), parts.chat, parts.suggestions
        now = {
            "questions": found(person) if found is not None else [],
            "ready": chat.ready,
            "status": chat.status,
            "is_final": chat.ready and (found is None or found.are_final()),
        }
        return JSONResponse(now, headers={"Cache-Control": "no-store"})

    router.add_api_route("/", page, methods=["GET", "HEAD"], include_in_schema=False)
    router.add_api_route("/favicon.ico", icon, methods=["GET"], include_in_schema=False)
    router.add_api_route("/page/static/{version}/{name}", _static, methods=["GET"], include_in_schema=False)
    router.add_api_route("/page/overview", overview, methods=["GET"], include_in_schema=False)
    router.add_api_route("/page/suggestions", suggestions, methods=["GET"], include_in_schema=False)
    return router


def config_of(parts: PageParts, person: str) -> dict[str, Any]:
    """What the server says of itself to the page of a person."""
    depths = parts.defaults.depths
    return {
        **overview_of(parts, person),
        "title": parts.title,
        "name": _name(parts),
        "page_title": _page_title(parts),
        "index": _short(parts.index),
        "user": person if parts.access.users is not None else "",
        "keeps_history": parts.keeps_history,
        "may_upload": parts.may_upload,
        "may_add_to_all": parts.add_to_all is not None,
        "models": [{"name": model.name, "label": model.label} for model in parts.models],
        "options": {
            "detail": "detailed" if parts.chat.prompt.answers_in == "sentences" else "short",
            "retriever": parts.defaults.retriever,
            "retrievers": [[name, RETRIEVERS.get(name, name)] for name in parts.chat.retrievers],
            "retrieve": depths.retrieve,
            "rerank": depths.rerank,
            "contexts": depths.contexts,
        },
    }


def overview_of(parts: PageParts, person: str) -> dict[str, Any]:
    """What is indexed, as far as a person may read it: how many documents, of which kinds, in which collections."""
    collections = parts.collections_of(person)
    rows = [row for documents in collections.values() for row in documents]
    return {
        "n_documents": len(rows),
        "n_passages": parts.n_passages() if parts.readers.names(person) is None else 0,
        "kinds": Counter(str(row["kind"]) for row in rows),
        "collections": [{"name": name, "n": len(documents)} for name, documents in collections.items()],
    }


def icon_svg(name: str) -> str:
    """An icon that tells two indexes apart: the first letter of its name on a colour that comes from the name."""
    colour = HUES[hashlib.sha256(name.encode()).digest()[0] % len(HUES)]
    letter = escape(next((ch for ch in name if ch.isalnum()), "?").upper())
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">'
        f'<rect width="64" height="64" rx="15" fill="{colour}"/>'
        f'<text x="32" y="45" font-family="system-ui,sans-serif" font-size="37" font-weight="700" fill="#fff" '
        f'text-anchor="middle">{letter}</text></svg>'
    )


def _short(index: Path | None) -> str:
    """What a browser keeps the choices over an index under; it tells nothing of the machine."""
    return hashlib.sha256(str(index).encode()).hexdigest()[:12]


def _name(parts: PageParts) -> str:
    return parts.index_name or parts.title


def _page_title(parts: PageParts) -> str:
    return f"{parts.index_name} – {parts.title}" if parts.index_name else parts.title


def _words(parts: PageParts) -> dict[str, str]:
    """What stands in the HTML, as it stands there."""
    name = _name(parts)
    return {
        "title": escape(_page_title(parts)),
        "name": escape(name),
        "icon": f"data:image/svg+xml,{quote(icon_svg(name))}",
        "static": f"page/static/{_files()[0]}",
    }


def _filled(template: str, words: Mapping[str, str]) -> str:
    """A page of HTML with words in the place of `{{name}}`; what is put in is not looked at again."""
    pieces = (APP / template).read_text("utf-8").split("{{")
    filled = [pieces[0]]
    for piece in pieces[1:]:
        name, rest = piece.split("}}", 1)
        filled += [words[name], rest]
    return "".join(filled)


@functools.cache
def _files() -> tuple[str, dict[str, bytes]]:
    """The files of the page by their names, and a version that changes with them."""
    files = {path.name: path.read_bytes() for path in sorted(APP.iterdir()) if path.suffix in TYPES}
    digest = hashlib.sha256(b"\0".join(name.encode() + b"\0" + body for name, body in files.items()))
    return digest.hexdigest()[:12], files


def _static(version: str, name: str) -> Response:
    current, files = _files()
    if name not in files:
        raise HTTPException(404, "There is no such file.")
    kept = "public, max-age=31536000, immutable" if version == current else "no-store"
    return Response(files[name], media_type=TYPES[name[name.rindex(".") :]], headers={"Cache-Control": kept})
