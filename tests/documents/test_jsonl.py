"""JSON lines and JSON: every field, nested values, conversations, lines that are none."""

import json

import pytest

from rag.documents.formats.rows.json_lines import parse_jsonl
from rag.documents.parse import parse_file
from rag.errors import UnreadableFile


def read(*rows):
    """The blocks of rows as text, a line each; rows that are no text are written as JSON."""
    text = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    document = parse_jsonl(text.encode())
    return [document.text[block.start : block.end] for block in document.blocks]


def notes(*lines):
    return parse_jsonl("\n".join(lines).encode()).notes


def test_fields_beside_the_text_are_kept():
    row = {"title": "Pump A", "text": "It pumps.", "manufacturer": "Kolbe", "price": 310, "id": 7}
    assert read(row) == ["Pump A", "It pumps.", "manufacturer: Kolbe\nprice: 310\nid: 7"]


def test_nested_fields_and_lists_are_kept_by_their_names():
    row = {
        "address": {"street": "Quay 4", "geo": {"lat": 53.7}},
        "phones": ["123", "456", None],
        "orders": [{"sku": "A", "n": 2}, {"sku": "B"}],
        "grid": [1, [2, 3]],
        "open": True,
        "closed": False,
        "nothing": None,
        "empty": {"list": [], "text": ""},
    }
    assert read(row)[0].split("\n") == [
        "address.street: Quay 4",
        "address.geo.lat: 53.7",
        "phones: 123, 456",
        "orders.1.sku: A",
        "orders.1.n: 2",
        "orders.2.sku: B",
        "grid.1: 1",
        "grid.2: 2, 3",
        "open: true",
        "closed: false",
    ]


def test_numbers_stand_as_they_are_written():
    big = "9" * 5000
    row = f'{{"a": 10.0, "b": 1e400, "c": -0.0, "d": {big}, "e": NaN}}'
    assert read(row) == [f"a: 10.0\nb: 1e400\nc: -0.0\nd: {big}\ne: NaN"]


def test_a_name_that_stands_twice_keeps_both_values():
    assert read('{"a": 1, "a": 2, "title": "T", "title": "U", "text": "x"}') == ["T", "x", "a: 1\na: 2\ntitle: U"]


def test_characters_that_are_halves_or_controls_are_cleaned():
    assert read('{"a": "x\\ud83dy", "b": "\\ud83d\\ude00 \\u0000z\\u00e9"}') == ["a: xy\nb: 😀 zé"]


def test_a_text_of_several_paragraphs_and_a_long_question_are_read_whole():
    assert read({"title": "T", "text": ["one", "two"]}) == ["T", "one\ntwo"]
    question = "Which ferry " + "sails and " * 20 + "returns?"
    assert read({"question": question, "answer": "The blue one."}) == [question, "The blue one."]


CHAT = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Hull."}]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": CHAT},
        {"conversations": [{"from": "user", "value": "Where?"}, {"from": "assistant", "value": "Hull."}]},
        CHAT,
        {"messages": [{"role": m["role"], "content": [{"type": "text", "text": m["content"]}]} for m in CHAT]},
        {"dialog": [{"speaker": m["role"], "text": m["content"]} for m in CHAT]},
    ],
    ids=["messages", "from and value", "bare", "parts", "speakers"],
)
def test_messages_are_a_conversation(row):
    assert read(row) == ["user: Where?", "assistant: Hull."]


def test_what_a_message_holds_beside_its_words_is_kept():
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    call = {"id": "c1", "function": {"name": "find", "arguments": '{"q": 1}'}}
    rows = [
        {"role": "user", "content": [{"type": "text", "text": "Look"}, picture]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "Hull"},
    ]
    assert read({"id": "x1", "messages": rows, "topic": "ports"}) == [
        "x1",
        "user: Look\ntype: image_url\nimage_url.url: (data)",
        'assistant\ntool_calls.1.id: c1\ntool_calls.1.function.name: find\ntool_calls.1.function.arguments: {"q": 1}',
        "tool: Hull\ntool_call_id: c1",
        "topic: ports",
    ]


def test_prompts_questions_and_their_answers_are_read_both():
    assert read({"prompt": "What?", "completion": " That."}) == ["prompt: What?\ncompletion: That."]
    assert read({"question": "What?", "answer": "That."}) == ["What?", "That."]


