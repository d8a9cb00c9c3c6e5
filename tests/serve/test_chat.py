import dataclasses
import html
import re
import threading

import numpy as np
import pytest

from rag.data.passages import Corpus
from rag.errors import GenerationError
from rag.generate.answer import parse_answer
from rag.lazy import Lazy
from rag.pipeline import Depths
from rag.retrieve.bm25 import BM25Retriever
from rag.serve.chat import MAX_QUESTION_CHARACTERS
from rag.serve.turns import Options, Turn
from rag.serve.view import turn_view
from rag.types import Answer, Hit, Passage, Query, Response
from tests.fakes.pipelines import Echo

OPTIONS = Options("bm25", Depths(10, 10, 2))


def last(chat, question, history=()):
    return list(chat.ask(question, history, OPTIONS))[-1]


def test_a_turn_ends_with_a_cited_answer(make_chat):
    turn = last(make_chat(), "who designed the amber line")
    assert turn.done
    assert turn.response.answer.citations == ("doc_0@0",)
    view = turn_view(turn, number=1)
    assert 'data-source="1"' in view["answer_html"]
    assert [source["n"] for source in view["sources"] if source["cited"]] == [1]


TWO = tuple(Hit(Passage(name, f"passage {name}"), 1.0) for name in "ab")


def cited(text, marks=(), citations=("a", "b"), **more):
    """A turn with an answer over two passages."""
    answer = Answer(text, citations, text, marks)
    return Turn("q", response=Response(Query("q", "q"), TWO, TWO, TWO, answer), **more)


def shown(turn):
    return turn_view(turn, number=1)["answer_html"]


def words_of(page):
    return html.unescape(re.sub("<[^>]+>", "", page))


def test_citations_are_links_at_their_places_and_those_without_one_at_the_end():
    page = shown(cited("Early. Dogs <too>.", ((5, ("b",)),), done=True))
    assert words_of(page) == "Early [2]. Dogs <too>. [1]"
    assert page.index('data-source="2"') < page.index("Dogs") < page.index('data-source="1"')
    assert words_of(shown(cited("Early. Dogs too.", done=True))) == "Early. Dogs too. [1] [2]"


def test_a_growing_answer_shows_its_citations_where_they_will_stay():
    whole = "Early birds [2] sail at nine. Hounds pay nothing [1]."
    answer = parse_answer(whole, [hit.passage for hit in TWO])
    done = words_of(shown(cited(answer.text, answer.marks, answer.citations, done=True)))
    for n in range(1, len(whole) + 1):
        grown = words_of(shown(cited(whole[:n].strip(), citations=())))
        assert done.startswith(re.sub(r" ?\[\d?$", "", grown))
    stopped = shown(cited(whole[:30], citations=(), done=True, stopped=True))
    assert words_of(stopped) == "Early birds [2] sail at nine."
    assert 'data-source="2"' in stopped


def test_the_answer_grows(make_chat):
    snapshots = [t for t in make_chat().ask("who designed the amber line", [], OPTIONS) if t.response]
    texts = [t.response.answer.text for t in snapshots if t.response.answer]
    assert len(texts) > 2


def test_a_parsed_answer_is_shown_only_once_it_is_done(make_chat):
    for threshold, text in ((None, "Amber Line"), (1e9, "CANNOTANSWER")):
        turns = list(make_chat(threshold=threshold).ask("who designed the amber line", [], OPTIONS))
        assert turns[-1].response.answer.text == text
        growing = [turn.response.answer for turn in turns[:-1] if turn.response and turn.response.answer]
        assert all(answer.text == answer.raw.strip() for answer in growing)


def test_what_must_be_loaded_first_does_not_delay_the_first_sign(make_chat):
    chat, asked = make_chat(), []
    chat.threshold_at = asked.append
    growing = chat.ask("who designed the amber line", [], OPTIONS)
    assert next(growing).status
    assert asked == []
    *_, turn = growing
    assert turn.response.answer
    assert asked == [None]


