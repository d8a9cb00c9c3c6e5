"""The span reader: its graph against every span, characters of the text, windows."""

import itertools
import json
import shutil

import numpy as np
import pytest

from rag.errors import ModelError
from rag.read.best_span import make_best_span_module
from rag.read.reader import LOWEST_MARGIN, SpanReader
from rag.types import Passage, Reader

QUERY = "who designed the amber line"
SEP = 9


@pytest.fixture(scope="module")
def folder(tiny_reader_folder):
    return tiny_reader_folder


@pytest.fixture(scope="module")
def reader(folder):
    return SpanReader(folder, device="cpu", precision="fp32")


class Given:
    """Stands for a model: its logits are those that it is given."""

    def __init__(self, starts, ends):
        import torch

        self.start_logits, self.end_logits = torch.tensor(starts), torch.tensor(ends)

    def __call__(self, **inputs):
        return self


def best_span(starts, ends, ids, mask, types, max_span_tokens):
    import torch

    module = make_best_span_module(None, SEP, max_span_tokens)
    module.model = Given(starts, ends)
    return module(*(torch.tensor(value) for value in (ids, mask, types))).tolist()


def test_the_best_span_by_hand():
    """[CLS] who [SEP] a b c [SEP], and padding: spans lie in a b c alone, forward, two tokens at most."""
    starts = [[1.0, 90.0, 90.0, 3.0, 2.0, 4.0, 90.0, 90.0]]
    ends = [[0.5, 90.0, 90.0, 5.0, 1.0, 2.0, 90.0, 90.0]]
    row = [[0, 1, SEP, 2, 3, 4, SEP, 0]], [[1] * 7 + [0]], [[0, 0, 0, 1, 1, 1, 1, 1]]
    # a: 3+5 = 8, a b: 3+1, b c: 2+2, c: 4+2 = 6; c a (4+5 = 9) runs backwards.
    assert best_span(starts, ends, *row, 2) == [[1.5, 8.0, 3.0, 3.0]]
    starts[0][4] = 7.0  # b c: 7+2 = 9
    assert best_span(starts, ends, *row, 2) == [[1.5, 9.0, 4.0, 5.0]]
    assert best_span(starts, ends, *row, 1) == [[1.5, 8.0, 3.0, 3.0]]


def test_a_pair_without_a_passage_scores_below_everything():
    ((null, score, _, _),) = best_span([[1.0, 5.0]], [[1.0, 5.0]], [[0, 1]], [[1, 1]], [[0, 0]], 3)
    assert null == 2.0
    assert score < -1000


@pytest.mark.parametrize("max_span_tokens", [1, 4, 48])
def test_the_best_span_is_that_of_trying_all(max_span_tokens):
    rng = np.random.default_rng(max_span_tokens)
    n, width = 20, 30
    starts, ends = rng.normal(size=(2, n, width)).astype(np.float32)
    ids, mask, types = np.ones((n, width), int), np.ones((n, width), int), np.zeros((n, width), int)
    for row in range(n):
        first, last = sorted(rng.integers(1, width, 2))
        types[row, first:], mask[row, last + 1 :], ids[row, last] = 1, 0, SEP
    found = best_span(starts.tolist(), ends.tolist(), ids.tolist(), mask.tolist(), types.tolist(), max_span_tokens)
    for row in range(n):
        allowed = [i for i in range(width) if types[row, i] and mask[row, i] and ids[row, i] != SEP]
        spans = {
            (i, j): float(starts[row, i] + ends[row, j])
            for i, j in itertools.product(allowed, allowed)
            if i <= j < i + max_span_tokens
        }
        assert found[row][0] == pytest.approx(starts[row, 0] + ends[row, 0])
        if not spans:
            assert found[row][1] < -1000
            continue
        best = max(spans, key=spans.get)
        assert found[row][1:] == pytest.approx([spans[best], *best])


def plain_best(folder, query, content):
    """(score, null, start, end): transformers' own logits, every span tried; characters of the content."""
    import torch
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForQuestionAnswering.from_pretrained(folder).eval()
    encoded = tokenizer(query, content, return_tensors="pt", return_offsets_mapping=True)
    offsets = encoded.pop("offset_mapping")[0].tolist()
    with torch.inference_mode():
        out = model(**encoded)
    starts, ends = out.start_logits[0].tolist(), out.end_logits[0].tolist()
    body = [i for i, side in enumerate(encoded.sequence_ids(0)) if side == 1]
    i, j = max(((i, j) for i in body for j in body if i <= j), key=lambda pair: starts[pair[0]] + ends[pair[1]])
    return starts[i] + ends[j], starts[0] + ends[0], offsets[i][0], offsets[j][1]


def test_it_satisfies_the_protocol(reader):
    assert isinstance(reader, Reader)


def test_spans_and_scores_are_those_of_the_plain_model(reader, folder, passages):
    plain = passages[:6]
    (found,) = reader.read([QUERY], [plain])
    for passage, span in zip(plain, found, strict=True):
        score, null, start, end = plain_best(folder, QUERY, passage.content)
        before = len(passage.title) + 1
        assert (span.score, span.null) == pytest.approx((score, null), abs=1e-4)
        assert span.margin == pytest.approx(score - null, abs=1e-4)
        expected = (max(start - before, 0), end - before) if end > before else (0, 0)
        assert (span.start, span.end) == expected
        assert span.text_in(passage) == passage.content[start:end][max(before - start, 0) :]


