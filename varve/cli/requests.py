"""Sends operators' requests and waits for their outcomes: each command ends with a sentence and an exit code."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import typer

from varve.cli.output import console, show_json
from varve.client import ApiClient, ApiError

_PAUSE_SECONDS = 0.1
_CARRIED_OUT_SECONDS = 30.0
"""After these no worker is there that carries out requests, most likely."""
_INTERRUPTED = 130

Outcome = dict[str, Any]


def operate(work: Coroutine[Any, Any, Outcome], *, as_json: bool, if_interrupted: str) -> Outcome:
    """Run `work` to its end and return its outcome; print it when it is wanted as JSON, a refusal too.

    Args:
        work: what asks the API, and waits.
        as_json: whether the outcome, or the refusal, is printed as JSON.
        if_interrupted: what is so when Ctrl-C ends the waiting.

    Raises:
        ApiError: it was refused, or did not come to its end; where that is printed, the exit code 1.
    """
    try:
        outcome = asyncio.run(work)
    except ApiError as error:
        if not as_json:
            raise
        show_json({"status": error.status, "code": error.code, "sentence": str(error)})
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        console.print(if_interrupted)
        raise typer.Exit(_INTERRUPTED) from None
    if as_json:
        show_json(outcome)
    return outcome


async def ask(client: ApiClient, path: str, body: dict[str, Any] | None = None) -> Outcome:
    """Send a request, and return what became of it.

    Raises:
        ApiError: it was refused, at once or when it was to be carried out, or nobody carries it out.
    """
    answer, _ = await client.post(path, json=body or {})
    return await carried_out(client, answer["aggregate_id"])


async def carried_out(client: ApiClient, request_id: str) -> Outcome:
    """Wait until a request is carried out; raises as `ask` does."""
    give_up_at = time.monotonic() + _CARRIED_OUT_SECONDS
    while True:
        outcome: Outcome = await client.get(f"/admin/requests/{request_id}")
        match outcome["status"]:
            case "done":
                return outcome
            case "waiting" if time.monotonic() < give_up_at:
                await asyncio.sleep(_PAUSE_SECONDS)
            case "waiting":
                raise ApiError(
                    f"The request is in the log at {outcome['position']}, and no projection worker has carried it out "
                    f"within {_CARRIED_OUT_SECONDS:.0f} s. It is carried out when one runs: varve projections list",
                    status="waiting",
                )
            case status:
                raise ApiError(outcome["sentence"], outcome["code"], status=status)
