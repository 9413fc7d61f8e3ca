"""A command that waits ends, whatever others do meanwhile: no server runs here, and the API's answers are made up."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
import typer

from varve.cli import building, requests
from varve.cli.building import Building
from varve.cli.requests import carried_out, operate
from varve.client import ApiError

NAME = "listed"


def lane(generation: int = 2, status: str = "building", **other: Any) -> dict[str, Any]:
    usual = {"lag": 5, "parked": 0, "paused": None, "owner": "a worker", "needs": None, "failures": 0, "error": None}
    live_since = "2026-11-30T20:41:05Z" if status == "live" else None
    place = {"projection": NAME, "generation": generation, "status": status, "position": "0123456789ab-1"}
    return {**usual, **place, "live_since": live_since, **other}


LIVE = lane(1, "live", lag=0)


class Answers:
    """Answers each GET of a path with the next of what it was told, and with the last one for ever."""

    def __init__(self, **by_end: Sequence[Any]) -> None:
        self._left = {end: list(answers) for end, answers in by_end.items()}

    async def get(self, path: str) -> Any:
        answers = self._left[path.rpartition("/")[2]]
        return answers.pop(0) if len(answers) > 1 else answers[0]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(building, "_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(requests, "_PAUSE_SECONDS", 0.001)
    for name in ("_NO_OWNER_SECONDS", "_NOT_SWAPPED_SECONDS", "_NO_PROGRESS_SECONDS"):
        monkeypatch.setattr(building, name, 0.02)


def rebuilding(*seen: Sequence[dict[str, Any]], purpose: Any = "swap", found: Sequence[Any] = ([],)) -> Building:
    answers: Any = Answers(projections=seen, verifications=found)
    return Building(answers, NAME, 2, purpose)


async def test_a_rebuild_ends_when_its_rows_are_read():
    outcome = await rebuilding([LIVE, lane()], [lane(1, "retired"), lane(2, "live")]).end(5)
    assert outcome == {"projection": NAME, "generation": 2, "status": "live"}


async def test_a_rebuild_that_was_swapped_in_and_replaced_at_once_has_ended_well():
    replaced = [lane(2, "retired", live_since="2026-11-30T20:41:05Z"), lane(3, "live")]
    assert (await rebuilding([LIVE, lane()], replaced).end(5))["status"] == "retired"


async def test_a_rollback_that_was_given_up_was_not_read_again():
    earlier = "2026-11-01T00:00:00Z"
    given_up = [LIVE, lane(2, "retired", live_since=earlier)]
    with pytest.raises(ApiError, match="was given up before its end; generation 1 is live"):
        await rebuilding([LIVE, lane(live_since=earlier)], given_up).end(5, earlier)


async def test_a_verification_ends_with_what_it_found():
    found = {"generation": 2, "differing": 3}
    seen = [LIVE, lane()], [LIVE, lane(2, "retired")]
    assert await rebuilding(*seen, purpose="verify", found=([], [found])).end(5) == found


@pytest.mark.parametrize(
    ("seen", "status", "sentence"),
    [
        ([LIVE], "cancelled", "was given up before its end; generation 1 is live"),
        ([LIVE, lane(2, "retired")], "cancelled", "was given up before its end"),
        ([lane(3, "live")], "cancelled", "was given up before its end; generation 3 is live"),
        ([LIVE, lane(paused="its disk is full")], "paused", "is paused (its disk is full): varve projections resume"),
        ([LIVE, lane(owner=None)], "no_owner", "waits for a projection worker, and goes on when one runs"),
        ([LIVE, lane(owner=None, needs="new.Topic 2")], "no_owner", "worker, which knows new.Topic 2"),
        ([LIVE, lane(parked=1, lag=0)], "parked", "has parked events that the live one has not"),
        ([LIVE, lane(failures=9, error="DiskFull (53100)")], "failing", "fails again and again (DiskFull (53100))"),
    ],
)
@pytest.mark.parametrize("purpose", ["swap", "verify"])
async def test_a_rebuild_that_does_not_come_to_its_end_is_told_of(seen, status, sentence, purpose):
    with pytest.raises(ApiError) as ended:
        await rebuilding([LIVE, lane()], seen, purpose=purpose).end(5)
    assert (ended.value.status, sentence in str(ended.value)) == (status, True), ended.value


async def test_a_rebuild_is_waited_for_no_longer_than_told():
    with pytest.raises(ApiError, match="is not at its end yet, and goes on without this command") as ended:
        await rebuilding([LIVE, lane()]).end(0.01)
    assert ended.value.status == "waiting"


def outcome(status: str, code: str | None = None) -> dict[str, Any]:
    return {"status": status, "code": code, "sentence": f"It is {status}.", "position": "0123456789ab-1"}


async def test_a_request_ends_when_it_is_carried_out():
    answers: Any = Answers(one=[outcome("waiting"), outcome("done")])
    assert (await carried_out(answers, "one"))["status"] == "done"


@pytest.mark.parametrize("status", ["refused", "voided", "failed"])
async def test_a_request_that_was_not_carried_out_ends_with_why(status):
    answers: Any = Answers(one=[outcome("waiting"), outcome(status, "NoRebuildRunning")])
    with pytest.raises(ApiError, match=f"It is {status}.") as ended:
        await carried_out(answers, "one")
    assert (ended.value.status, ended.value.code) == (status, "NoRebuildRunning")


async def test_a_request_that_nobody_carries_out_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(requests, "_CARRIED_OUT_SECONDS", 0.02)
    answers: Any = Answers(one=[outcome("waiting")])
    with pytest.raises(ApiError, match="no projection worker has carried it out"):
        await carried_out(answers, "one")


async def refused() -> dict[str, Any]:
    raise ApiError("No rebuild is running. (no-rebuild-running)", "no-rebuild-running", status="refused")


async def interrupted() -> dict[str, Any]:
    raise KeyboardInterrupt


def test_a_refusal_is_data_when_that_is_wanted(capsys):
    with pytest.raises(typer.Exit) as ended:
        operate(refused(), as_json=True, if_interrupted="")
    told = json.loads(capsys.readouterr().out)
    assert (ended.value.exit_code, told["status"], told["code"]) == (1, "refused", "no-rebuild-running")


def test_ctrl_c_ends_the_waiting_with_a_sentence(capsys):
    with pytest.raises(typer.Exit) as ended:
        operate(interrupted(), as_json=False, if_interrupted="The rebuild goes on.")
    assert (ended.value.exit_code, "The rebuild goes on." in capsys.readouterr().err) == (130, True)
