"""Every recipe's numbers, written out: an accidental change of one fails here.

A row holds every setting of a recipe. `published` holds what its source gives; where ours is another on purpose,
`differs` says why. Sources without numbers of training (a loss, an idea) have none to agree with.
"""

import dataclasses

import pytest

from rag.train import generator_recipes, reader_recipes, reranker_recipes, retriever_recipes

MODULES = {
    "retriever": retriever_recipes,
    "reranker": reranker_recipes,
    "reader": reader_recipes,
    "generator": generator_recipes,
}
REPORT = "reference report"

SCHEDULE = {
    "epochs": 2.0,
    "batch_size": 64,
    "accumulation": 1,
    "learning_rate": 2e-5,
    "warmup_steps": None,
    "warmup_share": 0.1,
    "max_length_tokens": 256,
    "dropout": 0.0,
    "freeze_embeddings": True,
    "adam_beta2": 0.999,
    "tuned_share": 1.0,
    "seed": 0,
}
RETRIEVER = SCHEDULE | {
    "loss": "contrastive",
    "negatives": 1,
    "negatives_from": "mined",
    "mask_positives": True,
    "filter_by_guide": True,
    "guide": None,
    "guide_margin": 0.0,
    "temperature": 0.02,
    "teacher_temperature": 1.0,
    "contrastive_share": 0.2,
    "tension_share": None,
    "mini_batch_size": None,
    "pooling": "own",
    "query_only": False,
}
RERANKER = SCHEDULE | {
    "loss": "lambda",
    "negatives": 7,
    "negatives_from": "mined",
    "random_share": 0.15,
    "positive_weight": 1.0,
    "soft_share": 0.0,
    "hardest_first": False,
    "skip_easy": None,
    "select": "mrr",
    "unanswerable": False,
    "embedding_learning_rate": None,
    "freeze_layers": None,
    "layer_decay": None,
    "pooling": None,
    "head_learning_rate": None,
    "batch_size": 16,
    "epochs": 1.0,
}
REPORT_RERANKER = RERANKER | {
    "loss": "bce",
    "negatives": 4,
    "negatives_from": "evidences",
    "max_length_tokens": 512,
    "dropout": 0.1,
    "freeze_embeddings": False,
}
SETTINGS = {
    ("retriever", "report"): RETRIEVER
    | {
        "negatives": 4,
        "negatives_from": "random",
        "mask_positives": False,
        "filter_by_guide": False,
        "temperature": 0.05,
        "epochs": 5,
        "batch_size": 32,
        "warmup_steps": 1000,
        "max_length_tokens": 512,
        "dropout": 0.1,
        "freeze_embeddings": False,
    },
    ("retriever", "mined"): RETRIEVER,
    ("retriever", "distill"): RETRIEVER | {"loss": "kl", "negatives": 3, "batch_size": 16, "epochs": 1},
    ("retriever", "margin"): RETRIEVER | {"loss": "margin_mse", "negatives": 3, "batch_size": 32},
    ("retriever", "lasttoken"): RETRIEVER
    | {
        "pooling": "lasttoken",
        "negatives": 9,
        "mask_positives": False,
        "filter_by_guide": False,
        "batch_size": 8,
        "epochs": 1,
    },
    ("retriever", "query"): RETRIEVER
    | {"query_only": True, "negatives": 0, "negatives_from": "random", "temperature": 0.01, "epochs": 1},
    ("reranker", "report-1"): REPORT_RERANKER | {"learning_rate": 2e-5, "epochs": 2},
    ("reranker", "report-2"): REPORT_RERANKER | {"learning_rate": 5e-6, "epochs": 1},
    ("reranker", "hybrid"): RERANKER
    | {
        "loss": "hybrid",
        "learning_rate": 5e-5,
        "embedding_learning_rate": 5e-6,
        "head_learning_rate": 2e-4,
        "adam_beta2": 0.97,
        "dropout": 0.1,
        "freeze_embeddings": False,
    },
    ("reranker", "lambda"): RERANKER,
    ("reranker", "listnet"): RERANKER | {"loss": "listnet"},
    ("reranker", "ranknet"): RERANKER | {"loss": "ranknet"},
    ("reranker", "distill"): RERANKER | {"loss": "listnet", "soft_share": 0.5},
    ("reranker", "abstain"): RERANKER | {"loss": "none_of_these", "unanswerable": True},
    ("reader", "span"): SCHEDULE
    | {
        "null_share": 0.5,
        "keep_spans": 0.0,
        "epochs": 1.0,
        "batch_size": 16,
        "learning_rate": 5e-5,
        "warmup_share": 0.06,
    },
    ("generator", "lora"): SCHEDULE
    | {
        "rank": 16,
        "alpha": 32,
        "layers": 12,
        "put_in_share": 0.5,
        "withheld_share": 0.3,
        "withhold": "document",
        "twin_share": 0.15,
        "unanswerable": True,
        "cite": False,
        "tell_form": True,
        "epochs": 1.0,
        "batch_size": 4,
        "accumulation": 4,
        "learning_rate": 2e-4,
        "max_length_tokens": 1024,
    },
}


