"""The Gradio chat: a page around `rag.chat.Conversation`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import gradio as gr

from rag import build
from rag.api import make_router
from rag.chat import Conversation, Options, Turn, escape, message_html, settle, sources_html
from rag.config import Settings, load_settings
from rag.errors import RagError
from rag.history import History, as_markdown, history_path
from rag.models.resolve import rag_home
from rag.pipeline import Depths
from rag.present import ingested_lines
from rag.progress import say
from rag.users import RateLimit, Users

FEEDBACK = ["Like", "Dislike", "Wrong source", "Should have refused", "Should have answered"]
TRIES_A_MINUTE = 10
LOOPBACK = ("127.0.0.1", "localhost", "::1")
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
#sources { max-height: 78vh; overflow-y: auto; }
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
    take_in: Callable[[Sequence[str]], Sequence[str]] | None = None,
    users: Users | None = None,
) -> gr.Blocks:
    """The chat page over a conversation; every visitor has turns of their own.

    With `limit` a person who asks too fast is told when to ask again; with `history` conversations are kept; with
    `take_in` files can be added to the documents: it takes their paths and returns what came of it, line by line.
    """

    def show(turns: Sequence[Turn]) -> list[dict]:
        messages = []
        for number, turn in enumerate(turns, 1):
            messages.append({"role": "user", "content": escape(turn.question)})
            if content := message_html(turn, number):
                messages.append({"role": "assistant", "content": content})
        return messages

    def ask(question, turns, retriever, depth, rerank_depth, contexts, use_calibrated, strictness):
        if question is None:  # asked while another question was under way
            yield turns, show(turns), sources_html(turns)
            return
        options = Options(
            retriever,
            Depths(int(depth), min(int(rerank_depth), int(depth)), int(contexts)),
            None if use_calibrated else strictness,
        )
        for turn in conversation.ask(question or "", turns, options):
            now = [*turns, turn]
            yield now, show(now), sources_html(now)

    def refused(request: gr.Request) -> bool:
        """Whether this person may not ask, or not yet; it is told why."""
        if users is not None and not users.knows(_person(request)):
            gr.Info("You may no longer ask here.")
            return True
        who = _person(request) or (request.client.host if request.client else "")
        seconds = limit.wait_seconds(who) if limit is not None else 0
        if seconds > 0:
            gr.Info(f"Too many questions in a minute; ask again in {seconds:.0f} s.")
        return seconds > 0

    def retry(turns, retriever, depth, rerank_depth, contexts, use_calibrated, strictness, request: gr.Request):
        if not turns or not turns[-1].done or refused(request):
            yield turns, show(turns), sources_html(turns)
            return
        options = (retriever, depth, rerank_depth, contexts, use_calibrated, strictness)
        yield from ask(turns[-1].question, turns[:-1], *options)

    with gr.Blocks(title=title, fill_height=True) as page:
        turns = gr.State([])
        pending = gr.State("")
        kept_id = gr.State("")
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
        with gr.Sidebar(open=False, visible=take_in is not None, position="right", elem_id="documents"):
            gr.Markdown("### Documents")
            files = gr.File(file_count="multiple", label="Add files", elem_id="documents-files")
            added = gr.HTML(elem_id="documents-added")
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
        options = [retriever, depth, rerank_depth, contexts, calibrated, strictness]
        outputs = [turns, chatbot, sources]

        def take(text, turns, request: gr.Request):
            if turns and not turns[-1].done:
                gr.Info("One question at a time: wait for the answer, or press Stop.")
                return text, None
            if refused(request):
                return text, None
            return "", text

        def settled(turns):
            turns = settle(turns)
            return turns, show(turns), sources_html(turns)

        running = []
        for trigger in (question.submit, send.click):
            taken = trigger(take, [question, turns], [question, pending], queue=False, api_visibility="private")
            running.append(taken.then(ask, [pending, turns, *options], outputs, api_visibility="private"))
        for trigger in (again.click, chatbot.retry):
            running.append(trigger(retry, [turns, *options], outputs, api_visibility="private"))
        stop.click(None, cancels=running, queue=False)
        ended = [  # runs after a normal end and after Stop alike
            event.then(settled, [turns], outputs, queue=False, show_progress="hidden", api_visibility="private")
            for event in running
        ]
        clear.click(
            lambda: ([], [], sources_html(())), None, outputs, cancels=running, queue=False, api_visibility="private"
        )
        if history is not None:
            opened = [kept_id, kept]

            def listed(person, chosen, words=""):
                choices = [(f"{k.title} ({k.updated[:10]})", k.id) for k in history.list(person, words)]
                ids = [key for _, key in choices]
                return gr.Radio(choices, value=chosen if chosen in ids else None)

            def relisted(words, key, request: gr.Request):
                return listed(_person(request), key, words)

            def keep(turns, key, words, request: gr.Request):
                key = history.keep(_person(request), key, turns)
                return key, listed(_person(request), key, words)

            def load(key, request: gr.Request):
                turns = history.load(_person(request), key) if key else []
                marks = history.judgements(_person(request), key) if key else []
                return key or "", turns, gr.Chatbot(show(turns), feedback_value=marks), sources_html(turns)

            def judge(key, data: gr.LikeData, request: gr.Request):
                liked = None if not data.liked else data.liked == "Like" or data.liked is True
                reason = data.liked if isinstance(data.liked, str) and data.liked not in ("Like", "Dislike") else ""
                history.judge(_person(request), key, data.index // 2 + 1, liked, reason)

            def renamed(key, title, words, request: gr.Request):
                history.rename(_person(request), key, title)
                return "", listed(_person(request), key, words)

            def deleted(key, words, request: gr.Request):
                history.delete(_person(request), key)
                return "", listed(_person(request), "", words), [], [], sources_html(())

            def exported(key, turns, request: gr.Request):
                titles = {k.id: k.title for k in history.list(_person(request))}
                return as_markdown(titles.get(key, "Conversation"), turns)

            quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
            for event in ended:
                event.then(keep, [turns, kept_id, words], opened, **quiet)
            clear.click(lambda: ("", None), None, opened, **quiet)
            kept.input(load, [kept], [kept_id, *outputs], cancels=running, **quiet)
            page.load(relisted, [words, kept_id], [kept], **quiet)
            words.change(relisted, [words, kept_id], [kept], **quiet)
            rename.click(renamed, [kept_id, new_title, words], [new_title, kept], **quiet)
            delete.click(deleted, [kept_id, words], [*opened, *outputs], cancels=running, **quiet)
            export.click(exported, [kept_id, turns], [exported_text], **quiet).then(
                None, [exported_text], None, js=SAVE_TEXT, api_visibility="private"
            )
            chatbot.like(judge, [kept_id], None, **quiet)
        if take_in is not None:

            def add(paths):
                if not paths:
                    yield ""
                    return
                yield f'<div class="status" role="status">Taking in {len(paths)} file(s)…</div>'
                try:
                    lines = take_in(paths)
                except RagError as error:
                    lines = [str(error)]
                yield "<br>".join(escape(line) for line in lines)

            files.upload(add, [files], [added], concurrency_limit=1, api_visibility="private")
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


def _uploader(
    settings: Settings, index: str | Path, conversation: Conversation
) -> Callable[[Sequence[str]], Sequence[str]]:
    """What takes files in beside an index's documents, and lets the conversation search them."""
    uploads = Path(index).resolve().with_suffix(".uploads")

    def take_in(paths: Sequence[str]) -> Sequence[str]:
        from rag.ingest import add_uploads

        result = add_uploads(settings, paths, index, uploads)
        conversation.search_in(build.all_retrievers(settings, index))
        return ingested_lines(result, Path(index))[:-1]

    return take_in


