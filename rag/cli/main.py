"""The `rag` command."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from rag.errors import IndexMismatchError, RagError

app = typer.Typer(
    help="Question answering over your own documents: cited answers, honest refusals, measured quality.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _not_empty(question: str) -> str:
    if not question.strip():
        raise typer.BadParameter("the question is empty")
    return question


QuestionArgument = Annotated[str, typer.Argument(callback=_not_empty)]
IndexOption = Annotated[Path, typer.Option("-i", "--index", help="The index folder.")]
RunIndexOption = Annotated[
    Path | None, typer.Option("-i", "--index", help="The index of the run, where it was moved since.")
]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="A TOML file with your settings.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="One setting; may be repeated.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


def _settings(config: Path | None, overrides: list[str] | None):
    from rag.build import quiet_libraries
    from rag.config import load_settings

    quiet_libraries()
    return load_settings(config, overrides or ())


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


@app.command()
def index(
    output: Annotated[Path, typer.Option("-o", "--output", help="The index folder to write.")],
    corpus: Annotated[str | None, typer.Argument(help="A corpus file, a folder that holds one, or 'embedded'.")] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Encode the passages of the index again.")] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Index a corpus. A killed build goes on where it was; an index that is already right is left as it is.

    With --rebuild and no corpus the passages of an index are encoded again, by the encoder that serves now: after a
    model was promoted, or settings of the index have changed.
    """
    if (corpus is None) != rebuild:
        raise typer.BadParameter("name a corpus, or say --rebuild to encode the passages of the index again")
    from rag import build
    from rag.present import manifest_lines

    settings = _settings(config, set_)
    manifest = build.rebuild_index(settings, output) if rebuild else build.make_index(settings, corpus, output)
    if as_json:
        import dataclasses

        _print_json({**dataclasses.asdict(manifest), "fingerprint": manifest.fingerprint})
    else:
        print("\n".join(manifest_lines(manifest, output)))


