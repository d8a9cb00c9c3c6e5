"""The `rag` command."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from rag.errors import RagError

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
    corpus: Annotated[str, typer.Argument(help="A corpus file, a folder that holds one, or 'embedded'.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The index folder to write.")],
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Index a corpus. A killed build goes on where it was; an index that is already right is left as it is."""
    from rag import build
    from rag.present import manifest_lines

    manifest = build.make_index(_settings(config, set_), corpus, output)
    if as_json:
        import dataclasses

        _print_json({**dataclasses.asdict(manifest), "fingerprint": manifest.fingerprint})
    else:
        print("\n".join(manifest_lines(manifest, output)))


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
    host: str = "127.0.0.1",
    port: int = 7860,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Open the chat in a browser page."""
    from app import serve

    serve(_settings(config, set_), index, host=host, port=port)


@app.command()
def batch(
    queries: Annotated[Path, typer.Argument(help="Questions: course layout, BEIR queries.jsonl, or plain lines.")],
    index: IndexOption,
    output: Annotated[Path, typer.Option("-o", "--output", help="The run folder.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N questions.")] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="N questions drawn evenly over sources (seeded).")] = None,
    generate: Annotated[bool, typer.Option("--generate/--no-generate", help="Stop after reranking.")] = True,
    reuse: Annotated[
        list[Path] | None, typer.Option(help="A run whose stages and rerank scores are taken over; may be repeated.")
    ] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Answer many questions into a run folder; started again after a kill, it finishes the rest."""
    from rag import build
    from rag.batch import run_batch
    from rag.data import load_questions, sample_questions

    settings = _settings(config, set_)
    questions = load_questions(queries)
    questions = sample_questions(questions, sample) if sample else questions[:limit]
    pipeline = build.make_pipeline(settings, index, interactive=False)
    identity = build.run_identity(settings, index, queries, generate=generate)
    corpus = build.corpus_of(index)
    path = run_batch(pipeline, questions, corpus, output, identity, generate=generate, reuse=reuse or ())
    print(f"{len(questions):,} predictions in {path}")


@app.command()
def calibrate(
    queries: Annotated[Path, typer.Argument(help="Dev questions with answers, unanswerable ones included.")],
    index: IndexOption,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A run folder to keep (else INDEX/calibration-run).")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1)] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="N questions drawn evenly over sources (seeded).")] = None,
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
    allow_unknown: Annotated[bool, typer.Option(help="Accept judged passages that the corpus lacks.")] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score a run: ranking before and after reranking, answers, refusals, citations. Writes RUN/metrics.json."""
    from rag import build
    from rag.present import metrics_lines

    metrics = build.make_evaluation(_settings(config, set_), run, qrels, queries, allow_unknown=allow_unknown)
    if as_json:
        _print_json(metrics)
    else:
        print("\n".join(metrics_lines(metrics)))


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="One or several evaluated runs.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The HTML file; a Markdown twin stands beside it.")],
) -> None:
    """Write one self-contained HTML report, and a Markdown twin."""
    from rag.evaluate.report import write_report

    for path in write_report(runs, output):
        print(path)


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
    try:
        app()
    except RagError as error:
        sentence = str(error)
    except OSError as error:  # no permission, no space left, a folder where a file should be
        sentence = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    print(f"rag: {sentence}", file=sys.stderr)
    raise SystemExit(1)


if __name__ == "__main__":
    main()
