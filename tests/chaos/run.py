"""One run: the system started, load and faults, quiet, the checks, and the result of it all."""

import asyncio
import ctypes
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

from domain.shared.access import Role
from tests.chaos.checks import run_checks, unlike_rebuilt
from tests.chaos.choices import choices_of
from tests.chaos.faults import Fault, Faults
from tests.chaos.hostile import TENANT, USER, HostileUser, Sizes
from tests.chaos.load import run_load, sender, senders
from tests.chaos.rebuilds import Operator
from tests.chaos.requests import Ledger
from tests.chaos.system import System, running_system

_PR_SET_CHILD_SUBREAPER = 36
_FIRST_SECONDS = 2.0
_LAST_SECONDS = 3.0
_QUIET_SECONDS = 300.0
_LOOK_SECONDS = 0.2
_PROGRESS_SECONDS = 15.0

_REBUILD_SECONDS = 120.0

_WORK = """
select (select count(*) from varve.jobs), (select count(*) from varve.embedding_requests),
       (select coalesce(max(varve.head() - l.position), 0)
        from varve.lanes l join varve.generations g using (projection, generation) where g.status <> 'retired'),
       (select count(*) from varve.generations where status = 'building')
       + (select count(*) - count(distinct projection) from varve.generations where status = 'retired')
"""
_GENERATIONS = "select projection, max(generation)::integer from varve.generations group by projection order by 1"
_EVENTS = "select count(*) from varve.events"
_DOCUMENTS = "select count(*) from varve.events where topic = 'knowledge.DocumentUploaded'"

Result = dict[str, Any]


async def run(seed: int, kills: int, hostile: Sizes) -> Result:
    """Do everything; the result has `is_passed`, and under `checks` what was wrong."""
    _adopt_orphans()
    began = time.monotonic()

    def say(what: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began:7.1f} s  {what}\n")
        sys.stderr.flush()

    folder = _make_folder()
    say(f"seed {seed}, {kills} kills of each kind, texts of {hostile.characters:,} characters; logs in {folder}")
    async with running_system(folder) as system:
        say(f"ready at {system.url}")
        result = await _run_in(system, seed, kills, hostile, say)
    left = _living_children(set())
    result["checks"]["no_process_is_left_after_the_end"] = left
    result |= {"seconds": round(time.monotonic() - began, 1)} | _surroundings()
    result["is_passed"] = not any(result["checks"].values())
    if result["is_passed"]:
        shutil.rmtree(folder, ignore_errors=True)
    return {"seed": seed, "kills": kills, "is_passed": result.pop("is_passed")} | result


async def _run_in(system: System, seed: int, kills: int, hostile: Sizes, say: Callable[[str], None]) -> Result:
    ledger = Ledger()
    faults = Faults(system, ledger, seed, kills, say)
    is_over = asyncio.Event()
    async with (
        senders(system, ledger) as clients,
        sender(system, ledger, "acme", "otto", Role.OPERATOR) as operating,
        sender(system, ledger, TENANT, USER, Role.EDITOR) as attacking,
    ):
        attacker = HostileUser(attacking, choices_of(seed, "hostile"), hostile)
        operator = Operator(operating, system, choices_of(seed, "operator"))
        async with asyncio.TaskGroup() as group:
            load = group.create_task(run_load(clients, seed, is_over))
            rebuilds = group.create_task(operator.run(is_over))
            attacks = group.create_task(attacker.run(is_over))
            progress = group.create_task(_tell_progress(ledger, say))
            load_began = time.monotonic()
            await asyncio.sleep(_FIRST_SECONDS)
            await faults.run()
            await asyncio.sleep(_LAST_SECONDS)
            load_seconds = time.monotonic() - load_began
            is_over.set()
            await load
            await rebuilds
            await attacks
            progress.cancel()
        say("every command is answered; waiting until all is quiet")
        quiet_seconds = await _until_quiet(system, say)
        generations = dict(await system.rows(_GENERATIONS))
        say(f"{operator.requested} rebuilds and the like were asked for; rebuilding everything once more")
        unlike = await _unlike_rebuilt(system, operator)
        await _until_quiet(system, say)
        say("checking")
        checks = dict(await run_checks(system, ledger, [*clients, attacking], seed))
    checks["every_projection_equals_a_fresh_rebuild"] = unlike
    checks["the_system_recovered_from_every_fault"] = [fault.kind for fault in faults.done if fault.recovery is None]
    checks["no_process_ended_by_itself"] = _unasked_ends(system)
    checks["the_system_became_quiet"] = [] if quiet_seconds is not None else ["work was left"]
    checks["every_process_lives_and_no_other"] = _living_children(system.pids())
    for name, problems in checks.items():
        say("\n            ".join([f"{'FAIL' if problems else 'ok'}  {name}", *(each[:400] for each in problems)]))
    return {
        "faults": _figures(faults.done),
        "load": await _load_figures(system, ledger, load_seconds) | {"hostile_inputs": dict(attacker.sent)},
        "newest_generations_after_the_load": generations,
        "quiet_after_seconds": quiet_seconds,
        "checks": checks,
    }