class Rewriting(Echo):
    def generate(self, conversations):
        if "Rewrite" in conversations[0][-1]["content"]:
            return ["Where did Clara Voss study?"]
        return super().generate(conversations)


def test_a_follow_up_is_rewritten_and_shown(make_chat):
    chat = make_chat(Rewriting())
    first = last(chat, "who designed the amber line")
    second = last(chat, "where did she study?", [first])
    assert second.searched_for == "Where did Clara Voss study?"
    assert turn_view(second, number=2)["searched_for"] == second.searched_for


def test_a_follow_up_that_cannot_be_rewritten_is_asked_together_with_the_last_question(make_chat):
    chat = make_chat()  # its generator refuses to rewrite
    first = last(chat, "who designed the amber line")
    second = last(chat, "where did she study?", [first])
    assert second.searched_for == second.response.query.text == "who designed the amber line where did she study?"


def test_the_words_of_the_conversation_are_searched_too(make_chat, passages):
    chat = make_chat(Rewriting())
    first = last(chat, "when does the ferry to tern island leave")
    assert first.response.answer.citations == ("doc_1@1",)
    second = last(chat, "when was the lighthouse built?", [first])
    assert {hit.passage.id for hit in second.response.retrieved} == {"doc_1@0", "doc_1@1"}
    # By itself, it shares no word with the ferry's passage. It stands alone, so what is asked stays as typed.
    alone = last(chat, "when was the lighthouse built?")
    assert [hit.passage.id for hit in alone.response.retrieved] == ["doc_1@0"]
    assert (second.searched_for, second.response.query.text) == ("", "when was the lighthouse built?")


def test_without_an_answer_before_it_a_question_is_searched_as_it_is(make_chat):
    chat = make_chat()
    question = "and where did clara voss study?"
    unanswered = Turn("who designed the amber line", error="no server answers", done=True)
    for history in ([], [unanswered]):
        turn = last(chat, question, history)
        assert list(turn.response.retrieved) == chat.retrievers["bm25"].get().retrieve([question], 10)[0]


def test_a_new_topic_is_answered_as_if_nothing_had_been_said(make_chat):
    chat = make_chat(Rewriting())
    first = last(chat, "when does the ferry to tern island leave")
    second = last(chat, "why does bread dough rise when there is yeast", [first])
    alone = last(chat, "why does bread dough rise when there is yeast")
    assert second.response.retrieved[0].passage == alone.response.retrieved[0].passage
    assert second.response.answer == alone.response.answer
    assert not second.searched_for


def test_an_edited_search_is_taken_as_it_is(make_chat):
    chat = make_chat(Rewriting())
    first = last(chat, "who designed the amber line")
    edited = list(chat.ask("where did she study?", [first], OPTIONS, search_for="where is graz"))[-1]
    assert edited.searched_for == "where is graz"
    assert edited.response.query.text == "where is graz"


def test_collections_are_searched_alone(make_chat, passages):
    chat = make_chat()
    third = BM25Retriever(Corpus(passages)).restricted_to(np.arange(7) == 2)
    chat.narrow = lambda kind, names, attached: Lazy.of(third)
    options = dataclasses.replace(OPTIONS, collections=("one",))
    turn = list(chat.ask(passages[2].text, [], options))[-1]
    assert [hit.passage.id for hit in turn.response.retrieved] == [passages[2].id]
    nowhere = dataclasses.replace(OPTIONS, collections=())
    none = list(chat.ask("who designed the amber line", [], nowhere, search_for="amber line"))[-1]
    assert "choose at least one collection" in none.error
    assert none.searched_for == "amber line"