def test_passages_come_back_by_query_in_order_whatever_their_company(reader, passages):
    together = reader.read([QUERY, "rye", "bread"], [passages[:3], [], passages[3:6]])
    assert [len(spans) for spans in together] == [3, 0, 3]
    for query, shown, spans in ((QUERY, passages[:3], together[0]), ("bread", passages[3:6], together[2])):
        for passage, span in zip(shown, spans, strict=True):
            ((alone,),) = reader.read([query], [[passage]])
            assert (alone.start, alone.end) == (span.start, span.end)
            assert (alone.score, alone.null) == pytest.approx((span.score, span.null), abs=1e-4)
    assert reader.read([], []) == []


class Points(SpanReader):
    """A reader that likes one word best: its span is where that word stands, else nothing is there."""

    def __init__(self, folder, word, **options):
        super().__init__(folder, device="cpu", precision="fp32", **options)
        (self.token,) = self._tokenizer.convert_tokens_to_ids([word])
        self.seen = []
        self._runner = self

    def run(self, tokenized, **options):
        rows = []
        for ids, types in zip(tokenized.ids, tokenized.type_ids, strict=True):
            self.seen.append(ids)
            at = [n for n, (token, kind) in enumerate(zip(ids, types, strict=True)) if kind and token == self.token]
            rows.append([1.0, 5.0 - at[0] / 100, at[0], at[0]] if at else [3.0, 1.0, len(ids) - 2, len(ids) - 2])
        return np.array(rows, np.float32)


def test_characters_are_those_of_the_text_whatever_its_letters(folder):
    reader = Points(folder, "tower")
    untitled = Passage("a@0", "Être… 🗼 the Tower")
    titled = Passage("b@0", "Été\u2028🗼🗼\udc00 TOWER, red", "Łódź 🚋 bridge")
    ((first, second),) = reader.read(["what"], [[untitled, titled]])
    assert (first.text_in(untitled), second.text_in(titled)) == ("Tower", "TOWER")
    assert (first.start, first.end) == (12, 17)


def test_a_span_in_the_title_alone_marks_nothing_and_keeps_its_margin(folder):
    reader = Points(folder, "tower")
    passage = Passage("a@0", "it is red", "The tower")
    ((span,),) = reader.read(["what"], [[passage]])
    assert (span.start, span.end, span.text_in(passage)) == (0, 0, "")
    assert span.margin > 3


def test_a_long_passage_is_read_in_overlapping_windows(folder):
    reader = Points(folder, "tower", max_length_tokens=32)
    filler = "the river flows north and " * 12
    passage = Passage("a@0", f"{filler}tower. {filler}", "Lake")
    ((span,),) = reader.read(["what is"], [[passage]])
    assert span.text_in(passage) == "tower"
    assert span.start == len(filler)
    assert span.null == 1.0  # that of its own window
    assert max(map(len, reader.seen)) == 32
    assert all(ids[:4] == reader.seen[0][:4] for ids in reader.seen)  # the question stands before every window
    bodies = [ids[4:-1] for ids in reader.seen]
    assert all(before[-8:] == after[:8] for before, after in itertools.pairwise(bodies))
    assert reader.pairs_read == 1


def test_the_best_window_wins(folder):
    reader = Points(folder, "tower", max_length_tokens=32)
    text = "the tower " + "river " * 40 + "tower"  # of two, the one nearer to its window's beginning scores higher
    ((span,),) = reader.read(["what"], [[Passage("a@0", text)]])
    assert (span.start, span.score) == (4, pytest.approx(5 - 4 / 100))


def test_a_question_longer_than_the_window_leaves_half_of_it(folder):
    reader = Points(folder, "tower")
    passage = Passage("a@0", "the old tower")
    ((span,),) = reader.read(["why " * 300], [[passage]])
    assert span.text_in(passage) == "tower"


def test_a_passage_without_a_word_has_the_lowest_margin(reader):
    ((span,),) = reader.read([QUERY], [[Passage("a@0", "")]])
    assert (span.start, span.end, span.margin) == (0, 0, LOWEST_MARGIN)


def test_another_kind_of_model_is_refused(folder, tiny_reranker_folder, tmp_path):
    with pytest.raises(ModelError, match=r"BertForSequenceClassification, which is no span reader; set reader\.model"):
        SpanReader(tiny_reranker_folder, device="cpu")
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        SpanReader(tmp_path, device="cpu")
    odd = shutil.copytree(folder, tmp_path / "odd")
    (odd / "config.json").write_text("[1", "utf-8")
    with pytest.raises(ModelError, match="is damaged"):
        SpanReader(odd, device="cpu")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (odd / "config.json").write_text(json.dumps(config | {"hidden_size": 8}), "utf-8")
    with pytest.raises(ModelError, match="cannot be read"):
        SpanReader(odd, device="cpu")


def test_the_compiled_graph_stands_in_for_the_weights(folder, tmp_path, passages):
    made = SpanReader(folder, device="cpu", precision="fp32", weights_sha256="a" * 64, cache_root=tmp_path / "cache")
    bare = shutil.copytree(folder, tmp_path / "bare")
    (bare / "model.safetensors").unlink()
    again = SpanReader(bare, device="cpu", precision="fp32", weights_sha256="a" * 64, cache_root=tmp_path / "cache")
    assert again.read([QUERY], [passages]) == made.read([QUERY], [passages])