@app.command("ingest")
def ingest_(
    index: IndexOption,
    paths: Annotated[list[Path] | None, typer.Argument(help="Files and folders; none: those taken in before.")] = None,
    forget: Annotated[
        list[Path] | None, typer.Option(help="A file or folder to leave out from now on; may be repeated.")
    ] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take documents into an index, and follow their changes: only what is new or changed is encoded.

    Reads text (.txt .rst .adoc .org .tex .log), Markdown, HTML, PDF, DOCX, PPTX, XLSX, CSV, TSV, EPUB and JSON lines.
    Exit status 3 says that a file was left out; each is listed with its reason.
    """
    settings = _settings(config, set_)
    from rag.ingest import ingest
    from rag.present import ingested_json, ingested_lines

    result = ingest(settings, paths or [], index, forget=forget or [])
    if as_json:
        _print_json(ingested_json(result))
    else:
        print("\n".join(ingested_lines(result, index)))
    if result.left_out:
        raise typer.Exit(3)


@app.command()
def rollback(index: Annotated[Path, typer.Argument(help="The index folder.")]) -> None:
    """Let the state before the last change of an index serve again; a second call goes forward again."""
    from rag.present import manifest_lines
    from rag.retrieve.store import roll_back

    print("\n".join(manifest_lines(roll_back(index), index)))


@app.command()
def doctor(
    index: Annotated[Path, typer.Argument(help="The index folder.")],
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Examine an index: is it whole, does it fit its model and its files? Exit status 1 where it is not sound."""
    settings = _settings(config, set_)
    from rag.doctor import examine, finding_lines

    findings = examine(settings, index)
    if as_json:
        import dataclasses

        _print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        print("\n".join(finding_lines(findings, index)))
    if any(finding.severity != "waste" for finding in findings):
        raise typer.Exit(1)


@app.command()
def audit(
    index: Annotated[Path, typer.Argument(help="The index folder.")],
    as_json: JsonOption = False,
) -> None:
    """Look for passages that could mislead: commands to the model, hidden characters, token soup, hubs."""
    from rag.audit import audit, suspicion_lines

    suspicions = audit(index)
    if as_json:
        import dataclasses

        _print_json([dataclasses.asdict(suspicion) for suspicion in suspicions])
    else:
        print("\n".join(suspicion_lines(suspicions, index)))


@app.command()
def search(
    question: QuestionArgument,
    index: IndexOption,
    k: Annotated[int, typer.Option("-k", min=1, help="How many passages.")] = 10,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the passages found for a question, without reranking."""
    from rag import build
    from rag.present import hit_json, hit_lines

    hits = build.make_retriever(_settings(config, set_), index).retrieve([question], k)[0]
    if as_json:
        _print_json([hit_json(hit, rank) for rank, hit in enumerate(hits, 1)])
    else:
        print("\n\n".join(hit_lines(hit, rank) for rank, hit in enumerate(hits, 1)) or "No passage shares a word.")


@app.command()
def ask(
    question: QuestionArgument,
    index: IndexOption,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer one question with its sources."""
    from rag import build
    from rag.present import response_json, response_lines
    from rag.types import Query

    pipeline = build.make_pipeline(_settings(config, set_), index, interactive=True)
    (response,) = pipeline.run([Query("ask", question)])
    if as_json:
        _print_json(response_json(response))
    else:
        print("\n".join(response_lines(response)))


@app.command()
def chat(
    index: IndexOption,
    host: Annotated[
        str,
        typer.Option(help="The address to listen on: 127.0.0.1 is this machine alone, 0.0.0.0 every network."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 7860,
    auth: Annotated[
        Path | None,
        typer.Option(help="A users file (rag user add NAME FILE): the page asks for a password, the API for a key."),
    ] = None,
    mcp: Annotated[bool, typer.Option("--mcp", help="Serve the documents as a tool at /mcp, for assistants.")] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Open the chat in a browser page, with an OpenAI-compatible API beside it.

    On another host than this machine, without --auth, no conversations and no thumbs are kept; there, and with --auth,
    no files are taken in from the page unless serving.uploads is on.
    """
    settings = _settings(config, set_)
    from app import serve
    from rag.users import Users

    serve(settings, index, host=host, port=port, users=Users(auth) if auth else None, mcp=mcp)


@app.command()
def feedback(
    index: IndexOption,
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write, in the course layout.")],
) -> None:
    """Write the answers that were marked good or bad in the chat as training questions for rag mine and rag train.

    A file that was written so before is written anew; any other is left as it is.
    """
    from rag.history import History, export_feedback, history_path
    from rag.models.resolve import rag_home
    from rag.retrieve.store import serves

    if not serves(index):  # one that is mistyped has no answers, and would write an empty file
        raise IndexMismatchError(f"{index} holds no index; name the one that the chat was about")
    n = export_feedback(History(history_path(rag_home(), index)), output)
    print(f"{n:,} judged answers in {output}")


user_app = typer.Typer(no_args_is_help=True, help="Who may use a chat that is served with --auth USERS_FILE.")
app.add_typer(user_app, name="user")
UsersArgument = Annotated[Path, typer.Argument(help="The users file.")]


@user_app.command("add")
def user_add(
    name: Annotated[str, typer.Argument(help="Letters, digits and . _ @ -")],
    users: UsersArgument,
    password: Annotated[str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True)],
) -> None:
    """Add a person, or give one a new password and key. The password is asked for, and kept as an argon2 hash."""
    from rag.users import Users

    key = Users(users).add(name, password)
    print(f"{name} may use a chat served with --auth {users}\nAPI key, shown this once: {key}")


@user_app.command("remove")
def user_remove(name: Annotated[str, typer.Argument()], users: UsersArgument) -> None:
    """Take a person off the list."""
    from rag.users import Users

    Users(users).remove(name)
    print(f"{name} may no longer use a chat served with --auth {users}")


@user_app.command("list")
def user_list(users: UsersArgument) -> None:
    """Show who is on the list."""
    from rag.users import Users

    print("\n".join(Users(users).names()))


@app.command()
def batch(
    queries: Annotated[Path, typer.Argument(help="Questions: course layout, BEIR queries.jsonl, or plain lines.")],
    index: IndexOption,
    output: Annotated[Path, typer.Option("-o", "--output", help="The run folder.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N questions.")] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="N questions, each source in its share (seeded).")] = None,
    generate: Annotated[bool, typer.Option("--generate/--no-generate", help="Answer, or stop after reranking.")] = True,
    reuse: Annotated[
        list[Path] | None, typer.Option(help="A run whose stages, scores and answers are taken over; may be repeated.")
    ] = None,
    oracle: Annotated[
        Path | None,
        typer.Option(help="Qrels whose passages are put first, found or not."),
    ] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Answer many questions into a run folder; started again after a kill, it finishes the rest."""
    from rag import build
    from rag.batch import run_batch
    from rag.data import load_qrels, load_questions, sample_questions

    settings = _settings(config, set_)
    questions = load_questions(queries)
    questions = sample_questions(questions, sample) if sample else questions[:limit]
    pipeline = build.make_pipeline(settings, index, interactive=False)
    identity = build.run_identity(settings, index, queries, generate=generate)
    corpus = build.corpus_of(index)
    path = run_batch(
        pipeline,
        questions,
        corpus,
        output,
        identity,
        generate=generate,
        reuse=reuse or (),
        oracle=load_qrels(oracle) if oracle else None,
        provenance=build.run_provenance(settings, index, generate=generate),
    )
    print(f"{len(questions):,} predictions in {path}")


@app.command()
def calibrate(
    queries: Annotated[Path, typer.Argument(help="Dev questions with answers, unanswerable ones included.")],
    index: IndexOption,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A run folder to keep (else one within the index).")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N questions.")] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="N questions, each source in its share (seeded).")] = None,
    min_precision: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the refusals by score that must be right on dev.")
    ] = 0.5,
    max_wrong_refusals: Annotated[
        float, typer.Option(min=0, max=1, help="Share of answerable questions that may be refused by score.")
    ] = 0.15,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Choose on dev questions the rerank score below which a question is refused; stored with the index."""
    from rag import build
    from rag.data import load_questions, sample_questions

    questions = load_questions(queries)
    questions = sample_questions(questions, sample) if sample else questions[:limit]
    result = build.make_calibration(
        _settings(config, set_),
        index,
        queries,
        questions,
        output,
        min_precision=min_precision,
        max_wrong_refusals=max_wrong_refusals,
    )
    print("\n".join(result))


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    qrels: Annotated[Path, typer.Option(help="Relevance judgements.")],
    queries: Annotated[Path | None, typer.Option(help="The questions with reference answers.")] = None,
    index: RunIndexOption = None,
    allow_unknown: Annotated[bool, typer.Option(help="Accept judged passages that the corpus lacks.")] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score a run: every stage, answers, refusals, citations, where questions are lost. Writes RUN/metrics.json."""
    from rag import build
    from rag.present import metrics_lines

    metrics = build.make_evaluation(
        _settings(config, set_), run, qrels, queries, index=index, allow_unknown=allow_unknown
    )
    if as_json:
        _print_json(metrics)
    else:
        print("\n".join(metrics_lines(metrics)))


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="One or several evaluated runs.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The HTML file; .md and .json are written beside it.")],
    index: RunIndexOption = None,
) -> None:
    """Write one self-contained HTML report, the same as Markdown, and its figures as JSON."""
    from rag import build

    for path in build.make_report(runs, output, index=index):
        print(path)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="An evaluated run.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write.")],
) -> None:
    """Write a run in TREC's formats (STAGE.run, qrels), so that trec_eval, ranx and ir_measures can check us."""
    from rag.evaluate.export import export_trec

    for path in export_trec(run, output):
        print(path)


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
    settings = _settings(config, set_)
    from rag.present import written_lines
    from rag.tune import write_training_questions

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
    settings = _settings(config, set_)
    from rag.present import mining_lines
    from rag.retrieve.negatives import MiningSettings
    from rag.tune import mine_negatives

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
    settings = _settings(config, set_)
    from rag.tune import TrainingFiles, tune_retriever

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
    settings = _settings(config, set_)
    from rag.tune import TrainingFiles, tune_reranker

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
    settings = _settings(config, set_)
    from rag.gating import average_models

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
    settings = _settings(config, set_)
    from rag.gating import gate_model

    _show_verdict(output, gate_model(settings, model, dev, index, output, qrels=qrels, reuse=reuse or ()))


