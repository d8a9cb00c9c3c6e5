"""What the span reader is trained on: rows, and their tokens and labels, by hand."""

import random

import pytest
import torch
from transformers import AutoTokenizer

from rag.data.labelled import Example
from rag.data.passages import Corpus
from rag.data.questions import Question
from rag.errors import ConfigError, DataError
from rag.train.reader_encoding import SpanCollator, encode_rows, training_dataset, window
from rag.train.reader_recipes import ReaderRecipe
from rag.train.reader_rows import ReaderRow, make_rows
from rag.types import CANNOTANSWER, Passage

CORPUS = Corpus(
    [
        Passage("gold@0", "the bridge was built in 1874 in graz"),
        Passage("gold@1", "it was built by people", "clara voss"),
        Passage("holds@0", "graz is a city"),
        Passage("null@0", "the lake is blue"),
        Passage("null@1", "the river flows north"),
        Passage("null@2", "bread rises"),
        Passage("long@0", " ".join(["river"] * 30 + ["graz"] + ["lake"] * 30)),
    ]
)


def example(qid, answer, positives=(), negatives=()):
    return Example(Question(qid, "", "who built the bridge", answer), tuple(positives), tuple(negatives))


GRAZ = example("q1", "Graz", ["gold@0"], ["holds@0", "null@0"])
VOSS = example("q2", "Clara Voss", ["gold@1"])
NOBODY = example("u1", CANNOTANSWER, (), ["null@1", "holds@0"])


def made(examples, mined=None, **changes):
    return make_rows(examples, CORPUS, ReaderRecipe(name="span", **changes), mined)


def test_a_gold_passage_gives_the_places_of_its_answer_also_in_the_title():
    rows = made([GRAZ, VOSS], null_share=0.0).rows
    assert [(row.qid, row.pid, row.spans) for row in rows] == [
        ("q1", "gold@0", ((32, 36),)),
        ("q2", "gold@1", ((0, 10),)),
    ]


def test_gold_without_the_answers_words_is_left_out_and_counted():
    silent = example("q3", "Paris", ["gold@0", "gold@1"])
    found = made([GRAZ, silent], null_share=0.0)
    assert [row.qid for row in found.rows] == ["q1"]
    assert found.n_silent == 2
    assert "2 right passages without the answer's words" in found.summary()
    with pytest.raises(DataError, match="no span to learn"):
        made([silent])


def test_negatives_that_hold_the_answers_words_give_no_null_row():
    mined = {"q1": ["holds@0", "null@1", "gold@0"], "q2": ["null@2"]}
    found = made([GRAZ, VOSS], mined, null_share=0.9)
    null = {(row.qid, row.pid) for row in found.rows if not row.spans}
    # holds@0 says "graz", gold@0 is gold
    assert null == {("q1", "null@0"), ("q1", "null@1"), ("q2", "null@2")}
    assert found.n_holding == 1
    assert "18 were wanted" in found.summary()  # two with answers are a tenth of twenty


def test_null_rows_have_their_share_and_every_question_gives_one_before_any_gives_two():
    mined = {"q1": ["null@0", "null@1", "null@2"], "q2": ["null@0", "null@1", "null@2"]}
    for seed in range(10):
        rows = made([GRAZ, VOSS, NOBODY], mined, null_share=0.6, seed=seed).rows
        null = [row.qid for row in rows if not row.spans]
        assert len(null) == 3 == round(2 * 0.6 / 0.4)
        assert sorted(null) == ["q1", "q2", "u1"]


def test_passages_of_an_unanswerable_question_are_null_the_judged_ones_first():
    mined = {"u1": ["null@2", "gold@0"]}
    orders = set()
    for seed in range(20):
        rows = made([GRAZ, NOBODY], mined, null_share=0.84, seed=seed).rows
        orders.add(tuple(row.pid for row in rows if row.qid == "u1"))
    assert all(set(order[:2]) == {"null@1", "holds@0"} for order in orders)
    assert all(set(order[2:]) == {"null@2", "gold@0"} for order in orders)


def test_without_anything_to_give_null_on_the_command_that_helps_is_named():
    with pytest.raises(ConfigError, match="rag mine"):
        made([VOSS])


@pytest.fixture(scope="module")
def tokenizer(tiny_reranker_folder):
    return AutoTokenizer.from_pretrained(tiny_reranker_folder)


def encoded(tokenizer, text, spans, query="who built the bridge", longest=64, title="", seed=0):
    corpus = Corpus([Passage("p@0", text, title)])
    (found,) = encode_rows([ReaderRow("q", query, "p@0", tuple(spans))], corpus, tokenizer, seed, longest)
    return found


def test_labels_are_the_tokens_of_every_occurrence(tokenizer):
    # [CLS] who built the bridge [SEP] the bridge was built in 1874 in graz [SEP]
    #   0    1    2    3    4      5    6    7     8    9   10  11  12  13   14
    one = encoded(tokenizer, CORPUS.by_id("gold@0").text, [(32, 36)])
    assert (one.starts, one.ends) == ([13], [13])
    two = encoded(tokenizer, CORPUS.by_id("gold@0").text, [(21, 28), (29, 36)])  # "in 1874", "in graz"
    assert (two.starts, two.ends) == ([10, 12], [11, 13])
    assert two.token_type_ids == [0] * 6 + [1] * 9


