"""Results as lines for a terminal and as JSON."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rag import fixes
from rag.documents.citation import NOT_IN_DOCUMENTS, place_of
from rag.generate.pieces import piece_around
from rag.generate.support import support_json, support_line
from rag.index.language import language_name
from rag.index.manifest import Manifest
from rag.languages import ENGLISH
from rag.marks import with_marks
from rag.read.span_answer import best_span, span_json
from rag.scripts import spaced_out, whole_words
from rag.terminal import one_line, shell_word, shown_lines
from rag.types import CANNOTANSWER, Answer, Hit, Response

if TYPE_CHECKING:
    from rag.documents.collection import Ingested
    from rag.generate.written import Written
    from rag.models.adapter_making import MadeAdapter
    from rag.train.adapt import Adapted
    from rag.train.label import Labelled

LONGEST_QUOTE = 400  # characters; a quote is a sentence, or a block with what leads in to it


def hit_json(hit: Hit, rank: int) -> dict:
    p = hit.passage
    place = {"place": dataclasses.asdict(p.place)} if p.place else {}
    return {"rank": rank, "id": p.id, "score": hit.score, "title": p.title, "text": p.text, "source": p.source, **place}


def hit_lines(hit: Hit, rank: int, width: int = 100) -> str:
    text = _shortened(hit.passage.text, 3 * width)
    head = f"{rank:>3}. {hit.passage.title or hit.passage.id}  ({place_of(hit.passage)}, score {hit.score:.4f})"
    return one_line(head) + "\n" + textwrap.fill(text, width, initial_indent="     ", subsequent_indent="     ")


def response_json(response: Response) -> dict:
    answer = _answer_of(response)
    return {
        "question": response.query.text,
        "answer": answer.text,
        "abstained": answer.abstained,
        "citations": list(answer.citations),
        "marks": [[offset, list(cited)] for offset, cited in answer.marks],
        "raw": answer.raw,
        **support_json(response),
        "contexts": [
            {**hit_json(hit, n), "cited": hit.passage.id in answer.citations, **span_json(response, hit.passage)}
            for n, hit in enumerate(response.contexts, 1)
        ],
        "retrieved": [[hit.passage.id, hit.score] for hit in response.retrieved],
        "reranked": [[hit.passage.id, hit.score] for hit in response.reranked],
        "dropped_contexts": response.dropped_contexts,
        "seconds": {stage: round(seconds, 3) for stage, seconds in response.timings.items()},
    }


def _shortened(text: str, width: int) -> str:
    """The text in one line of at most `width` characters, cut between words, or letters that stand without spaces."""
    line = " ".join(text.split())
    if len(line) <= width or spaced_out(line) == line:
        return textwrap.shorten(line, width, placeholder=" …")
    return (whole_words(line[: width - 2]).rstrip() or line[: width - 2]) + " …"


def response_lines(response: Response) -> list[str]:
    """An answer with what stands below it."""
    return [*answer_lines(response), *beside_lines(response)]


def marked_answer(response: Response) -> str:
    """The answer with the numbers of its citations; a sentence in the place of a refusal."""
    answer = _answer_of(response)
    if answer.text == CANNOTANSWER:
        return NOT_IN_DOCUMENTS
    numbers = {hit.passage.id: n for n, hit in enumerate(response.contexts, 1)}
    return with_marks(answer, lambda pid: f"[{numbers[pid]}]")


def answer_lines(response: Response) -> list[str]:
    """The lines of the answer alone."""
    return shown_lines(marked_answer(response)) or [""]


def beside_lines(response: Response) -> list[str]:
    """What stands below an answer: how far it is supported, the sentence that it is from, its sources, the seconds."""
    answer = _answer_of(response)
    supported = [f"({line})"] if (line := support_line(response)) else []
    lines = [*supported, *_quoted(response), ""]
    for n, hit in enumerate(response.contexts, 1):
        star = "*" if hit.passage.id in answer.citations else " "
        text = _shortened(hit.passage.text, 160)
        where = f", {place_of(hit.passage)}" if hit.passage.place else ""
        lines.append(f"{star}[{n}] {hit.passage.title or hit.passage.id}{where} ({hit.score:.2f})  {text}")
    if response.dropped_contexts:
        lines.append(f"({response.dropped_contexts} context(s) did not fit the model's window)")
    seconds = ", ".join(f"{stage} {s:.2f} s" for stage, s in response.timings.items())
    return [*lines, "", f"({seconds})"]


def _quoted(response: Response) -> list[str]:
    """The sentence, or the block, in which the reader sees the answer; none below a refusal, or without a reader."""
    found = best_span(response.contexts, response.spans)
    if found is None or not found[1].is_seen or _answer_of(response).abstained:
        return []
    passage, span = found
    number = [hit.passage for hit in response.contexts].index(passage) + 1
    quote = _shortened(piece_around(passage.text, span.start), LONGEST_QUOTE)
    return [f"[{number}] “{quote}”"]


def _answer_of(response: Response) -> Answer:
    assert response.answer is not None, "a pipeline that has run answers every question"
    return response.answer


def manifest_lines(manifest: Manifest, folder: Path) -> list[str]:
    windows = f", windows of {manifest.window_sentences} sentences" if manifest.window_sentences else ""
    windows += f", up to {manifest.questions} questions a passage" if manifest.questions else ""
    return [
        f"{folder}: {manifest.n_passages:,} passages{_in_language(manifest)}, {manifest.encoder_model} "
        f"({manifest.encoder.dimension} dimensions), {manifest.factory}{windows}, {manifest.seconds:.0f} s",
        f"passages cut at {manifest.encoder.max_length_tokens} tokens: {manifest.passages_cut:,}",
        f"ask it: rag ask 'your question' -i {shell_word(str(folder))}",
    ]


def _in_language(manifest: Manifest) -> str:
    return "" if manifest.language == ENGLISH else f" in {language_name(manifest.language)}"


def ingested_json(result: Ingested) -> dict:
    return {
        "documents": [dataclasses.asdict(document) for document in result.documents],
        "left_out": result.left_out,
        "other_kinds": result.other_kinds,
        "added": result.added,
        "removed": result.removed,
        "kept": result.kept,
        "near_duplicates": result.near_duplicates,
        "not_updated": result.not_updated,
        "passed_over": result.passed_over,
        "n_passages": result.n_passages,
        "fingerprint": result.fingerprint,
    }


def model_lines(records: Sequence[Mapping]) -> list[str]:
    if not records:
        return ["no model is in a cache yet; fetch them: rag models --fetch"]
    lines = []
    for record in records:
        lines.append(f"{record['model']}  ({record['role']})")
        for name in ("source", "base", "packages", "revision", "license", "sha256", "size_mb", "folder", "notice"):
            if record.get(name):
                value = record[name]
                lines.append(f"    {name:9}{', '.join(value) if isinstance(value, list) else value}")
    return lines


def adapter_lines(made: MadeAdapter) -> list[str]:
    adapter, changes = made.adapter, made.changes
    return [
        f"{adapter.folder}: {adapter.name}, a {adapter.role} on {adapter.base}, {adapter.size_mb} MB",
        f"{changes.count('b'):,} matrices as factors of rank {changes.rank} or less, {changes.count('diff'):,} weights "
        f"as differences, {changes.count('whole'):,} whole; {len(changes.dropped):,} of the base left out",
        f"kept: {changes.kept:.1%} of the squared change",
        f"complete its card, {adapter.folder / 'card.json'}: licence, data, recipe, command, figures",
    ]


def written_lines(written: Written, path: Path) -> list[str]:
    lines = [
        f"{path}: {written.n_questions:,} questions for {written.n_passages:,} passages; read some before training:"
    ]
    for question, passage in written.examples:
        lines += ["", question, f"    {_shortened(passage, 200)}"]
    return lines


def labelled_lines(labelled: Labelled, path: Path, negatives: Path) -> list[str]:
    rules = ", ".join(f"{n:,} {rule}" for rule, n in labelled.by_rule.items())
    left_out = ", ".join(f"{n:,} {why}" for why, n in labelled.left_out.items()) or "none"
    lines = [
        f"{path}: {labelled.n_labelled:,} of {labelled.n_questions:,} questions are labelled ({rules})",
        f"left out: {left_out}",
        f"the other candidates with their scores are in {negatives}; read some labels before training:",
    ]
    for question, passage in labelled.examples:
        lines += ["", question, f"    {_shortened(passage, 200)}"]
    return lines


def adapted_lines(adapted: Adapted, folder: Path, index: Path) -> list[str]:
    from rag.evaluate.verdict import gate_lines

    lines = [f"{folder}: {adapted.n_kept:,} of {adapted.n_written:,} written questions were trained on"]
    if not adapted.is_verdict:
        for record in adapted.records.values():
            lines += [
                f"compared on {record['n_dev']:,} held-out questions that the generator wrote. They say little about "
                "what people ask; this is no verdict:",
                *gate_lines(record)[1:],
            ]
        lines += [
            f"to decide, let people's questions judge: {fixes.gate_on(folder / 'retriever', index, folder / 'met')}",
        ]
        return lines
    for role, record in adapted.records.items():
        lines += [f"{role}:", *gate_lines(record)]
    if not adapted.to_promote:
        return [*lines, "nothing to promote: the models that serve stay"]
    for role in adapted.to_promote:
        lines.append(f"serve it: {fixes.promote(folder / role)}")
    if "retriever" in adapted.to_promote and "embeds" not in adapted.records["retriever"]:
        lines.append(f"then encode again: {fixes.encode_again(index)}")
    return [*lines, f"then calibrate again: {fixes.calibrate(index)}"]


def mining_lines(report: Mapping, path: Path) -> list[str]:
    origins = ", ".join(f"{n:,} {origin}" for origin, n in report["negatives_by_origin"].items())
    dropped = ", ".join(f"{n:,} {rule}" for rule, n in report["candidates_dropped"].items()) or "none"
    return [
        f"{path}: {report['n_negatives']:,} negatives for {report['n_questions']:,} questions ({origins})",
        f"candidates dropped: {dropped}",
        f"questions without a negative: {report['n_without_negatives']:,}, with too few: "
        f"{report['n_short_of_negatives']:,}; examples to read in {path.with_suffix('.report.json')}",
    ]
