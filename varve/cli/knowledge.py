"""`varve ingest`, `varve search` and `varve demo`."""

import asyncio
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from varve import telemetry
from varve.cli.output import AsJson, Tenant, User, console, show, show_json
from varve.client import ApiClient, ApiError, open_client
from varve.ingest import FileReport, files_below, ingest
from varve.settings import Settings
from varve.up import running_system, until_signal

_EXAMPLES = Path(__file__).parents[2] / "examples" / "documents"
_QUESTION = "Who counted the layers of clay, and what for?"
_SOME_FAILED = 3
_COLOURS = {"processed": "green", "already": "blue", "failed": "yellow", "refused": "red"}


def ingest_files(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders.")],
    *,
    tenant: Tenant = "demo",
    user: User = "you",
    as_json: AsJson = False,
) -> None:
    """Upload documents and wait until each is processed; what was ingested before is skipped.

    Ends with 0 when every file could be read, now or before, and with 3 when some could not.
    """
    files = files_below(paths)

    async def run() -> list[FileReport]:
        async with open_client(Settings(), tenant, user) as client:
            return await ingest_with_progress(client, files, as_json=as_json)

    reports = asyncio.run(run())
    outcomes = Counter(report.outcome for report in reports)
    console.print(", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())) or "no files")
    if any(report.reason for report in reports):
        raise typer.Exit(_SOME_FAILED)


async def ingest_with_progress(client: ApiClient, files: list[Path], *, as_json: bool) -> list[FileReport]:
    """Ingest with a progress bar and a line for each file."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("Ingesting", total=len(files))

        def report(each: FileReport) -> None:
            progress.advance(task)
            if as_json:
                show_json(asdict(each))
            else:
                progress.console.print(_line(each), soft_wrap=True)

        return await ingest(client, files, report)


def search(
    text: Annotated[str, typer.Argument(help="The question.")],
    *,
    mode: Annotated[str, typer.Option(help="hybrid, text or vector")] = "hybrid",
    limit: Annotated[int, typer.Option(min=1, max=100)] = 5,
    tenant: Tenant = "demo",
    user: User = "you",
    as_json: AsJson = False,
) -> None:
    """Search entries and documents."""

    async def run() -> Any:
        async with open_client(Settings(), tenant, user) as client:
            return await client.get("/search", q=text, mode=mode, limit=limit)

    results = asyncio.run(run())
    if as_json:
        for hit in results["hits"]:
            show_json(hit)
    else:
        show_hits(results)


def demo() -> None:
    """Start everything, ingest the examples and answer a question; then stay up until Ctrl-C."""
    from varve.cli.main import greet

    async def run() -> None:
        telemetry.set_up(settings, "varve-demo")
        async with running_system(settings) as system:
            async with open_client(system.settings, "demo", "you") as client:
                await ingest_with_progress(client, files_below([_EXAMPLES]), as_json=False)
                console.print(f"\n[bold]Question:[/bold] {_QUESTION}")
                show_hits(await _ask_when_indexed(client))
            greet(system)
            await until_signal()
            console.print("Stopping …")

    settings = Settings()
    asyncio.run(run())


async def _ask_when_indexed(client: ApiClient) -> Any:
    """Ask the demonstration's question as soon as everything that is in the log now can be found."""
    position = await client.head()
    while True:
        try:
            return await client.get("/search", min_position=position, q=_QUESTION, limit=3, group_by="document")
        except ApiError as error:
            if error.code != "position-not-reached":
                raise
            console.print("Still embedding …")


def show_hits(results: Any) -> None:
    """Print hits for people."""
    for number, hit in enumerate(results["hits"], start=1):
        passage = hit["passage"]
        place = " › ".join(passage["heading_path"])
        console.print(f"\n[bold]{number}. {escape(hit['title'])}[/bold]  {hit['score']:.3f}  {escape(place)}")
        show(f"   {' '.join(passage['text'].split())[:300]}")
    if not results["hits"]:
        console.print("Nothing was found.")
    if results["degraded"]:
        console.print(f"[yellow]Not searched: {', '.join(results['degraded'])}[/yellow]")


def _line(report: FileReport) -> str:
    detail = report.message if report.reason else f"{report.characters} characters, {report.chunks} chunks"
    colour = _COLOURS[report.outcome]
    return f"[{colour}]{report.outcome:>9}[/{colour}]  {escape(report.path)}  [dim]{escape(detail or '')}[/dim]"
