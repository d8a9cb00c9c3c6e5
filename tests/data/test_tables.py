"""Tables and data sets as corpora, questions, labels and judgements: they say what the same JSON lines say."""

import csv
import json

import pytest

from rag.data.corpus import corpus_files, corpus_format, load_corpus
from rag.data.labelled import load_examples
from rag.data.passages import Corpus
from rag.data.qrels import check_qrels, load_qrels
from rag.data.questions import load_questions, question_format
from rag.data.source import source_of
from rag.data.splits import refuse_test_file
from rag.errors import DataError
from rag.types import CANNOTANSWER, Passage

FORMATS = ("csv", "csv.gz", "tsv", "parquet", "shards", "saved", "splits", "hub")
CORPUS = [
    {"id": "a@0", "title": "Ada", "text": 'She wrote,\n"notes"; it\'s 1843.', "source": "wiki"},
    {"id": "a@1", "title": None, "text": "Zürich 東京", "source": None},
    {"id": "007", "title": "Bond", "text": "x" * 200_000, "source": "film"},
]
QUESTIONS = [
    {"qid": "1", "question": "Who wrote notes?", "rewrite": "Who wrote the notes?", "answer": "Ada"},
    {"qid": "02", "question": "When?", "rewrite": None, "answer": None},
]
SQUAD = [
    {"id": "q1", "title": "A", "context": "Ada wrote.", "question": "Who?", "answers": {"text": ["Ada", "ada", "Ada"]}},
    {"id": "q2", "title": "A", "context": "Ada wrote.", "question": "Whom?", "answers": {"text": []}},
    {"id": "q3", "title": "B", "context": "Bob reads.", "question": "What?", "answers": {"text": ["reads"]}},
]
MARCO = [
    {
        "query": "who",
        "query_id": 7,
        "answers": ["Ada", "Lady Ada"],
        "passages": {"is_selected": [0, 1], "passage_text": ["Bob reads.", "Ada wrote."]},
    },
    {
        "query": "why",
        "query_id": 8,
        "answers": ["No Answer Present."],
        "passages": {"is_selected": [0], "passage_text": ["Bob reads."]},
    },
]
TEVATRON = [
    {
        "query_id": "t1",
        "query": "who",
        "positive_passages": [{"docid": "p1", "title": "A", "text": "Ada wrote."}],
        "negative_passages": [
            {"docid": "p2", "title": "", "text": "Bob reads."},
            {"docid": "p3", "text": "Ada wrote."},
        ],
    }
]


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def cell(value):
    return "" if value is None else json.dumps(value) if isinstance(value, dict | list) else value


def write_csv(path, rows, delimiter=","):
    import gzip

    with (gzip.open if path.suffix == ".gz" else open)(path, "wt", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter=delimiter)
        writer.writerow(rows[0])
        writer.writerows([[cell(value) for value in row.values()] for row in rows])
    return path


def write_parquet(path, rows):
    import pyarrow
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


@pytest.fixture
def hub(monkeypatch):
    """A hub whose data sets are these; it is asked for nothing else."""
    import datasets

    known = {}

    def load(name, configuration=None, **_):
        if name not in known:
            raise datasets.exceptions.DatasetNotFoundError(f"Dataset '{name}' doesn't exist on the Hub")
        found = known[name]
        if configuration is None and len(found) > 1:
            raise ValueError(f"Config name is missing. Please pick one among the available configs: {sorted(found)}")
        if configuration is not None and configuration not in found:
            raise ValueError(f"BuilderConfig {configuration!r} not found. Available: {sorted(found)}")
        return found[configuration or next(iter(found))]

    monkeypatch.setattr(datasets, "load_dataset", load)
    return known


