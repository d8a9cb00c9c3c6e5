"""The report's table of what the support of answers is worth."""

import json

from rag.evaluate.report.report import write_report
from rag.evaluate.support import support_figures
from tests.fakes.runs import make_run

ROWS = [
    {"right": right, "support": support, "support_logit": support, "word_for_word": right, "gold_in_context": gold}
    for right, support, gold in ((True, 5.0, True), (True, 1.0, True), (False, 3.0, True), (False, 9.0, False))
]


def report(folder, tmp_path):
    html, markdown, figures = (path.read_text("utf-8") for path in write_report([folder], tmp_path / "report"))
    return html, markdown, json.loads(figures)


def change(folder, edit):
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    edit(metrics)
    (folder / "metrics.json").write_text(json.dumps(metrics), "utf-8")


def test_the_auc_of_the_support_is_shown_for_gold_in_the_context_and_for_all(tmp_path):
    run = make_run(tmp_path / "run", gold_at=1)
    change(run, lambda metrics: metrics.update(support=support_figures(ROWS)))
    html, markdown, _ = report(run, tmp_path)
    # 5 above 3, 1 below it: one of two; neither is above the 9 of an answer without gold: one of four.
    assert "| run | with a gold passage in the context | 2 | 1 | 0.5 | – | 0.5 | – | – |" in markdown
    assert "| run | all | 2 | 2 | 0.2 |" in markdown  # four answers bear one decimal
    assert "0.5 of 4 answers stand word for word" in markdown
    assert "Support of answers" in html
    assert '<td class="n">0.2</td>' in html


def test_a_run_without_checks_and_one_evaluated_before_there_were_any_have_no_such_table(tmp_path):
    run = make_run(tmp_path / "run", gold_at=1)
    for edit in (lambda metrics: None, lambda metrics: metrics.pop("support")):
        change(run, edit)
        html, markdown, _ = report(run, tmp_path)
        assert "Support of answers" not in html + markdown
        assert "## Citations" in markdown
