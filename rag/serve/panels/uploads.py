"""Adding files, to everybody's documents or to one conversation."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from weakref import WeakValueDictionary

import gradio as gr
from gradio.events import Dependency

from rag.errors import RagError
from rag.progress import Background
from rag.serve.access import Access, person_of
from rag.serve.attachments import Attachments
from rag.serve.history import History
from rag.serve.html import escape, progress_html, status_html
from rag.serve.panels.session import QUEUED, QUIET, UNQUEUED, Session

SECONDS_BETWEEN_LOOKS = 0.5
TO_ALL = "All conversations"
TO_THIS = "This conversation only"

log = logging.getLogger(__name__)


class UploadsPanel:
    """A box for files. They go to everybody's documents, to this conversation, or where the person chooses.

    `add_to_all` adds files to everybody's documents and returns lines that say what was done; `attachments` adds them
    to one conversation. Where both are None the panel is not shown.
    """

    def __init__(
        self,
        session: Session,
        access: Access,
        add_to_all: Callable[[Sequence[str]], Sequence[str]] | None,
        attachments: Attachments | None,
        history: History | None,
    ):
        self._session, self._access, self._history = session, access, history
        self._destinations: dict[str, Callable[[str, Sequence[str]], Sequence[str]]] = {}
        if add_to_all is not None:
            self._destinations[TO_ALL] = lambda key, paths: add_to_all(paths)
        if attachments is not None:
            self._destinations[TO_THIS] = attachments.add
        # Only one upload is worked on at a time. What a visitor has running, by (session, whether it goes to all).
        self._lock = threading.Lock()
        self._running: WeakValueDictionary[tuple[str | None, bool], Background] = WeakValueDictionary()
        ways = list(self._destinations)
        self.way = gr.Radio(
            ways, value=next(iter(ways), None), label="Add to", visible=len(ways) > 1, elem_id="documents-way"
        )
        self.added = gr.HTML(elem_id="documents-added")
        self.stop = gr.Button("Stop adding", size="sm", visible=False, elem_id="documents-stop")
        self.files = gr.File(
            file_count="multiple", label="Add files", visible=self.is_shown, height=160, elem_id="documents-files"
        )

    @property
    def is_shown(self) -> bool:
        """Whether files can be added at all."""
        return bool(self._destinations)

    def wire(self) -> list[Dependency]:
        """Add files when they arrive; returns the event, none where no files can be added."""
        self.stop.click(self.halt, None, None, **QUIET)
        if not self.is_shown:
            return []
        inputs = [self.files, self.way, self._session.attached, self._session.kept_id]
        outputs = [self.added, self._session.attached, self.stop]
        return [self.files.upload(self.add, inputs, outputs, concurrency_limit=1, **QUEUED)]

    def wire_leaving(self, leaving: Iterable[Callable[..., Dependency]], shown: Iterable[Dependency]) -> None:
        """Stop adding to a conversation on the events that leave it; clear the panel after those that show another.

        Files for everybody are added to the end.
        """
        if self.is_shown:
            for leave in leaving:
                leave(self.halt_own, None, None, **QUIET)
        for event in shown:
            event.then(self.clear, None, [self.files, self.added, self.stop], **UNQUEUED)

    def add(
        self, paths: Sequence[str] | None, way: str, key: str, kept_id: str, request: gr.Request
    ) -> Iterator[tuple]:
        """Add files. Yields what to say about it, the conversation's key where it is new, and the Stop button."""
        if not paths or not self._access.allows(request):
            yield "", gr.skip(), gr.skip()
            return
        destination = way if way in self._destinations else list(self._destinations)[-1]
        to_all = destination == TO_ALL
        is_new = not to_all and not key
        key = uuid.uuid4().hex if is_new else key

        def one_after_another() -> Sequence[str]:
            # Gradio's limit is not enough: a page that is closed leaves its work running.
            with self._lock:
                return self._destinations[destination](key, paths)

        try:
            if not to_all and self._history is not None and kept_id:
                self._history.attach(person_of(request), kept_id, key)
            work = Background(one_after_another)
            self._running[request.session_hash, to_all] = work
            # The key is known from now on: a question asked meanwhile keeps the conversation with its files.
            files = "1 file" if len(paths) == 1 else f"{len(paths)} files"
            yield status_html(f"Adding {files}…"), key if is_new else gr.skip(), gr.Button(visible=True)
            while not work.wait(SECONDS_BETWEEN_LOOKS):
                if work.latest is not None:
                    yield progress_html(work.latest), gr.skip(), gr.Button(visible=True)
            lines = work.result()
        except RagError as error:
            lines = [str(error)]
        except Exception as error:
            log.exception("adding files failed")
            lines = [f"Something went wrong: {error}"]
        yield "<br>".join(escape(line) for line in lines), gr.skip(), gr.Button(visible=False)

    def halt(self, request: gr.Request) -> None:
        """Stop adding what this visitor is adding."""
        for to_all in (False, True):
            self._halt(request, to_all)

    def halt_own(self, request: gr.Request) -> None:
        """Stop adding what this visitor is adding to a conversation."""
        self._halt(request, False)

    def _halt(self, request: gr.Request, to_all: bool) -> None:
        if (work := self._running.get((request.session_hash, to_all))) is not None:
            work.stop()

    def clear(self) -> tuple:
        """The panel without files and messages."""
        return None, "", gr.Button(visible=False)
