"""CSV and TSV: the delimiter, quotes that are closed and not, titles, headers, odd cells."""

import csv

import pytest

from rag.documents.chunk import ChunkSettings, chunk_document
from rag.documents.formats.rows import delimited
from rag.documents.formats.rows.cells import Rows
from rag.documents.formats.rows.delimited import find_delimiter, parse_csv


def tables(text):
    """The tables and the texts of a file, in order."""
    document = parse_csv(text.encode())
    return [document.text[block.start : block.end] for block in document.blocks]


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("who;price\nadults;4,50\nchildren;2,50\n", ";"),
        ("id;cost;group\n1;62.25;['345', '1']\n2;54.00;['235', '2']\n", ";"),
        ("name,tags\nx,a;b\ny,c;d\nz,e\n", ","),
        ("place\tpeople\nParis, France\t2.1, est\nRome, Italy\t2.8, est\n", "\t"),
        ("a|b\n1,5|2,5\n3|4\n", "|"),
        ("name, age\nBob, 5\nAnn, 6\n", ","),
        ("x,y\n1,2\n3,4\n", ","),
        ("a,b,c\n1,2\n1,2,3,4\n1,2,3\nx\n", ","),
        ("Report 2024\nMade by Ann\nname,price\nA,1\nB,2\n", ","),
        ("comment\nGood, but slow\nBad, but fast\nOk, thanks\n", ""),
        ("Good, but slow\nBad, really\nNice, thanks\n", ""),
        ("text\nHe came, saw, and won.\nYes.\nNo, never.\n", ""),
        ("price\n7,5\n8,5\n9,0\n", ""),
        ("7,5\n8,5\n9,0\n", ""),
        ("note\nfrom 7,5 metres\nfrom 8,5 metres\n", ""),
        ("ingredients\nsalt, pepper\nsalt, pepper, oil\nflour\n", ""),
        ('comment\n"Good, but slow"\n"two\nlines, yes"\nplain\n', ""),
        ("City, Country\nParis, France\nRome, Italy\n", ","),
        ("key, value\nhost, localhost\nport, eighty\n", ""),
        ("A;B;C\n1;2;3;4\n", ";"),
        ("A;B;C\nAnn, Lee;x, y;z;5\nBob, Ray;u, v;w;6\n", ";"),
        ("May 1, 2023;7;Ray;\nMay 2, 2023;8;Ann;\nMay 3, 2023;9;Lee\nMay 4, 2023;9;Bo\n", ";"),
        ("x;1,5;2,5\ny;3,5;4,5;z\n", ""),
        ("tags\na;b\nc;d\n", ""),
        ("route\nHull,York\nOslo,Bergen\n", ""),
        ("tags\na;b;c\nd;e\nf\n", ""),
        ("Ports\n\nport,country\nHull,UK\nOslo,Norway\n", ","),
        ("port\nname,depth\nA,1\nB,2\n", ","),
        ('"two\nlines",tag\nno comma\ngood,tag\n', ","),
    ],
)
def test_the_delimiter_is_the_one_by_which_rows_agree(text, delimiter):
    assert find_delimiter(text) == delimiter


@pytest.mark.parametrize("line", ["sep=;\n", "SEP=;\r\n", '"sep=;"\n', "\ufeffsep=;\n"])
def test_the_separator_line_is_obeyed_and_dropped(line):
    assert tables(f"{line}port;depth\nHull;7,5\n") == ["port | depth\nHull | 7,5"]


