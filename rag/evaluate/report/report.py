"""The report: one self-contained HTML file, a Markdown twin, and the figures as JSON, from one or several runs."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import jinja2
from markupsafe import Markup

from rag.data.passages import Corpus
from rag.errors import RunMismatchError
from rag.evaluate.files import read_metrics, read_predictions, read_scores
from rag.evaluate.outcomes import EXPLANATIONS, GOOD, Outcome
from rag.evaluate.report.figures import Dot, dots_figure, flow_svg, risk_figure, training_figure
from rag.evaluate.significance import holm, paired_difference
from rag.evaluate.summary import BASELINES
from rag.evaluate.verdict import GATE_FILE
from rag.files import json_if_sound
from rag.resume import flatten, read_jsonl
from rag.types import Conversation, Passage

HEADLINE = (
    (
        "Recall@10",
        "retrieve/success@10",
        "Share of the judged questions with a gold passage among the retriever's ten best, before reranking: what the "
        "course task calls Recall@10. The field calls it Success@10 or hit rate; found over relevant stands below.",
    ),
    (
        "MRR@10",
        "rerank/mrr@10",
        "Mean over the judged questions of 1 / rank of the first gold passage, after reranking; 0 below rank ten.",
    ),
    (
        "CosSim",
        "cos_sim",
        "Mean over all questions of the cosine between the embeddings of the parsed answer and of the reference by "
        "all-MiniLM-L6-v2; a refusal is the text CANNOTANSWER.",
    ),
)
COMPARED = (
    *((name, key) for name, key, _ in HEADLINE),
    ("nDCG@10 after reranking", "rerank/ndcg@10"),
    ("Token F1, answerable", "f1"),
    ("Right", "right"),
)
RANKING_COLUMNS = (
    "recall@1",
    "recall@5",
    "recall@10",
    "recall@50",
    "success@10",
    "mrr@10",
    "ndcg@5",
    "ndcg@10",
)
STAGE_NAMES = {"retrieve": "retrieved", "rerank": "reranked"}
ANSWER_ROWS = (
    ("cos_sim", "CosSim, all questions"),
    ("cos_sim_answerable", "CosSim, answerable"),
    ("cos_sim_unanswerable", "CosSim, unanswerable"),
    ("cos_sim_best_alias", "CosSim with the best alias"),
    ("cos_sim_gold_in_context", "CosSim, answerable with a gold passage in the context"),
    ("exact_match", "Exact match, answerable"),
    ("f1", "Token F1, answerable"),
    ("reference_recall", "Reference tokens in the answer, answerable"),
    ("right", "Right answers and right refusals"),
    ("grounded", "Answer tokens that stand in the contexts"),
    ("format_leaks", "Answers in which markup or the prompt shows"),
)
CITATION_ROWS = (
    ("cited", "Answers with a citation"),
    ("citation_precision", "Citations that name a gold passage, where one is in the context"),
    ("citation_recall", "Gold passages in the context that are cited"),
    ("citation_supported", "Cited passages that hold every word of the answer"),
)
SLICES = {
    "source": "source",
    "question_word": "question word",
    "passage_words": "words of the gold passage",
    "reference_words": "words of the reference",
    "rarest_word": "passages that hold the question's rarest word",
}
MAX_QUESTIONS_SHOWN = 2000
MAX_FLIPS_SHOWN = 100
PASSAGES_SHOWN = 10


class PromptTemplate(Protocol):
    """As much of a prompt as it takes to show what a question was asked with."""

    def conversation(self, question: str, passages: Sequence[Passage]) -> Conversation: ...

    def tamed(self, text: str) -> str: ...


@dataclass(frozen=True, slots=True)
class ReportedRun:
    """One run's numbers and rows, as the report needs them."""

    name: str
    metrics: dict
    scores: dict[str, dict]
    rows: dict[str, dict]
    identity: dict = field(default_factory=dict)
    cost: dict = field(default_factory=dict)
    provenance: dict = field(default_factory=dict)
    corpus: Corpus | None = None
    prompt: PromptTemplate | None = None
    training: dict = field(default_factory=dict)


