"""What a generator is trained on: contexts as the pipeline finds them, rows that answer, rows that refuse."""

from dataclasses import replace

import pytest

from rag.build.indexes import make_index
from rag.build.pipelines import make_pipeline
from rag.build.serving import serving_over
from rag.data.labelled import Example, load_examples
from rag.data.passages import Corpus
from rag.data.questions import Question
from rag.errors import DataError, RunMismatchError
from rag.generate.builtin import get_prompt
from rag.index.read import open_index
from rag.lazy import Lazy
from rag.pipeline import Depths, Pipeline
from rag.rerank.keep_order import KeepOrder
from rag.train.generator_contexts import Contexts, find_contexts
from rag.train.generator_recipes import RECIPES
from rag.train.generator_rows import Forms, RowMaker, is_sentence, make_rows
from rag.types import CANNOTANSWER, Passage
from tests.fakes.pipelines import Echo
from tests.fakes.tiny import write_corpus
from tests.fakes.training import PASSAGES

CORPUS = Corpus(
    [
        Passage("tern@0", "The ferry to Tern Island was built by Clara Voss.", "Tern Island"),
        Passage("tern@1", "Tern Island has a lighthouse.", "Lights"),
        Passage("graz@0", "Clara Voss studied in Graz.", "Graz"),
        Passage("rye@0", "Rye has less gluten than wheat.", "Rye"),
        Passage("hale@0", "The ferry of 1931 was painted in Port Hale.", "Port Hale"),
    ]
)
FERRY = Example(Question("q1", "", "Who built the ferry to Tern Island?", "Clara Voss"), ("tern@0",))
GLUTEN = Example(Question("q2", "", "How much gluten has Rye in Port Hale?", "Less than wheat."), ("rye@0",))
NOBODY = Example(Question("q3", "", "Who owns Rye?", CANNOTANSWER), ())
FORMS = Forms(get_prompt("tuned-v1"), get_prompt("tuned-sentences-v1"))
NONE = {"put_in_share": 0.0, "withheld_share": 0.0, "twin_share": 0.0}


def contexts(example, *ids, sentences=None):
    scored = tuple((pid, 5.0 - n) for n, pid in enumerate(ids))
    return Contexts(example.question.id, example.question.rewrite, scored, example.positives, sentences or {})


def maker(margin=None, corpus=CORPUS, **changes):
    pipeline = Pipeline(
        Lazy.of(None),
        Lazy.of(KeepOrder()),
        Lazy.of(None),
        get_prompt("extract-v1"),
        depths=Depths(5, 5, 2),
        sentence_margin=margin,
    )
    return RowMaker(pipeline, corpus, Echo(), FORMS, replace(RECIPES["lora"], **{**NONE, **changes}))


def rows_of(example, found, **changes):
    return make_rows([example], {example.question.id: found}, maker(**changes))


def shown(row):
    """The ids of the passages in a row's prompt, in its order."""
    prompt = row.messages[-1]["content"]
    there = [passage for passage in CORPUS if passage.text in prompt]
    return [passage.id for passage in sorted(there, key=lambda passage: prompt.index(passage.text))]


def test_an_answer_is_learnt_from_the_prompt_that_the_pipeline_would_write():
    (row,) = rows_of(FERRY, contexts(FERRY, "hale@0", "tern@0", "rye@0")).rows
    passages = [CORPUS.by_id("hale@0"), CORPUS.by_id("tern@0")]
    assert row.messages == get_prompt("tuned-v1").conversation(FERRY.question.rewrite, passages)
    assert (row.kind, row.target, row.refuses) == ("found", "Clara Voss", False)


def test_an_answer_may_cite_the_passage_that_holds_it():
    two = replace(FERRY, positives=("hale@0", "tern@0"))  # of two right passages one holds the words
    (row,) = rows_of(two, contexts(two, "hale@0", "tern@0"), cite=True).rows
    assert row.target == "Clara Voss [2]"


def test_what_was_not_found_is_put_in_at_a_random_rank():
    places = set()
    for seed in range(12):
        (row,) = rows_of(FERRY, contexts(FERRY, "hale@0", "rye@0"), put_in_share=1.0, seed=seed).rows
        assert (row.kind, row.target) == ("put in", "Clara Voss")
        assert set(shown(row)) == {"hale@0", "tern@0"}
        places.add(shown(row).index("tern@0"))
    assert places == {0, 1}


def test_what_was_not_found_and_is_not_put_in_is_refused():
    (row,) = rows_of(FERRY, contexts(FERRY, "hale@0", "rye@0")).rows
    assert (row.kind, row.target, shown(row)) == ("not found", CANNOTANSWER, ["hale@0", "rye@0"])