@pytest.fixture
def table(tmp_path, hub):
    """Rows in a format; returns what names them."""
    import datasets

    def write(rows, kind):
        folder = tmp_path / kind
        folder.mkdir(exist_ok=True)
        data = None if kind in ("csv", "csv.gz", "tsv", "parquet", "shards") else datasets.Dataset.from_list(rows)
        if kind == "parquet":
            return write_parquet(folder / "rows.parquet", rows)
        if kind == "shards":
            for n, row in enumerate(rows):
                write_parquet(folder / "data" / f"train-0000{n}-of-0000{len(rows)}.parquet", [row])
            return folder
        if kind == "saved":
            data.save_to_disk(folder)
            return folder
        if kind == "splits":
            datasets.DatasetDict({"train": data, "dev": data.select([0])}).save_to_disk(folder)
            return f"{folder}:train"
        if kind == "hub":
            hub["someone/rows"] = {"default": datasets.DatasetDict({"train": data, "dev": data.select([0])})}
            return "someone/rows:train"
        return write_csv(folder / f"rows.{kind}", rows, "\t" if kind == "tsv" else ",")

    return write


def plain(examples):
    return [(e.question, e.positives, e.negatives) for e in (*examples.examples, *examples.unanswerable)]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_table_of_passages_is_the_corpus_that_its_json_lines_are(tmp_path, table, kind):
    expected = load_corpus(lines(tmp_path / "corpus.jsonl", CORPUS))
    found = load_corpus(table(CORPUS, kind))
    assert list(found) == list(expected)
    assert found.sha256() == expected.sha256()


@pytest.mark.parametrize("kind", FORMATS)
def test_a_table_of_questions_says_what_its_json_lines_say(tmp_path, table, kind):
    expected = load_questions(lines(tmp_path / "dev.jsonl", QUESTIONS))
    reference = table(QUESTIONS, kind)
    assert load_questions(reference) == expected
    assert question_format(reference).endswith("id = qid, question = question, rewrite = rewrite, answer = answer")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("rows", [SQUAD, MARCO, TEVATRON], ids=["squad", "marco", "tevatron"])
def test_questions_with_their_passages_are_corpus_questions_and_labels(tmp_path, table, kind, rows):
    beside, reference = lines(tmp_path / "train.jsonl", rows), table(rows, kind)
    corpus = load_corpus(reference)
    assert list(corpus) == list(load_corpus(beside))
    assert load_questions(reference) == load_questions(beside)
    assert plain(load_examples(reference, corpus)) == plain(load_examples(beside, corpus))


def test_squad_rows_share_passages_and_know_what_cannot_be_answered(table):
    reference = table(SQUAD, "parquet")
    corpus = load_corpus(reference)
    assert list(corpus) == [Passage("row-1", "Ada wrote.", "A"), Passage("row-3", "Bob reads.", "B")]
    assert corpus_format(reference) == "Parquet, the passages that stand beside questions, each once"
    first, second, third = load_questions(reference)
    assert (first.id, first.answer, first.aliases) == ("q1", "Ada", ("ada",))
    assert (second.answer, third.answer) == (CANNOTANSWER, "reads")
    loaded = load_examples(reference, corpus)
    assert [(e.question.id, e.positives) for e in loaded.examples] == [("q1", ("row-1",)), ("q3", ("row-3",))]
    assert [(e.question.id, e.negatives) for e in loaded.unanswerable] == [("q2", ("row-1",))]


def test_ms_marco_rows_say_which_passage_was_selected(table):
    reference = table(MARCO, "saved")
    corpus = load_corpus(reference)
    loaded = load_examples(reference, corpus)
    (example,), (other,) = loaded.examples, loaded.unanswerable
    assert (example.question.id, example.question.answer, example.question.aliases) == ("7", "Ada", ("Lady Ada",))
    assert corpus.by_id(example.positives[0]).text == "Ada wrote."
    assert [corpus.by_id(pid).text for pid in example.negatives] == ["Bob reads."]
    assert (other.question.id, other.question.answer, len(other.negatives)) == ("8", CANNOTANSWER, 1)


