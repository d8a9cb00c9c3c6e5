"""Bytes become text: languages in their encodings, damaged UTF-8, marks, declared charsets, NULs."""

import codecs
import gzip

import pytest

from rag.documents.decode import declared_charset, decode, decode_noted
from rag.documents.parse import parse_file
from rag.documents.scan import scan
from rag.documents.sniff import sniff, suffix_of, unpacked
from rag.errors import UnreadableFile

LINE = "Überwachung der Brücke: geöffnet.\n"

TEXTS = {
    "cp1252": [
        "Voilà.",
        "Le café ferme à 18 h.",
        "Où est passé le garçon ? Il déjeune à l’hôtel.",
        "Réservé aux élèves et à leurs maîtres, même en été.",
        "São Paulo",
        "A estação não está aberta.",
        "Você também tem opções de inscrição até às 9 horas.",
        "El niño come.",
        "¿Dónde está el año pasado?",
        "La señora compró un jamón más pequeño.",
        "Müller",
        "Straße gesperrt",
        "Die Fähre fährt täglich über den großen See.",
        "Smørrebrød på åen",
        "Færgen sejler også om søndagen; så er der åbent.",
        "Perché no? La città è già là, però è più in là.",
        "Färjan går på söndagar också.",
        "Þetta er íslenska og það er gott.",
        "Een coördinator en twee zeeën.",
        "He said “no” – it’s €5.",
        "id,price\n1,5 €\n2,7 €\n",
        "Temp: 21 °C, ±0.5; 10½ inches, 5² m",
        "10 £ – 20 £",
        "GRÜSSE AUS KÖLN",
        "Prénom;Ville\nZoé;Nîmes\nChloé;Béziers\n",
        "Português",
        "forêt",
        "È vero.",
        "É proibido fumar.",
    ],
    "cp1250": [
        "Łódź",
        "Zażółć gęślą jaźń.",
        "Prom pływa codziennie, także w święta, o piątej rano.",
        "Příliš žluťoučký kůň úpěl ďábelské ódy.",
        "Přívoz jezdí každý den kromě neděle.",
        "Árvíztűrő tükörfúrógép",
        "A komp minden nap indul, és csütörtökön későn is közlekedik.",
    ],
    "iso8859-2": ["Prom pływa codziennie, także w święta.", "Přívoz jezdí každý den kromě neděle."],
    "cp1251": [
        "РУССКИЙ ТЕКСТ ЗАГЛАВНЫМИ",
        "Имя;Город\nИван;Москва\n",
        "Привет",
        "Паром ходит каждый день, кроме воскресенья.",
        "Пором ходить щодня, крім неділі, її немає.",
    ],
    "koi8-r": ["РУССКИЙ ТЕКСТ ЗАГЛАВНЫМИ", "Привет", "Паром ходит каждый день, кроме воскресенья."],
    "cp866": ["Паром ходит каждый день, кроме воскресенья."],
    "cp1253": ["Καλημέρα", "Το πλοίο φεύγει κάθε μέρα, εκτός από την Κυριακή."],
    "cp1254": ["Çalışma şekli", "Vapur her gün saat beşte kalkıyor, pazar günü değil."],
    "cp1257": ["Keltas plaukia kasdien, išskyrus sekmadienį, ir grįžta vakare."],
    "gbk": ["你好", "渡轮每天早上五点出发，星期天除外。", "苹果,三十,新鲜的水果\n梨,二十,很甜\n"],
    "gb18030": ["渡轮每天早上五点出发，星期天除外。"],
    "big5": ["渡輪每天早上五點出發，星期天除外。"],
    "shift_jis": ["フェリーは毎朝五時に出発します。", "日本語のテキスト"],
    "euc_jp": ["フェリーは毎朝五時に出発します。", "日本語のテキスト"],
    "iso2022_jp": ["フェリーは毎朝五時に出発します。"],
    "euc_kr": ["안녕하세요", "배는 매일 아침 다섯 시에 출발합니다."],
    "cp850": [
        "┌──┐\n│ Größe │\n└──┘",
        "Die Fähre fährt täglich über den großen See.",
        "Le café ferme à 18 h. Réservé aux élèves.",
    ],
    "mac_roman": ["Die Fähre fährt täglich über den großen See.", "Où est passé le garçon ? Il déjeune à l’hôtel."],
}


