"""The chat made from what serves over an index, for the page, the API and the tools of assistants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rag.build.english import knows_latin_alone
from rag.build.parts import make_generator, make_prompt
from rag.build.pipelines import checks_support, mixing_of, reading_of, sentence_margin
from rag.build.retrievers import Retrievers
from rag.build.serving import Serving
from rag.evidence import MatchScale, Threshold
from rag.lazy import Lazy
from rag.serve.chat import Chat
from rag.serve.offered import offered_writers
from rag.serve.writers import Writer

if TYPE_CHECKING:
    from rag.types import Retriever


def make_chat(
    serving: Serving,
    retrievers: Callable[[], Retrievers],
    narrow: Callable[[str, Sequence[str] | None, str], Lazy[Retriever]],
) -> Chat:
    """The chat over what serves: a person may choose the retriever, everything else is the same for all.

    `retrievers` gives the ones that search the index as it is now; `narrow` is as for `Chat`. Thresholds are for the
    passages and the reranker that are loaded, even if others have replaced them on disk. A calibration for them that is
    made while the chat runs counts at once.
    """
    settings = serving.settings

    def threshold_at(strictness: float | None) -> Threshold | None:
        return serving.threshold_at(strictness, retrievers().index.get().manifest)

    def scale() -> MatchScale | None:
        return serving.match_scale(retrievers().index.get().manifest)

    prompt = make_prompt(settings)
    generator = Lazy(lambda: make_generator(settings, interactive=True))
    usual = Writer(generator, prompt, sentence_margin(settings), reading_of(serving, prompt))
    return Chat(
        retrievers().each(),
        Lazy(serving.load_reranker),
        usual.generator,
        usual.prompt,
        threshold_at,
        settings.prompt.order,
        usual.sentence_margin,
        narrow,
        usual.reading,
        checks_support=checks_support(settings),
        latin_alone=knows_latin_alone(settings),
        mixing=mixing_of(settings, lambda: retrievers().closeness()),
        writers=offered_writers(settings, usual),
        match_scale=scale,
    )
