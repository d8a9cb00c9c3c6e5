"""Commands that train: questions, mine, train, promote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from rag.cli.groups import RagGroup
from rag.cli.options import TRAIN, ConfigOption, IndexOption, LlmOption, SampleOption, SetOption, example, serving_of
from rag.terminal import show

app = typer.Typer()

TrainArgument = Annotated[
    Path,
    typer.Argument(
        help="Training questions: train.txt, a BEIR folder, a table, or a data set of the hub as "
        "owner/name:config:split. Columns: rows.csv:question=q,positive=right,negative=wrong."
    ),
]


@app.command(rich_help_panel=TRAIN, epilog=example("rag questions -i my.index -o questions.txt"))
def questions(
    index: IndexOption,
    output: Annotated[Path, typer.Option("-o", "--output", help="The file of training questions to write.")],
    sample: Annotated[int | None, typer.Option(min=1, help="N random passages; by default all of them.")] = None,
    per_passage: Annotated[int, typer.Option(min=1, help="Texts of each kind about each passage, at most.")] = 1,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            help="What is written about each passage: question (the default), claim, keywords; may be repeated."
        ),
    ] = None,
    round_trip: Annotated[
        int,
        typer.Option(min=0, help="Keep only what finds its own passage among the first N; 0 keeps all."),
    ] = 0,
    llm: LlmOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Write training questions for documents that have none: the generator asks one about each passage.

    Give the file to rag mine and rag train in place of train.txt. Started again after a kill, it writes the rest. With
    --kind it writes claims and keywords as well, for people who search without asking.
    """
    serving = serving_of(config, set_, index, llm)
    from rag.build.written import write_found_questions
    from rag.cli.lines import written_lines

    written = write_found_questions(
        serving, output, round_trip, sample=sample, per_passage=per_passage, kinds=kind or ["question"]
    )
    show(*written_lines(written, output))