@train_app.command("table")
def training_table_(
    runs: Annotated[list[Path], typer.Argument(help="Finished runs of one kind, gated on the same dev.")],
) -> None:
    """Finished runs side by side, as Markdown: metrics against the base, by source, and what each run cost."""
    from rag.evaluate.training_table import training_table

    print("\n".join(training_table(runs)))


def _show_verdict(output: Path, record: dict | None) -> None:
    from rag.evaluate.gate import gate_lines

    print(f"the model stands in {output / 'model'}")
    if record is not None:
        print("\n".join(gate_lines(record)))


@app.command()
def promote(
    target: Annotated[str, typer.Argument(help="A training folder; with --back, the name of the base model.")],
    back: Annotated[bool, typer.Option("--back", help="Take the last promotion of a base model back.")] = False,
) -> None:
    """Let a tuned model that passed the gate serve in the place of its base, or go back."""
    from rag.gating import promote_model
    from rag.models.promoted import go_back

    print(f"{go_back(target)} serves again" if back else promote_model(target))


@app.command()
def models(
    fetch: Annotated[bool, typer.Option("--fetch", help="Fetch every model that the settings name.")] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the models that the settings name and those in the cache: source, licence, hash."""
    from rag import build
    from rag.present import model_lines

    records = build.list_models(_settings(config, set_), fetch=fetch)
    if as_json:
        _print_json(records)
    else:
        print("\n".join(model_lines(records)))


def main() -> None:
    """Run the command; what a person can act on is one sentence on stderr and exit status 1."""
    from safetensors import SafetensorError

    try:
        app()
    except RagError as error:
        sentence = str(error)
    except OSError as error:  # no permission, no space left, a folder where a file should be
        sentence = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    except SafetensorError as error:  # the same of weights
        sentence = f"weights could not be written or read: {error}"
    print(f"rag: {sentence}", file=sys.stderr)
    raise SystemExit(1)


if __name__ == "__main__":
    main()