def test_passages_with_ids_are_found_by_them(table):
    reference = table(TEVATRON, "parquet")
    corpus = load_corpus(reference)
    assert [(p.id, p.title, p.text) for p in corpus] == [
        ("p1", "A", "Ada wrote."),
        ("p2", "", "Bob reads."),
        ("p3", "", "Ada wrote."),
    ]
    (example,) = load_examples(reference, corpus).examples
    assert (example.positives, example.negatives) == (("p1",), ("p2", "p3"))


def test_rows_without_ids_that_ask_the_same_are_one_question(table):
    rows = [
        {"anchor": "who", "positive": "Ada wrote.", "negative_1": "Bob reads.", "negative_2": "Cy eats."},
        {"anchor": "why", "positive": "Cy eats.", "negative_1": "Ada wrote.", "negative_2": "Bob reads."},
        {"anchor": "who", "positive": "Cy eats.", "negative_1": "Dan sits.", "negative_2": "Bob reads."},
    ]
    reference = table(rows, "csv")
    corpus = load_corpus(reference)
    assert [p.id for p in corpus] == ["row-1-1", "row-1-2", "row-1-3", "row-3-2"]
    loaded = load_examples(reference, corpus)
    assert [(e.question.id, e.question.text, e.positives, e.negatives) for e in loaded.examples] == [
        ("row-1", "who", ("row-1-1", "row-1-3"), ("row-1-2", "row-3-2")),
        ("row-2", "why", ("row-1-3",), ("row-1-1", "row-1-2")),
    ]
    assert [question.id for question in load_questions(reference)] == ["row-1", "row-2"]


def test_pairs_with_a_label_are_positives_and_negatives(table):
    rows = [
        {"query_id": 1, "query": "who", "pid": 10, "passage": "Ada wrote.", "label": 1},
        {"query_id": 1, "query": "who", "pid": 11, "passage": "Bob reads.", "label": 0},
    ]
    for kind in ("csv", "parquet"):
        reference = table(rows, kind)
        corpus = load_corpus(reference)
        assert [(p.id, p.text) for p in corpus] == [("10", "Ada wrote."), ("11", "Bob reads.")]
        (example,) = load_examples(reference, corpus).examples
        assert (example.question.id, example.positives, example.negatives) == ("1", ("10",), ("11",))
    rows[1]["label"] = 3
    with pytest.raises(DataError, match=r"rows\.parquet, row 2: the label 'label' is 3; write 0 or 1"):
        load_examples(table(rows, "parquet"), corpus)


def test_one_id_with_two_questions_is_refused_with_its_row(table):
    rows = [{"id": "1", "question": "who"}, {"id": "1", "question": "why"}]
    with pytest.raises(DataError, match=r"row 2: the question id '1' already stands in row 1; rename one"):
        load_questions(table(rows, "csv"))


@pytest.mark.parametrize("kind", FORMATS)
def test_columns_are_named_behind_the_name(table, kind):
    rows = [{"nr": "1", "q": "who", "gold": "Ada", "right": "Ada wrote.", "wrong": "Bob reads.", "id": "no"}]
    named = f"{table(rows, kind)}:id=nr,question=q,answer=gold,positive=right,negative=wrong"
    corpus = load_corpus(named)
    assert [p.text for p in corpus] == ["Ada wrote.", "Bob reads."]
    (question,) = load_questions(named)
    assert (question.id, question.text, question.answer) == ("1", "who", "Ada")
    (example,) = load_examples(named, corpus).examples
    assert (example.positives, example.negatives) == (("row-1-1",), ("row-1-2",))
    faq = load_corpus(f"{table(rows, kind)}:text=gold,title=q,id=nr")
    assert list(faq) == [Passage("1", "Ada", "who")]


def test_columns_of_json_lines_are_named_alike(tmp_path):
    file = lines(tmp_path / "rows.jsonl", [{"nr": 4, "body_text": "Ada", "q": "who"}])
    assert list(load_corpus(f"{file}:id=nr,text=body_text")) == [Passage("4", "Ada", "")]
    assert [q.text for q in load_questions(f"{file}:id=nr,question=q")] == ["who"]