@app.command("mine", rich_help_panel=TRAIN, epilog=example("rag mine train.txt -i my.index -o negatives.jsonl"))
def mine_(
    train: TrainArgument,
    index: IndexOption,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The JSON lines to write; a report is written beside them.")
    ],
    retriever: Annotated[
        list[str] | None,
        typer.Option(help="What finds candidates: dense, bm25 or hybrid (the default); may be repeated."),
    ] = None,
    scorer: Annotated[
        Literal["reranker", "encoder", "none"],
        typer.Option(help="What scores candidates; the recipes distill and margin need the reranker."),
    ] = "reranker",
    per_question: Annotated[int, typer.Option(min=1, help="Negatives per question.")] = 7,
    depth: Annotated[int, typer.Option(min=1, help="The deepest rank considered.")] = 12,
    skip: Annotated[int, typer.Option(min=0, help="How many top ranks to skip.")] = 0,
    margin: Annotated[
        float,
        typer.Option(
            min=0, help="Keep negatives that score below this share of the gold passage's score; 0 keeps all."
        ),
    ] = 0.0,
    random_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of negatives drawn from the whole corpus.")
    ] = 0.0,
    qrels: Annotated[Path | None, typer.Option(help="Judgements, if the file does not hold them.")] = None,
    sample: SampleOption = None,
    unanswerable: Annotated[
        bool, typer.Option("--unanswerable/--answerable-only", help="Mine for unanswerable questions too, or not.")
    ] = True,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Mine hard negatives for training. Started again after a kill, it does the rest."""
    serving = serving_of(config, set_, index)
    from rag.cli.lines import mining_lines
    from rag.train.mine import mine_negatives
    from rag.train.negatives import MiningSettings

    mining = MiningSettings(per_question, depth, skip, margin or None, random_share)
    report = mine_negatives(
        serving,
        train,
        output,
        mining,
        qrels=qrels,
        retrievers=retriever or ["hybrid"],
        scorer=scorer,
        sample=sample,
        unanswerable=unanswerable,
    )
    show(*mining_lines(report, output))


train_app = typer.Typer(
    cls=RagGroup, no_args_is_help=True, help="Fine-tune a model on your own questions, and compare it with its base."
)
app.add_typer(train_app, name="train", rich_help_panel=TRAIN)

RunOption = Annotated[Path, typer.Option("-o", "--output", help="The folder of the run and its model.")]
DevOption = Annotated[Path | None, typer.Option(help="Dev questions; by default some documents are held out.")]
NegativesOption = Annotated[Path | None, typer.Option(help="The file that rag mine wrote.")]
JudgementsOption = Annotated[Path | None, typer.Option(help="Judgements, if the files do not hold them.")]
TrainSampleOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="N random questions, in proportion to their sources (seeded); with --negatives, among those mined for.",
    ),
]
WithoutOption = Annotated[list[str] | None, typer.Option(help="A source to leave out of training; may be repeated.")]
ReuseOption = Annotated[
    list[Path] | None,
    typer.Option(help="A run whose gate scored the same base on the same candidates; may be repeated."),
]
GateOption = Annotated[
    bool, typer.Option("--gate/--no-gate", help="Compare the tuned model with its base on dev questions, or not.")
]


@train_app.command("retriever", epilog=example("rag train retriever train.txt -i my.index -o models/retriever"))
def train_retriever_(
    train: TrainArgument,
    index: IndexOption,
    output: RunOption,
    recipe: Annotated[str, typer.Option(help="report, mined, distill, margin, lasttoken or query.")] = "distill",
    base: Annotated[
        str | None,
        typer.Option(help="The model to start from, by default the serving one; lasttoken needs a causal LM."),
    ] = None,
    dev: DevOption = None,
    negatives: NegativesOption = None,
    qrels: JudgementsOption = None,
    sample: TrainSampleOption = None,
    without: WithoutOption = None,
    gate: GateOption = True,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Fine-tune the bi-encoder. Started again after a kill, it continues from its last checkpoint."""
    serving = serving_of(config, set_, index)
    from rag.train.files import TrainingFiles
    from rag.train.tune import tune_retriever

    files = TrainingFiles(train, dev, qrels, negatives, sample, tuple(without or ()))
    _show_verdict(output, tune_retriever(serving, files, output, recipe, base=base, with_gate=gate))


