"""The report of two small runs: one page that needs nothing else, its Markdown twin, and the figures as JSON."""

import json
import re
from html.parser import HTMLParser

import pytest

from rag.data import Question
from rag.errors import RunMismatchError
from rag.evaluate.evaluation import evaluate, write_evaluation
from rag.evaluate.report import ANSWER_ROWS, RANKING_COLUMNS, write_report
from rag.types import CANNOTANSWER

EVIL = "<script>alert('x')</script>"
N_QUESTIONS = 6


def make_run(folder, *, gold_at, identity=None, source="quac", evil="", answers=True):
    """A run folder, predicted and evaluated: in every question the gold passage stands at rank `gold_at`."""
    folder.mkdir()
    rows, references = [], {}
    passages = [f"d{n}@0" for n in range(5)]
    gold = passages[gold_at - 1]
    for n in range(N_QUESTIONS):
        qid, unanswerable = f"q{n}", n == 5
        answer = CANNOTANSWER if unanswerable else f"Clara & {n}{evil}"
        references[qid] = Question(qid, "who?", "who?", CANNOTANSWER if unanswerable else f"Clara {n}", (), source)
        hits = [[pid, -float(rank)] for rank, pid in enumerate(passages)]
        rows.append(
            {
                "qid": qid,
                "query": f"Who built {n}?{evil}",
                "source": source,
                "retrieved": hits,
                "reranked": hits,
                "contexts": passages[:3] if answers else [],
                "dropped_contexts": 1,
                "raw": answer + " [1]" if answers else None,
                "answer": answer if answers else None,
                "citations": [passages[0]] if answers else None,
                "abstained": unanswerable if answers else None,
                "abstained_by": None,
                "seconds": {"retrieve": 0.1, "rerank": 0.2},
            }
        )
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (folder / "run.json").write_text(json.dumps(identity or {"settings": {"url": "http://127.0.0.1:8000/v1"}}), "utf-8")
    write_evaluation(folder, *evaluate(rows, {f"q{n}": {gold: 1} for n in range(5)}, references))
    return folder


@pytest.fixture
def runs(tmp_path):
    return [make_run(tmp_path / "base", gold_at=3), make_run(tmp_path / "better", gold_at=1)]


class Page(HTMLParser):
    """Tags in order, the outside addresses that a browser would fetch, and the text of each table cell."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.fetched, self.tables, self._cell = [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "srcset", "action", "data", "poster") and not value.startswith("data:"):
                self.fetched.append((tag, name, value))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._cell = self.tables[-1][-1]

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cell = None

    def handle_data(self, data):
        if self._cell:
            self._cell[-1] += data


def test_the_three_files_stand_side_by_side(runs, tmp_path):
    paths = write_report(runs, tmp_path / "new" / "report")
    assert paths == [tmp_path / "new" / f"report.{suffix}" for suffix in ("html", "md", "json")]
    assert all(path.stat().st_size for path in paths)
    assert write_report(runs, tmp_path / "r.html")[0] == tmp_path / "r.html"


def test_the_page_needs_nothing_from_outside(runs, tmp_path):
    html = write_report(runs, tmp_path / "report.html")[0].read_text("utf-8")
    page = Page(html)
    assert page.fetched == []
    assert "link" not in page.tags
    assert "img" in page.tags
    assert not re.search(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:)?//""", html)
    assert not re.search(r"@import|url\(", html)


def test_markup_in_questions_answers_sources_and_settings_stays_text(tmp_path):
    run = make_run(
        tmp_path / "run", gold_at=1, evil=EVIL, source=EVIL, identity={"settings": {"model": f"</pre>{EVIL}"}}
    )
    html = write_report([run], tmp_path / "report.html")[0].read_text("utf-8")
    assert EVIL not in html
    assert "alert" in html
    page = Page(html)
    assert page.tags.count("script") == 1  # the filter's own
    questions = page.tables[-1]
    assert f"Who built 0?{EVIL}" in questions[1][0]
    assert questions[1][1] == f"Clara & 0{EVIL}"


def test_half_a_surrogate_pair_in_an_answer_can_be_reported(tmp_path):
    run = make_run(tmp_path / "run", gold_at=1, evil="\ud83d")
    html = write_report([run], tmp_path / "report.html")[0].read_text("utf-8")
    assert "Clara &amp; 0?" in html


def test_the_page_shows_every_figure(runs, tmp_path):
    page = Page(write_report(runs, tmp_path / "report.html")[0].read_text("utf-8"))
    stages, answers, differences, *_, questions = page.tables
    assert stages[0] == ["run", "stage", *RANKING_COLUMNS]
    assert [row[:2] for row in stages[1:]] == [
        ["base", "before reranking"],
        ["base", "after reranking"],
        ["better", "before reranking"],
        ["better", "after reranking"],
    ]
    mrr = stages[0].index("mrr@10")
    assert [row[mrr] for row in stages[1:]] == ["0.3333", "0.3333", "1.0000", "1.0000"]
    assert [row[0] for row in answers[2:]] == [label for _, label in ANSWER_ROWS]
    assert [cell.strip() for cell in answers[1]] == ["questions with a reference (answerable)", "6 (5)", "6 (5)"]
    assert ["MRR@10", "better", "base", "+0.6667"] in [row[:4] for row in differences]
    assert len(questions) == 1 + N_QUESTIONS
    assert questions[1][3] == "3 → 3"
    assert questions[6][3] == ""  # unjudged