def test_a_separator_line_may_name_any_character_but_a_quote():
    assert tables("sep=^\nport^depth\nHull^7,5\n") == ["port | depth\nHull | 7,5"]
    assert tables('sep="\na,b\n1,2\n') == ['sep="', "a | b\n1 | 2"]


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ('a,b\n"x ""y"" z",1\n', 'a | b\nx "y" z | 1'),
        ('a,b\n"one\ntwo",1\n', "a | b\none two | 1"),
        ('a,b\n"he said \\"hi, you\\"",2\n"C:\\dir",3\n', 'a | b\nhe said "hi, you" | 2\nC:\\dir | 3'),
        ('a,b\n"C:\\",2\n"D:\\",3\n', "a | b\nC:\\ | 2\nD:\\ | 3"),
        ('a,b\n"The "big" ferry, blue",3\nx,4\n', 'a | b\nThe "big" ferry, blue | 3\nx | 4'),
        ('a\tb\n"x\ty"\t2\n" q "\t""\n', "a | b\nx y | 2\nq |"),
        ('a,b\n"",1\n"""",2\n"""q""",3\n', 'a | b\n | 1\n" | 2\n"q" | 3'),
        ("name,note\nO'Neil,'tis so\nD'Arcy,it's 'fine'\n", "name | note\nO'Neil | 'tis so\nD'Arcy | it's 'fine'"),
        ('size,item\n5",pipe\n3/4",bolt\n', 'size | item\n5" | pipe\n3/4" | bolt'),
        ('a,b\n "x, y" ,2\n', "a | b\nx, y | 2"),
        ('code,name\n="0012",Bolt\n"=""0013""",Nut\n="a,b",x\n', "code | name\n0012 | Bolt\n0013 | Nut\na,b | x"),
        ("a,b\r1,2\r3,4\r", "a | b\n1 | 2\n3 | 4"),
        ("a,b\n1\x00,2\n3,4\n", "a | b\n1 | 2\n3 | 4"),
        ("\ufeffa,b\n1,2\n", "a | b\n1 | 2"),
        ("a,b,c\n1,2\n\n,,\n1,2,3,4\n1,2,3\n", "a | b | c\n1 | 2\n1 | 2 | 3 | 4\n1 | 2 | 3"),
    ],
)
def test_cells_hold_what_was_written(text, table):
    assert tables(text) == [table]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('a,b,c\n1,"open,3\n4,five,6\n7,"q, r",9\n', ['1 | "open | 3', "4 | five | 6", "7 | q, r | 9"]),
        ('a,b,c\n1,"open,3\n4,five,6\n7,eight",9\n', ['1 | "open | 3', "4 | five | 6", '7 | eight" | 9']),
        ('a,b,c\n1,2,3\n4,5,"end\n', ["1 | 2 | 3", '4 | 5 | "end']),
    ],
)
def test_a_quote_that_nobody_closed_is_a_letter(text, rows):
    assert tables(text) == ["\n".join(["a | b | c", *rows])]


def test_a_cell_of_many_lines_with_commas_is_one_cell():
    text = 'id,desc,n\n1,"line a, x\nline b, y\nline c, z",5\n2,ok,6\n'
    assert tables(text) == ["id | desc | n\n1 | line a, x line b, y line c, z | 5\n2 | ok | 6"]


def test_titles_stand_above_the_table_and_do_not_name_its_columns():
    expected = ["Report 2024", "name | price | x\nA | 1 | 2\nB | 2 | 3"]
    assert tables("Report 2024\n\nname,price,x\nA,1,2\nB,2,3\n") == expected
    assert tables("Report 2024,,\n,,\nname,price,x\nA,1,2\nB,2,3\n") == expected


def test_a_header_may_lack_its_last_or_first_cell():
    assert tables("a;b;c\n1;2;3;\n4;5;6;\n") == ["a | b | c\n1 | 2 | 3 | \n4 | 5 | 6 |"]
    assert tables("name;city\nAnn;Hull;\nBob;York;\n") == ["name | city\nAnn | Hull | \nBob | York |"]
    assert tables("mpg,cyl\nMazda,21,6\nDatsun,22,4\n") == ["mpg | cyl\nMazda | 21 | 6\nDatsun | 22 | 4"]


def test_comments_above_the_header_keep_their_commas():
    assert tables("# made by Ann, Bob\nname,depth\nA,1\n") == ["# made by Ann, Bob", "name | depth\nA | 1"]
    assert tables("# name,depth\nA,1\nB,2\n") == ["# name | depth\nA | 1\nB | 2"]  # this one names the columns


def test_tables_below_each_other_have_their_own_headers():
    text = "Berths\n\nname,price\nA,1\nB,2\n\nPorts\n\nport,depth\nHull,7\nYork,8\n"
    assert tables(text) == ["Berths", "name | price\nA | 1\nB | 2", "Ports", "port | depth\nHull | 7\nYork | 8"]
    assert tables("a,b\nA,1\n\nx,y,z\nB,2,3\n") == ["a | b\nA | 1", "x | y | z\nB | 2 | 3"]
    assert tables("name,price\nA,1\n\nB,2\n\nC,3\n") == ["name | price\nA | 1\nB | 2\nC | 3"]