def test_a_passage_that_answers_without_a_label_makes_no_refusal():
    (row,) = rows_of(FERRY, contexts(FERRY, "hale@0", "graz@0")).rows
    assert (row.kind, row.target) == ("found", "Clara Voss")


def test_an_answer_that_the_chosen_sentences_leave_out_is_not_learnt():
    text = "The ferry is blue. It sails at noon. Dogs are free. Clara Voss built it."
    corpus = Corpus([Passage("tern@0", text), Passage("rye@0", "Rye is a cereal.")])
    scores = {"tern@0#0": 9.0, "tern@0#1": 0.0, "tern@0#2": 0.0, "tern@0#3": 0.0, "rye@0#0": 9.0}
    for last, n_rows in ((0.0, 0), (8.0, 1)):
        found = contexts(FERRY, "tern@0", "rye@0", sentences={**scores, "tern@0#3": last})
        other = contexts(NOBODY, "rye@0", sentences=scores)
        made = make_rows([FERRY, NOBODY], {"q1": found, "q3": other}, maker(margin=2.0, corpus=corpus))
        assert [row.qid for row in made.rows] == ["q1"] * n_rows + ["q3"]
        assert sum(made.left_out.values()) == 1 - n_rows
    assert (
        made.rows[0].messages[-1]["content"].startswith("[1] The ferry is blue. It sails at noon. Dogs are free. Clara")
    )


def test_sentences_that_the_file_of_contexts_does_not_know_are_told():
    found = contexts(FERRY, "tern@0", "rye@0", sentences={"tern@0#0": 1.0})
    with pytest.raises(DataError, match=r"rye@0#0.*another file"):
        make_rows([FERRY], {"q1": found}, maker(margin=2.0))


def test_where_the_answer_is_withheld_no_passage_holds_its_words_and_none_is_of_its_document():
    found = contexts(FERRY, "tern@0", "tern@1", "graz@0", "rye@0", "hale@0")
    answered, row = rows_of(FERRY, found, withheld_share=1.0).rows
    assert not answered.refuses
    assert (row.kind, row.target, shown(row)) == ("withheld", CANNOTANSWER, ["rye@0", "hale@0"])
    assert "Voss" not in row.messages[-1]["content"]
    _, row = rows_of(FERRY, found, withheld_share=1.0, withhold="passage").rows
    assert shown(row) == ["tern@1", "rye@0"]


def test_where_others_are_too_few_passages_of_the_document_are_shown_beside_them():
    _, row = rows_of(FERRY, contexts(FERRY, "tern@0", "tern@1", "graz@0", "rye@0"), withheld_share=1.0).rows
    assert shown(row) == ["tern@1", "rye@0"]


def test_no_refusal_shows_fewer_contexts_than_other_rows():
    made = rows_of(FERRY, contexts(FERRY, "tern@0", "graz@0", "rye@0"), withheld_share=1.0)
    assert [row.kind for row in made.rows] == ["found"]
    assert "1 withheld (too few others were found)" in made.summary()


def test_a_near_twin_is_refused_from_the_same_contexts():
    found = {"q1": contexts(FERRY, "tern@0", "rye@0"), "q2": contexts(GLUTEN, "rye@0", "hale@0")}
    made = make_rows([FERRY, GLUTEN], found, maker(twin_share=1.0))
    twins = {row.qid: row for row in made.rows if row.kind == "twin"}
    assert twins["q1"].messages[-1]["content"].endswith("Question: Who built the ferry to Port Hale?")
    assert (twins["q1"].target, shown(twins["q1"])) == (CANNOTANSWER, ["tern@0", "rye@0"])


def test_a_near_twin_that_a_passage_could_answer_is_not_made():
    both = Passage("both@0", "Clara Voss built the ferries of Tern Island and of Port Hale.")
    corpus = Corpus([*CORPUS, both])
    found = {"q1": contexts(FERRY, "tern@0", "both@0"), "q2": contexts(GLUTEN, "rye@0")}
    made = make_rows([FERRY, GLUTEN], found, maker(corpus=corpus, twin_share=1.0))
    assert {row.qid for row in made.rows if row.kind == "twin"} == {"q2"}


def test_questions_labelled_unanswerable_are_refused_as_they_are_found():
    made = make_rows(
        [FERRY, NOBODY], {"q1": contexts(FERRY, "tern@0"), "q3": contexts(NOBODY, "rye@0", "hale@0")}, maker()
    )
    row = made.rows[-1]
    assert (row.kind, row.target, shown(row)) == ("unanswerable", CANNOTANSWER, ["rye@0", "hale@0"])


