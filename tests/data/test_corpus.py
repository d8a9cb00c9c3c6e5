"""Reading corpora, questions and judgements: every layout, and every way in which a file can be wrong."""

import json
from collections import Counter

import pytest

from rag.data.corpus import EMBEDDED, corpus_file, load_corpus
from rag.data.passages import Corpus
from rag.data.qrels import check_qrels, load_qrels
from rag.data.questions import Question, load_questions, sample_questions
from rag.errors import DataError
from rag.types import CANNOTANSWER, Passage, Query

BOM = b"\xef\xbb\xbf"


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines), "utf-8")
    return path


def passage(number, **fields):
    return {"id": f"d{number}@0", "text": f"text {number}", "title": f"title {number}", "source": "quac", **fields}


def test_course_corpus_keeps_order_ids_and_fields(tmp_path):
    write(tmp_path / "corpus.txt", passage(2), "", passage(1))
    corpus = load_corpus(tmp_path)
    assert list(corpus) == [
        Passage("d2@0", "text 2", "title 2", "quac"),
        Passage("d1@0", "text 1", "title 1", "quac"),
    ]
    assert corpus.by_id("d1@0").text == "text 1"
    assert "d2@0" in corpus
    assert "d3@0" not in corpus


def test_a_corpus_file_is_read_like_its_folder(tmp_path):
    file = write(tmp_path / "corpus.txt", passage(1))
    assert corpus_file(tmp_path) == corpus_file(file) == file
    assert list(load_corpus(str(file))) == list(load_corpus(tmp_path))


def test_beir_corpus(tmp_path):
    write(tmp_path / "corpus.jsonl", {"_id": "7", "title": "A", "text": "b", "metadata": {}}, {"_id": 8, "text": "c"})
    assert list(load_corpus(tmp_path)) == [Passage("7", "b", "A"), Passage("8", "c")]


def test_embedded_corpus_is_pythons_reference_with_unique_ids():
    corpus = load_corpus(EMBEDDED)
    assert len(corpus) > 500
    assert len({p.id for p in corpus}) == len(corpus)
    assert all(p.text.strip() and p.title and p.source == "python" for p in corpus)
    assert any("yield" in p.text for p in corpus)
    assert load_corpus(EMBEDDED).sha256() == corpus.sha256()


def test_the_corpus_hash_moves_with_every_field_and_with_order():
    one, two = Passage("a", "text", "title", "source"), Passage("b", "other")
    variants = [
        [one, two],
        [two, one],
        [one],
        [Passage("x", "text", "title", "source"), two],
        [Passage("a", "text.", "title", "source"), two],
        [Passage("a", "text", "titl", "esource"), two],
        [Passage("a", "text", "title", "s"), two],
    ]
    assert len({Corpus(passages).sha256() for passages in variants}) == len(variants)
    assert Corpus([one, two]).sha256() == Corpus(iter([one, two])).sha256()


def test_content_puts_the_title_before_the_text():
    assert Passage("a", "text", "title").content == "title\ntext"
    assert Passage("a", "text").content == "text"


def test_course_questions(tmp_path):
    file = write(
        tmp_path / "dev.txt",
        {
            "qid": "q1",
            "question": "Who was he?",
            "rewrite": "Who was Ada's father?",
            "answer": {"text": "Byron", "aliases": ["Lord Byron"]},
            "source": "quac",
        },
        {"qid": 2, "question": "What?", "rewrite": " ", "answer": "CANNOTANSWER"},
        {"qid": "q3", "question": "Where?"},
    )
    first, second, third = load_questions(file)
    assert first == Question("q1", "Who was he?", "Who was Ada's father?", "Byron", ("Lord Byron",), "quac")
    assert first.query == Query("q1", "Who was Ada's father?")
    assert (second.id, second.rewrite, second.answer) == ("2", "What?", CANNOTANSWER)
    assert (third.rewrite, third.answer, third.aliases) == ("Where?", None, ())


def test_beir_questions_from_the_folder_or_the_file(tmp_path):
    file = write(tmp_path / "queries.jsonl", {"_id": "1", "text": "why?"})
    assert load_questions(tmp_path) == load_questions(file) == [Question("1", "why?", "why?")]


def test_plain_questions_are_named_after_their_lines(tmp_path):
    file = write(tmp_path / "mine.txt", "What is a generator?  ", "", "Why?")
    assert [(q.id, q.text, q.answer) for q in load_questions(file)] == [
        ("line-1", "What is a generator?", None),
        ("line-3", "Why?", None),
    ]