def test_a_file_without_header_has_its_columns_by_number(tmp_path):
    (tmp_path / "collection.tsv").write_text('0\t"A" is a letter\n1\tso is B\n', "utf-8")
    (tmp_path / "queries.tsv").write_text("7\twhat is a\n", "utf-8")
    assert [(p.id, p.text) for p in load_corpus(f"{tmp_path}/collection.tsv:id=1,text=2")] == [
        ("0", '"A" is a letter'),
        ("1", "so is B"),
    ]
    assert [(q.id, q.text) for q in load_questions(f"{tmp_path}/queries.tsv:id=1,question=2")] == [("7", "what is a")]


def test_what_is_not_understood_names_the_columns_and_the_way_out(table):
    reference = table([{"nr": 1, "body_text": "Ada"}], "parquet")
    for load, what, field in (
        (load_corpus, "the text of a passage", "text"),
        (load_questions, "the question", "question"),
        (load_qrels, "the id of the query", "query_id"),
    ):
        with pytest.raises(DataError) as caught:
            load(reference)
        assert str(caught.value) == (
            f"{reference}: no column holds {what} (columns: nr, body_text); name it: {reference}:{field}=COLUMN"
        )
    questions = table([{"question": "who", "body_text": "Ada"}], "parquet")
    with pytest.raises(DataError, match=r"holds a passage that answers .*positive=COLUMN, or name judgements"):
        load_examples(questions, Corpus([Passage("1", "Ada")]))
    with pytest.raises(DataError, match=r"no column 'gold' \(columns: question, body_text\); correct answer=gold"):
        load_questions(f"{questions}:answer=gold")
    with pytest.raises(DataError, match="'anser=gold' names no column; write FIELD=COLUMN, fields are id, text"):
        load_questions(f"{questions}:anser=gold")


@pytest.mark.parametrize("kind", FORMATS)
def test_an_error_names_the_row(table, kind):
    rows = [{"id": "1", "text": "Ada"}, {"id": "2", "text": None}, {"id": "1", "text": "Bob"}]
    reference = table(rows, kind)
    with pytest.raises(DataError) as caught:
        load_corpus(reference)
    assert str(caught.value).startswith(f"{reference}, row 3: the id '1' already stands in row 1;")
    rows[2]["id"] = "3"
    with pytest.raises(DataError, match=r"row 2: the field 'text' is empty, and there is no title; .* delete the row"):
        load_corpus(table(rows, "csv"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"id,text\n1,a\n2,b,c\n", r"row 2: 3 cells, and there are 2 columns; quote"),
        (b'id,text\n1,"a\n2,b\n', r"row \d: not readable as CSV \(unexpected end of data\); correct its quotes"),
        (b"id,text\n1,\xff\n", r"line 2: not UTF-8; save the file as UTF-8"),
        (b"", r"is empty; write the names of the columns into its first row"),
        (b"id,text,text\n1,a,b\n", r"two columns of the header have one name \(id, text, text\); rename one"),
        (b"id,text\n", r"holds no passage; it needs a row for each with id and text"),
    ],
)
def test_a_damaged_csv_file_is_one_sentence(tmp_path, content, says):
    (tmp_path / "rows.csv").write_bytes(content)
    with pytest.raises(DataError, match=says):
        load_corpus(tmp_path / "rows.csv")


def test_csv_may_be_parted_by_semicolons_and_begin_with_a_mark(tmp_path):
    (tmp_path / "rows.csv").write_bytes("\ufeffid;text\r\n1;a, b\r\n\r\n2;c\r\n".encode())
    assert [(p.id, p.text) for p in load_corpus(tmp_path / "rows.csv")] == [("1", "a, b"), ("2", "c")]