def test_the_prompt_tells_whether_a_phrase_or_sentences_are_wanted():
    found = contexts(GLUTEN, "rye@0", "hale@0")
    systems = [rows_of(GLUTEN, found, tell_form=told).rows[0].messages[0]["content"] for told in (True, False)]
    assert systems == [get_prompt("tuned-sentences-v1").system, get_prompt("tuned-v1").system]
    assert systems[0] != systems[1]
    # refusals are asked for in the form of their source's answers: here all are sentences
    made = make_rows([GLUTEN, NOBODY], {"q2": found, "q3": contexts(NOBODY, "rye@0")}, maker())
    assert {row.messages[0]["content"] for row in made.rows} == {systems[0]}


def test_an_answer_in_sentences_has_nine_words_or_a_full_stop():
    assert not is_sentence("one two three four five six seven eight")
    assert is_sentence("one two three four five six seven eight nine")
    assert is_sentence("Less than wheat. ")


def test_rows_follow_from_seed_and_question_alone():
    found = {"q1": contexts(FERRY, "hale@0", "rye@0", "tern@1"), "q3": contexts(NOBODY, "rye@0", "hale@0")}
    halves = {"put_in_share": 0.5, "withheld_share": 0.5}
    kinds = set()
    for seed in range(12):
        alone = make_rows([FERRY], found, maker(seed=seed, **halves)).rows
        both = make_rows([NOBODY, FERRY], found, maker(seed=seed, **halves)).rows
        assert [row for row in both if row.qid == "q1"] == list(alone)
        kinds.add(tuple(row.kind for row in alone))
    assert len(kinds) > 2


@pytest.fixture
def found(data):
    settings, folder = data
    serving = serving_over(settings, folder / "index")
    corpus = open_index(folder / "index").corpus
    examples = list(load_examples(folder / "train.txt", corpus).examples)
    return serving, corpus, examples, folder / "contexts.jsonl"


def test_contexts_are_those_of_the_pipeline(found):
    serving, corpus, examples, file = found
    contexts = find_contexts(serving, examples, file)
    pipeline = make_pipeline(serving, interactive=False)
    for example in examples[:5]:
        (response,) = pipeline.excerpt(pipeline.rerank(pipeline.retrieve([example.question.query])))
        own = contexts[example.question.id]
        assert own.best(8) == [hit.passage.id for hit in response.reranked[:8]]
        again = own.response(pipeline, corpus, own.best(3))
        assert again.excerpts == response.excerpts
        assert [hit.passage for hit in again.reranked] == [hit.passage for hit in response.reranked[:3]]
        # a right passage that was not found can be shown with its sentences, too
        assert own.response(pipeline, corpus, example.positives).excerpts.keys() == set(example.positives)


def test_finding_contexts_goes_on_after_a_kill(found, monkeypatch):
    serving, _, examples, file = found
    whole = find_contexts(serving, examples, file)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:9]) + lines[9][:20])
    asked = []
    retrieve = Pipeline.retrieve
    monkeypatch.setattr(Pipeline, "retrieve", lambda self, queries: asked.extend(queries) or retrieve(self, queries))
    assert find_contexts(serving, examples, file) == whole
    assert len(asked) == len(examples) - 9
    assert file.read_bytes() == b"".join(lines)


def test_one_file_of_contexts_grows_with_the_questions(found):
    serving, _, examples, file = found
    first = find_contexts(serving, examples[:3], file)
    more = find_contexts(serving, examples[2:], file)
    assert len(file.read_text("utf-8").splitlines()) == len(examples)
    assert first[examples[2].question.id] == more[examples[2].question.id]


def test_contexts_of_another_index_are_refused(found, tmp_path):
    serving, _, examples, file = found
    find_contexts(serving, examples[:2], file)
    fewer = write_corpus(tmp_path / "fewer.txt", PASSAGES[:-1])
    make_index(serving.settings, fewer, tmp_path / "other")
    with pytest.raises(RunMismatchError, match="index: "):
        find_contexts(serving_over(serving.settings, tmp_path / "other"), examples[:2], file)


def test_contexts_of_other_labels_are_refused(found):
    serving, corpus, examples, file = found
    find_contexts(serving, examples[:2], file)
    relabelled = replace(examples[0], positives=(corpus[7].id,))
    with pytest.raises(DataError, match=r"other right passages.*--contexts FILE"):
        find_contexts(serving, [relabelled], file)
