"""The report of two small runs: one page that needs nothing else, its Markdown twin, and the figures as JSON."""

import base64
import gzip
import json
import re
from html.parser import HTMLParser

import pytest

from rag.data.passages import Corpus
from rag.data.questions import Question
from rag.errors import DataError, RunMismatchError
from rag.evaluate.evaluation import evaluate
from rag.evaluate.files import write_evaluation
from rag.evaluate.outcomes import Outcome
from rag.evaluate.report.questions import MAX_QUESTIONS_SHOWN
from rag.evaluate.report.report import write_report
from rag.evaluate.report.tables import ANSWER_ROWS, CITATION_ROWS, RANKING_COLUMNS
from rag.generate.builtin import get_prompt
from rag.types import CANNOTANSWER, Passage
from tests.fakes.runs import make_run

EVIL = "<script>alert('x')</script>"


CORPUS = Corpus([Passage(f"d{n}@0", f"Text of passage {n}. {EVIL}", f"Title {n}") for n in range(5)])


@pytest.fixture
def runs(tmp_path):
    return [make_run(tmp_path / "base", gold_at=3), make_run(tmp_path / "better", gold_at=1)]


class Page(HTMLParser):
    """Tags in order, the outside addresses that a browser would fetch, and the text of each table cell."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.fetched, self.tables, self.ids, self._cell = [], [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.ids += [value for name, value in attributes if name == "id"]
        for name, value in attributes:
            is_outside = not (value or "").startswith(("data:", "#"))
            if name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href") and is_outside:
                self.fetched.append((tag, name, value))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._cell = self.tables[-1][-1]

    handle_startendtag = handle_starttag

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cell = None

    def handle_data(self, data):
        if self._cell:
            self._cell[-1] += data


def packed(html):
    """The questions and passages inside a page."""
    data = re.search(r'id="data">([^<]*)<', html)[1]
    return json.loads(gzip.decompress(base64.b64decode(data)))


def section(html, name):
    """The tables of one section."""
    return Page(re.search(rf'<section id="{name}">.*?</section>', html, re.DOTALL)[0]).tables


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
    assert "svg" in page.tags
    assert not re.search(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:)?//""", html)
    assert not re.search(r"@import|url\((?!#)", html)
    assert len(page.ids) == len(set(page.ids))


def test_markup_in_questions_answers_sources_and_settings_stays_text(tmp_path):
    run = make_run(
        tmp_path / "run", gold_at=1, evil=EVIL, source=EVIL, identity={"settings": {"model": f"</pre>{EVIL}"}}
    )
    other = make_run(tmp_path / "other", gold_at=1, answers=False)
    html = write_report([run, other], tmp_path / "report.html", corpora=[CORPUS, CORPUS])[0].read_text("utf-8")
    assert EVIL not in html
    assert "alert" in html
    assert Page(html).tags.count("script") == 2  # the data and the table's own
    question = packed(html)["runs"][0]["questions"][0]
    assert question["query"] == f"Who built 0?{EVIL}"
    assert question["answer"] == f"Clara & 0{EVIL}"


def test_half_a_surrogate_pair_in_an_answer_can_be_reported(tmp_path):
    run = make_run(tmp_path / "run", gold_at=1, evil="\ud83d")
    html = write_report([run], tmp_path / "report.html")[0].read_text("utf-8")
    assert packed(html)["runs"][0]["questions"][0]["answer"] == "Clara & 0?"


def test_the_page_shows_every_figure(runs, tmp_path):
    html = write_report(runs, tmp_path / "report.html")[0].read_text("utf-8")
    (stages,) = section(html, "stages")
    assert stages[0] == ["run", "stage", *RANKING_COLUMNS]
    assert [row[0] for row in stages[1:]] == ["base"] * 4 + ["better"] * 4
    assert [row[1] for row in stages[1:3]] == ["retrieved", "reranked"]
    mrr = stages[0].index("mrr@10")
    shuffled = f"{(1 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5) / 5:.1f}"  # five questions bear one decimal
    assert [row[mrr] for row in stages[1:]] == ["0.3", "0.3", shuffled, "1.0"] + ["1.0"] * 2 + [shuffled, "1.0"]
    answers, _baselines = section(html, "answers")
    assert [row[0].split(" (n = ")[0] for row in answers[2:]] == [label for _, label in ANSWER_ROWS]
    assert [cell.strip() for cell in answers[1]] == ["questions with a reference (answerable)", "6 (5)", "6 (5)"]
    (refusals,) = section(html, "abstention")
    assert refusals[1] == ["base", "answerable", "5", "0", "1.0", "1.0", "1.0", "0.0"]
    assert refusals[2] == ["unanswerable", "0", "1"]
    (citations,) = section(html, "citations")
    assert [row[0] for row in citations[1:5]] == [label for _, label in CITATION_ROWS]
    assert citations[-1][1:] == ["0", "0"]
    (lost,) = section(html, "lost")
    classes = {row[0]: row[1] for row in lost[1:]}
    assert classes == {"✓ right": "5 (83 %)", "✓ refused rightly": "1 (17 %)"}
    differences = section(html, "differences")[0]
    row = next(row for row in differences if row[:3] == ["MRR@10", "better", "base"])
    assert row[3] == "+0.6667"
    assert row[-3:] == ["5", "0", "0"]


