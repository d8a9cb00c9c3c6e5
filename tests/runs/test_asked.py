"""Which questions a batch asks."""

import json

import pytest

from rag.data.passages import Corpus
from rag.errors import DataError
from rag.runs.asked import questions_to_ask
from rag.types import Passage

CORPUS = Corpus([Passage("p1", "rye"), Passage("p2", "the river")])


@pytest.fixture
def beir(tmp_path):
    rows = [{"_id": qid, "text": f"about {qid}"} for qid in ("q1", "q2", "q3", "q4")]
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (tmp_path / "qrels").mkdir()

    def judge(*judgements, split="test"):
        lines = [f"{qid}\t{pid}\t1\n" for qid, pid in judgements]
        (tmp_path / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines), "utf-8")

    return tmp_path, judge


def ids(questions):
    return [question.id for question in questions]


def test_of_a_beir_folder_the_judged_questions_of_its_test_split_are_asked(beir, capsys):
    folder, judge = beir
    judge(("q3", "p1"), ("q1", "p2"))
    judge(("q2", "p1"), split="train")
    assert ids(questions_to_ask(folder, CORPUS)) == ["q1", "q3"]
    assert "4 questions read (BEIR's queries.jsonl); 2 of them are judged\n" in capsys.readouterr().err
    assert ids(questions_to_ask(folder, CORPUS, unjudged=True)) == ["q1", "q2", "q3", "q4"]
    assert ids(questions_to_ask(folder, CORPUS, limit=1)) == ["q1"]
    assert "; 1 of them are asked" in capsys.readouterr().err


def test_judgements_of_other_passages_are_named_before_anything_is_asked(beir):
    folder, judge = beir
    judge(("q1", "p2"), ("q2", "elsewhere"))
    for unjudged in (False, True):
        with pytest.raises(
            DataError, match=r"test\.tsv, line 3: query 'q2' names passage 'elsewhere'.*name .*queries\.jsonl"
        ):
            questions_to_ask(folder, CORPUS, unjudged=unjudged)


def test_where_no_question_is_judged_that_is_said(beir):
    folder, judge = beir
    judge(("other", "p1"))
    with pytest.raises(DataError, match="none of its 4 questions is judged; ask all with --unjudged"):
        questions_to_ask(folder, CORPUS)


def test_a_file_and_a_folder_without_judgements_are_asked_whole(beir):
    folder, judge = beir
    assert len(questions_to_ask(folder, CORPUS)) == 4
    judge(("q1", "p1"))
    assert len(questions_to_ask(folder / "queries.jsonl", CORPUS)) == 4