@pytest.mark.parametrize(("encoding", "text"), [(name, text) for name, texts in TEXTS.items() for text in texts])
def test_a_text_of_a_language_is_read_in_its_encoding(encoding, text):
    assert decode(text.encode(encoding)) == text


def test_a_guessed_encoding_is_noted_under_its_known_name():
    assert decode_noted("Le café ferme.".encode("cp1252"))[1] == ("names no encoding; read as windows-1252",)
    assert decode_noted("Le café ferme.".encode())[1] == ()
    assert decode_noted(b"plain")[1] == ()


def test_letters_beyond_ascii_are_found_behind_a_long_head_of_ascii():
    assert decode(b"a line of English\n" * 20_000 + "Färjan går på söndagar.".encode("cp1252")).endswith("på söndagar.")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (LINE.encode() * 9 + b"\xff\n", LINE * 9 + "�\n"),
        (LINE.encode() * 3 + b"tail \xc3", LINE * 3 + "tail �"),
        (LINE.encode()[:3] + b"\xc3", "Üb�"),
        (LINE.encode()[1:], "�" + LINE[1:]),
        ("渡轮每天".encode() * 5 + "渡".encode()[:2], "渡轮每天" * 5 + "�"),
    ],
    ids=["stray", "cut", "cut and short", "begun late", "cut Chinese"],
)
def test_a_stray_byte_or_a_cut_character_leaves_the_rest_of_utf8_as_it_is(data, text):
    assert decode_noted(data) == (text, ("bytes that are not valid UTF-8: 1; � stands in their place",))


def test_lines_in_a_code_page_among_lines_in_utf8_are_read_each_in_its_own():
    data = (LINE * 3).encode() + (LINE * 3).encode("cp1252")
    assert decode_noted(data) == (LINE * 6, ("lines that are not UTF-8 as the others are: 3; read as windows-1252",))


def test_text_that_was_encoded_twice_is_left_as_it_stands():
    assert decode_noted("FÃ¤hre".encode()) == ("FÃ¤hre", ())


@pytest.mark.parametrize("text", [LINE * 2, "Привет, мир\nкак дела", "渡轮每天早上\n五点出发 7\n"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_encodings_are_read_with_and_without_their_mark(text, encoding):
    assert decode(text.encode(encoding)) == text
    mark = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}
    mark |= {"utf-32-le": codecs.BOM_UTF32_LE, "utf-32-be": codecs.BOM_UTF32_BE}
    assert decode(mark[encoding] + text.encode(encoding)) == text
    assert sniff(text.encode(encoding), ".txt") == "text"


def test_a_wide_text_that_ends_inside_a_character_says_so():
    text, notes = decode_noted(("Fähre").encode("utf-16") + b"x")
    assert text == "Fähre�"
    assert notes == ("bytes that are not valid UTF-16: 1; � stands in their place",)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x00" * 9000 + b"log begins\n", "log begins\n"),
        (b"one\n" + b"\x00" * 500 + b"two\n", "one\n two\n"),
        (b"Pump\x00seven", "Pump seven"),
        (b"log line\n" + "more text\n".encode("utf-16-le"), "log line\nmore text\n"),
        ("It\x92s \x93so\x94".encode(), "It’s “so”"),
        ("one\x85two".encode(), "one\ntwo"),
        ("one\x85two\n".encode(), "one…two\n"),
        (b"\x1b[31mred\x1b[0m", "red"),
        (b"\xed\xa0\xbd\xed\xb8\x80 \xc3\xa9", "😀 é"),
    ],
    ids=["before", "hole", "one", "UTF-16 appended", "C1", "NEL", "NEL in a line", "terminal", "halves"],
)
def test_control_bytes_neither_end_a_text_nor_glue_its_words(data, text):
    assert decode(data) == text
    assert sniff(data, ".log") == "text"