def test_the_parts_of_a_fusion_are_shown_as_stages(tmp_path):
    run = make_run(tmp_path / "run", gold_at=1, parts=True)
    html = write_report([run], tmp_path / "report.html")[0].read_text("utf-8")
    assert [row[1] for row in section(html, "stages")[0][1:4]] == ["dense", "retrieved", "reranked"]


def test_a_question_opens_on_its_passages_prompt_and_ranks(tmp_path):
    run = make_run(tmp_path / "run", gold_at=3)
    html = write_report([run], tmp_path / "r.html", corpora=[CORPUS], prompts=[get_prompt("extract-v1")])[0]
    data = packed(html.read_text("utf-8"))
    question = data["runs"][0]["questions"][0]
    assert question["outcome"] == Outcome.RIGHT
    assert (question["gold"], question["gold_before"], question["gold_after"]) == (["d2@0"], 3, 3)
    assert question["passages"][2] == ["d2@0", 3, -2.0, 3, -2.0]
    assert data["stores"][data["runs"][0]["store"]]["d2@0"] == ["Title 2", f"Text of passage 2. {EVIL}"]
    (_, system), (role, user) = question["prompt"]
    assert system.startswith("Answer")
    assert role == "user"
    assert "[3] ⟦d2@0⟧ᵗ: ⟦d2@0⟧" in user