def _door(users: Users) -> Callable[[str, str], object]:
    """Password checks off the event loop, a few at a time, and so many tries a minute for each name."""
    tries, at_once = RateLimit(TRIES_A_MINUTE), asyncio.Semaphore(2)

    async def check(name: str, password: str) -> bool:
        if tries.wait_seconds(name[:64]) > 0:
            return False
        async with at_once:
            return await asyncio.to_thread(users.check_password, name, password)

    return check


def _person(request: gr.Request) -> str:
    """Who is logged in; nobody, where no one has to."""
    return request.username or ""


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
    block: bool = True,
) -> gr.Blocks:
    """Open the chat over an index, and the API beside it, and print the address; with `block` it stays until
    interrupted. With `users` the page asks for a password and the API for a key."""
    if users is not None:
        users.names()  # a missing or damaged file is told now, not to the first who tries the door
    elif host not in LOOPBACK:
        say(f"warning: whoever reaches {host}:{port} may ask; --auth USERS_FILE lets in only whom you add")
    conversation, manifest = build.make_conversation(settings, index)
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
        # Without names everybody would see everybody's: kept only where one person can be there.
        history=History(history_path(rag_home(), index)) if users is not None or host in LOOPBACK else None,
        users=users,
        take_in=_uploader(settings, index, conversation) if may_upload and not manifest.corpus_path else None,
    )
    depths = Depths(settings.retriever.depth, settings.reranker.depth, settings.prompt.contexts)
    router = make_router(conversation, Options(settings.retriever.kind, depths), users=users, limit=limit)
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
            app_kwargs={"routes": router.routes},
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