def test_a_byte_order_mark_and_windows_line_ends_are_dropped(tmp_path):
    corpus, questions, plain, qrels = (tmp_path / name for name in ("c.txt", "q.txt", "p.txt", "qrels.txt"))
    corpus.write_bytes(BOM + json.dumps(passage(1)).encode() + b"\r\n")
    questions.write_bytes(BOM + b'{"qid": "1", "question": "why?"}\r\n')
    plain.write_bytes(BOM + b"why?\r\n")
    qrels.write_bytes(BOM + b'{"1": {"d1@0": 1}}\r\n')
    assert load_corpus(corpus)[0].id == "d1@0"
    assert load_questions(questions)[0].text == load_questions(plain)[0].text == "why?"
    assert load_qrels(qrels) == {"1": {"d1@0": 1}}


def test_qrels_as_one_json_object(tmp_path):
    value = {"q1": {"d1@0": 1, "d2@0": 0}, "q2": {"d2@0": 2}}
    compact = write(tmp_path / "qrels.txt", value)
    spread = tmp_path / "spread.txt"
    spread.write_text("\n" + json.dumps(value, indent=1), "utf-8")
    assert load_qrels(compact) == load_qrels(spread) == value


def test_qrels_in_columns(tmp_path):
    value = {"q1": {"d1": 1}, "q2": {"d2": 2}}
    trec = write(tmp_path / "trec.txt", "q1 0 d1 1", "q2 0 d2 2")
    beir = write(tmp_path / "beir.tsv", "query-id\tcorpus-id\tscore", "q1\td1\t1", "", "q2\td2\t2")
    assert load_qrels(trec) == load_qrels(beir) == value