def test_files_of_a_conversation_are_searched_and_their_cards_open_there(make_chat, passages):
    chat, asked = make_chat(), []
    chat.narrow = lambda *chosen: asked.append(chosen) or Lazy.of(BM25Retriever(Corpus(passages)))
    turn = list(chat.ask(passages[2].text, [], dataclasses.replace(OPTIONS, attached="ab12", collections=())))[-1]
    assert asked == [("bm25", (), "ab12")]
    assert turn.attached == "ab12"
    assert turn_view(turn, number=1)["sources"][0]["href"].startswith("conversation/ab12/source/")


def test_too_long_a_search_is_told_and_the_question_stays(make_chat):
    (turn,) = make_chat().ask("who designed it", [], OPTIONS, search_for="x" * (MAX_QUESTION_CHARACTERS + 1))
    assert turn.question == "who designed it"
    assert "What to search for is longer" in turn.error


def test_a_card_opens_and_is_cited(make_chat):
    (source, *_) = turn_view(last(make_chat(), "who designed the amber line"), number=1)["sources"]
    assert re.fullmatch(r"source/doc_0@0\?sentence=\d+-\d+#passage", source["href"])
    assert source["cited"]


def test_a_refusal_is_shown_as_such_and_not_as_an_error(make_chat):
    turn = last(make_chat(threshold=1e9), "who designed the amber line")
    assert turn.response.answer.abstained
    assert not turn.error
    view = turn_view(turn, number=1)
    assert "Not in these documents" in view["answer_html"]
    assert "CANNOTANSWER" not in str(view)
    assert view["sources"]


class Failing(Echo):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def stream(self, conversation):
        raise self.error
        yield


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (GenerationError("no server answers at X"), "no server answers"),
        (MemoryError(), "out of memory"),
        (KeyError("x"), "went wrong"),
    ],
)
def test_a_failure_becomes_a_sentence_and_the_next_question_works(make_chat, error, sentence):
    generator = Failing(error)
    chat = make_chat(generator)
    turn = last(chat, "who designed the amber line")
    assert turn.done
    assert sentence in turn.error
    generator.stream = Echo().stream
    assert last(chat, "who designed the amber line", [turn]).response.answer.text == "Amber Line"


@pytest.mark.parametrize("question", ["", "   ", "x" * (MAX_QUESTION_CHARACTERS + 1)])
def test_a_useless_question_gets_a_sentence(make_chat, question):
    assert last(make_chat(), question).error


def test_an_unknown_retriever_gets_a_sentence(make_chat):
    turn = list(make_chat().ask("why", [], Options("telepathy")))[-1]
    assert "telepathy" in turn.error


def test_several_people_at_once_get_their_own_answers(make_chat):
    chat = make_chat()
    questions = {"who designed the amber line": "Amber Line", "why does bread dough rise": "Bread"}
    wrong = []

    def person(question, wanted):
        for _ in range(10):
            if last(chat, question).response.answer.text != wanted:
                wrong.append(question)

    threads = [threading.Thread(target=person, args=item) for item in questions.items() for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


HOSTILE = "<script>alert(1)</script> ![x](http://evil.example/x.png) **bold** <img src=x onerror=alert(1)>"


def test_text_from_passages_models_and_people_is_escaped():
    passage = Passage("a", HOSTILE, HOSTILE)
    hits = (Hit(passage, 1.0),)
    turn = Turn(HOSTILE, HOSTILE, Response(Query("q", HOSTILE), hits, hits, hits, Answer(HOSTILE, ("a",))), done=True)
    view = turn_view(turn, number=1)
    for page in (view["answer_html"], view["quote_html"], view["sources"][0]["excerpt_html"]):
        assert "<script" not in page
        assert "<img" not in page
    assert "<strong>bold</strong>" in view["answer_html"]


def test_preloading_ends_ready_or_says_why(make_chat):
    chat = make_chat()
    chat.preload("bm25").join()
    assert chat.ready
    broken = make_chat()
    broken.generator = Lazy(lambda: (_ for _ in ()).throw(GenerationError("no memory")))
    broken.preload("bm25").join()
    assert broken.status == "Not ready: no memory"
    assert not broken.ready
