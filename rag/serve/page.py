"""The Gradio chat: a page around `rag.chat.Conversation`."""

from __future__ import annotations

import argparse
import asyncio
import atexit
import logging
import os
import shutil
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from weakref import WeakValueDictionary

import gradio as gr
from fastapi import Request
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from rag import build
from rag.api import answer_record, make_router
from rag.attachments import Attachments
from rag.chat import Conversation, Options, Turn, documents_html, escape, message_html, settle, sources_html
from rag.config import Settings, load_settings
from rag.errors import RagError
from rag.history import History, as_markdown, history_path
from rag.models.resolve import rag_home
from rag.pipeline import Depths, Lazy
from rag.present import ingested_lines
from rag.progress import Background, Progress, say
from rag.retrieve.joined import JoinedRetriever
from rag.retrieve.store import serving_manifest
from rag.sources import Sources, make_source_router
from rag.types import Retriever
from rag.users import LOOPBACK, LOOPBACK_HOSTS, RateLimit, Users

log = logging.getLogger(__name__)
FEEDBACK = ["Like", "Dislike", "Wrong source", "Should have refused", "Should have answered"]
TRIES_A_MINUTE = 10
SECONDS_BETWEEN_LOOKS = 0.5
EVERYTHING, ATTACHED = "Everything indexed", "Files of this conversation"
TO_ALL, TO_THIS = "All conversations", "This conversation only"
EMBEDDED_EXAMPLES = (
    "What does the nonlocal statement do?",
    "When is the else clause of a for loop executed?",
    "What is an orphan in a bonsai garden?",
)

CSS = """
.searched, .status, footer, .score { color: var(--body-text-color-subdued); font-size: .85em; }
.problem { border-left: 3px solid #d97706; padding-left: .6em; }
.refusal { border-left: 3px solid #64748b; padding-left: .6em; }
a.cite { text-decoration: none; font-weight: 600; }
.card { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: .6em .8em; margin: .5em 0; }
.card.cited { border-left: 4px solid var(--color-accent); }
.card:target, .card.flash { outline: 2px solid var(--color-accent); }
.card pre { white-space: pre-wrap; font: inherit; font-size: .9em; max-height: 16em; overflow: auto; margin: .4em 0; }
.card .badge { background: var(--color-accent); color: white; border-radius: 6px; padding: 0 .4em; font-size: .75em; }
.card .score { float: right; }
.card footer { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 1em; }
.card .tools { display: inline-flex; gap: .8em; }
.card .tools > * { font: inherit; color: inherit; text-decoration: underline; cursor: pointer; }
.card .copy { background: none; border: 0; padding: 0; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.listing ul { padding-left: 1.2em; font-size: .9em; } .listing summary { cursor: pointer; }
#documents-files td.download { display: none; }
#sources { max-height: 78vh; overflow-y: auto !important; }
.turn > summary { cursor: pointer; font-weight: 600; margin: .4em 0; }
"""

# A citation scrolls to its card instead of opening a page.
HEAD = """<script>
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href*="#source-"]');
  if (!link) return;
  const card = document.getElementById(link.getAttribute("href").split("#")[1]);
  event.preventDefault();
  event.stopPropagation();
  if (!card) return;
  card.closest("details").open = true;
  document.querySelectorAll(".card.flash").forEach((other) => other.classList.remove("flash"));
  card.classList.add("flash");
  card.scrollIntoView({ behavior: "smooth", block: "center" });
  card.focus({ preventScroll: true });
}, true);
// A citation is copied with the address of the passage in its document.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy[data-citation]");
  if (!button) return;
  const link = button.parentElement.querySelector("a").href;
  const text = `${button.dataset.citation} (${link})`;
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // no clipboard without https
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
    button.focus();
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy citation"; }, 1500);
});
</script>"""


SAVE_TEXT = """(text) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/markdown" }));
  link.download = "conversation.md";
  link.click();
  URL.revokeObjectURL(link.href);
}"""