def write_report(
    runs: Sequence[str | Path],
    output: str | Path,
    *,
    corpora: Sequence[Corpus | None] = (),
    prompts: Sequence[PromptTemplate | None] = (),
) -> list[Path]:
    """Write OUTPUT (HTML) and beside it .md and .json; returns the three paths.

    `corpora` and `prompts`, one for each run, let the report show passages and prompts; without them it says that it
    cannot. Raises RunMismatchError where a folder is no evaluated run.
    """
    figures = [
        _read_run(Path(run), _at(corpora, n), _at(prompts, n), name)
        for n, (run, name) in enumerate(zip(runs, _names(runs), strict=True))
    ]
    comparisons = _comparisons(figures)
    context = {
        "runs": figures,
        "headline": [_headline(run) for run in figures],
        "columns": RANKING_COLUMNS,
        "stage_names": STAGE_NAMES,
        "answer_rows": ANSWER_ROWS,
        "baselines": list(BASELINES.values()),
        "citation_rows": CITATION_ROWS,
        "answered": [run for run in figures if run.metrics["answer"]],
        "outcomes": [
            (outcome.value, EXPLANATIONS[outcome], outcome in GOOD)
            for outcome in Outcome
            if any(run.metrics["outcomes"][outcome.value] for run in figures)
        ],
        "slices": SLICES,
        "comparisons": comparisons,
        "flips": _flips(figures),
        "max_flips": MAX_FLIPS_SHOWN,
        "lacking": [line for run in figures for line in _lacking(run)],
        "settings": _settings_rows(figures),
    }
    output = Path(output)
    if output.suffix != ".html":
        output = output.with_suffix(".html")
    output.parent.mkdir(parents=True, exist_ok=True)
    html = _render("report.html.j2", autoescape=True, plots=_plots(figures), data=_packed(figures), **context)
    data = {
        "runs": [
            {
                "name": run.name,
                "metrics": run.metrics,
                "identity": run.identity,
                "cost": run.cost,
                "provenance": run.provenance,
            }
            for run in figures
        ],
        "comparisons": comparisons,
    }
    paths = [output, output.with_suffix(".md"), output.with_suffix(".json")]
    markdown = _render("report.md.j2", autoescape=False, **context)
    for path, text in zip(paths, (html, markdown, json.dumps(data, indent=2) + "\n"), strict=True):
        path.write_text(text, encoding="utf-8", errors="replace")
    return paths


def _at(values: Sequence, n: int):
    return values[n] if n < len(values) else None


def _names(runs: Sequence[str | Path]) -> list[str]:
    """Folder names; where two are equal, whole paths."""
    short = [Path(run).resolve().name for run in runs]
    return [name if short.count(name) == 1 else str(run) for name, run in zip(short, runs, strict=True)]


def _read_run(folder: Path, corpus: Corpus | None, prompt: PromptTemplate | None, name: str) -> ReportedRun:
    if not folder.is_dir():
        raise RunMismatchError(f"{folder} is no run folder; make one: rag batch QUERIES -i INDEX -o {folder}")
    rows = {row["qid"]: row for row in read_predictions(folder)}
    metrics, scores = read_metrics(folder), read_scores(folder)
    if metrics["n_predicted"] != len(rows) or not rows.keys() <= scores.keys():
        raise RunMismatchError(
            f"{folder} has changed since it was evaluated; again: rag evaluate {folder} --qrels QRELS --queries FILE"
        )
    provenance = _json(folder / "provenance.json")
    return ReportedRun(
        name=name,
        metrics=metrics,
        scores=scores,
        rows=rows,
        identity=_json(folder / "run.json"),
        cost=_json(folder / "cost.json"),
        provenance=provenance,
        corpus=corpus,
        prompt=prompt,
        training=_training(provenance),
    )


def _json(path: Path) -> dict:
    """What a file beside a run says; {} where it is missing or damaged: the report then says what it lacks."""
    return json_if_sound(path) or {}