def test_a_damaged_parquet_file_is_one_sentence(tmp_path):
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"rows\.parquet cannot be read as Parquet .*; fetch or write the file again"):
        load_corpus(tmp_path / "rows.parquet")
    whole = write_parquet(tmp_path / "cut.parquet", CORPUS).read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        load_corpus(tmp_path / "cut.parquet")


def test_a_damaged_saved_data_set_is_one_sentence(table):
    folder = table(CORPUS, "saved")
    (folder / "state.json").write_text("{}")
    with pytest.raises(DataError, match=r"cannot be read as a saved data set .*; save it again"):
        load_corpus(folder)


def test_of_several_splits_one_is_named(tmp_path, table, hub):
    folder = table(CORPUS, "splits").removesuffix(":train")
    with pytest.raises(DataError, match=rf"has several splits \(splits: train, dev\); name one, as in {folder}:train"):
        load_corpus(folder)
    assert len(load_corpus(f"{folder}:dev")) == 1
    with pytest.raises(DataError, match=r"has no split 'x' \(splits: train, dev\)"):
        load_corpus(f"{folder}:x")
    table(CORPUS, "hub")
    with pytest.raises(
        DataError, match=r"has several splits \(splits: train, dev\); name one, as in someone/rows:train"
    ):
        load_corpus("someone/rows")
    hub["someone/rows"]["other"] = {"corpus": hub["someone/rows"]["default"]["dev"]}
    with pytest.raises(DataError, match=r"Config name is missing.*name one, as in someone/rows:CONFIG:SPLIT"):
        load_corpus("someone/rows")
    assert len(load_corpus("someone/rows:default:train")) == 3
    assert len(load_corpus("someone/rows:other")) == 1
    assert len(load_corpus("someone/rows:other:corpus:id=id")) == 1
    for name in ("train", "dev"):
        write_parquet(tmp_path / "parts" / f"{name}-00000-of-00001.parquet", CORPUS[: 1 + (name == "train")])
    assert [len(load_corpus(f"{tmp_path}/parts:{name}")) for name in ("train", "dev")] == [2, 1]
    with pytest.raises(DataError, match=r"has several splits \(splits: dev, train\)"):
        load_corpus(tmp_path / "parts")


def test_a_name_that_the_hub_does_not_know_is_one_sentence(hub):
    for load in (load_corpus, load_questions, load_qrels):
        with pytest.raises(DataError) as caught:
            load("nobody/nothing")
        assert str(caught.value) == (
            "nobody/nothing is no file here, and as a data set of the hub it could not be loaded (Dataset "
            "'nobody/nothing' doesn't exist on the Hub); check the name, or load it once where the hub answers"
        )


