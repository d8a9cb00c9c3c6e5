"""Chunks fit the limit, lose nothing, stand where they say, and follow headings and sentences."""

import itertools

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from rag.documents.chunk import ChunkSettings, chunk_document, title_of
from rag.documents.document import Document, TextBuilder


def words(texts):
    return [len(text.split()) for text in texts]


def characters(texts):
    return [len(text) for text in texts]


def chunks_of(document, count=words, max_tokens=20, overlap_tokens=0):
    return chunk_document(document, count, ChunkSettings(max_tokens, overlap_tokens))


def document(*blocks, title=""):
    builder = TextBuilder()
    for kind, text, *level in blocks:
        builder.add(kind, text, level=level[0] if level else 0)
    made = builder.document("text", title or "x")
    return Document("text", title, made.text, made.blocks)


def test_a_chunk_ends_with_a_sentence():
    sentences = [f"Sentence number {n} has seven words here." for n in range(6)]
    chunks = chunks_of(document(("text", " ".join(sentences))))
    assert [chunk.text for chunk in chunks] == [" ".join(sentences[n : n + 2]) for n in (0, 2, 4)]


def test_sections_are_kept_apart_unless_they_are_tiny():
    made = document(
        ("heading", "Ferries", 1),
        ("text", "The ferry sails daily at noon."),
        ("heading", "Fares", 2),
        ("text", "Dogs are free."),
        ("heading", "Tides", 1),
        ("text", "High at noon, low at night, as ever."),
        title="Tern Island",
    )
    chunks = chunks_of(made)
    assert [chunk.heading for chunk in chunks] == [("Ferries",), ("Ferries", "Fares")]
    assert chunks[1].text == "Dogs are free.\n\nTides\n\nHigh at noon, low at night, as ever."
    assert title_of("Tern Island", chunks[1].heading) == "Tern Island › Ferries › Fares"
    assert title_of("Ferries", ("Ferries", "")) == "Ferries"


def test_a_table_carries_its_header_into_every_chunk():
    builder = TextBuilder()
    builder.table([["who", "price"], *([f"guest {n}", str(n)] for n in range(10))])
    made = builder.document("csv", "")
    chunks = chunks_of(Document("csv", "", made.text, made.blocks))
    assert len(chunks) > 2
    assert all(chunk.text.startswith("who | price\nguest") for chunk in chunks)
    assert all(words([chunk.text])[0] <= 20 for chunk in chunks)


def test_the_next_chunk_repeats_whole_sentences_up_to_the_overlap():
    sentences = [f"Fact {n} is so." for n in range(12)]
    chunks = chunks_of(document(("text", " ".join(sentences))), overlap_tokens=5)
    for before, after in itertools.pairwise(chunks):
        assert after.start < before.end
        assert after.text.split(". ")[0] + "." == before.text.split(". ")[-1]


def test_a_sentence_without_end_is_cut_between_words_and_a_word_between_characters():
    chunks = chunks_of(document(("text", "long " * 50)))
    assert [words([chunk.text])[0] for chunk in chunks] == [20, 20, 10]
    chunks = chunks_of(document(("text", "x" * 500)), count=characters, max_tokens=100)
    assert "".join(chunk.text for chunk in chunks) == "x" * 500
    assert all(len(chunk.text) <= 100 for chunk in chunks)


def test_an_empty_document_has_no_chunk():
    assert chunks_of(Document("text", "", "", ())) == []


def test_a_heading_with_nothing_below_it_is_a_passage():
    assert [chunk.text for chunk in chunks_of(document(("heading", "Alone", 1)))] == ["Alone"]
    made = document(("heading", "Part", 1), ("heading", "One", 2), ("heading", "Two", 2), ("text", "Dogs are free."))
    assert [chunk.text for chunk in chunks_of(made)] == ["One\n\nTwo\n\nDogs are free."]
    assert chunks_of(made)[0].heading == ("Part",)


blocks = st.lists(
    st.tuples(
        st.sampled_from(["text", "text", "code", "table", "heading"]),
        st.text(st.sampled_from("ab .!?\n|é漢"), min_size=1, max_size=200),
        st.integers(1, 3),
    ),
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(blocks, st.integers(10, 60), st.integers(0, 20), st.sampled_from([words, characters]))
def test_chunks_of_anything_fit_cover_and_stand_in_their_place(made, limit, overlap, count):
    made = document(*made)
    chunks = chunks_of(made, count, limit, overlap)
    covered = set()
    for chunk in chunks:
        text = made.text[chunk.start : chunk.end]
        assert chunk.text.endswith(text)
        assert text == text.rstrip()
        covered.update(range(chunk.start, chunk.end))
        # What stands between blocks is a blank line or a heading; those were counted, blanks by characters were not.
        assert count([chunk.text])[0] <= limit + (len(chunk.text) if count is characters else 0)
    for block in made.blocks:
        if block.kind != "heading":
            assert not any(
                ch.strip() and place not in covered
                for place, ch in enumerate(made.text[block.start : block.end], block.start)
            )


def test_real_text_fits_the_limit_of_a_real_tokenizer(tiny_encoder):
    from pydoc_data.topics import topics

    builder = TextBuilder()
    for paragraph in topics["class"].split("\n\n"):
        builder.add("text", paragraph)
    made = builder.document("text", "class")
    for chunk in chunks_of(made, tiny_encoder.count_tokens, max_tokens=60, overlap_tokens=10):
        assert tiny_encoder.count_tokens([title_of(made.title, chunk.heading) + "\n" + chunk.text])[0] <= 62


@pytest.fixture(scope="module")
def tiny_encoder(tiny_encoder_folder):
    from rag.retrieve.encoder import Encoder

    return Encoder(tiny_encoder_folder, device="cpu", precision="fp32")