@pytest.mark.parametrize(
    "data",
    [
        b"\x7fELF\x00\x00\x01",
        bytes(range(256)) * 20,
        b"SQLite format 3\x00\x10\x00\x01\x01\x00\x40",
        b"\x01\x00\x00\x00\x02\x00\x00\x00\x07\x00\x00\x00" * 50,
    ],
    ids=["program", "every byte", "database", "integers"],
)
def test_bytes_that_are_no_text_are_refused(data):
    with pytest.raises(UnreadableFile, match="not a text"):
        sniff(data, ".txt")


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        ('<html><head><meta charset="gbk"></head>', "gbk"),
        ("<html><meta http-equiv='Content-Type' content='text/html; charset=koi8-r'>", "koi8-r"),
        ('<?xml version="1.0" encoding="iso-8859-7"?><html>', "iso8859-7"),
        ("<!DOCTYPE html><html><META CHARSET=windows-1250>", "cp1250"),
    ],
)
def test_the_charset_that_a_page_declares_is_read(tmp_path, head, encoding):
    words = {"gbk": "渡轮", "koi8-r": "Ёж", "iso8859-7": "Άνω", "cp1250": "El nińo"}[encoding]
    (tmp_path / "a.html").write_bytes(f"{head}<body><p>{words} 7</p></body></html>".encode(encoding))
    document = parse_file(tmp_path / "a.html")
    assert document.text == f"{words} 7"
    assert document.notes == ()


@pytest.mark.parametrize("declared", ["utf-8", "koi8-r", "shift_jis", "no-such-thing", "utf-16"])
def test_a_wrong_declaration_is_found_out(tmp_path, declared):
    body = f'<html><meta charset="{declared}"><body><p>{LINE * 3}</p></body></html>'
    (tmp_path / "a.html").write_bytes(body.encode("cp1252"))
    document = parse_file(tmp_path / "a.html")
    assert document.text == " ".join((LINE * 3).split())
    assert document.notes == (f"says that it is {declared}; read as windows-1252",)
    (tmp_path / "b.html").write_bytes(body.encode())
    assert parse_file(tmp_path / "b.html").text == document.text  # UTF-8 shows itself


def test_only_markup_declares():
    assert declared_charset(b"A note on charset=gbk in pages") == ""
    assert declared_charset(b"<meta name=x><meta charset=' gbk '>") == "gbk"


@pytest.mark.parametrize("suffix", [".txt", ".md", ".html", ".csv"])
def test_the_note_on_an_encoding_reaches_the_document(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes("Die Fähre fährt über den See.".encode("cp1252"))
    document = parse_file(path)
    assert "Die Fähre fährt über den See." in document.text
    assert document.notes == ("names no encoding; read as windows-1252",)


def test_packed_texts_are_read_and_bombs_and_archives_refused(tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n") + gzip.compress(b"3,4\n"))
    (tmp_path / "b.tar.gz").write_bytes(gzip.compress(b"x"))
    assert parse_file(tmp_path / "a.csv.gz").text == "a | b\n1 | 2\n3 | 4"
    found = scan([tmp_path], max_bytes=1000)
    assert [file.path for file in found.files] == ["a.csv.gz"]
    assert suffix_of("A.JSONL.GZ") == ".jsonl"
    assert suffix_of("a.pdf.gz") == suffix_of("a.gz") == ".gz"
    with pytest.raises(UnreadableFile, match="would unpack to over 200 MiB"):
        unpacked(gzip.compress(b"\x00" * (201 * 2**20), 1))
    with pytest.raises(UnreadableFile, match="an archive; unpack it first"):
        unpacked(gzip.compress(b"x" * 257 + b"ustar"))
    with pytest.raises(UnreadableFile, match="damaged gzip file"):
        unpacked(gzip.compress(b"words " * 1000)[:-20])