def test_a_file_that_is_missing_is_not_looked_for_on_the_hub(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("data/train", "elsewhere/train.txt", "./owner/name", "/owner/name", "a/b/c", "corpus"):
        assert source_of(name).kind == "lines"
        with pytest.raises(DataError, match="does not exist"):
            load_corpus(name)
    assert source_of("owner/name:config:split").parts == ("config", "split")


def test_a_data_set_in_the_cache_is_read_without_the_hub(tmp_path, monkeypatch):
    import datasets

    cache = tmp_path / "cache" / "someone___rows" / "default" / "0.0.0" / "abc"
    data = datasets.Dataset.from_list(CORPUS)
    cache.mkdir(parents=True)
    with datasets.arrow_writer.ArrowWriter(path=str(cache / "rows-train.arrow"), features=data.features) as writer:
        for row in CORPUS:
            writer.write(row)
        writer.finalize()
    splits = datasets.SplitDict({"train": datasets.SplitInfo("train", num_examples=len(CORPUS))}, dataset_name="rows")
    info = datasets.DatasetInfo(
        features=data.features, splits=splits, builder_name="parquet", dataset_name="rows", version="0.0.0"
    )
    info.config_name = "default"
    info.write_to_directory(str(cache))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    assert [p.id for p in load_corpus("someone/rows")] == ["a@0", "a@1", "007"]


def test_only_columns_that_are_read_are_fetched_and_in_batches(tmp_path, monkeypatch):
    from pyarrow import parquet

    rows = [{"id": str(n), "text": "Ada", "embedding": [0.5] * 4} for n in range(2_500)]
    file = write_parquet(tmp_path / "rows.parquet", rows)
    fetched = []
    real = parquet.ParquetFile.iter_batches

    def spy(self, batch_size, columns):
        for batch in real(self, batch_size, columns=columns):
            fetched.append((batch.num_rows, columns))
            yield batch

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", spy)
    assert len(load_corpus(file)) == 2_500
    assert fetched == [(1_000, ["id", "text"]), (1_000, ["id", "text"]), (500, ["id", "text"])]


@pytest.mark.parametrize("kind", FORMATS)
def test_judgements_may_be_a_table(table, kind):
    rows = [
        {"query-id": "1", "corpus-id": "a@0", "score": "2"},
        {"query-id": "1", "corpus-id": "a@1", "score": "0"},
        {"query-id": "02", "corpus-id": "x", "score": "1"},
    ]
    if kind not in ("csv", "csv.gz", "tsv"):
        rows = [{**row, "score": int(row["score"])} for row in rows]
    reference = table(rows, kind)
    qrels = load_qrels(reference)
    assert qrels == {"1": {"a@0": 2, "a@1": 0}, "02": {"x": 1}}
    known = Corpus([Passage("a@0", "t"), Passage("a@1", "t")])
    with pytest.raises(DataError, match=r"(row 3|line 4): query '02' names passage 'x', which is not in the corpus"):
        check_qrels(qrels, known, reference)
    if kind != "shards":  # other shards are still there
        named = f"{table([{'q': '1', 'd': 'a@0'}], kind)}:query_id=q,passage_id=d"
        assert load_qrels(named) == {"1": {"a@0": 1}}


def test_a_grade_that_is_no_integer_is_refused_with_its_row(table):
    rows = [{"query_id": "1", "corpus_id": "a", "score": grade} for grade in (1.0, 0.5)]
    with pytest.raises(DataError, match=r"row 2: the grade 'score' is 0.5; write an integer"):
        load_qrels(table(rows, "parquet"))


def test_questions_of_a_table_are_judged_by_a_file(tmp_path, table):
    corpus = load_corpus(table(CORPUS, "csv"))
    (tmp_path / "qrels.tsv").write_text("1\ta@0\t1\n02\t007\t1\n", "utf-8")
    loaded = load_examples(table(QUESTIONS, "parquet"), corpus, tmp_path / "qrels.tsv")
    assert [(e.question.id, e.positives) for e in loaded.examples] == [("1", ("a@0",)), ("02", ("007",))]


@pytest.mark.parametrize("name", ["owner/name:test", "owner/name:config:test", "saved:test", "test.parquet:text=a"])
def test_a_test_split_is_never_trained_or_chosen_on(name):
    with pytest.raises(DataError, match="named as the test set"):
        refuse_test_file(name)
    refuse_test_file("owner/test-suite:train", "train.parquet:answer=test")


def test_a_place_is_read_from_a_table(tmp_path, table):
    rows = [{"id": "d@0", "text": "a", "place": {"start": 1, "end": 2, "page": None}}, {"id": "d@1", "text": "b"}]
    rows[1]["place"] = None
    expected = list(load_corpus(lines(tmp_path / "corpus.jsonl", rows)))
    assert list(load_corpus(table(rows, "parquet"))) == list(load_corpus(table(rows, "csv"))) == expected


def test_the_files_of_a_corpus_are_those_it_is_read_from(table):
    assert [file.name for file in corpus_files(table(CORPUS, "shards"))] == [
        f"train-0000{n}-of-00003.parquet" for n in range(3)
    ]
    assert "data-00000-of-00001.arrow" in [file.name for file in corpus_files(table(CORPUS, "saved"))]
    assert corpus_files(table(CORPUS, "hub")) == []
