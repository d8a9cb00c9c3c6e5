"""Find the score that best tells which questions the documents do not answer: fitted on one run, read on another.

    python -m benchmarks.abstention DEV_RUN DEV_QUESTIONS TEST_RUN TEST_QUESTIONS [--depth N] [-i INDEX] [--set …]

Both runs come from `rag batch`, reranked, without a threshold. The scores are:

- the best rerank score, and its gaps to the second and the third;
- the model's word: its own refusals, if the runs hold answers;
- with `-i`, the likelihoods of the answer given and of `CANNOTANSWER`, by the generator over the same prompt. It takes
  about a second for each question on two cores, and the values are kept beside the run for the next call;
- `all`: a logistic regression of every score, fitted on dev.

`--depth N` uses only the N best retrieved passages, if one run reranked more than the other.

For each score one JSON line gives the AUC on dev and test, also within the sources that have unanswerable questions (a
score may tell sources apart instead of answers); the area under risk (the share of unanswerable questions among those
answered) over coverage on test; and, at the threshold that the rule of `rag calibrate` chooses on dev, three shares on
test: refusals that are right, unanswerable questions refused, answerable questions refused.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rag.build.chosen_prompt import sentence_margin_of
from rag.build.indexes import corpus_of
from rag.build.parts import find_generator_model, make_prompt
from rag.build.pipelines import make_pipeline
from rag.build.serving import serving_over
from rag.compute.quiet import quiet_libraries
from rag.config import load_settings
from rag.data.questions import Question, load_questions
from rag.evaluate.calibration import auc, calibrate, risk_coverage
from rag.files import json_line
from rag.progress import progress
from rag.resume import read_jsonl, resume_jsonl
from rag.types import CANNOTANSWER, Hit, Query, Response


def signals(row: dict, likelihoods: dict | None, depth: int) -> dict[str, float]:
    """The scores of one question by name; higher means that an answer is likelier."""
    looked_at = {pid for pid, _ in row["retrieved"][:depth]}
    logits = [score for pid, score in row["reranked"] if pid in looked_at] or [-20.0]
    found = {
        "best score": logits[0],
        "gap to the second": logits[0] - logits[min(1, len(logits) - 1)],
        "gap to the third": logits[0] - logits[min(2, len(logits) - 1)],
    }
    if row["raw"] is not None:
        found["the model's word"] = float(row["answer"] != CANNOTANSWER)
    if likelihoods:
        found["likelihood of the answer"] = likelihoods["answer"]
        found["unlikelihood of CANNOTANSWER"] = -likelihoods["refusal"]
        found["likelihood ratio"] = likelihoods["answer"] - likelihoods["refusal"]
    return found


def measure_likelihoods(run: Path, rows: Sequence[dict], settings, index: Path) -> dict[str, dict]:
    """By question id: the mean log-probability per token of the answer, and of CANNOTANSWER, after the same prompt."""
    import torch

    from rag.generate.engines.transformers import TransformersGenerator, render_chat

    prompt, folder = make_prompt(settings), find_generator_model(settings).folder
    shown = f"{settings.prompt.contexts} {sentence_margin_of(settings)}"
    made_by = hashlib.sha256(f"{folder.name} {prompt.sha256()} {shown}".encode()).hexdigest()[:12]
    path = run / f"likelihoods-{made_by}.jsonl"
    done = resume_jsonl(path)
    todo = [row for row in rows if row["qid"] not in done]
    if todo:
        corpus = corpus_of(index)
        pipeline = make_pipeline(serving_over(settings, index), interactive=False)
        generator = TransformersGenerator(folder, context_window_tokens=settings.generator.context_window_tokens)
        tokenizer, model = generator._tokenizer, generator._model

        def read(ids: list[int], **options):
            return model(torch.tensor([ids], device=model.device), **options)

        def mean_log_probabilities(prompt_ids: list[int], texts: Sequence[str]) -> list[float]:
            """Reads the prompt once; every text continues it."""
            found = []
            with torch.inference_mode():
                before = read(prompt_ids, logits_to_keep=1)
                for text in texts:
                    own = tokenizer(text, add_special_tokens=False)["input_ids"]
                    rest = read(own, past_key_values=copy.deepcopy(before.past_key_values)).logits
                    logits = torch.cat([before.logits[0], rest[0, :-1]]).float()
                    chosen = torch.log_softmax(logits, -1)[torch.arange(len(own)), torch.tensor(own)]
                    found.append(float(chosen.mean()))
            return found

        with path.open("ab") as stream, progress("Weighing", len(rows), "questions", already_done=len(done)) as bar:
            for row in todo:
                hits = tuple(Hit(corpus.by_id(pid), score) for pid, score in row["reranked"])
                (response,) = pipeline.choose_sentences([Response(Query(row["qid"], row["query"]), reranked=hits)])
                conversation, _ = pipeline.compose(response, generator)
                answer, refusal = -20.0, 0.0  # a refusal, if no passage fits into the window
                if conversation is not None:
                    ids = tokenizer(render_chat(tokenizer, conversation), add_special_tokens=False)["input_ids"]
                    answer, refusal = mean_log_probabilities(ids, [row["raw"] or CANNOTANSWER, CANNOTANSWER])
                stream.write(json_line({"qid": row["qid"], "answer": answer, "refusal": refusal}))
                stream.flush()
                bar.advance(1)
    return {row["qid"]: row for row in read_jsonl(path)}


def table(
    run: Path, questions: Sequence[Question], settings, index: Path | None, depth: int
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """(scores by name, answerable, within): (n,) arrays.

    `answerable` says which questions have an answer, `within` which come from a source that has unanswerable ones.
    """
    rows = read_jsonl(run / "predictions.jsonl")
    answers = {question.id: question.answer for question in questions}
    likelihoods = measure_likelihoods(run, rows, settings, index) if index else {}
    found = [signals(row, likelihoods.get(row["qid"]), depth) for row in rows]
    answerable = np.array([answers[row["qid"]] != CANNOTANSWER for row in rows])
    mixed = {row["source"] for row, is_answerable in zip(rows, answerable, strict=True) if not is_answerable}
    within = np.array([row["source"] in mixed for row in rows])
    return {name: np.array([one[name] for one in found]) for name in found[0]}, answerable, within


def area(scores: np.ndarray, answerable: np.ndarray) -> float:
    return round(float(auc(scores[answerable], scores[~answerable])), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("dev_run", "dev_questions", "test_run", "test_questions"):
        parser.add_argument(name, type=Path)
    parser.add_argument("-i", "--index", type=Path, help="index of the runs; adds likelihoods by the generator")
    parser.add_argument("--depth", type=int, default=1000, help="retrieved passages to look at")
    parser.add_argument("--set", action="append", default=[], help="section.key=value")
    arguments = parser.parse_args()
    quiet_libraries()
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    settings = load_settings(None, arguments.set)
    sides = [
        table(run, load_questions(questions), settings, arguments.index, arguments.depth)
        for run, questions in (
            (arguments.dev_run, arguments.dev_questions),
            (arguments.test_run, arguments.test_questions),
        )
    ]
    (dev, dev_answerable, dev_within), (test, test_answerable, test_within) = sides
    names = [name for name in dev if name in test]
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(
        np.stack([dev[name] for name in names], 1), dev_answerable
    )
    for scores in (dev, test):
        scores["all"] = fitted.decision_function(np.stack([scores[name] for name in names], 1))
    for name in [*names, "all"]:
        chosen = calibrate(dev[name].tolist(), dev_answerable.tolist())
        # Tied questions all get their mean risk, because none of them comes first.
        _, group = np.unique(test[name], return_inverse=True)
        risk = np.bincount(group, ~test_answerable) / np.bincount(group)
        curve = risk_coverage(test[name].tolist(), risk[group].tolist(), len(test_answerable), 100)
        line = {
            "score": name,
            "auc_dev": area(dev[name], dev_answerable),
            "auc_dev_within": area(dev[name][dev_within], dev_answerable[dev_within]),
            "auc_test": area(test[name], test_answerable),
            "auc_test_within": area(test[name][test_within], test_answerable[test_within]),
            "risk_area_test": round(curve["area"], 4),
            "threshold": chosen["threshold"],
        }
        if chosen["threshold"] is not None:
            refused = test[name] < chosen["threshold"]
            line |= {
                "refusals_right": round(float((refused & ~test_answerable).sum() / max(refused.sum(), 1)), 3),
                "unanswerable_refused": round(float(refused[~test_answerable].mean()), 3),
                "answerable_refused": round(float(refused[test_answerable].mean()), 3),
            }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
