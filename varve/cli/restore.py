"""`varve restore`: tell the log that it was put back to an earlier point."""

import asyncio
from typing import Annotated, Any

import psycopg
import typer

from eventstore.epochs import mark_restored
from varve.cli.log_access import log_settings, open_log
from varve.cli.output import AsJson, console, show_json

_STATE = """
select (select epoch from varve.log_epochs order by number desc limit 1), varve.head(),
       (select max(recorded_at) from varve.events where position = varve.head()),
       array(select distinct l.projection from varve.lanes l join varve.generations g using (projection, generation)
             where g.status <> 'retired' and l.position > varve.head() order by 1)
"""


def restore(
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Begin a new history of the log at its present end, after a restore.

    Run it once, after the data directory or a snapshot of it was copied back and before anything else of Varve is
    started: positions that were handed out after that point will be handed out again, for other events. A promoted
    replica and a point-in-time recovery are noticed without it, and it does no harm there.
    """
    settings = log_settings()

    async def run() -> dict[str, Any]:
        async with open_log(settings) as connection:
            epoch, head, recorded_at, beyond = await _state(connection)
            if not yes:
                console.print(
                    f"The log ends at position {epoch}-{head}, recorded at {recorded_at}. "
                    "Every position after it that was handed out is answered as gone from now on."
                )
                typer.confirm("Begin a new history here?", abort=True, err=True)
            begins = await mark_restored(connection)
            return {"epoch": begins.epoch, "fork_position": str(begins), "beyond_the_end": beyond}

    answer = asyncio.run(run())
    if as_json:
        show_json(answer)
        return
    console.print(f"[green]A new history begins[/green] after {answer['fork_position']}")
    for name in answer["beyond_the_end"]:
        console.print(
            f"[yellow]{name} is beyond the log's end: it was not restored with it. Rebuild it:[/yellow] "
            f"varve projections rebuild {name}",
            soft_wrap=True,
        )


async def _state(connection: psycopg.AsyncConnection[Any]) -> Any:
    return await (await connection.execute(_STATE)).fetchone()