def test_a_prompt_shows_the_sentences_that_were_chosen(tmp_path):
    run = make_run(tmp_path / "run", gold_at=3)
    lines = (run / "predictions.jsonl").read_text("utf-8").splitlines()
    rows = [{**json.loads(line), "excerpts": {"d2@0": [[0, 18]]}} for line in lines]
    (run / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    html = write_report([run], tmp_path / "r.html", corpora=[CORPUS], prompts=[get_prompt("extract-v1")])[0]
    user = packed(html.read_text("utf-8"))["runs"][0]["questions"][0]["prompt"][1][1]
    assert "⟦d2@0⟧ᵗ: Text of passage 2. …" in user


def test_of_very_many_questions_an_even_draw_is_shown(tmp_path):
    run = make_run(tmp_path / "run", gold_at=3)
    row = json.loads((run / "predictions.jsonl").read_text("utf-8").splitlines()[0])
    rows = [row | {"qid": f"q{copy}"} for copy in range(MAX_QUESTIONS_SHOWN + 500)]
    (run / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    write_evaluation(run, *evaluate(rows, {row["qid"]: {"d2@0": 1} for row in rows}))
    (shown,) = packed(write_report([run], tmp_path / "r.html")[0].read_text("utf-8"))["runs"]
    assert shown["n"] == len(rows)
    qids = [question["qid"] for question in shown["questions"]]
    assert len(qids) == len(set(qids)) == MAX_QUESTIONS_SHOWN
    assert int(qids[-1][1:]) > MAX_QUESTIONS_SHOWN


def test_what_flipped_is_listed(tmp_path):
    base = make_run(tmp_path / "base", gold_at=1)
    text = (base / "predictions.jsonl").read_text("utf-8").replace("Clara & 0", "Bread")
    other = make_run(tmp_path / "other", gold_at=1)
    (other / "predictions.jsonl").write_text(text, "utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    references = {
        f"q{n}": Question(f"q{n}", "who?", "who?", CANNOTANSWER if n == 5 else f"Clara {n}") for n in range(6)
    }
    write_evaluation(other, *evaluate(rows, {}, references))
    html = write_report([base, other], tmp_path / "r.html")[0].read_text("utf-8")
    _, changes, lost = section(html, "differences")
    assert changes[1] == [Outcome.RIGHT, Outcome.ANSWERED_WRONGLY, "1"]
    assert lost[1][1:] == ["Clara 0", "Clara & 0 [1]right", "Bread [1]answered wrongly"]


def test_what_flipped_shows_its_citations_in_place_and_what_they_mean(tmp_path):
    base, other = make_run(tmp_path / "base", gold_at=1), make_run(tmp_path / "other", gold_at=1)
    answer = {"answer": f"Bread{EVIL}, rye.", "citations": ["d2@0", "d0@0"], "marks": [[5, ["d2@0"]]]}
    rows = [json.loads(line) for line in (other / "predictions.jsonl").read_text("utf-8").splitlines()]
    rows[0] |= answer
    (other / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    references = {
        f"q{n}": Question(f"q{n}", "who?", "who?", CANNOTANSWER if n == 5 else f"Clara {n}") for n in range(6)
    }
    write_evaluation(other, *evaluate(rows, {}, references))
    html, markdown, _ = (
        path.read_text("utf-8") for path in write_report([base, other], tmp_path / "r.html", corpora=[CORPUS, CORPUS])
    )
    assert EVIL not in html
    flipped = next(table for table in section(html, "differences") if table[0][0] == "question")
    assert flipped[1][3].startswith(f"Bread [3]{EVIL}, rye. [1]")
    titles = re.findall(r'<span class="cite" title="([^"]*)">\[(\d)\]</span>', html)
    meaning = "Title {0}: Text of passage {0}. &lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"
    assert titles == [(meaning.format(0), "1"), (meaning.format(2), "3"), (meaning.format(0), "1")]
    (first, *_) = packed(html)["runs"][1]["questions"]
    assert first["marked"] == ["Bread", " ", 3, f"{EVIL}, rye.", " ", 1]
    (lost,) = (table for table in markdown_tables(markdown) if table[0][2] == "base")
    assert lost[2][2] == r"Clara \& 0 \[1\] — \[1\] Title 0 (right)"
    assert lost[2][3].endswith(r", rye. \[1\] — \[1\] Title 0; \[3\] Title 2 (answered wrongly)")
    assert_renders(markdown, markdown_tables(markdown))


def test_markdown_shows_examples_of_every_class(tmp_path):
    run = make_run(tmp_path / "run", gold_at=1)
    text = write_report([run], tmp_path / "report.html", corpora=[CORPUS])[1].read_text("utf-8")
    assert "\n## Examples: run\n" in text
    (table,) = (table for table in markdown_tables(text) if table[0][0] == "class" and len(table[0]) == 4)
    assert [row[0] for row in table[2:]] == ["right"] * 3 + ["refused rightly"]
    assert table[2][1:] == ["Who built 0?", "Clara 0", r"Clara \& 0 \[1\] — \[1\] Title 0"]
    bare = make_run(tmp_path / "bare", gold_at=1, answers=False)
    assert "Examples" not in write_report([bare], tmp_path / "r.html")[1].read_text("utf-8")


def test_markup_in_an_answer_stays_text_in_markdown(tmp_path):
    evil = f" {EVIL} ![x](http://evil.example/x.png) `a` **b** | c\\ &lt; $x$\n| d |"
    run = make_run(tmp_path / "run", gold_at=1, evil=evil)
    text = write_report([run], tmp_path / "report.html")[1].read_text("utf-8")
    assert_renders(text, markdown_tables(text))
    markdown_it = pytest.importorskip("markdown_it")
    page = Page(markdown_it.MarkdownIt("commonmark").enable("table").render(text))
    assert not {"script", "img", "a", "code"} & set(page.tags)
    (table,) = (table for table in page.tables if table[0] == ["class", "question", "reference", "answer"])
    assert table[1][3] == f"Clara & 0{evil.replace(chr(10), ' ')} [1] — [1] d0@0"


def test_json_holds_metrics_identity_and_comparisons(runs, tmp_path):
    data = json.loads(write_report(runs, tmp_path / "report.html")[2].read_text("utf-8"))
    assert [run["name"] for run in data["runs"]] == ["base", "better"]
    assert data["runs"][1]["metrics"]["stages"]["rerank"]["mrr@10"] == 1
    assert data["runs"][0]["identity"]["settings"]["url"].startswith("http")
    by_metric = {comparison["metric"]: comparison for comparison in data["comparisons"]}
    assert by_metric["MRR@10"]["difference"] == pytest.approx(2 / 3)
    assert by_metric["MRR@10"]["n"] == 5
    assert by_metric["MRR@10"]["p_value"] <= by_metric["MRR@10"]["p_holm"] <= 1
    assert by_metric["Recall@10"] | {"interval": None} == {
        "metric": "Recall@10",
        "run": "better",
        "against": "base",
        "difference": 0.0,
        "interval": None,
        "p_value": 1.0,
        "p_holm": 1.0,
        "n": 5,
        "wins": 0,
        "losses": 0,
        "ties": 5,
    }
    assert "CosSim" not in by_metric  # neither run has it


def test_training_logs_and_the_gate_are_shown_where_a_model_carries_them(tmp_path):
    run, trained = make_run(tmp_path / "run", gold_at=1), tmp_path / "tuned"
    (trained / "model").mkdir(parents=True)
    model = {"name": "tuned/model", "folder": str(trained / "model")}
    provenance = {"versions": {"torch": "2"}, "hardware": {"device": "cpu", "threads": 2, "precision": "bf16"}}
    (run / "provenance.json").write_text(json.dumps({**provenance, "models": {"encoder": model}}), "utf-8")
    log = [
        {"step": 0, "eval_dev_mrr@10": 0.5},
        {"step": 10, "loss": 0.7},
        {"step": 20, "loss": 0.4},
        {"step": 20, "eval_dev_mrr@10": 0.6},
    ]
    (trained / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log), "utf-8")
    figures = {"tuned": 0.6, "base": 0.5, "difference": 0.1, "interval": None, "p_value": 0.01, "n": 5}
    gate = {"verdict": "KEEP BASE", "reasons": ["recall@10 falls"], "metrics": {"mrr@10": figures}}
    (trained / "gate.json").write_text(json.dumps(gate), "utf-8")
    html = write_report([run], tmp_path / "report.html")[0].read_text("utf-8")
    part = re.search(r'<section id="training">.*?</section>', html, re.DOTALL)[0]
    assert "KEEP BASE" in part
    assert "recall@10 falls" in part
    assert "<svg" in part
    (table,) = section(html, "training")
    assert table[1] == ["mrr@10", "0.5000", "0.6000", "+0.1000", "", "0.0100", "5"]
    (trained / "gate.json").unlink()
    (trained / "log.jsonl").unlink()
    assert 'id="training"' not in write_report([run], tmp_path / "report.html")[0].read_text("utf-8")


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
    stages, answers, refusals, citations, lost, differences, *_, cost = tables
    assert stages[0] == ["run", "stage", *RANKING_COLUMNS]
    assert len(stages) - 2 == 8
    assert [row[0] for row in answers[2 : 2 + len(ANSWER_ROWS)]] == [label for _, label in ANSWER_ROWS]
    assert refusals[2][:5] == ["base", "5", "0", "0", "1"]
    assert citations[-1] == ["Invented citations shown", "0", "0"]
    assert lost[2] == ["right", "5 (83 %)", "5 (83 %)"]
    assert differences[0][0] == "metric"
    assert cost[2][:2] == ["base", "retrieve"]
    assert_renders(text, tables)


def test_markdown_headings_and_headlines_stand_on_lines_of_their_own(runs, tmp_path):
    lines = write_report(runs, tmp_path / "report.html")[1].read_text("utf-8").split("\n")
    headings = [line for line in lines if line.startswith("#")]
    assert headings[:5] == ["# Report", "## base", "## better", "## Stages", "## Answers"]
    for n, line in enumerate(lines):
        assert "#" not in line[1:].lstrip("#")
        if line.startswith("#") and n:
            assert lines[n - 1] == lines[n + 1] == "", line
        if line.startswith("|"):
            assert lines[n - 1] == "" or lines[n - 1].startswith("|"), line
    assert sum(line.startswith("- **MRR@10** 0.3 (95%: ") for line in lines) == 1
    assert sum(line.startswith("- **") for line in lines) == 6


def test_a_pipe_in_a_name_splits_no_markdown_cell(tmp_path):
    run = make_run(tmp_path / "a|b", gold_at=1, source="qu|ac")
    text = write_report([run], tmp_path / "report.html")[1].read_text("utf-8")
    tables = markdown_tables(text)
    assert tables[0][2][0] == r"a\|b"
    assert any(table[2][0] == r"qu\|ac" for table in tables)
    assert_renders(text, tables)


def test_a_run_without_answers_or_sources_says_so_and_has_no_such_tables(tmp_path):
    run = make_run(tmp_path / "run", gold_at=2, answers=False, source="")
    html, markdown, _ = (path.read_text("utf-8") for path in write_report([run], tmp_path / "report.html"))
    assert 'id="answers"' not in html
    assert 'id="differences"' not in html
    for text in (html, markdown):
        assert "run holds no answers (made with --no-generate): ranking only." in text
    assert_renders(markdown, markdown_tables(markdown))


def test_a_report_that_cannot_show_the_prompts_says_so(tmp_path):
    run = make_run(tmp_path / "run", gold_at=2)
    for prompt, is_said in ((None, True), (get_prompt("extract-v1"), False)):
        html = write_report([run], tmp_path / "r.html", corpora=[CORPUS], prompts=[prompt])[0].read_text("utf-8")
        assert ("prompts are not shown" in html) == is_said


def test_runs_with_and_without_answers_stand_side_by_side(runs, tmp_path):
    bare = make_run(tmp_path / "bare", gold_at=2, answers=False)
    html, markdown, _ = (path.read_text("utf-8") for path in write_report([*runs, bare], tmp_path / "report.html"))
    assert section(html, "answers")[0][0] == ["", "base", "better"]
    assert markdown_tables(markdown)[1][0] == ["", "base", "better"]
    assert section(html, "lost")[0][0] == ["class", "base", "better", "bare", ""]


def test_two_runs_of_one_name_are_told_apart(tmp_path):
    paths = [tmp_path / side / "run" for side in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
        make_run(path, gold_at=1)
    data = json.loads(write_report(paths, tmp_path / "r.html")[2].read_text("utf-8"))
    assert [run["name"] for run in data["runs"]] == [str(path) for path in paths]


def test_an_unfinished_run_says_how_far_it_is(tmp_path):
    run = make_run(tmp_path / "run", gold_at=1)
    rows = [json.loads(line) for line in (run / "predictions.jsonl").read_text("utf-8").splitlines()][:2]
    references = {f"q{n}": Question(f"q{n}", "who?", "who?", "Clara") for n in range(6)}
    (run / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    with pytest.raises(RunMismatchError, match="changed since it was evaluated"):
        write_report([run], tmp_path / "report.html")
    write_evaluation(run, *evaluate(rows, {}, references))
    html = write_report([run], tmp_path / "report.html")[0].read_text("utf-8")
    assert "run is unfinished: 2 of 6 questions are predicted" in html
    assert "No question of run is judged in the qrels" in html
    assert {row[0]: row[1] for row in section(html, "lost")[0][1:]}["no prediction"] == "4 (67 %)"


def test_a_missing_damaged_or_foreign_run_names_the_command(runs, tmp_path):
    with pytest.raises(RunMismatchError, match="rag batch"):
        write_report([tmp_path / "absent"], tmp_path / "report.html")
    metrics = json.loads((runs[0] / "metrics.json").read_text("utf-8"))
    for content, problem in (
        (json.dumps(metrics | {"format": 1}), "another version"),
        (json.dumps(metrics)[:100], "damaged"),
        ("[]", "damaged"),
    ):
        (runs[0] / "metrics.json").write_text(content, "utf-8")
        with pytest.raises(RunMismatchError, match=problem) as error:
            write_report(runs, tmp_path / "report.html")
        assert "rag evaluate" in str(error.value)
    (runs[0] / "metrics.json").unlink()
    with pytest.raises(RunMismatchError, match="rag evaluate"):
        write_report(runs, tmp_path / "report.html")
    (runs[1] / "predictions.jsonl").write_text('{"qid": "q0", "que', "utf-8")
    with pytest.raises(DataError, match="line 1"):
        write_report(runs[1:], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_the_head_names_corpus_models_and_date(tmp_path):
    identity = {"index_path": "/x/boats.index", "queries_path": "/x/dev.txt", "settings": {"reader": {"model": "r"}}}
    run = make_run(tmp_path / "run", gold_at=1, identity=identity)
    provenance = {
        "started": "2026-11-30 07:00:00",
        "versions": {},
        "hardware": {"device": "cpu", "threads": 1, "precision": "fp32"},
        "models": {"encoder": {"name": "e5", "folder": "/m/e5"}},
        "index": {"n_passages": 1234, "corpus_path": "boats.txt"},
    }
    (run / "provenance.json").write_text(json.dumps(provenance), "utf-8")
    html, markdown, _ = (path.read_text("utf-8") for path in write_report([run], tmp_path / "report.html"))
    head = html.split("</header>")[0]
    for text in ("/x/boats.index (1,234 passages of boats.txt)", "encoder e5, reader r", "/x/dev.txt", "2026-11-30"):
        assert text in head
        assert text.replace("_", r"\_") in markdown.split("\n## ")[0]


def test_a_head_of_two_runs_says_whose_and_leaves_out_what_is_not_known(runs, tmp_path):
    markdown = write_report(runs, tmp_path / "report.html")[1].read_text("utf-8")
    assert "Date" not in markdown.split("\n## ")[0]