def test_json_holds_metrics_identity_and_comparisons(runs, tmp_path):
    data = json.loads(write_report(runs, tmp_path / "report.html")[2].read_text("utf-8"))
    assert [run["name"] for run in data["runs"]] == ["base", "better"]
    assert data["runs"][1]["metrics"]["rerank"]["mrr@10"] == 1
    assert data["runs"][0]["identity"]["settings"]["url"].startswith("http")
    by_metric = {comparison["metric"]: comparison for comparison in data["comparisons"]}
    assert by_metric["MRR@10"]["difference"] == pytest.approx(2 / 3)
    assert by_metric["MRR@10"]["n"] == 5
    assert by_metric["Recall@10"] | {"interval": None} == {
        "metric": "Recall@10",
        "run": "better",
        "against": "base",
        "difference": 0.0,
        "interval": None,
        "p_value": 1.0,
        "n": 5,
    }
    assert "CosSim" not in by_metric  # neither run has it


def markdown_tables(text):
    """Each table as rows of cells; fails on a row that stands apart from its table or has another width."""
    tables, previous = [], ""
    for line in text.split("\n"):
        if line.startswith("|"):
            if not previous.startswith("|"):
                tables.append([])
            tables[-1].append([cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]])
        previous = line
    for table in tables:
        assert len(table) >= 3, table
        assert all(re.fullmatch(r":?-{3,}:?", cell) for cell in table[1]), table
        assert not any(set("".join(row)) <= set("-:") for row in [table[0], *table[2:]]), table
        assert {len(row) for row in table} == {len(table[0])}, table
    return tables


def assert_renders(text, tables):
    markdown_it = pytest.importorskip("markdown_it")
    page = Page(markdown_it.MarkdownIt("commonmark").enable("table").render(text))
    assert len(page.tables) == len(tables)
    assert [len(table) for table in page.tables] == [len(table) - 1 for table in tables]
    assert "|---" not in "".join("".join(row) for table in page.tables for row in table)


def test_markdown_tables_are_whole(runs, tmp_path):
    text = write_report(runs, tmp_path / "report.html")[1].read_text("utf-8")
    tables = markdown_tables(text)
    stages, answers, differences, *by_source = tables
    assert stages[0] == ["run", "stage", *RANKING_COLUMNS]
    assert [len(table) - 2 for table in tables] == [4, len(ANSWER_ROWS), 2, 1, 1]
    assert answers[0] == ["", "base", "better"]
    assert differences[0][0] == "metric"
    assert by_source[0][2][:2] == ["quac", "6"]
    assert_renders(text, tables)


def test_markdown_headings_and_headlines_stand_on_lines_of_their_own(runs, tmp_path):
    lines = write_report(runs, tmp_path / "report.html")[1].read_text("utf-8").split("\n")
    headings = [line for line in lines if line.startswith("#")]
    assert headings == [
        "# Report",
        "## base",
        "## better",
        "## Stages",
        "## Answers",
        "## Differences",
        "## By source: base",
        "## By source: better",
    ]
    for n, line in enumerate(lines):
        assert "#" not in line[1:].lstrip("#")
        if line.startswith("#") and n:
            assert lines[n - 1] == lines[n + 1] == "", line
        if line.startswith("|"):
            assert lines[n - 1] == "" or lines[n - 1].startswith("|"), line
    assert sum(line.startswith("- **MRR@10** 0.3333 (95%: ") for line in lines) == 1
    assert sum(line.startswith("- **") for line in lines) == 6


def test_a_pipe_in_a_name_splits_no_markdown_cell(tmp_path):
    run = make_run(tmp_path / "a|b", gold_at=1, source="qu|ac")
    text = write_report([run], tmp_path / "report.html")[1].read_text("utf-8")
    tables = markdown_tables(text)
    assert tables[0][2][0] == r"a\|b"
    assert tables[-1][2][0] == r"qu\|ac"
    assert_renders(text, tables)


@pytest.mark.parametrize("n", [20, 30, 49])
def test_figures_that_agree_on_every_question_can_be_drawn(tmp_path, n):
    """Rounding puts such a mean a hair above or below its interval, and matplotlib takes no negative error bar."""
    run = make_run(tmp_path / "run", gold_at=3)
    row = json.loads((run / "predictions.jsonl").read_text("utf-8").splitlines()[0])
    rows = [row | {"qid": f"q{copy}"} for copy in range(n)]
    (run / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    write_evaluation(run, *evaluate(rows, {row["qid"]: {"d2@0": 1} for row in rows}))
    assert write_report([run], tmp_path / "report.html")[0].is_file()


def test_a_run_without_answers_or_sources_has_no_such_tables(tmp_path):
    run = make_run(tmp_path / "run", gold_at=2, answers=False, source="")
    html, markdown, _ = (path.read_text("utf-8") for path in write_report([run], tmp_path / "report.html"))
    assert "<h2>Answers</h2>" not in html
    assert "Differences" not in html + markdown
    tables = markdown_tables(markdown)
    assert len(tables) == 1
    assert_renders(markdown, tables)


def test_runs_with_and_without_answers_stand_side_by_side(runs, tmp_path):
    bare = make_run(tmp_path / "bare", gold_at=2, answers=False)
    html, markdown, _ = (path.read_text("utf-8") for path in write_report([*runs, bare], tmp_path / "report.html"))
    assert Page(html).tables[1][2][3] == "–"
    assert markdown_tables(markdown)[1][0] == ["", "base", "better", "bare"]


def test_a_missing_or_unevaluated_run_names_the_command(runs, tmp_path):
    with pytest.raises(RunMismatchError, match="rag batch"):
        write_report([tmp_path / "absent"], tmp_path / "report.html")
    (runs[0] / "metrics.json").unlink()
    with pytest.raises(RunMismatchError, match="rag evaluate"):
        write_report(runs, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
