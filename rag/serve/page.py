"""The Gradio chat: a page around `rag.serve.conversation.Conversation`."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from weakref import WeakValueDictionary

import gradio as gr

from rag.config import Settings
from rag.errors import RagError
from rag.pipeline import Depths
from rag.progress import Background, Progress
from rag.serve.access import asker_of, person_of
from rag.serve.asking import answer_once, default_options
from rag.serve.assets import SAVE_TEXT
from rag.serve.attachments import Attachments
from rag.serve.conversation import Conversation
from rag.serve.history import History, as_markdown
from rag.serve.html import documents_html, escape, message_html, sources_html
from rag.serve.turns import Options, Turn, settle
from rag.serve.users import RateLimit, Users

log = logging.getLogger(__name__)
FEEDBACK = ["Like", "Dislike", "Wrong source", "Should have refused", "Should have answered"]

SECONDS_BETWEEN_LOOKS = 0.5
EVERYTHING, ATTACHED = "Everything indexed", "Files of this conversation"
TO_ALL, TO_THIS = "All conversations", "This conversation only"


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
        if users is not None and not users.knows(person_of(request)):
            gr.Info("You may no longer ask here.")
        elif turns and not turns[-1].done:
            gr.Info("One question at a time: wait for the answer, or press Stop.")
        elif (seconds := limit.wait_seconds(asker_of(request))) > 0:
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
                if not paths or (users is not None and not users.knows(person_of(request))):
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
                        history.attach(person_of(request), kept_key, key)
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
                return listed(person_of(request), key, words)

            def keep(turns, key, words, attached, request: gr.Request):
                key = history.keep(person_of(request), key, turns, attached)
                return key, listed(person_of(request), key, words)

            def load(key, request: gr.Request):
                person = person_of(request)
                turns = history.load(person, key) if key else []
                marks = history.judgements(person, key) if key else []
                box = gr.Chatbot(show(turns), feedback_value=marks)
                own = history.attached(person, key) if key else ""
                return key or "", turns, box, sources_html(turns), _rewritten(turns), own

            def judge(key, data: gr.LikeData, request: gr.Request):
                liked = None if not data.liked else data.liked == "Like" or data.liked is True
                reason = data.liked if isinstance(data.liked, str) and data.liked not in ("Like", "Dislike") else ""
                history.judge(person_of(request), key, data.index // 2 + 1, liked, reason)

            def renamed(key, title, words, request: gr.Request):
                history.rename(person_of(request), key, title)
                return "", listed(person_of(request), key, words)

            def deleted(key, words, request: gr.Request):
                if attachments is not None:
                    attachments.drop(history.attached(person_of(request), key))
                history.delete(person_of(request), key)
                return "", listed(person_of(request), "", words), [], [], sources_html(()), _rewritten(()), ""

            def exported(key, turns, request: gr.Request):
                titles = {k.id: k.title for k in history.list(person_of(request))}
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
            if users is not None and not users.knows(person_of(request)):
                raise gr.Error("You may no longer ask here.")
            try:
                return answer_once(conversation, default_options(settings), limit, asker_of(request), question)
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


def _rewritten(turns: Sequence[Turn]) -> gr.Textbox:
    """The box with what was searched for in place of the last question, to be edited; hidden where it was the same."""
    searched_for = turns[-1].searched_for if turns and turns[-1].done else ""
    return gr.Textbox(searched_for, visible=bool(searched_for))


def _progress_html(done: Progress) -> str:
    """A bar and a line; no live region, which would be read aloud twice a second."""
    share = min(done.done / max(done.total, 1), 1.0)
    bar = f'<progress value="{share:.3f}" aria-label="{escape(done.label)}"></progress>'
    return f'<div class="status">{bar}<br>{escape(done.line())}</div>'


def _status_html(conversation: Conversation) -> str:
    return f'<div class="status" role="status">{escape(conversation.status)}</div>'