async def _tell_progress(ledger: Ledger, say: Callable[[str], None]) -> None:
    while True:
        await asyncio.sleep(_PROGRESS_SECONDS)
        answered, unknown = len(ledger.exchanges), sum(ledger.unknown_outcomes.values())
        say(f"{answered} commands answered, {unknown} unknown outcomes, violations: {ledger.violations[-1:] or 'none'}")


async def _unlike_rebuilt(system: System, operator: Operator) -> list[str]:
    try:
        return await unlike_rebuilt(system, await operator.rebuild_all(_REBUILD_SECONDS))
    except TimeoutError:
        return ["some were not rebuilt in time"]


async def _until_quiet(system: System, say: Callable[[str], None]) -> float | None:
    began = time.monotonic()
    told = began
    while time.monotonic() - began < _QUIET_SECONDS:
        with suppress(psycopg.OperationalError):
            jobs, requests, lag, left_over = (await system.rows(_WORK))[0]
            if not jobs and not requests and not lag and not left_over:
                return round(time.monotonic() - began, 1)
            if time.monotonic() - told > _PROGRESS_SECONDS:
                told = time.monotonic()
                say(f"{jobs} jobs, {requests} embedding requests, {lag} events behind, {left_over} generations left")
        await asyncio.sleep(_LOOK_SECONDS)
    return None


def _unasked_ends(system: System) -> list[str]:
    """Return the ends of processes that no fault explains.

    All of ours are by SIGKILL, but for those of processes that were stopped: woken, they end as if they had hung.
    """
    return [
        f"{kind} {death.pid} ended with {death.returncode}"
        for kind, group in system.groups.items()
        for death in group.history
        if death.returncode != -9 and not (death.returncode == 1 and death.pid in group.stopped)
    ]


def _figures(faults: Sequence[Fault]) -> Mapping[str, Any]:
    figures = {}
    for kind in sorted({fault.kind for fault in faults}):
        times = [fault.recovery for fault in faults if fault.kind == kind and fault.recovery is not None]
        figures[kind] = {
            "count": sum(fault.kind == kind for fault in faults),
            "recovery_seconds_p50": round(statistics.median(times), 2) if times else None,
            "recovery_seconds_max": round(max(times), 2) if times else None,
        }
    return figures


async def _load_figures(system: System, ledger: Ledger, seconds: float) -> Mapping[str, Any]:
    statuses = Counter(exchange.answer.status for exchange in ledger.exchanges)
    return {
        "seconds": round(seconds, 1),
        "commands_answered": len(ledger.exchanges),
        "answers_by_status": {str(status): count for status, count in sorted(statuses.items())},
        "answers_by_action": dict(Counter(exchange.intent.action for exchange in ledger.exchanges)),
        "commands_sent_more_than_once": sum(exchange.attempts > 1 for exchange in ledger.exchanges),
        "unknown_outcomes": dict(ledger.unknown_outcomes),
        "server_errors": dict(ledger.server_errors),
        "repetitions_compared": ledger.repetitions,
        "reads": ledger.reads,
        "reads_after_writes_checked": ledger.reads_checked,
        "events": (await system.rows(_EVENTS))[0][0],
        "documents": (await system.rows(_DOCUMENTS))[0][0],
    }


def _make_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="varve-chaos-"))
    folder.chmod(0o711)  # as root the servers run as another user, who has to come through
    return folder


def _surroundings() -> Result:
    return {"commit": _commit(), "cores": os.cpu_count(), "python": sys.version.split()[0]}


def _commit() -> str | None:
    """Return what is tested; None outside a checkout."""
    project = Path(__file__).resolve().parents[2]
    git = shutil.which("git")
    if git is None:
        return None
    asked = subprocess.run(
        [git, "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or None


def _adopt_orphans() -> None:
    """Become the parent of what killed processes leave behind, so that it can be found."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _living_children(expected: set[int]) -> list[str]:
    """Return the children of this process, adopted ones too, that live and are not `expected`."""
    found = []
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            if state not in "ZX" and int(pid) not in expected:
                found.append(f"{pid} {state} {command}")
    return found