def test_an_answer_in_the_title_is_labelled_there(tokenizer):
    # [CLS] who [SEP] clara voss it was built [SEP]
    found = encoded(tokenizer, "it was built", [(0, 10)], query="who", title="clara voss")
    assert (found.starts, found.ends) == ([3], [4])


def test_a_null_row_is_labelled_at_its_first_token(tokenizer):
    found = encoded(tokenizer, "the lake is blue", [])
    assert (found.starts, found.ends) == ([0], [0])
    assert found.input_ids[0] == tokenizer.cls_token_id


def test_labels_hold_where_lower_case_is_longer_than_the_text(tokenizer):
    # [CLS] who [SEP] [UNK] graz [SEP]
    found = encoded(tokenizer, "İİ Graz", [(3, 7)], query="who")
    assert (found.starts, found.ends) == ([4], [4])


def test_an_answer_that_ends_within_a_token_has_the_whole_token(tokenizer):
    # "14 km": [CLS] who [SEP] 14 km [SEP]
    found = encoded(tokenizer, "14 km", [(0, 4)], query="who")
    assert (found.starts, found.ends) == ([3], [4])


def test_a_window_holds_the_answer_whole_at_a_random_place():
    rng = random.Random(0)
    # tokens 5 to 24, a window of 8, the answer at 20 to 22: the window begins at 15, 16 or 17, where the passage ends
    begins = {window(range(5, 25), [(20, 22)], 8, rng)[0] for _ in range(200)}
    assert begins == {15, 16, 17}
    begins = {window(range(5, 25), [(6, 6)], 8, rng)[0] for _ in range(200)}
    assert begins == {5, 6}
    begins = {window(range(5, 25), [], 8, rng)[0] for _ in range(400)}
    assert begins == set(range(5, 18))
    assert {len(window(range(5, 25), [], 8, rng)) for _ in range(20)} == {8}


def test_a_window_is_chosen_around_an_answer_that_fits():
    rng = random.Random(0)
    assert window(range(5, 25), [(6, 14)], 8, rng) is None  # nine tokens
    begins = {window(range(5, 25), [(6, 14), (21, 21)], 8, rng)[0] for _ in range(200)}
    assert begins == {14, 15, 16, 17}
    assert list(window(range(5, 13), [(6, 14)], 8, rng)) == list(range(5, 13))  # nothing is cut


def test_a_long_passage_is_cut_around_its_answer_and_labelled_in_the_window(tokenizer):
    text = CORPUS.by_id("long@0").text
    at = text.index("graz")
    graz = tokenizer.convert_tokens_to_ids("graz")
    places = set()
    for seed in range(40):
        found = encoded(tokenizer, text, [(at, at + 4)], longest=16, seed=seed)
        assert len(found.input_ids) == len(found.token_type_ids) == 16
        assert found.input_ids[-1] == tokenizer.sep_token_id
        assert found.starts == found.ends
        assert found.input_ids[found.starts[0]] == graz
        places.add(found.starts[0])
    assert min(places) == 6  # [CLS] who built the bridge [SEP] is never cut
    assert max(places) == 14


def test_only_occurrences_that_stand_whole_in_the_window_are_labelled(tokenizer):
    text = " ".join(["graz"] + ["river"] * 40 + ["graz"])
    for seed in range(20):
        found = encoded(tokenizer, text, [(0, 4), (len(text) - 4, len(text))], longest=16, seed=seed)
        assert found.starts in ([6], [14])  # the first token of the passage, or its last


def test_a_long_question_leaves_half_of_the_room(tokenizer):
    found = encoded(tokenizer, "the bridge in graz", [(14, 18)], query=" ".join(["river"] * 40), longest=20)
    assert found.token_type_ids == [0] * 12 + [1] * 5  # [CLS], ten tokens, [SEP]; four tokens, [SEP]
    assert (found.starts, found.ends) == ([15], [15])


def test_rows_of_which_no_answer_fits_are_left_out(tokenizer, capsys):
    text = CORPUS.by_id("long@0").text
    rows = [ReaderRow("q", "who", "long@0", ((0, len(text)),)), ReaderRow("r", "who", "null@0")]
    data = training_dataset(rows, CORPUS, tokenizer, ReaderRecipe(name="span"), 16)
    assert data["starts"] == [[0]]
    assert "1 rows are left out" in capsys.readouterr().err
    with pytest.raises(DataError, match="max_length_tokens"):
        training_dataset(rows[:1], CORPUS, tokenizer, ReaderRecipe(name="span"), 16)


def test_a_batch_is_as_wide_as_its_longest_row():
    rows = [
        {"query": "a", "input_ids": [2, 7, 3], "token_type_ids": [0, 1, 1], "starts": [1], "ends": [1]},
        {"query": "b", "input_ids": [2, 7, 8, 9, 3], "token_type_ids": [0, 0, 1, 1, 1], "starts": [2, 3], "ends": [3]},
    ]
    batch = SpanCollator(pad_token_id=1)(rows)
    assert batch["input_ids"].tolist() == [[2, 7, 3, 1, 1], [2, 7, 8, 9, 3]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1] * 5]
    assert batch["token_type_ids"].tolist() == [[0, 1, 1, 0, 0], [0, 0, 1, 1, 1]]
    assert torch.nonzero(batch["starts"]).tolist() == [[0, 1], [1, 2], [1, 3]]
    assert torch.nonzero(batch["ends"]).tolist() == [[0, 1], [1, 3]]