def _training(provenance: Mapping) -> dict:
    """What is known of how the run's models were trained: role -> log and gate, where a training folder is around."""
    found = {}
    for role, model in provenance.get("models", {}).items():
        folder = Path(model["folder"]).parent
        log = read_jsonl(folder / "log.jsonl")
        gate = _json(folder / GATE_FILE)
        if log or gate:
            steps = [row for row in log if "loss" in row]
            found[role] = {
                "name": model["name"],
                "gate": gate,
                "steps": steps,
                "evaluations": [row for row in log if any(key.startswith("eval_dev_") for key in row)],
                "recipe": _json(folder / "training.json").get("recipe", {}),
            }
    return found


def _lacking(run: ReportedRun) -> list[str]:
    """What the report cannot show of a run, a sentence each."""
    lines = []
    asked, done = run.metrics["n_queries"], run.metrics["n_predicted"]
    if done < asked:
        lines.append(f"{run.name} is unfinished: {done:,} of {asked:,} questions are predicted; the others score 0.")
    if not any(row.get("answer") is not None for row in run.rows.values()):
        lines.append(f"{run.name} holds no answers (made with --no-generate): ranking only.")
    elif run.metrics["answer"] is None:
        lines.append(f"{run.name} was evaluated without reference answers; evaluate it with --queries FILE.")
    if not run.metrics["n_judged"]:
        lines.append(f"No question of {run.name} is judged in the qrels: there are no ranking figures.")
    if run.corpus is None:
        lines.append(f"The index of {run.name} is not where it was: passages and prompts are not shown (-i INDEX).")
    elif run.prompt is None:
        lines.append(f"The prompt of {run.name} is not what it was, or its demonstrations: prompts are not shown.")
    if not run.identity:
        lines.append(f"{run.name} holds no run.json: what made it is unknown.")
    return lines


def _headline(run: ReportedRun) -> list[dict]:
    stages, answer = run.metrics["stages"], run.metrics["answer"] or {}
    n_judged = run.metrics["n_judged"]
    values = {
        "Recall@10": (stages["retrieve"]["success@10"], stages["retrieve"]["intervals"]["success@10"], n_judged),
        "MRR@10": (stages["rerank"]["mrr@10"], stages["rerank"]["intervals"]["mrr@10"], n_judged),
        "CosSim": (answer.get("cos_sim"), (answer.get("intervals") or {}).get("cos_sim"), answer.get("n", 0)),
    }
    cards = []
    for name, _, definition in HEADLINE:
        value, interval, n = values[name]
        cards.append({"name": name, "definition": definition, "value": value, "interval": interval, "n": n})
    return cards


def _comparisons(runs: Sequence[ReportedRun]) -> list[dict]:
    """Every later run against the first, on the questions that both have: paired permutation tests, Holm-corrected."""
    results: list[dict] = []
    for other in runs[1:]:
        for name, key in COMPARED:
            pairs = [
                (float(other.scores[qid][key]), float(score[key]))
                for qid, score in runs[0].scores.items()
                if score.get(key) is not None
                and other.scores.get(qid, {}).get(key) is not None
                and (key != "f1" or score["answerable"])
            ]
            if not pairs:
                continue
            result = paired_difference(*map(list, zip(*pairs, strict=True)))
            results.append(
                {
                    "metric": name,
                    "run": other.name,
                    "against": runs[0].name,
                    "difference": result.difference,
                    "interval": [result.interval.low, result.interval.high] if result.interval else None,
                    "p_value": result.p_value,
                    "n": result.n,
                    "wins": sum(a > b + 1e-9 for a, b in pairs),
                    "losses": sum(a < b - 1e-9 for a, b in pairs),
                }
            )
            results[-1]["ties"] = result.n - results[-1]["wins"] - results[-1]["losses"]
    for result, corrected in zip(results, holm([result["p_value"] for result in results]), strict=True):
        result["p_holm"] = corrected
    return results


