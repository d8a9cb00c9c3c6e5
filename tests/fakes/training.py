"""Questions and passages to train tiny models on."""

import json

from rag.build.serving import serving_over
from rag.train import mine as tune
from rag.train.files import TrainingFiles
from rag.train.negatives import MiningSettings
from rag.types import Passage
from tests.fakes.tiny import WORDS

NOUNS = [word for word in WORDS if word.isalpha() and len(word) > 3][:30]
PASSAGES = [Passage(f"d{n}@0", f"the {word} and the {NOUNS[n - 1]}") for n, word in enumerate(NOUNS)]
KINDS = ("retriever", "reranker")
FAST = [
    f"training.{kind}.{setting}"
    for kind in KINDS
    for setting in ("epochs=6", "batch_size=8", "learning_rate=5e-3", "warmup_steps=2")
]


def rows(numbers):
    return "".join(
        json.dumps(
            {
                "qid": f"q{n}",
                "question": f"who built the {NOUNS[n]}",
                "evidences": [PASSAGES[n].text, PASSAGES[(n + 1) % 30].text],
                "retrieval_labels": [1, 0],
                "answer": {"text": NOUNS[n]},
            }
        )
        + "\n"
        for n in numbers
    )


def quick(settings):
    """For tests in which a model has to be another, not a better one."""
    return with_training(settings, KINDS, epochs=1, evaluations=1)


def with_training(settings, kinds, **changes):
    """The settings with other values of training, for each kind of model that is named."""
    changed = {kind: getattr(settings.training, kind).model_copy(update=changes) for kind in kinds}
    return settings.model_copy(update={"training": settings.training.model_copy(update=changed)})


def mined(settings, folder, scorer="encoder", **options):
    tune.mine_negatives(
        serving_over(settings, folder / "index"),
        folder / "train.txt",
        folder / "negatives.jsonl",
        MiningSettings(per_question=7, depth=20, margin=None),
        retrievers=["dense", "bm25"],
        scorer=scorer,
        **options,
    )
    return TrainingFiles(folder / "train.txt", folder / "dev.txt", negatives=folder / "negatives.jsonl")


def unanswerable_rows(numbers):
    made = [json.loads(line) for line in rows(numbers).splitlines()]
    for row in made:
        row |= {"qid": f"u{row['qid']}", "question": f"{row['question']} twice", "retrieval_labels": [0, 0]}
        row["answer"] = {"text": "CANNOTANSWER"}
    return "".join(json.dumps(row) + "\n" for row in made)