def test_records_with_an_author_and_a_title_are_no_conversation():
    rows = [{"title": "A", "user": "u", "text": "x"}, {"title": "B", "user": "v", "text": "y"}]
    assert read(json.dumps(rows)) == ["A", "x", "user: u", "B", "y", "user: v"]


def test_the_cut_last_line_of_a_log_is_kept_and_noted():
    lines = ('{"a": 1}', '{"a": 2}', '{"b": "wor')
    assert read(*lines) == ["a: 1", "a: 2", '{"b": "wor']
    assert notes(*lines) == ("line 3, the last, is not valid JSON (cut off?); kept as it stands",)


def test_a_log_of_two_lines_may_be_cut_in_its_second():
    assert read('{"a": "one"}', '{"a": "tw') == ["a: one", '{"a": "tw']
    with pytest.raises(UnreadableFile, match="line 2 is not valid JSON"):
        read('{"a": "one"}', "no", "json", "here")


def test_single_lines_that_are_no_json_are_kept_and_noted():
    lines = ('{"a": 1}', "ERROR: oh", '{"a": 2}')
    assert read(*lines) == ["a: 1", "ERROR: oh", "a: 2"]
    assert notes(*lines) == ("line 2 is not valid JSON; kept as it stands",)
    many = ["{}x" if n % 3 == 0 else '{"a": 1}' for n in range(1, 22)]
    assert notes(*many) == ("7 lines are not valid JSON (3, 6, 9, 12, 15, …); kept as they stand",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no json\nat all", "line 1 is not valid JSON"),
        ("{'a': 1}\n{'b': 2}", "line 1 is not valid JSON"),
        ('{"b": ', "line 1 is not valid JSON"),
        ('{\n "a": 1,\n "b": [1,\n', "line 4 is not valid JSON"),
    ],
)
def test_what_is_no_json_is_refused_with_its_line(text, reason):
    with pytest.raises(UnreadableFile, match=reason):
        parse_jsonl(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        '[{"a": 1}, {"a": 2}]',
        '[\n  {\n    "a": 1\n  },\n  {\n    "a": 2\n  }\n]',
        '{"a": 1},\n{"a": 2},\n',
        '{\n "a": 1\n}\n{\n "a": 2\n}\n',
        '\ufeff{"a": 1}\r\n\r\n{"a": 2}\r\n',
        '\x1e{"a": 1}\n\x1e{"a": 2}\n',
        '[\n{"a": 1},\n{"a": 2},\n',
    ],
    ids=["list", "printed list", "commas", "printed objects", "mark and blank lines", "RFC 7464", "list cut off"],
)
def test_rows_are_lines_or_the_items_of_a_list(text):
    assert read(text) == ["a: 1", "a: 2"]


def test_values_that_are_no_objects_are_lines():
    assert read("1", '"two"', "null", "true", '["a", 2]') == ["1", "two", "true", "a, 2"]


def test_deep_nesting_costs_no_other_line():
    deep = "[" * 100_000 + '"word"' + "]" * 100_000
    lines = ('{"a": 1}', deep, '{"b": 2}')
    assert read(*lines) == ["a: 1", deep, "b: 2"]
    assert notes(*lines) == ("line 2 is nested too deeply; kept as it stands",)
    assert read('{"a":' * 300 + '"word"' + "}" * 300) == ["a." * 20 + "a: word"]
    assert "word" in read("[\n" + deep + "\n]")[0]


def test_embeddings_are_left_out_and_counted():
    row = {"text": "hi", "embedding": [n / 7 for n in range(100)], "years": list(range(1900, 2000))}
    assert read(row) == ["hi", "years: " + ", ".join(map(str, range(1900, 2000)))]
    assert notes(json.dumps(row)) == ("1 lists of numbers (embeddings) are left out",)


def test_a_json_file_is_read(tmp_path):
    (tmp_path / "a.json").write_text('{\n "port": {"name": "Hull"},\n "berths": [{"n": 1}, {"n": 2}]\n}', "utf-8")
    assert parse_file(tmp_path / "a.json").text == "port.name: Hull\nberths.1.n: 1\nberths.2.n: 2"
