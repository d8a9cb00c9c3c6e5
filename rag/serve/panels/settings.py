"""What a person may change about the search and about when a question is refused."""

from __future__ import annotations

from collections.abc import Iterable

import gradio as gr
from gradio.components import Component

from rag.pipeline import Depths
from rag.serve.turns import Options


class SettingsPanel:
    """An accordion of settings; `inputs` are its elements in the order in which `options` takes their values."""

    def __init__(self, retrievers: Iterable[str], defaults: Options):
        depths = defaults.depths
        with gr.Accordion("Settings", open=False):
            retriever = gr.Radio(list(retrievers), value=defaults.retriever, label="Retriever")
            depth = gr.Slider(3, 200, depths.retrieve, step=1, label="Passages retrieved")
            rerank_depth = gr.Slider(3, 200, depths.rerank, step=1, label="Passages reranked")
            contexts = gr.Slider(1, 10, depths.contexts, step=1, label="Passages shown to the model")
            calibrated = gr.Checkbox(True, label="Refuse as calibrated")
            strictness = gr.Slider(0, 1, 0, step=0.05, label="Strictness (0 never refuses by score)")
        self.inputs: list[Component] = [retriever, depth, rerank_depth, contexts, calibrated, strictness]

    def options(
        self,
        retriever: str,
        depth: float,
        rerank_depth: float,
        contexts: float,
        use_calibrated: bool,
        strictness: float,
    ) -> Options:
        """The options that the elements' values mean; not more passages are reranked than retrieved."""
        depths = Depths(int(depth), min(int(rerank_depth), int(depth)), int(contexts))
        return Options(retriever, depths, None if use_calibrated else strictness)