def make_app(
    conversation: Conversation,
    settings: Settings,
    *,
    title: str,
    examples: Sequence[str] = (),
    limit: RateLimit | None = None,
    history: History | None = None,
    collections: Callable[[], Mapping[str, Sequence[Mapping]]] = dict,
    take_in: Callable[[Sequence[str]], Sequence[str]] | None = None,
    attachments: Attachments | None = None,
    users: Users | None = None,
) -> gr.Blocks:
    """The chat page over a conversation; every visitor has turns of their own.

    With `limit` a person who asks too fast is told when to ask again; with `history` conversations are kept.
    `collections` gives the documents by the folder they were taken in from; with `take_in` files can be added to them:
    it takes their paths and returns what came of it, line by line. With `attachments` files can be added to one
    conversation, which alone answers from them.
    """

    limit = limit or RateLimit(0)

    def show(turns: Sequence[Turn]) -> list[dict]:
        messages = []
        for number, turn in enumerate(turns, 1):
            messages.append({"role": "user", "content": escape(turn.question)})
            if content := message_html(turn, number):
                messages.append({"role": "assistant", "content": content})
        return messages

    def grow(question, turns, *settings_chosen, search_for=""):
        retriever, depth, rerank_depth, contexts, use_calibrated, strictness, ticked, offered, key = settings_chosen
        everything = set(ticked) >= set(offered) - {ATTACHED}
        options = Options(
            retriever,
            Depths(int(depth), min(int(rerank_depth), int(depth)), int(contexts)),
            None if use_calibrated else strictness,
            None if everything else tuple(name for name in ticked if name in collections()),
            key if ATTACHED in ticked else "",
        )
        for turn in conversation.ask(question, turns, options, search_for=search_for):
            now = [*turns, turn]
            yield now, show(now), sources_html(now)

    def may_ask(turns, request: gr.Request):
        """Ends a chain of events, and says why, where nothing can be asked now."""
        if users is not None and not users.knows(_person(request)):
            gr.Info("You may no longer ask here.")
        elif turns and not turns[-1].done:
            gr.Info("One question at a time: wait for the answer, or press Stop.")
        elif (seconds := limit.wait_seconds(_who(request))) > 0:
            gr.Info(f"Too many questions in a minute; ask again in {seconds:.0f} s.")
        else:
            return
        raise gr.Error(visible=False, print_exception=False)

    def may_ask_again(turns, request: gr.Request):
        if not turns:
            raise gr.Error(visible=False, print_exception=False)
        may_ask(turns, request)

    def ask_again(text, turns, *settings_chosen):
        """The last question once more, searching for `text` in its place where there is one."""
        yield from grow(turns[-1].question, turns[:-1], *settings_chosen, search_for=text)

    with gr.Blocks(title=title, fill_height=True) as page:
        turns = gr.State([])
        pending = gr.State("")
        kept_id = gr.State("")
        attached = gr.State("")
        exported_text = gr.Textbox(visible=False)
        with gr.Sidebar(open=False, visible=history is not None, elem_id="history"):
            gr.Markdown("### Conversations")
            words = gr.Textbox(label="Search", elem_id="history-search")
            kept = gr.Radio([], label="Open one", elem_id="history-list")
            with gr.Row():
                new_title = gr.Textbox(label="New title", elem_id="history-title", scale=2)
                rename = gr.Button("Rename", elem_id="history-rename", scale=1)
            with gr.Row():
                export = gr.Button("Export", elem_id="history-export")
                delete = gr.Button("Delete", variant="stop", elem_id="history-delete")
        there = collections()
        offered = gr.State(list(there))
        ways = [TO_ALL] * (take_in is not None) + [TO_THIS] * (attachments is not None)
        with gr.Sidebar(open=False, visible=bool(there or ways), position="right", elem_id="documents"):
            gr.Markdown("### Documents")
            chosen = gr.CheckboxGroup(
                list(there), value=list(there), label="Search in", visible=len(there) > 1, elem_id="documents-chosen"
            )
            way = gr.Radio(
                ways, value=next(iter(ways), None), label="Add to", visible=len(ways) > 1, elem_id="documents-way"
            )
            added = gr.HTML(elem_id="documents-added")
            stop_adding = gr.Button("Stop adding", size="sm", visible=False, elem_id="documents-stop")
            files = gr.File(
                file_count="multiple", label="Add files", visible=bool(ways), height=160, elem_id="documents-files"
            )
            listing = gr.HTML(documents_html(there), elem_id="documents-list")
        gr.Markdown(f"# {escape(title)}")
        status = gr.HTML(_status_html(conversation), elem_id="status")
        with gr.Row():
            with gr.Column(scale=3):
                chatbot = gr.Chatbot(
                    elem_id="chat",
                    show_label=False,
                    height=480,
                    feedback_options=FEEDBACK if history is not None else None,
                    buttons=["copy"],
                )
                searched = gr.Textbox(
                    label="Searched for this; edit it and press Enter to search again",
                    visible=False,
                    elem_id="searched-for",
                    max_lines=2,
                )
                question = gr.Textbox(
                    placeholder="Ask a question about these documents",
                    show_label=False,
                    elem_id="question",
                    max_lines=4,
                )
                with gr.Row():
                    send = gr.Button("Ask", variant="primary", elem_id="ask")
                    stop = gr.Button("Stop", elem_id="stop")
                    again = gr.Button("Retry", elem_id="retry")
                    clear = gr.Button("New", elem_id="clear")
                if examples:
                    gr.Examples([[example] for example in examples], inputs=[question], label="Try one")
            with gr.Column(scale=2):
                sources = gr.HTML(sources_html(()), elem_id="sources")
                with gr.Accordion("Settings", open=False):
                    retriever = gr.Radio(
                        list(conversation.retrievers), value=settings.retriever.kind, label="Retriever"
                    )
                    depth = gr.Slider(3, 200, settings.retriever.depth, step=1, label="Passages retrieved")
                    rerank_depth = gr.Slider(3, 200, settings.reranker.depth, step=1, label="Passages reranked")
                    contexts = gr.Slider(1, 10, settings.prompt.contexts, step=1, label="Passages shown to the model")
                    calibrated = gr.Checkbox(True, label="Refuse as calibrated")
                    strictness = gr.Slider(
                        0, 1, 0, step=0.05, label="Strictness (0 never refuses by score; needs a calibration)"
                    )
        options = [retriever, depth, rerank_depth, contexts, calibrated, strictness, chosen, offered, attached]
        outputs = [turns, chatbot, sources]

        def take(text, turns, request: gr.Request):
            may_ask(turns, request)
            return "", text or ""

        def settled(turns):
            turns = settle(turns)
            return turns, show(turns), sources_html(turns), _rewritten(turns)

        running = []
        first = {"show_progress": "hidden", "api_visibility": "private"}  # queued: else nobody sees what it says
        for trigger in (question.submit, send.click):
            taken = trigger(take, [question, turns], [question, pending], **first)
            running.append(taken.success(grow, [pending, turns, *options], outputs, api_visibility="private"))
        for trigger in (again.click, chatbot.retry, searched.submit):
            allowed = trigger(may_ask_again, [turns], None, **first)
            running.append(allowed.success(ask_again, [searched, turns, *options], outputs, api_visibility="private"))
        taking_in = threading.Lock()
        adding: WeakValueDictionary[tuple[str, bool], Background] = WeakValueDictionary()

        def halt(request: gr.Request):
            """Stop taking in what this visitor added."""
            for to_all in (False, True):
                if (work := adding.get((request.session_hash, to_all))) is not None:
                    work.stop()

        def halt_own(request: gr.Request):
            if (work := adding.get((request.session_hash, False))) is not None:
                work.stop()

        stop.click(None, cancels=running, queue=False)
        stop_adding.click(halt, None, None, queue=False, show_progress="hidden", api_visibility="private")
        ended = [  # runs after a normal end and after Stop alike
            event.then(
                settled, [turns], [*outputs, searched], queue=False, show_progress="hidden", api_visibility="private"
            )
            for event in running
        ]
        uploading = []
        if ways:

            def add(paths, way, key, kept_key, request: gr.Request):
                if not paths or (users is not None and not users.knows(_person(request))):
                    yield "", gr.skip(), gr.skip()
                    return
                to_all = take_in is not None and (way == TO_ALL or attachments is None)
                is_new = not to_all and not key
                key = uuid.uuid4().hex if is_new else key

                def one_by_one() -> Sequence[str]:  # a page that is closed leaves its work to the end
                    with taking_in:
                        return take_in(paths) if to_all else attachments.add(key, paths)

                try:
                    if not to_all and history is not None and kept_key:
                        history.attach(_person(request), kept_key, key)
                    adding[request.session_hash, to_all] = work = Background(one_by_one)
                    # The key is known from now on: a question asked meanwhile keeps the conversation with its files.
                    status = f'<div class="status" role="status">Taking in {len(paths)} file(s)…</div>'
                    yield status, key if is_new else gr.skip(), gr.Button(visible=True)
                    while not work.wait(SECONDS_BETWEEN_LOOKS):
                        if work.latest is not None:
                            yield _progress_html(work.latest), gr.skip(), gr.Button(visible=True)
                    lines = work.result()
                except RagError as error:
                    lines = [str(error)]
                except Exception as error:
                    log.exception("taking files in failed")
                    lines = [f"Something went wrong: {error}"]
                yield "<br>".join(escape(line) for line in lines), gr.skip(), gr.Button(visible=False)

            taken_in = files.upload(
                add,
                [files, way, attached, kept_id],
                [added, attached, stop_adding],
                concurrency_limit=1,
                show_progress="hidden",
                api_visibility="private",
            )
            uploading.append(taken_in)

        changed = [  # another conversation, with files of its own or none
            clear.click(
                lambda: ([], [], sources_html(()), _rewritten(()), ""),
                None,
                [*outputs, searched, attached],
                cancels=running,
                queue=False,
                api_visibility="private",
            )
        ]
        if history is not None:
            opened = [kept_id, kept]

            def listed(person, chosen, words=""):
                choices = [(f"{k.title} ({k.updated[:10]})", k.id) for k in history.list(person, words)]
                ids = [key for _, key in choices]
                return gr.Radio(choices, value=chosen if chosen in ids else None)

            def relisted(words, key, request: gr.Request):
                return listed(_person(request), key, words)

            def keep(turns, key, words, attached, request: gr.Request):
                key = history.keep(_person(request), key, turns, attached)
                return key, listed(_person(request), key, words)

            def load(key, request: gr.Request):
                person = _person(request)
                turns = history.load(person, key) if key else []
                marks = history.judgements(person, key) if key else []
                box = gr.Chatbot(show(turns), feedback_value=marks)
                own = history.attached(person, key) if key else ""
                return key or "", turns, box, sources_html(turns), _rewritten(turns), own

            def judge(key, data: gr.LikeData, request: gr.Request):
                liked = None if not data.liked else data.liked == "Like" or data.liked is True
                reason = data.liked if isinstance(data.liked, str) and data.liked not in ("Like", "Dislike") else ""
                history.judge(_person(request), key, data.index // 2 + 1, liked, reason)

            def renamed(key, title, words, request: gr.Request):
                history.rename(_person(request), key, title)
                return "", listed(_person(request), key, words)

            def deleted(key, words, request: gr.Request):
                if attachments is not None:
                    attachments.drop(history.attached(_person(request), key))
                history.delete(_person(request), key)
                return "", listed(_person(request), "", words), [], [], sources_html(()), _rewritten(()), ""

            def exported(key, turns, request: gr.Request):
                titles = {k.id: k.title for k in history.list(_person(request))}
                return as_markdown(titles.get(key, "Conversation"), turns)

            quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
            for event in ended:
                event.then(keep, [turns, kept_id, words, attached], opened, **quiet)
            clear.click(lambda: ("", None), None, opened, **quiet)
            shown = [*outputs, searched, attached]
            changed.append(kept.input(load, [kept], [kept_id, *shown], cancels=running, **quiet))
            page.load(relisted, [words, kept_id], [kept], **quiet)
            words.change(relisted, [words, kept_id], [kept], **quiet)
            rename.click(renamed, [kept_id, new_title, words], [new_title, kept], **quiet)
            changed.append(delete.click(deleted, [kept_id, words], [*opened, *shown], cancels=running, **quiet))
            export.click(exported, [kept_id, turns], [exported_text], **quiet).then(
                None, [exported_text], None, js=SAVE_TEXT, api_visibility="private"
            )
            chatbot.like(judge, [kept_id], None, **quiet)

        def list_documents(ticked, offered, key):
            """What there is by now; only what was unticked stays so."""
            there, own = collections(), attachments.documents(key) if attachments is not None else []
            names = [*there, *([EVERYTHING] if own and not there else []), *([ATTACHED] if own else [])]
            left = [name for name in names if name in ticked or name not in offered]
            listed = documents_html({ATTACHED: own}, key) * bool(own) + documents_html(there)
            return gr.CheckboxGroup(names, value=left, visible=len(names) > 1), names, listed

        known, shelf = [chosen, offered, attached], [chosen, offered, listing]
        page.load(list_documents, known, shelf, show_progress="hidden", api_visibility="private")
        if ways:
            for leaves in (clear.click, kept.input, delete.click):  # files for all are taken in to the end
                leaves(halt_own, None, None, queue=False, show_progress="hidden", api_visibility="private")
        for event in changed:
            refreshed = event.then(
                list_documents, known, shelf, queue=False, show_progress="hidden", api_visibility="private"
            )
            refreshed.then(
                lambda: (None, "", gr.Button(visible=False)),
                None,
                [files, added, stop_adding],
                queue=False,
                api_visibility="private",
            )
        for event in uploading:
            event.then(list_documents, known, shelf, api_visibility="private")

        def ask_once(question: str, request: gr.Request) -> dict:
            """Answer a standalone question: the answer, its citations, and whether it abstained."""
            if users is not None and not users.knows(_person(request)):
                raise gr.Error("You may no longer ask here.")
            try:
                return _answer(conversation, _options(settings), limit, _who(request), question)
            except RagError as error:
                raise gr.Error(str(error)) from error

        gr.api(ask_once, api_name="ask")
        timer = gr.Timer(1.0)
        timer.tick(
            lambda: (_status_html(conversation), gr.Timer(active=not conversation.ready)),
            None,
            [status, timer],
            show_progress="hidden",
            api_visibility="private",
        )
    page.queue(default_concurrency_limit=8, max_size=settings.serving.max_waiting)
    return page


class _Shelf:
    """The documents that answers come from: everybody's, and those of one conversation; and what adds files to them."""

    def __init__(self, settings: Settings, index: str | Path, attached: Path, kept: Callable[[], Collection[str]]):
        self.settings, self.index = settings, Path(index)
        self.retrievers = build.Retrievers(settings, index)
        self.attachments = Attachments(settings, attached, lambda: self.retrievers.encoder.get(), kept)

    def take_in(self, paths: Sequence[str], conversation: Conversation) -> Sequence[str]:
        """Take files in beside the index's documents, and let the conversation search them; returns what came of it."""
        from rag.ingest import add_uploads, uploads_folder

        result = add_uploads(self.settings, paths, self.index, uploads_folder(self.index))
        encoder = self.retrievers.encoder
        if encoder.loaded and encoder.get().fingerprint != serving_manifest(self.index)[1].encoder:
            encoder = None  # another one was promoted since
        self.retrievers = build.Retrievers(self.settings, self.index, encoder)
        conversation.retrievers = self.retrievers.each()
        return ingested_lines(result, self.index)[:-1]

    def narrowed(self, kind: str, collections: Sequence[str] | None, attached: str) -> Lazy[Retriever]:
        """A retriever over some collections (None: all) and the files of a conversation, where it has any."""
        retrievers, parts = self.retrievers, []
        if collections is None or collections:
            parts.append(lambda: retrievers.get(kind, collections))
        if attached:
            parts.append(lambda: self.attachments.retriever(attached, kind))
        return Lazy(parts[0] if len(parts) == 1 else lambda: JoinedRetriever([part() for part in parts]))


def _door(users: Users) -> Callable[[str, str], object]:
    """Password checks off the event loop, a few at a time, and so many tries a minute for each name."""
    tries, at_once = RateLimit(TRIES_A_MINUTE), asyncio.Semaphore(2)

    async def check(name: str, password: str) -> bool:
        if tries.wait_seconds(name[:64]) > 0:
            return False
        async with at_once:
            return await asyncio.to_thread(users.check_password, name, password)

    return check


def _rewritten(turns: Sequence[Turn]) -> gr.Textbox:
    """The box with what was searched for in place of the last question, to be edited; hidden where it was the same."""
    searched_for = turns[-1].searched_for if turns and turns[-1].done else ""
    return gr.Textbox(searched_for, visible=bool(searched_for))


def _person(request: gr.Request) -> str:
    """Who is logged in; nobody, where no one has to."""
    return request.username or ""


def _may_read(page: gr.Blocks, users: Users | None, request: Request) -> bool:
    """Whether a request outside the page comes from someone who is logged in there, or carries a key."""
    if users is None:
        return True
    cookies = (f"access-token-{page.app.cookie_id}", f"access-token-unsecure-{page.app.cookie_id}")
    person = next(filter(None, (page.app.tokens.get(request.cookies.get(name)) for name in cookies)), None)
    if person is None:
        return bool(_key_of(users, request))
    return users.knows(person)


def _key_of(users: Users | None, request: Request) -> str:
    """Whose API key a request carries, "" for nobody's; without users, where it comes from."""
    if users is None:
        return request.client.host if request.client else ""
    return users.of_key(request.headers.get("authorization", "").removeprefix("Bearer ")) or ""


def _answer(conversation: Conversation, options: Options, limit: RateLimit, who: str, question: str) -> dict:
    if (seconds := limit.wait_seconds(who)) > 0:
        raise RagError(f"too many questions in a minute; ask again in {seconds:.0f} s")
    return answer_record(conversation, question, options)


def _who(request: gr.Request) -> str:
    """Whose questions are counted: a person's, else an address's."""
    return _person(request) or (request.client.host if request.client else "")


def _options(settings: Settings) -> Options:
    """What is asked with where nobody chooses."""
    depths = Depths(settings.retriever.depth, settings.reranker.depth, settings.prompt.contexts)
    return Options(settings.retriever.kind, depths)


def _progress_html(done: Progress) -> str:
    """A bar and a line; no live region, which would be read aloud twice a second."""
    share = min(done.done / max(done.total, 1), 1.0)
    bar = f'<progress value="{share:.3f}" aria-label="{escape(done.label)}"></progress>'
    return f'<div class="status">{bar}<br>{escape(done.line())}</div>'


def _status_html(conversation: Conversation) -> str:
    return f'<div class="status" role="status">{escape(conversation.status)}</div>'


def _keep_loopback_off_proxies() -> None:
    """Gradio asks its own address once at the start; a proxy of the machine does not know it."""
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost", "::1"]))


def serve(
    settings: Settings,
    index: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    users: Users | None = None,
    mcp: bool = False,
    block: bool = True,
) -> gr.Blocks:
    """Open the chat over an index, and the API beside it, and print the address; with `block` it stays until
    interrupted. With `users` the page asks for a password and the API for a key; with `mcp` the documents are a tool of
    the Model Context Protocol, too."""
    if users is not None:
        users.names()  # a missing or damaged file is told now, not to the first who tries the door
    elif host not in LOOPBACK:
        say(f"warning: whoever reaches {host}:{port} may ask; --auth USERS_FILE lets in only whom you add")
    _, manifest = serving_manifest(index)
    # Without names everybody would see everybody's: kept only where one person can be there.
    history = History(history_path(rag_home(), index)) if users is not None or host in LOOPBACK else None
    if history is not None:
        attached = history.path.with_name(f".{history.path.stem}.files")
    else:  # nobody can come back to a conversation that is not kept
        attached = Path(tempfile.mkdtemp(prefix="rag-files-"))
        atexit.register(shutil.rmtree, attached, ignore_errors=True)
    shelf = _Shelf(settings, index, attached, history.every_attached if history is not None else tuple)
    shelf.attachments.sweep()
    conversation = build.make_conversation(settings, index, lambda: shelf.retrievers, shelf.narrowed)
    limit = RateLimit(settings.serving.questions_per_minute)
    alone = users is None and host in LOOPBACK
    may_upload = settings.serving.uploads == "on" or (settings.serving.uploads == "auto" and alone)
    embedded = manifest.corpus_path == "embedded"
    page = make_app(
        conversation,
        settings,
        title="Ask the Python language reference" if embedded else "Ask your documents",
        examples=EMBEDDED_EXAMPLES if embedded else (),
        limit=limit,
        history=history,
        users=users,
        collections=lambda: shelf.retrievers.collections(),
        take_in=partial(shelf.take_in, conversation=conversation) if may_upload and not manifest.corpus_path else None,
        attachments=shelf.attachments if may_upload else None,
    )
    sources = Sources(index, lambda: shelf.retrievers.index.get())
    options = _options(settings)
    router = make_router(conversation, options, users=users, limit=limit)
    may_read = partial(_may_read, page, users)
    source_router = make_source_router(sources, may_read, shelf.attachments.sources)
    app_kwargs: dict = {"routes": [*router.routes, *source_router.routes]}
    if alone:  # a page of the web that calls itself by a name of its own for this machine may not ask either
        app_kwargs["middleware"] = [Middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK_HOSTS)]
    if mcp:
        from rag.mcp_server import DocumentTools

        def answer(question: str, request: Request) -> dict:
            return _answer(conversation, options, limit, _key_of(users, request), question)

        tools = DocumentTools(answer, lambda request: users is None or bool(_key_of(users, request)), local=alone)
        app_kwargs |= {"routes": [*app_kwargs["routes"], *tools.routes], "lifespan": tools.lifespan}
    conversation.preload(settings.retriever.kind)
    _keep_loopback_off_proxies()
    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            quiet=True,
            prevent_thread_lock=True,
            css=CSS,
            theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
            head=HEAD,
            footer_links=[],
            max_file_size=int(settings.documents.max_file_mib * 2**20),
            auth=_door(users) if users is not None else None,
            app_kwargs=app_kwargs,
            ssr_mode=False,
        )
    except OSError as error:
        raise RagError(f"port {port} on {host} cannot be used ({error}); choose another: --port 7861") from error
    print(f"The chat is at {address}, its API at {address.rstrip('/')}/v1 (Ctrl+C ends it)", flush=True)
    if block:
        page.block_thread()
    return page


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The chat over an index")
    parser.add_argument("-i", "--index", required=True)
    parser.add_argument("--port", type=int, default=7860)
    arguments = parser.parse_args()
    build.quiet_libraries()
    try:
        serve(load_settings(), arguments.index, port=arguments.port)
    except RagError as error:
        sys.exit(f"rag: {error}")