def _flips(runs: Sequence[ReportedRun]) -> list[dict]:
    """For every later run: how many questions changed class, and those that it won or lost against the first."""
    flips = []
    for other in runs[1:]:
        changes: dict[tuple[str, str], int] = {}
        won, lost = [], []
        for qid, before in runs[0].scores.items():
            after = other.scores.get(qid)
            if after is None or after["outcome"] == before["outcome"]:
                continue
            change = (before["outcome"], after["outcome"])
            changes[change] = changes.get(change, 0) + 1
            was_good, is_good = before["outcome"] in GOOD, after["outcome"] in GOOD
            if was_good != is_good:
                flip = {
                    "qid": qid,
                    "query": (other.rows.get(qid) or runs[0].rows.get(qid) or {}).get("query", ""),
                    "reference": before.get("reference", ""),
                    "before": runs[0].rows.get(qid, {}).get("answer"),
                    "after": other.rows.get(qid, {}).get("answer"),
                    "change": change,
                }
                (won if is_good else lost).append(flip)
        ordered = sorted(changes.items(), key=lambda item: (-item[1], item[0]))
        flips.append({"run": other.name, "against": runs[0].name, "changes": ordered, "won": won, "lost": lost})
    return flips


def _settings_rows(runs: Sequence[ReportedRun]) -> list[tuple[str, list[str]]]:
    """Settings in which the runs differ; of a single run, those of its stages."""
    flat = [flatten(run.identity) for run in runs]
    names = sorted({name for each in flat for name in each if name not in ("questions", "prompt_sha256")})
    rows = [(name, [str(each.get(name, "–")) for each in flat]) for name in names]
    return [row for row in rows if len(runs) == 1 or len(set(row[1])) > 1]


def _packed(runs: Sequence[ReportedRun]) -> str:
    """The questions to read with their passages, as compressed JSON in base64: a browser unpacks it by itself."""
    stores: dict[str, dict[str, list[str]]] = {}
    packed = []
    for run in runs:
        # Passages of one id can differ between indexes.
        store = str(run.identity.get("index") or run.name)
        passages = stores.setdefault(store, {})
        qids = list(run.scores)
        if len(qids) > MAX_QUESTIONS_SHOWN:
            step = len(qids) / MAX_QUESTIONS_SHOWN
            qids = [qids[int(n * step)] for n in range(MAX_QUESTIONS_SHOWN)]
        questions = [_question(run, qid) for qid in qids]
        if run.corpus is not None:
            for question in questions:
                for pid in [row[0] for row in question["passages"]]:
                    if pid in run.corpus:
                        passage = run.corpus.by_id(pid)
                        passages[pid] = [passage.title, passage.text]
        packed.append({"name": run.name, "n": len(run.scores), "store": store, "questions": questions})
    text = json.dumps({"runs": packed, "stores": stores}, ensure_ascii=False)
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), mtime=0)).decode()


def _question(run: ReportedRun, qid: str) -> dict:
    score, row = run.scores[qid], run.rows.get(qid, {})
    before = {pid: (rank, value) for rank, (pid, value) in enumerate(row.get("retrieved", ()), 1)}
    after = {pid: (rank, value) for rank, (pid, value) in enumerate(row.get("reranked", ()), 1)}
    contexts = row.get("contexts", [])
    shown = [pid for pid, (rank, _) in after.items() if rank <= PASSAGES_SHOWN]
    shown += [pid for pid in [*contexts, *score["gold"]] if pid not in shown]
    return {
        "qid": qid,
        "query": row.get("query", ""),
        "source": score["source"],
        "outcome": score["outcome"],
        "cos_sim": score.get("cos_sim"),
        "f1": score.get("f1"),
        "best": score.get("best_score"),
        "reference": score.get("reference"),
        "aliases": score.get("aliases", []),
        "answer": row.get("answer"),
        "raw": row.get("raw"),
        "refused_by": row.get("abstained_by"),
        "gold": list(score["gold"]),
        "gold_before": min((before[pid][0] for pid in score["gold"] if pid in before), default=None),
        "gold_after": min((after[pid][0] for pid in score["gold"] if pid in after), default=None),
        "contexts": contexts,
        "citations": row.get("citations") or [],
        "passages": [[pid, *before.get(pid, (None, None)), *after.get(pid, (None, None))] for pid in shown],
        "prompt": _prompt(run, row, contexts),
    }


