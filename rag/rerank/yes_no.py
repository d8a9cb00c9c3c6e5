"""A language model as a reranker: asked whether a passage answers, its score is the logit of yes minus that of no."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import ModelError

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

SYSTEM = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".'
)
ASKED = (
    "<Instruct>: Given a web search query, retrieve relevant passages that answer the query\n"
    "<Query>: {query}\n<Document>: {document}"
)
"""The question that Qwen3-Reranker was trained with (https://huggingface.co/Qwen/Qwen3-Reranker-0.6B)."""
_QUERY, _DOCUMENT = "\ue000query\ue000", "\ue000document\ue000"


def yes_no_ranker(folder: Path, *, device: str, model_kwargs: Mapping[str, Any] | None = None) -> CrossEncoder:
    """The language model in a folder as a cross-encoder that asks for yes or no, in the model's own form of a chat.

    Where a folder's own chat template takes a query and a document, that one is kept. Raises ModelError where the
    tokenizer has no token for yes and another for no.
    """
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    output = {"method": "forward", "method_output_name": "logits"}
    transformer = Transformer(
        str(folder),
        transformer_task="text-generation",
        model_kwargs={"local_files_only": True, **(model_kwargs or {})},
        processor_kwargs={"local_files_only": True, "chat_template": pair_template(tokenizer)},
        config_kwargs={"local_files_only": True},
        modality_config={"text": output, "message": {**output, "format": "flat"}},
        module_output_name="causal_logits",
    )
    yes, no = _answer_tokens(tokenizer, folder)
    return CrossEncoder(modules=[transformer, LogitScore(true_token_id=yes, false_token_id=no)], device=device)


def takes_pairs(folder: Path) -> bool:
    """Whether the chat template of a folder writes out messages whose roles are query and document."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    messages = [{"role": "query", "content": _QUERY}, {"role": "document", "content": _DOCUMENT}]
    written = _written(tokenizer, messages) or ""
    return _QUERY in written and _DOCUMENT in written


def pair_template(tokenizer: Any) -> str:
    """A chat template that writes a query and a document as one question, for yes or no as the next token."""
    asked = ASKED.format(query=_QUERY, document=_DOCUMENT)
    bos = tokenizer.bos_token or ""
    starts = bos if bos and tokenizer("a").input_ids[0] == tokenizer.bos_token_id else ""
    written = (
        _written(tokenizer, [{"role": "system", "content": SYSTEM}, {"role": "user", "content": asked}])
        or _written(tokenizer, [{"role": "user", "content": f"{SYSTEM}\n\n{asked}"}])  # some know no system message
        or f"{starts}{SYSTEM}\n\n{asked}\nAnswer: "
    )
    before, _, rest = written.partition(_QUERY)
    between, _, after = rest.partition(_DOCUMENT)
    parts = [json.dumps(before), _content("query"), json.dumps(between), _content("document"), json.dumps(after)]
    return "".join(f"{{{{ {part} }}}}" for part in parts)


def _content(role: str) -> str:
    """What Jinja makes into the text of the message with this role."""
    return f'messages | selectattr("role", "equalto", "{role}") | map(attribute="content") | first'


def _written(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> str | None:
    """The conversation as the model's own template writes it, up to where it answers; None where it does not."""
    if not tokenizer.chat_template:
        return None
    try:
        written = tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
    except Exception:  # templates raise what they like at roles that they do not know
        return None
    return str(written) if all(message["content"] in written for message in messages) else None


def _answer_tokens(tokenizer: Any, folder: Path) -> tuple[int, int]:
    """The numbers of the tokens that an answer begins with: of yes and of no."""
    found = []
    for word in ("yes", "no"):
        ids = tokenizer(word, add_special_tokens=False).input_ids
        if len(ids) == 1 and ids[0] != tokenizer.unk_token_id:
            found.append(int(ids[0]))
    if len(found) != 2 or found[0] == found[1]:
        raise ModelError(
            f"the tokenizer of {folder} has no single token for yes and another for no, so this language model cannot "
            "judge passages by them; name a cross-encoder"
        )
    return found[0], found[1]