@dataclasses.dataclass(frozen=True)
class Published:
    """What a source gives, and where ours is another value: setting -> why. The module's docstring names the source."""

    source: str
    numbers: dict
    differs: dict = dataclasses.field(default_factory=dict)


ONE_CPU = "a batch, and negatives, that the memory and the hours of two cores bear"
PUBLISHED = {
    ("retriever", "report"): Published(
        REPORT,
        {
            "negatives": 4,
            "negatives_from": "random",
            "temperature": 0.05,
            "epochs": 5,
            "batch_size": 32,
            "learning_rate": 2e-5,
            "warmup_steps": 1000,
            "max_length_tokens": 512,
        },
    ),
    ("retriever", "distill"): Published(
        "https://arxiv.org/abs/2212.03533",
        {
            "contrastive_share": 0.2,
            "temperature": 0.01,
            "negatives": 7,
            "batch_size": 256,
            "epochs": 3,
            "learning_rate": 3e-5,
            "max_length_tokens": 192,
        },
        {
            "temperature": "no worse on dev than .01: docs/experiments/2026-11-22-retriever-recipes.md",
            "negatives": ONE_CPU,
            "batch_size": ONE_CPU,
            "epochs": "it starts from the fine-tuned encoder, and not from one that was only pre-trained",
            "learning_rate": "the rate of all recipes of the retriever, so that they can be compared",
            "max_length_tokens": "passages of 256 tokens are what an index holds",
        },
    ),
    ("retriever", "margin"): Published("https://arxiv.org/abs/2010.02666", {"loss": "margin_mse", "batch_size": 32}),
    ("reranker", "report-1"): Published(
        REPORT, {"loss": "bce", "learning_rate": 2e-5, "epochs": 2, "negatives": 4, "batch_size": 16}
    ),
    ("reranker", "report-2"): Published(
        REPORT, {"loss": "bce", "learning_rate": 5e-6, "epochs": 1, "negatives": 4, "batch_size": 16}
    ),
    ("reranker", "lambda"): Published("https://doi.org/10.1145/3269206.3271784", {"loss": "lambda"}),
    ("reranker", "listnet"): Published("https://doi.org/10.1145/1273496.1273513", {"loss": "listnet"}),
    ("reranker", "ranknet"): Published("https://doi.org/10.1145/1102351.1102363", {"loss": "ranknet"}),
    ("generator", "lora"): Published(
        "https://arxiv.org/abs/2106.09685",
        {"alpha": 32, "learning_rate": 2e-4, "rank": 4},  # its GPT-2, table 11
        {"rank": "a model of half a billion parameters has to learn a form of answer and when to refuse"},
    ),
}


def recipe_of(kind, name):
    return MODULES[kind].RECIPES[name]


def test_every_recipe_is_in_the_table_and_the_table_names_no_other():
    there = {(kind, name) for kind, module in MODULES.items() for name in module.RECIPES}
    assert there == SETTINGS.keys()
    assert PUBLISHED.keys() <= there


@pytest.mark.parametrize(("kind", "name"), SETTINGS)
def test_a_recipe_has_the_numbers_of_the_table(kind, name):
    assert dataclasses.asdict(recipe_of(kind, name)) == {"name": name, **SETTINGS[kind, name]}


@pytest.mark.parametrize(("kind", "name"), PUBLISHED)
def test_a_recipe_has_its_sources_numbers_or_the_table_says_why_not(kind, name):
    row = PUBLISHED[kind, name]
    ours = dataclasses.asdict(recipe_of(kind, name))
    others = {setting for setting, value in row.numbers.items() if ours[setting] != value}
    assert others == row.differs.keys()
    assert all(len(why) > 20 for why in row.differs.values())


@pytest.mark.parametrize(("kind", "name"), PUBLISHED)
def test_the_source_of_a_recipe_stands_in_its_module(kind, name):
    assert PUBLISHED[kind, name].source in MODULES[kind].__doc__.replace("\n", " ")


def test_every_source_that_a_module_names_has_its_row():
    named = {
        address.rstrip("),.;")
        for module in MODULES.values()
        for address in module.__doc__.split()
        if address.startswith("https://")
    }
    assert named == {row.source for row in PUBLISHED.values() if row.source != REPORT}