@train_app.command("reranker", epilog=example("rag train reranker train.txt -i my.index -o models/reranker"))
def train_reranker_(
    train: TrainArgument,
    index: IndexOption,
    output: RunOption,
    recipe: Annotated[
        str, typer.Option(help="lambda, listnet, ranknet, hybrid, distill, abstain, report-1 or report-2.")
    ] = "lambda",
    base: Annotated[
        str | None,
        typer.Option(help="The model to start from, by default the serving one; a body without a head gets one."),
    ] = None,
    dev: DevOption = None,
    negatives: NegativesOption = None,
    qrels: JudgementsOption = None,
    sample: TrainSampleOption = None,
    without: WithoutOption = None,
    reuse: ReuseOption = None,
    gate: GateOption = True,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Fine-tune the cross-encoder. Started again after a kill, it continues from its last checkpoint."""
    serving = serving_of(config, set_, index)
    from rag.train.files import TrainingFiles
    from rag.train.tune import tune_reranker

    files = TrainingFiles(train, dev, qrels, negatives, sample, tuple(without or ()))
    _show_verdict(output, tune_reranker(serving, files, output, recipe, base=base, reuse=reuse or (), with_gate=gate))


@train_app.command("reader", epilog=example("rag train reader train.txt -i my.index -o models/reader"))
def train_reader_(
    train: TrainArgument,
    index: IndexOption,
    output: RunOption,
    recipe: Annotated[str, typer.Option(help="span.")] = "span",
    base: Annotated[
        str | None,
        typer.Option(help="The model to start from, by default the serving reranker; another reader goes on."),
    ] = None,
    dev: DevOption = None,
    negatives: NegativesOption = None,
    qrels: JudgementsOption = None,
    sample: TrainSampleOption = None,
    without: WithoutOption = None,
    gate: GateOption = True,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Fine-tune the span reader, which marks the answer in a passage or says that it is not there.

    Started again after a kill, it continues from its last checkpoint.
    """
    serving = serving_of(config, set_, index)
    from rag.train.files import TrainingFiles
    from rag.train.tune import tune_reader

    files = TrainingFiles(train, dev, qrels, negatives, sample, tuple(without or ()))
    _show_verdict(output, tune_reader(serving, files, output, recipe, base=base, with_gate=gate))


@train_app.command("generator", epilog=example("rag train generator train.txt -i my.index -o models/generator"))
def train_generator_(
    train: TrainArgument,
    index: IndexOption,
    output: RunOption,
    recipe: Annotated[str, typer.Option(help="lora.")] = "lora",
    dev: DevOption = None,
    qrels: JudgementsOption = None,
    contexts: Annotated[
        Path | None,
        typer.Option(help="The file that keeps what is found for each question; by default one in the run's folder."),
    ] = None,
    sample: TrainSampleOption = None,
    without: WithoutOption = None,
    gate: GateOption = True,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Fine-tune the language model that answers, so that it answers from the passages or refuses.

    Started again after a kill, it continues from its last checkpoint.
    """
    serving = serving_of(config, set_, index)
    from rag.train.files import TrainingFiles
    from rag.train.tune import tune_generator

    files = TrainingFiles(train, dev, qrels, None, sample, tuple(without or ()))
    _show_verdict(output, tune_generator(serving, files, output, recipe, contexts=contexts, with_gate=gate))


@train_app.command(
    "average", epilog=example("rag train average models/a models/b -i my.index -o models/mean --dev dev.txt")
)
def train_average_(
    runs: Annotated[list[Path], typer.Argument(help="Finished runs of one kind, from the same start.")],
    index: IndexOption,
    output: RunOption,
    dev: Annotated[Path, typer.Option(help="Dev questions.")],
    qrels: JudgementsOption = None,
    reuse: ReuseOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Average the weights of several runs' models, and compare the result with the serving model."""
    serving = serving_of(config, set_, index)
    from rag.train.meet import average_models

    _show_verdict(output, average_models(serving, runs, dev, output, qrels=qrels, reuse=reuse or ()))


@train_app.command("gate", epilog=example("rag train gate models/a -i my.index -o models/met --dev dev.txt"))
def train_gate_(
    model: Annotated[str, typer.Argument(help="The name or folder of a retriever, reranker, reader or generator.")],
    index: IndexOption,
    output: RunOption,
    dev: Annotated[Path, typer.Option(help="Dev questions that it was not trained on.")],
    qrels: JudgementsOption = None,
    reuse: ReuseOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Compare a model that was trained elsewhere, or without the gate, with the serving model."""
    serving = serving_of(config, set_, index)
    from rag.train.meet import gate_model

    _show_verdict(output, gate_model(serving, model, dev, output, qrels=qrels, reuse=reuse or ()))


@train_app.command("table", epilog=example("rag train table models/a models/b"))
def training_table_(
    runs: Annotated[list[Path], typer.Argument(help="Finished runs of one kind, gated on the same dev.")],
) -> None:
    """Show finished runs side by side, as Markdown: metrics against the base, by source, and each run's cost."""
    from rag.train.table import training_table

    show(*training_table(runs))


def _show_verdict(output: Path, record: dict | None) -> None:
    from rag.evaluate.verdict import gate_lines

    show(f"the model is in {output / 'model'}")
    if record is not None:
        show(*gate_lines(record))


@app.command(rich_help_panel=TRAIN, epilog=example("rag promote models/reranker"))
def promote(
    target: Annotated[str, typer.Argument(help="A training run's folder; with --back, the name of the base model.")],
    back: Annotated[bool, typer.Option("--back", help="Undo the last promotion of a base model.")] = False,
) -> None:
    """Serve a tuned model that passed the gate instead of its base, or go back."""
    from rag.models.promoted import go_back
    from rag.train.promote import promote_model

    show(f"{go_back(target)} serves again" if back else promote_model(target))
