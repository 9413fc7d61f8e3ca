"""`varve ingest` and `varve search`."""

import asyncio
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from varve.cli.output import AsJson, Tenant, User, console, show, show_json
from varve.client import ApiClient, open_client
from varve.ingest import FileReport, files_below, ingest
from varve.settings import Settings

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