def _prompt(run: ReportedRun, row: Mapping, contexts: Sequence[str]) -> list[list[str]]:
    """The messages that the question was asked with; ⟦id⟧ and ⟦id⟧ᵗ stand for a passage's text and title.

    Passages of which sentences were chosen, or something was withheld or broken up, stand there as the model saw them.
    """
    if run.prompt is None or run.corpus is None or not contexts:
        return []
    excerpts = row.get("excerpts") or {}
    whole = [run.corpus.by_id(pid) for pid in contexts if pid in run.corpus]
    known = [p.excerpt(excerpts[p.id]) if p.id in excerpts else p for p in whole]
    marked = [
        Passage(
            p.id,
            p.text if run.prompt.tamed(p.text) != run.corpus.by_id(p.id).text else f"⟦{p.id}⟧",
            p.title if run.prompt.tamed(p.title) != p.title or not p.title else f"⟦{p.id}⟧ᵗ",
        )
        for p in known
    ]
    return [[message["role"], message["content"]] for message in run.prompt.conversation(row["query"], marked)]


def _plots(runs: Sequence[ReportedRun]) -> dict[str, Markup]:
    """Name -> an SVG element; what there is nothing to draw for is left out."""
    plots = {
        "stages": dots_figure(
            ["Success@10, retrieved", "MRR@10, retrieved", "MRR@10, reranked", "nDCG@10, reranked"],
            {
                run.name: [
                    Dot(run.metrics["stages"][stage][name], run.metrics["stages"][stage]["intervals"][name])
                    for stage, name in (
                        ("retrieve", "success@10"),
                        ("retrieve", "mrr@10"),
                        ("rerank", "mrr@10"),
                        ("rerank", "ndcg@10"),
                    )
                ]
                for run in runs
            },
            "with 95 % bootstrap intervals",
        )
    }
    sources = sorted({source for run in runs for source in run.metrics["slices"]["source"]})
    if sources and any(run.metrics["n_judged"] for run in runs):
        series = {}
        for run in runs:
            slices = run.metrics["slices"]["source"]
            for stage, name in STAGE_NAMES.items():
                values = [slices.get(source, {}).get("stages", {}).get(stage, {}).get("mrr@10") for source in sources]
                series[f"{run.name}, {name}"] = [Dot(value) for value in values]
        plots["sources"] = dots_figure(sources, series, "MRR@10 by source")
    if risks := {run.name: run.metrics["abstention"] for run in runs if run.metrics["abstention"]}:
        plots["risk"] = risk_figure(risks)
    for n, run in enumerate(runs):
        elsewhere = sum(
            score["outcome"] == Outcome.RIGHT and not score.get("gold_in_context", True)
            for score in run.scores.values()
        )
        plots[f"flow{n}"] = flow_svg(run.metrics["outcomes"], elsewhere)
        for role, record in run.training.items():
            if record["steps"] or record["evaluations"]:
                plots[f"training{n}{role}"] = training_figure(record["steps"], record["evaluations"])
    return {name: Markup(svg) for name, svg in plots.items() if svg}


def _render(template: str, *, autoescape: bool, **context: object) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("rag.evaluate.report", "templates"),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = lambda value: "–" if value is None else f"{value:.4f}"
    environment.filters["interval"] = lambda pair: "" if not pair else f"{pair[0]:.3f} … {pair[1]:.3f}"
    environment.filters["signed"] = lambda pair: "" if not pair else f"{pair[0]:+.3f} … {pair[1]:+.3f}"
    environment.filters["share"] = lambda part, whole: f"{100 * part / whole:.1f} %" if whole else "–"
    environment.filters["cell"] = lambda text: " ".join(str(text).replace("|", "\\|").split())
    return environment.get_template(template).render(**context)
