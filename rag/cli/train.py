"""Commands that train: questions, mine, train, promote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag.cli.options import ConfigOption, IndexOption, SetOption, settings_of

app = typer.Typer()


@app.command()
def questions(
    index: IndexOption,
    output: Annotated[Path, typer.Option("-o", "--output", help="The file of training questions to write.")],
    sample: Annotated[int | None, typer.Option(min=1, help="N passages drawn at random (else all of them).")] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Write training questions for documents that have none: the generator asks one of each passage.

    For rag mine and rag train, in the place of train.txt. Started again after a kill, it writes the rest.
    """
    settings = settings_of(config, set_)
    from rag.cli.lines import written_lines
    from rag.train.mine import write_training_questions

    written = write_training_questions(settings, index, output, sample=sample)
    print("\n".join(written_lines(written, output)))


@app.command("mine")
def mine_(
    train: Annotated[Path, typer.Argument(help="Training questions: train.txt, or a BEIR folder.")],
    index: IndexOption,
    output: Annotated[Path, typer.Option("-o", "--output", help="The JSON lines to write; a report stands beside.")],
    retriever: Annotated[
        list[str] | None, typer.Option(help="dense, bm25 or hybrid; may be repeated (else hybrid).")
    ] = None,
    scorer: Annotated[
        str,
        typer.Option(help="What scores the candidates: reranker (distill and margin learn from it), encoder or none."),
    ] = "reranker",
    per_question: Annotated[int, typer.Option(min=1, help="Negatives per question.")] = 7,
    depth: Annotated[int, typer.Option(min=1, help="The last rank looked at.")] = 12,
    skip: Annotated[int, typer.Option(min=0, help="Best ranks passed over.")] = 0,
    margin: Annotated[
        float, typer.Option(min=0, help="A negative scores below this share of the gold passage's score; 0 keeps all.")
    ] = 0.0,
    random_share: Annotated[float, typer.Option(min=0, max=1, help="Share drawn from the whole corpus.")] = 0.0,
    qrels: Annotated[Path | None, typer.Option(help="Judgements, where the file does not hold them.")] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="N questions, each source in its share (seeded).")] = None,
    unanswerable: Annotated[
        bool, typer.Option("--unanswerable/--answerable-only", help="Mine for unanswerable questions too.")
    ] = True,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Mine hard negatives for training; started again after a kill, it finishes the rest."""
    settings = settings_of(config, set_)
    from rag.cli.lines import mining_lines
    from rag.train.mine import mine_negatives
    from rag.train.negatives import MiningSettings

    mining = MiningSettings(per_question, depth, skip, margin or None, random_share)
    report = mine_negatives(
        settings,
        train,
        index,
        output,
        mining,
        qrels=qrels,
        retrievers=retriever or ["hybrid"],
        scorer=scorer,
        sample=sample,
        unanswerable=unanswerable,
    )
    print("\n".join(mining_lines(report, output)))


train_app = typer.Typer(no_args_is_help=True, help="Fine-tune a model on your own questions, and let it meet its base.")


app.add_typer(train_app, name="train")


TrainArgument = Annotated[Path, typer.Argument(help="Training questions: train.txt, or a BEIR folder.")]
RunOption = Annotated[Path, typer.Option("-o", "--output", help="The folder of the run and its model.")]
DevOption = Annotated[Path | None, typer.Option(help="Dev questions; else some documents are held out.")]
NegativesOption = Annotated[Path | None, typer.Option(help="What rag mine wrote.")]
JudgementsOption = Annotated[Path | None, typer.Option(help="Judgements, where the files do not hold them.")]
SampleOption = Annotated[
    int | None,
    typer.Option(min=1, help="N questions, each source in its share (seeded); with --negatives, of those mined for."),
]
WithoutOption = Annotated[list[str] | None, typer.Option(help="A source left out of training; may be repeated.")]
ReuseOption = Annotated[
    list[Path] | None, typer.Option(help="Runs whose gate has scored the same base on the same candidates.")
]
GateOption = Annotated[bool, typer.Option("--gate/--no-gate", help="Let the tuned model meet its base on dev.")]


@train_app.command("retriever")
def train_retriever_(
    train: TrainArgument,
    index: IndexOption,
    output: RunOption,
    recipe: Annotated[str, typer.Option(help="report, mined, distill, margin or lasttoken.")] = "distill",
    base: Annotated[
        str | None, typer.Option(help="The model to start from, else the serving one; lasttoken takes a causal LM.")
    ] = None,
    dev: DevOption = None,
    negatives: NegativesOption = None,
    qrels: JudgementsOption = None,
    sample: SampleOption = None,
    without: WithoutOption = None,
    gate: GateOption = True,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Fine-tune the bi-encoder; started again after a kill, it goes on from its last checkpoint."""
    settings = settings_of(config, set_)
    from rag.train.files import TrainingFiles
    from rag.train.tune import tune_retriever

    files = TrainingFiles(train, dev, qrels, negatives, sample, tuple(without or ()))
    _show_verdict(output, tune_retriever(settings, files, index, output, recipe, base=base, with_gate=gate))


