"""Text of scripts without spaces is split at its sentences, and compared by its letters."""

from rag.documents.chunk import ChunkSettings, chunk_document
from rag.documents.document import TextBuilder
from rag.documents.duplicates import signature_of
from rag.sentences import sentence_spans


def characters(texts):
    return [len(text) for text in texts]


def chunks_of(text, max_tokens):
    builder = TextBuilder()
    builder.add("text", text)
    made = builder.document("text", "")
    return [chunk.text for chunk in chunk_document(made, characters, ChunkSettings(max_tokens, 0))]


def test_a_chunk_ends_behind_a_full_stop_without_a_space():
    sentences = [
        "港口建于一八九零年。",
        "它真的很古老吗？",
        "是的，很古老！",
        "मछली पानी में है।",
        "هل أنت هنا؟",
        "یہ ایک جملہ ہے۔",
    ]
    for first in sentences:
        for second in sentences:
            room = max(len(first), len(second))
            assert [chunk.strip() for chunk in chunks_of(first + second, room)] == [first, second]


def test_closing_quotes_and_brackets_stay_with_their_sentence():
    assert chunks_of("他说：“今天很冷。”大家都同意。", 10) == ["他说：“今天很冷。”", "大家都同意。"]
    assert chunks_of("「そうです。」彼は帰った。", 7) == ["「そうです。」", "彼は帰った。"]
    assert chunks_of("真的吗？！是的没错。", 6) == ["真的吗？！", "是的没错。"]


def test_closing_quotes_of_german_and_french_stay_with_their_sentence():
    assert chunks_of("„Das ist gut.“ Danach kam er.", 15) == ["„Das ist gut.“", "Danach kam er."]
    assert chunks_of("»Halt!« Er ging.", 9) == ["»Halt!«", "Er ging."]
    assert chunks_of("« Oui. » Il part.", 10) == ["« Oui. »", "Il part."]
    assert chunks_of("次です．値は３．５です．", 8) == ["次です．", "値は３．５です．"]


def test_a_long_text_without_any_end_is_cut_between_characters_and_nothing_is_lost():
    text = "港口" * 300
    chunks = chunks_of(text, 40)
    assert "".join(chunks) == text
    assert max(map(len, chunks)) <= 40


def test_decimal_points_and_abbreviations_end_no_sentence():
    assert chunks_of("It is 3.5 km.It goes on", 100) == ["It is 3.5 km.It goes on"]


def test_sentences_end_at_the_same_places_as_chunks():
    text = "他说：“今天很冷。”大家都同意。"
    assert [text[start:end] for start, end in sentence_spans(text)] == ["他说：“今天很冷。”", "大家都同意。"]


def test_chinese_documents_that_differ_in_a_word_are_near_duplicates():
    text = "".join(f"第{n}条规定了港口的使用方法和费用。" for n in range(40))
    other = text.replace("第7条", "第七条")
    shared = sum(a == b for a, b in zip(signature_of(text), signature_of(other), strict=True))
    assert shared >= 55  # of 64
    unlike = "".join(f"昨天下午{n}点下了一场大雨，河水上涨。" for n in range(40))
    assert sum(a == b for a, b in zip(signature_of(text), signature_of(unlike), strict=True)) < 10