def test_a_repeated_header_is_left_out_and_counted():
    document = parse_csv(b"a,b\n1,2\na,b\n3,4\na,b\n")
    assert document.text == "a | b\n1 | 2\n3 | 4"
    assert document.notes == ("rows that repeat the header and are left out: 2",)
    assert parse_csv(b"1,2,3\n1,2,3\n").text == "1 | 2 | 3\n1 | 2 | 3"  # numbers are data, whatever repeats


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("name,price\nA,1\n", 1),
        ("Region,2019,2020\nHull,5,7\n", 1),
        ("port,2024-01-01\nHull,5\n", 1),
        ("Hull,7.5,3\nYork,8,2\n", 0),
        ("a,b,c\n", 0),
    ],
)
def test_a_first_row_of_data_is_no_header(text, header):
    assert parse_csv(text.encode()).blocks[0].header == header


def test_every_passage_of_a_row_longer_than_a_passage_has_the_header():
    rows = "".join(f"{n},{'pump and valve ' * 300}\n" for n in range(3))
    document = parse_csv(f"id,text\n{rows}".encode())
    chunks = chunk_document(document, lambda texts: [len(text.split()) for text in texts], ChunkSettings(100, 0))
    assert len(chunks) > 20
    assert {chunk.text.split("\n")[0] for chunk in chunks} == {"id | text"}
    assert sum(chunk.text.count("valve") for chunk in chunks) == 900


def test_a_field_longer_than_the_csv_module_takes_is_read():
    size = csv.field_size_limit() + 10
    assert tables(f"a,b\n1,{'z' * size}\n") == [f"a | b\n1 | {'z' * size}"]


@pytest.mark.parametrize(
    "line",
    ['"x","a, b","c ""d"""', "x,5\" pipe,3'", '"",,""', 'x,"a" ,b', 'x, "a, b",c', 'x,="01",c', '"a""b,c', 'a,"b"c,"d'],
)
def test_lines_of_sound_quotes_are_read_as_all_others(line):
    """The csv module reads lines whose quotes are sound; without it they come out the same."""
    fast, slow = Rows(line, ",", 3), Rows(line, ",", 3)
    slow._sound = None
    assert list(fast) == list(slow)


def test_sound_lines_are_read_by_the_csv_module(monkeypatch):
    read = []
    reader = csv.reader
    monkeypatch.setattr(csv, "reader", lambda lines, **options: read.append(*lines) or reader(lines, **options))
    assert list(Rows('"a","b, c"\nd, "e"\n"f",g', ",", 2)) == [["a", "b, c"], ["d", "e"], ["f", "g"]]
    assert read == ['"a","b, c"', '"f",g']


@pytest.mark.parametrize("part", ['1,"""y,', '1,"x\n', ',"x', '"', '"a" b,"\n', '1,"x"y\n', '"\n1,"",\n'], ids=range(7))
def test_quotes_of_any_kind_are_read_in_linear_time(part):
    """Doubling a text doubles what is matched: each quote is tried once, and what it ran over is not tried again."""
    tried = []
    for times in (500, 1000):
        rows = Rows("a,b\n" + part * times + '"', ",", 2)
        rows._closed = Spy(rows._closed)
        assert sum(map(len, rows)) > 0
        tried.append(rows._closed.looked)
    assert tried[1] <= 2 * tried[0] + 2000


class Spy:
    """A pattern that counts the characters of its matches, and of those that found no end."""

    def __init__(self, pattern):
        self._pattern = pattern
        self.looked = 0

    def match(self, text, place):
        found = self._pattern.match(text, place)
        self.looked += (found.end() if found else len(text)) - place
        return found


def test_blank_rows_between_all_rows_take_linear_time(monkeypatch):
    looked = []
    seen = delimited._usual_width
    monkeypatch.setattr(delimited, "_usual_width", lambda rows: looked.append(len(rows)) or seen(rows))
    parse_csv(b"a,b\n" + b"1,2\n\n" * 1000)
    assert sum(looked) < 4000  # 500 rows with each delimiter and once more, and all rows of the table