@train_app.command("reranker")
def train_reranker_(
    train: TrainArgument,
    index: IndexOption,
    output: RunOption,
    recipe: Annotated[
        str, typer.Option(help="lambda, listnet, ranknet, hybrid, distill, abstain, report-1 or -2.")
    ] = "lambda",
    dev: DevOption = None,
    negatives: NegativesOption = None,
    qrels: JudgementsOption = None,
    sample: SampleOption = None,
    without: WithoutOption = None,
    reuse: ReuseOption = None,
    gate: GateOption = True,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Fine-tune the cross-encoder; started again after a kill, it goes on from its last checkpoint."""
    settings = settings_of(config, set_)
    from rag.train.files import TrainingFiles
    from rag.train.tune import tune_reranker

    files = TrainingFiles(train, dev, qrels, negatives, sample, tuple(without or ()))
    _show_verdict(output, tune_reranker(settings, files, index, output, recipe, reuse=reuse or (), with_gate=gate))


@train_app.command("average")
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
    """Average the weights of several runs' models, and let the mean meet the serving model."""
    settings = settings_of(config, set_)
    from rag.train.meet import average_models

    _show_verdict(output, average_models(settings, runs, dev, index, output, qrels=qrels, reuse=reuse or ()))


@train_app.command("gate")
def train_gate_(
    model: Annotated[str, typer.Argument(help="A retriever's or reranker's folder or name, from wherever it is.")],
    index: IndexOption,
    output: RunOption,
    dev: Annotated[Path, typer.Option(help="Dev questions that it was not trained on.")],
    qrels: JudgementsOption = None,
    reuse: ReuseOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Let a model that was trained elsewhere, or in a run without the gate, meet the serving model."""
    settings = settings_of(config, set_)
    from rag.train.meet import gate_model

    _show_verdict(output, gate_model(settings, model, dev, index, output, qrels=qrels, reuse=reuse or ()))


@train_app.command("table")
def training_table_(
    runs: Annotated[list[Path], typer.Argument(help="Finished runs of one kind, gated on the same dev.")],
) -> None:
    """Finished runs side by side, as Markdown: metrics against the base, by source, and what each run cost."""
    from rag.train.table import training_table

    print("\n".join(training_table(runs)))


def _show_verdict(output: Path, record: dict | None) -> None:
    from rag.evaluate.verdict import gate_lines

    print(f"the model stands in {output / 'model'}")
    if record is not None:
        print("\n".join(gate_lines(record)))


@app.command()
def promote(
    target: Annotated[str, typer.Argument(help="A training folder; with --back, the name of the base model.")],
    back: Annotated[bool, typer.Option("--back", help="Take the last promotion of a base model back.")] = False,
) -> None:
    """Let a tuned model that passed the gate serve in the place of its base, or go back."""
    from rag.models.promoted import go_back
    from rag.train.promote import promote_model

    print(f"{go_back(target)} serves again" if back else promote_model(target))
