"""Which documents there are, and which of them are searched."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import gradio as gr
from gradio.components import Component
from gradio.events import Dependency

from rag.serve.attachments import Attachments
from rag.serve.html import documents_html
from rag.serve.panels.session import PRIVATE, QUEUED, QUIET, Session
from rag.serve.turns import Options

EVERYTHING = "Everything indexed"
ATTACHED = "Files of this conversation"


class DocumentsPanel:
    """The choice of collections to search in, and below it the list of documents.

    `collections` gives the documents by the folder that they were ingested from. `inputs` are the elements in the order
    in which `narrow` takes their values.
    """

    def __init__(
        self,
        collections: Callable[[], Mapping[str, Sequence[Mapping]]],
        attachments: Attachments | None,
        session: Session,
    ):
        self._collections = collections
        self._attachments = attachments
        names = list(collections())
        self.offered = gr.State(names)
        self.chosen = gr.CheckboxGroup(
            names, value=names, label="Search in", visible=len(names) > 1, elem_id="documents-chosen"
        )
        self.inputs: list[Component] = [self.chosen, self.offered, session.attached]

    def show_list(self) -> None:
        """Add the list of documents, which stands below the uploads."""
        self.listing = gr.HTML(documents_html(self._collections()), elem_id="documents-list")

    def wire(self, page: gr.Blocks, changed: Iterable[Dependency], uploaded: Iterable[Dependency]) -> list[Dependency]:
        """List the documents anew when the page opens, after another conversation is shown, and after an upload.

        Returns the events that follow `changed`.
        """
        outputs: list[Component] = [self.chosen, self.offered, self.listing]
        # The two events that go through the queue share a limit of what runs at once.
        queue = "list_documents"
        page.load(self.list_documents, self.inputs, outputs, concurrency_id=queue, **QUEUED)
        for event in uploaded:
            event.then(self.list_documents, self.inputs, outputs, concurrency_id=queue, **PRIVATE)
        return [event.then(self.list_documents, self.inputs, outputs, **QUIET) for event in changed]

    def list_documents(
        self, ticked: Sequence[str], offered: Sequence[str], attached: str
    ) -> tuple[gr.CheckboxGroup, list[str], str]:
        """The collections as they are now, all ticked except those that the person unticked."""
        collections = self._collections()
        own = self._attachments.documents(attached) if self._attachments is not None else []
        names, listing = list(collections), documents_html(collections)
        if own:
            if not names:
                names.append(EVERYTHING)
            names.append(ATTACHED)
            listing = documents_html({ATTACHED: own}, attached) + listing
        left = [name for name in names if name in ticked or name not in offered]
        return gr.CheckboxGroup(names, value=left, visible=len(names) > 1), names, listing

    def narrow(self, options: Options, ticked: Sequence[str], offered: Sequence[str], attached: str) -> Options:
        """The options with the search narrowed to what is ticked."""
        collections = None
        if not set(ticked) >= set(offered) - {ATTACHED}:
            there = self._collections()
            collections = tuple(name for name in ticked if name in there)
        return dataclasses.replace(options, collections=collections, attached=attached if ATTACHED in ticked else "")