def test_qrels_of_a_beir_folder_are_those_of_its_test_split(tmp_path):
    write(tmp_path / "qrels" / "dev.tsv", "query-id\tcorpus-id\tscore", "q1\td1\t1")
    assert load_qrels(tmp_path) == {"q1": {"d1": 1}}
    write(tmp_path / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore", "q2\td2\t1")
    assert load_qrels(tmp_path) == load_qrels(tmp_path / "qrels") == {"q2": {"d2": 1}}


CORPUS_FAULTS = {
    "broken JSON": (b'{"id": "d2@0", "text": ', "not valid JSON", "write one object a line"),
    "a number too long for Python": (b'{"id": ' + b"1" * 5000 + b', "text": "t"}', "not valid JSON", "write one"),
    "nesting without end": (b"[" * 100_000, "not valid JSON", "write one object a line"),
    "an array": (b'["d2@0", "text"]', "a list, not a JSON object", "write one object a line"),
    "a bare word": (b'"text"', "a str, not a JSON object", "write one object a line"),
    "no id": (b'{"text": "t", "title": "x"}', "no field 'id' or '_id' or 'pid' (found: text, title)", "add it"),
    "no text": (b'{"id": "d2@0"}', "no field 'text'", "add it"),
    "an id twice": (b'{"id": "d1@0", "text": "t"}', "'d1@0' already stands on line 1", "rename one"),
    "empty text": (b'{"id": "d2@0", "text": " \\n "}', "'text' is empty", "fill it in or delete the line"),
    "empty id": (b'{"id": "", "text": "t"}', "'id' is empty", "fill it in"),
    "text of another type": (b'{"id": "d2@0", "text": 3}', "'text' is a int, not text", "write a string"),
    "id of another type": (b'{"id": ["d2"], "text": "t"}', "'id' is a list, not text", "write a string"),
    "id true": (b'{"id": true, "text": "t"}', "'id' is a bool, not text", "write a string"),
    "title of another type": (b'{"id": "d2@0", "text": "t", "title": 3}', "'title' is a int", "write a string"),
    "another encoding": ('{"id": "d2@0", "text": "Müller"}'.encode("latin-1"), "not UTF-8", "save the file as UTF-8"),
}


@pytest.mark.parametrize("fault", CORPUS_FAULTS)
def test_a_faulty_corpus_line_is_named_with_its_remedy(tmp_path, fault):
    line, problem, remedy = CORPUS_FAULTS[fault]
    file = tmp_path / "corpus.txt"
    file.write_bytes(json.dumps(passage(1)).encode() + b"\n\n" + line + b"\n" + json.dumps(passage(9)).encode())
    with pytest.raises(DataError) as caught:
        load_corpus(tmp_path)
    message = str(caught.value)
    assert f"{file}, line 3: " in message
    assert problem in message
    assert remedy in message
    assert len(message) < 400


QUESTION_FAULTS = {
    "broken JSON": (b'{"qid": "2"', "not valid JSON", "write one object a line"),
    "plain text among JSON": (b"why?", "not valid JSON", "write one object a line"),
    "an array": (b"[1]", "a list, not a JSON object", "write one object a line"),
    "no id": (b'{"question": "why?"}', "no field 'qid' or '_id' or 'id'", "add it"),
    "no question": (b'{"qid": "2"}', "no field 'question' or 'query' or 'text'", "add it"),
    "an id twice": (b'{"qid": "1", "question": "why?"}', "'1' already stands on line 1", "rename one"),
    "an empty question": (b'{"qid": "2", "question": "  "}', "'question' is empty", "fill it in or delete"),
    "a question of another type": (b'{"qid": "2", "question": ["why?"]}', "'question' is a list", "write a string"),
    "a rewrite of another type": (b'{"qid": "2", "question": "w", "rewrite": 1}', "'rewrite' is a int", "a string"),
    "an answer of another type": (b'{"qid": "2", "question": "w", "answer": 1}', "'answer' is not readable", "write"),
    "aliases of another type": (
        b'{"qid": "2", "question": "w", "answer": {"text": "a", "aliases": "b"}}',
        "'answer' is not readable",
        'write {"text"',
    ),
    "another encoding": (b'{"qid": "2", "question": "\xe9?"}', "byte 27 of the line is not UTF-8", "save the file"),
}


@pytest.mark.parametrize("fault", QUESTION_FAULTS)
def test_a_faulty_question_line_is_named_with_its_remedy(tmp_path, fault):
    line, problem, remedy = QUESTION_FAULTS[fault]
    file = tmp_path / "dev.txt"
    file.write_bytes(b'{"qid": "1", "question": "who?"}\n' + line + b"\n")
    with pytest.raises(DataError) as caught:
        load_questions(file)
    message = str(caught.value)
    assert f"{file}, line 2: " in message
    assert problem in message
    assert remedy in message


QRELS_FAULTS = {
    "broken JSON": ('{"q1": {"d1": 1},\n"q2": {"d2" 1}}', 2, "not valid JSON", "write one object"),
    "a list of passages": ('{"q1": {"d1": 1},\n"q2": ["d2"]}', 2, "'q2' are not {passage id: integer}", "correct"),
    "a grade in words": ('{"q1": {"d1": 1},\n"q2": {"d2": "yes"}}', 2, "'q2' are not", "correct them"),
    "a grade true": ('{"q1": {"d1": 1},\n"q2": {"d2": true}}', 2, "'q2' are not", "correct them"),
    "an accented id": ('{"q1": {"d1": 1},\n"é2": {"d2": null}}', 2, "'é2' are not", "correct them"),
    "a query that is also a passage": ('{"q1": {"q2": 1},\n"q2": {"d2": null}}', 2, "'q2' are not", "correct them"),
    "a query twice": ('{"q1": {"d1": 1},\n"q1": {"d2": 1}}', 2, "'q1' stands twice", "join"),
    "too few columns": ("q1 0 d1 1\nq2 d2", 2, "not a judgement: 'q2 d2'", "write: query-id, passage-id, integer"),
    "a grade that is no number": ("q1\td1\t1\nq2\td2\tx", 2, "not a judgement", "write: query-id"),
    "two grades of one passage": ("q1 0 d1 1\nq1 0 d1 0", 2, "'d1' already has the grade 1", "delete one"),
}


@pytest.mark.parametrize("fault", QRELS_FAULTS)
def test_faulty_judgements_are_named_with_their_remedy(tmp_path, fault):
    text, line, problem, remedy = QRELS_FAULTS[fault]
    file = tmp_path / "qrels.txt"
    file.write_text(text, "utf-8")
    with pytest.raises(DataError) as caught:
        load_qrels(file)
    message = str(caught.value)
    assert f"{file}, line {line}: " in message
    assert problem in message
    assert remedy in message


def test_qrels_in_another_encoding_are_named_with_the_line(tmp_path):
    file = tmp_path / "qrels.txt"
    file.write_bytes(b"q1 0 d1 1\nq2 0 d\xe9 1\n")
    with pytest.raises(DataError, match=r"qrels.txt, line 2: byte 7 of the line is not UTF-8; save the file as UTF-8"):
        load_qrels(file)


def test_an_identical_judgement_may_stand_twice(tmp_path):
    assert load_qrels(write(tmp_path / "qrels.txt", "q1 0 d1 1", "q1 0 d1 1")) == {"q1": {"d1": 1}}


def test_qrels_that_name_unknown_passages_are_refused_with_the_right_line(tmp_path):
    corpus = Corpus([Passage("p10", "text"), Passage("p2", "text")])
    as_json = write(tmp_path / "qrels.json", '{"q1": {"p10": 1},', '"q2": {"p2": 1, "p1": 1}, "q3": {"p3": 1}}')
    columns = write(tmp_path / "qrels.tsv", "query-id\tcorpus-id\tscore", "q1\tp10\t1", "q2\tp1\t1", "q3\tp3\t1")
    for file, line in ((as_json, 2), (columns, 3)):
        with pytest.raises(DataError) as caught:
            check_qrels(load_qrels(file), corpus, file)
        message = str(caught.value)
        assert f"{file}, line {line}: query 'q2' names passage 'p1', which is not in the corpus (2 such" in message
        assert "--allow-unknown" in message


def test_qrels_of_a_folder_that_name_unknown_passages_are_traced_to_their_file(tmp_path):
    file = write(tmp_path / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore", "q1\tp1\t1", "q2\tp9\t1")
    with pytest.raises(DataError) as caught:
        check_qrels(load_qrels(tmp_path), Corpus([Passage("p1", "text")]), tmp_path)
    assert f"{file}, line 3: " in str(caught.value)


def test_qrels_of_known_passages_pass(tmp_path):
    check_qrels({"q1": {"p1": 1}}, Corpus([Passage("p1", "text")]), tmp_path / "qrels.txt")


@pytest.mark.parametrize("content", [b"", b"\n \n", BOM])
@pytest.mark.parametrize(
    ("load", "what"), [(load_corpus, "passage"), (load_questions, "question"), (load_qrels, "judgement")]
)
def test_an_empty_file_is_refused_with_what_belongs_into_it(tmp_path, load, what, content):
    file = tmp_path / "file.txt"
    file.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file} holds no {what}; ")


def test_judgements_of_nothing_are_refused(tmp_path):
    file = write(tmp_path / "qrels.txt", {})
    with pytest.raises(DataError, match="holds no judgement; "):
        load_qrels(file)


@pytest.mark.parametrize("load", [load_corpus, load_questions, load_qrels])
def test_a_missing_file_is_named_with_what_to_name_instead(tmp_path, load):
    with pytest.raises(DataError) as caught:
        load(tmp_path / "absent.txt")
    assert str(caught.value).startswith(f"{tmp_path / 'absent.txt'} does not exist")
    assert "; name " in str(caught.value)


@pytest.mark.parametrize("load", [load_corpus, load_questions, load_qrels])
def test_a_folder_without_the_file_is_named(tmp_path, load):
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "; name the file" in str(caught.value) or "; name a file" in str(caught.value)


def mixed_questions():
    shares = {("quac", False): 60, ("quac", True): 20, ("doqa", False): 15, ("doqa", True): 5}
    questions = [
        Question(f"{source}-{unanswerable}-{n}", "why?", "why?", CANNOTANSWER if unanswerable else "a", (), source)
        for (source, unanswerable), count in shares.items()
        for n in range(count)
    ]
    return shares, questions


@pytest.mark.parametrize("n", [20, 37, 50, 99])
def test_a_sample_keeps_the_shares_of_sources_and_unanswerable_questions(n):
    shares, questions = mixed_questions()
    sample = sample_questions(questions, n)
    counts = Counter((q.source, q.answer == CANNOTANSWER) for q in sample)
    assert len(sample) == n
    assert len({q.id for q in sample}) == n
    assert all(abs(counts[group] - n * share / 100) < 1 for group, share in shares.items())


def test_a_sample_is_deterministic_and_in_the_original_order():
    _, questions = mixed_questions()
    sample = sample_questions(questions, 30, seed=3)
    assert sample == sample_questions(questions, 30, seed=3)
    assert sample != sample_questions(questions, 30, seed=4)
    rows = [questions.index(question) for question in sample]
    assert rows == sorted(rows)


def test_a_sample_as_large_as_the_questions_is_all_of_them():
    _, questions = mixed_questions()
    assert sample_questions(questions, 100) == sample_questions(questions, 1000) == questions


def test_the_place_of_a_passage_is_read_and_a_wrong_one_refused(tmp_path):
    file = tmp_path / "corpus.jsonl"
    rows = [{"id": "a", "text": "x", "place": {"start": 3, "end": 4, "page": 2}}, {"id": "b", "text": "y"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    corpus = load_corpus(file)
    assert (corpus.by_id("a").place.start, corpus.by_id("a").place.page, corpus.by_id("b").place) == (3, 2, None)
    assert corpus.sha256() != Corpus([Passage("a", "x"), Passage("b", "y")]).sha256()
    for place in ([1, 2], {"start": 1}, {"start": "x", "end": 2}, "3"):
        file.write_text(json.dumps({"id": "a", "text": "x", "place": place}) + "\n", "utf-8")
        with pytest.raises(DataError, match="line 1: the field 'place'"):
            load_corpus(file)
