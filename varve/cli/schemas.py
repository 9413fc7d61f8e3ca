"""`varve events schemas`: the published versions of every event, and whether the code keeps them. Needs no server."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from domain.shared.events import InvalidUpcasting
from eventstore.mapper import EventTypes
from eventstore.published import PublishedEvents, PublishedVersion
from eventstore.schema_check import Problem, broken_upcasting, check, publish
from varve.bootstrap import event_types
from varve.cli.output import AsJson, console, show, show_json

_CHECKOUT = Path(__file__).parents[2]
_BROKEN = 1


def schemas(
    *,
    check_all: Annotated[
        bool, typer.Option("--check", help="End with 1 if the code doesn't keep what is published.")
    ] = False,
    write: Annotated[bool, typer.Option("--write", help="Publish versions that are new; changes none.")] = False,
    folder: Annotated[
        Path | None,
        typer.Option(help="The published files, such as those of an older release; docs/events, if absent."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the published versions of every event, or hold the code to them."""
    if check_all and write:
        raise typer.BadParameter("--check only reads and --write writes: choose one")
    published = PublishedEvents(_existing(folder))
    try:
        known = event_types()
    except InvalidUpcasting as error:
        problems: Sequence[Problem] = [broken_upcasting(error)]
    else:
        problems = _run(known, published, check_all=check_all, write=write, as_json=as_json)
    for problem in problems:
        _show_problem(problem, as_json=as_json)
    if problems:
        console.print(f"{len(problems)} problem{'s' if len(problems) > 1 else ''}", style="red")
        raise typer.Exit(_BROKEN)


def _run(
    known: EventTypes, published: PublishedEvents, *, check_all: bool, write: bool, as_json: bool
) -> Sequence[Problem]:
    if write:
        written, problems = publish(known, published)
        for version in written:
            _show_version(version, known, as_json=as_json)
        return problems
    if check_all:
        return check(known, published)
    current = {published.version(each.TOPIC, each.class_version) for each in known}
    for version in sorted(current.union(published.versions()), key=lambda each: (each.topic, each.class_version)):
        _show_version(version, known, as_json=as_json)
    return ()


def _existing(folder: Path | None) -> Path:
    found = _CHECKOUT / "docs" / "events" if folder is None else folder
    if not found.is_dir():
        raise FileNotFoundError(f"There is no folder {found}: published events are in docs/events of a source checkout")
    return found


def _show_version(version: PublishedVersion, known: EventTypes, *, as_json: bool) -> None:
    where = str(version.schema_file) if version.is_published() else None
    is_current = (version.topic, version.class_version) in {(each.TOPIC, each.class_version) for each in known}
    if as_json:
        show_json(
            {
                "topic": version.topic,
                "class_version": version.class_version,
                "is_current": is_current,
                "examples": len(version.examples()),
                "schema": where,
            }
        )
    else:
        age = "current" if is_current else "older"
        show(f"{version.topic:<45}  v{version.class_version:<3}  {age:<7}  {where or 'not published'}")


def _show_problem(problem: Problem, *, as_json: bool) -> None:
    if as_json:
        show_json(asdict(problem))
    else:
        show(str(problem))
