"""What must hold after a run: nothing lost, done twice or left over, every read model equal to the model."""

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from tests.chaos.choices import choices_of
from tests.chaos.hostile import reasons_for
from tests.chaos.load import UNREADABLE
from tests.chaos.log import read_log
from tests.chaos.requests import Exchange, Ledger, Sender
from tests.chaos.system import System
from tests.model import LogEvent, Model, Row, model_of
from tests.projections.comparing import expected_tables, lines_of, stored_tables
from tests.projections.engines import live_generation
from tests.projections.views import read_models

_EVENT_OF = {
    "create": "KnowledgeEntryCreated",
    "batch": "KnowledgeEntryCreated",
    "update": "KnowledgeEntryUpdated",
    "delete": "KnowledgeEntryDeleted",
    "restore": "KnowledgeEntryRestored",
    "link": "KnowledgeEntryLinked",
    "unlink": "KnowledgeEntryUnlinked",
    "upload": "DocumentUploaded",
    "upload_again": "DocumentUploaded",
    "reprocess": "DocumentReprocessingRequested",
    "delete_document": "DocumentDeleted",
}
_REQUESTS = {
    "rebuilds": "operations.ProjectionRebuildRequested",
    "cancellations": "operations.ProjectionRebuildCancelled",
    "rollbacks": "operations.ProjectionRollbackRequested",
}
_OUTCOMES = ("DocumentProcessed", "DocumentProcessingFailed")
_REASON_OF = dict(zip(UNREADABLE, ("corrupt", "empty", "unsupported_format"), strict=True))
_SAMPLES = 15
_MOST_SHOWN = 20
_TAKEOVER_SECONDS = 5.0
_LOOK_SECONDS = 0.1

_COMMANDS = "select tenant, id, user_id, status from varve.commands"
_KEYED = """
select i.tenant, i.actor, i.key, i.command_id, c.status
from varve.idempotency i join varve.commands c on (c.tenant, c.id) = (i.tenant, i.command_id)
"""
_FAILING = """
select l.projection, l.error from varve.lanes l join varve.generations g using (projection, generation)
where g.status = 'live' and l.error is not null
"""
# One retired generation is kept for a way back.
_GENERATIONS = """
select projection, array_agg(generation || ' ' || status order by generation) from varve.generations
group by projection
having count(*) filter (where status = 'live') <> 1 or count(*) filter (where status = 'retired') > 1
    or count(*) filter (where status = 'building') > 0 or bool_or(paused_at is not null)
"""
_TABLES = """
select name, t.tablename is not null
from (select tablename from pg_tables where schemaname = 'read_models') t
full join (
    select projection || '_' || generation || '_' || unnest(tables) as tablename from varve.generations
) g using (tablename) cross join lateral (select tablename as name) named
where t.tablename is null or g.tablename is null
"""
_UNLIKE = """
select count(*) from (
    (select r::text from read_models.{before} r except all select r::text from read_models.{after} r)
    union all (select r::text from read_models.{after} r except all select r::text from read_models.{before} r)
) rows
"""
_TABLES_OF = "select tables from varve.generations where projection = %s and generation = %s"
_GENERATION = "select generation from varve.generations where projection = %s and status = 'live'"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that the checks look at, read once, after all is quiet."""

    system: System
    ledger: Ledger
    events: Sequence[LogEvent]
    model: Model
    clients: Sequence[Sender]
    seed: int

    @property
    def knowledge(self) -> list[LogEvent]:
        """The events that the test projections take: those of operators are none of them."""
        return [event for event in self.events if event.topic.startswith("knowledge.")]

    async def table(self, projection: str, name: str, columns: str = "*") -> list[Row]:
        """Return the rows of a read model's table, as its tables are named."""
        generation = (await self.system.rows(_GENERATION, (projection,)))[0][0]
        table = f"read_models.{projection}_{generation}_{name}"
        rows = await self.system.rows(f"select to_jsonb(t) from (select {columns} from {table}) t")
        return [row[0] for row in rows]


Check = Callable[[Evidence], Awaitable[list[str]]]


async def run_checks(system: System, ledger: Ledger, clients: Sequence[Sender], seed: int) -> Mapping[str, list[str]]:
    """Return what each check found wrong: nothing, if all is well."""
    events = await read_log(system)
    evidence = Evidence(system, ledger, events, model_of(events), clients, seed)
    return {check.__name__: (await check(evidence))[:_MOST_SHOWN] for check in _CHECKS}


async def unlike_rebuilt(system: System, generations: Mapping[str, tuple[int, int]]) -> list[str]:
    """Return the tables whose rows differ between two generations, which must both be there."""
    wrong = []
    for projection, (before, after) in generations.items():
        ((tables,),) = await system.rows(_TABLES_OF, (projection, after))
        for table in tables:
            names = {"before": f"{projection}_{before}_{table}", "after": f"{projection}_{after}_{table}"}
            ((count,),) = await system.rows(_UNLIKE.format(**names))
            if count:
                wrong.append(f"{names['before']} and {names['after']} differ in {count} rows")
    return wrong


async def clients_saw_nothing_impossible(evidence: Evidence) -> list[str]:
    return evidence.ledger.violations


async def positions_follow_one_another(evidence: Evidence) -> list[str]:
    positions = [event.position for event in evidence.events]
    return [] if positions == list(range(1, len(positions) + 1)) else ["the log's positions have gaps or doubles"]


async def versions_follow_one_another(evidence: Evidence) -> list[str]:
    versions: dict[tuple[str, str], list[int]] = defaultdict(list)
    for event in evidence.events:
        versions[event.tenant, event.stream].append(event.version)
    return [f"{stream}: {seen}" for stream, seen in versions.items() if seen != list(range(1, len(seen) + 1))]


async def times_never_run_against_positions(evidence: Evidence) -> list[str]:
    pairs = zip(evidence.events, evidence.events[1:], strict=False)
    return [f"{after.position}" for before, after in pairs if after.recorded_at < before.recorded_at]


async def accepted_commands_have_their_effect_once(evidence: Evidence) -> list[str]:
    events = _by_command(evidence.events)
    accepted = [exchange for exchange in evidence.ledger.exchanges if exchange.answer.is_accepted]
    wrong = [
        f"{exchange.key} {exchange.intent.action}: {problem}"
        for exchange in accepted
        for problem in _wrong_outcome(exchange, events[exchange.tenant, _command_id(exchange)], evidence.model)
    ]
    doubled = [each for each, n in Counter((e.tenant, _command_id(e)) for e in accepted).items() if n > 1]
    return wrong + [f"{command} answered two keys" for command in doubled]


async def events_have_a_command_of_ours(evidence: Evidence) -> list[str]:
    ours = {(e.tenant, _command_id(e)) for e in evidence.ledger.exchanges if e.answer.is_accepted}
    workers = {
        (tenant, command)
        for tenant, command, user, status in await evidence.system.rows(_COMMANDS)
        if user == "varve" and status == "accepted"
    }
    return [str(event) for event in evidence.events if (event.tenant, event.command_id) not in ours | workers]


async def the_audit_has_each_command_once(evidence: Evidence) -> list[str]:
    """Refusals that a key does not remember leave a row for each attempt; everything else has exactly one."""
    rows = await evidence.system.rows(_COMMANDS)
    accepted = {(tenant, command) for tenant, command, user, status in rows if status == "accepted" and user != "varve"}
    answered = {(e.tenant, _command_id(e)) for e in evidence.ledger.exchanges if e.answer.is_accepted}
    wrong = [f"accepted, but answered to nobody: {each}" for each in accepted - answered]
    wrong += [f"answered, but not in the audit: {each}" for each in answered - accepted]
    return wrong + [
        f"failed: {tenant} {command} of {user}" for tenant, command, user, status in rows if status == "failed"
    ]


async def keys_stand_for_their_first_command(evidence: Evidence) -> list[str]:
    kept = {
        (tenant, actor, key): (command, status)
        for tenant, actor, key, command, status in await evidence.system.rows(_KEYED)
    }
    wrong = []
    for exchange in evidence.ledger.exchanges:
        found = kept.get((exchange.tenant, exchange.user, exchange.key))
        if exchange.answer.is_accepted and found != (_command_id(exchange), "accepted"):
            wrong.append(f"{exchange.key} was accepted as {_command_id(exchange)} and is kept as {found}")
        if not exchange.answer.is_accepted and found is not None and found[1] != "refused":
            wrong.append(f"{exchange.key} was refused and is kept as {found}")
    return wrong


async def projections_are_at_the_head_and_well(evidence: Evidence) -> list[str]:
    head = await evidence.system.head()
    lanes = await evidence.system.lanes()
    return [f"{lane} is not at {head}" for lane in lanes if lane.position != head] + [
        str(row) for row in await evidence.system.rows(_FAILING)
    ]


async def every_lane_has_an_owner_that_lives(evidence: Evidence) -> list[str]:
    """Return lanes that nobody has for longer than a takeover may take; one that was just given back is between two."""
    living = evidence.system.groups["projections"].processes
    deadline = time.monotonic() + _TAKEOVER_SECONDS
    while True:
        free = [str(lane) for lane in await evidence.system.lanes() if lane.owner_pid not in living]
        if not free or time.monotonic() > deadline:
            return free
        await asyncio.sleep(_LOOK_SECONDS)


async def one_generation_is_live_and_none_is_left_over(evidence: Evidence) -> list[str]:
    return [str(row) for row in await evidence.system.rows(_GENERATIONS)]


async def the_tables_are_those_of_the_generations(evidence: Evidence) -> list[str]:
    rows = await evidence.system.rows(_TABLES)
    return [f"{name} is {'of no generation' if is_there else 'missing'}" for name, is_there in rows]


async def nothing_is_parked_or_skipped(evidence: Evidence) -> list[str]:
    parked = await evidence.system.rows("select projection, generation, position, error from varve.parked")
    skipped = await evidence.system.rows("select projection, position from varve.skipped")
    return [f"parked: {row}" for row in parked] + [f"skipped: {row}" for row in skipped]


async def search_tables_equal_the_model(evidence: Evidence) -> list[str]:
    system = evidence.system
    async with system.connection() as connection:
        expected = await expected_tables(system.settings, connection)
        wrong = []
        for projection in read_models(system.settings, lambda: None):
            found = await stored_tables(connection, projection, await live_generation(connection, projection.NAME))
            wrong += [
                f"{projection.NAME}.{table}"
                for table, rows in found.items()
                if lines_of(rows, without="embedding") != lines_of(expected[projection.NAME][table])
            ]
    return wrong


async def the_count_equals_the_log(evidence: Evidence) -> list[str]:
    rows = await evidence.table("chaos_count", "counts")
    expected = Counter(event.tenant for event in evidence.knowledge)
    return _difference({row["tenant"]: row["n"] for row in rows}, dict(expected))


async def the_list_equals_the_log(evidence: Evidence) -> list[str]:
    rows = await evidence.table("chaos_list", "positions")
    found = sorted((row["position"], row["tenant"]) for row in rows)
    return [] if found == [(e.position, e.tenant) for e in evidence.knowledge] else ["the list is not that of the log"]


async def entries_equal_the_model(evidence: Evidence) -> list[str]:
    rows = await evidence.table("knowledge_entry_list", "entries", _WITH_SECONDS.format(columns=_ENTRY_COLUMNS))
    return _difference(_keyed(rows, "entry_id"), _expected(evidence.model.entries, _ENTRY_COLUMNS))


async def tags_equal_the_model(evidence: Evidence) -> list[str]:
    rows = await evidence.table("knowledge_entry_list", "tags")
    found = Counter((row["tenant"], row["entry_id"], row["tag"]) for row in rows)
    entries = evidence.model.entries.items()
    return _difference(dict(found), {(*key, tag): 1 for key, row in entries for tag in row["tags"]})


async def documents_equal_the_model(evidence: Evidence) -> list[str]:
    rows = await evidence.table("document_status", "documents", _WITH_SECONDS.format(columns=_DOCUMENT_COLUMNS))
    return _difference(_keyed(rows, "document_id"), _expected(evidence.model.documents, _DOCUMENT_COLUMNS))


async def activities_equal_the_model(evidence: Evidence) -> list[str]:
    found = await evidence.table("user_activity", "activities", _ACTIVITY_COLUMNS)
    rows = sorted(found, key=lambda row: int(row["position"]))
    expected = [row | {"recorded_at": _seconds(row["recorded_at"])} for row in evidence.model.activities]
    return _difference(dict(enumerate(_rounded(row, "recorded_at") for row in rows)), dict(enumerate(expected)))


async def documents_have_ended(evidence: Evidence) -> list[str]:
    return [problem for row in evidence.model.documents.values() for problem in _wrong_end(row)]


async def attempts_have_one_outcome(evidence: Evidence) -> list[str]:
    started: Counter[tuple[str, int]] = Counter()
    ended: Counter[tuple[str, int]] = Counter()
    for event in evidence.events:
        if "attempt" in event.data and event.name != "DocumentReprocessingRequested":
            counted = ended if event.name in _OUTCOMES else started
            counted[event.aggregate_id, event.data["attempt"]] += 1
    wrong = [f"{attempt} started {n} times" for attempt, n in started.items() if n != 1]
    wrong += [f"{attempt} ended {n} times" for attempt, n in ended.items() if n != 1]
    return wrong + [f"{attempt} ended and never started" for attempt in ended.keys() - started.keys()]


async def no_work_is_left(evidence: Evidence) -> list[str]:
    jobs = await evidence.system.rows("select * from varve.jobs")
    requests = await evidence.system.rows("select tenant, content from varve.embedding_requests")
    return [f"job {row}" for row in jobs] + [f"embedding request {row}" for row in requests]


async def search_finds_a_sample(evidence: Evidence) -> list[str]:
    choice = choices_of(evidence.seed, "sample")
    entries = [key for key, row in sorted(evidence.model.entries.items()) if row["is_active"]]
    documents = [key for key, row in sorted(evidence.model.documents.items()) if row["status"] == "processed"]
    wrong = []
    for tenant, found_id in [*_sample(choice, entries), *_sample(choice, documents)]:
        row = evidence.model.entries.get((tenant, found_id)) or evidence.model.documents[tenant, found_id]
        word = str(row.get("name") or row["file_name"]).split()[0].partition(".")[0]
        client = next(client for client in evidence.clients if client.tenant == tenant)
        for mode in ("text", "hybrid"):
            response = await client.get("/search", q=word, mode=mode)
            hits = [hit["source_id"] for hit in response.json()["hits"]] if response and response.is_success else []
            if found_id not in hits:
                wrong.append(f"{mode} search for {word} does not find {found_id}")
    return wrong


async def histories_are_those_of_the_log(evidence: Evidence) -> list[str]:
    choice = choices_of(evidence.seed, "sample")
    wrong = []
    for tenant, entry_id in _sample(choice, sorted(evidence.model.entries)):
        client = next(client for client in evidence.clients if client.tenant == tenant)
        found = [number_of(item["position"]) for item in await _history(client, entry_id)]
        expected = [row["position"] for row in evidence.model.histories[tenant, entry_id]]
        if found != expected:
            wrong.append(f"{entry_id}: {found} instead of {expected}")
    return wrong


def number_of(token: str) -> int:
    """The position in a token; no history of this log ends here."""
    return int(token.rpartition("-")[2])


_CHECKS: tuple[Check, ...] = (
    clients_saw_nothing_impossible,
    positions_follow_one_another,
    versions_follow_one_another,
    times_never_run_against_positions,
    accepted_commands_have_their_effect_once,
    events_have_a_command_of_ours,
    the_audit_has_each_command_once,
    keys_stand_for_their_first_command,
    projections_are_at_the_head_and_well,
    every_lane_has_an_owner_that_lives,
    one_generation_is_live_and_none_is_left_over,
    the_tables_are_those_of_the_generations,
    nothing_is_parked_or_skipped,
    search_tables_equal_the_model,
    the_count_equals_the_log,
    the_list_equals_the_log,
    entries_equal_the_model,
    tags_equal_the_model,
    documents_equal_the_model,
    activities_equal_the_model,
    documents_have_ended,
    attempts_have_one_outcome,
    no_work_is_left,
    search_finds_a_sample,
    histories_are_those_of_the_log,
)

_ENTRY_COLUMNS = (
    "tenant, entry_id, owner, visibility, name, description, entity_type, category, tags, attributes, links, "
    "is_active, version, position"
)
_DOCUMENT_COLUMNS = (
    "tenant, document_id, owner, visibility, file_name, media_type, size, sha256, category, tags, status, attempt, "
    "version, position, title, language, characters, pages, chunk_count, reason, message"
)
_ACTIVITY_COLUMNS = (
    "tenant, user_id, position, event_type, stream, command_type, extract(epoch from recorded_at) as recorded_at"
)
_WITH_SECONDS = "{columns}, extract(epoch from created_at) as created_at, extract(epoch from updated_at) as updated_at"


def _wrong_outcome(exchange: Exchange, events: Sequence[LogEvent], model: Model) -> Iterator[str]:
    if exchange.intent.action not in _REQUESTS:
        yield from _wrong_effect(exchange, events, model)
    elif [(event.name, event.position) for event in events] != [
        (_REQUESTS[exchange.intent.action], exchange.answer.at)
    ]:
        yield f"answered {exchange.answer}, and stored {events}"


def _wrong_effect(exchange: Exchange, events: Sequence[LogEvent], model: Model) -> Iterator[str]:
    """Compare what was asked and answered with the events of the command, and with the state that they led to."""
    intent, answer = exchange.intent, exchange.answer
    names = {event.name for event in events}
    if names - {_EVENT_OF[intent.action]}:
        yield f"stored {names}"
        return
    if intent.action == "batch":
        if [event.aggregate_id for event in events] != answer.body["entry_ids"]:
            yield "stored other entries than it answered"
        wanted = [dict(entry) for entry in intent.wanted]
        if [{name: event.data[name] for name in entry} for event, entry in zip(events, wanted, strict=False)] != wanted:
            yield "stored other entries than were sent"
        if events and events[-1].position != answer.at:
            yield f"answered position {answer.at}"
        return
    if len(events) > 1:
        yield f"stored {len(events)} events"
    if events and (events[0].version, events[0].position) != (answer.version, answer.at):
        yield f"answered version {answer.version} at {answer.at}, and stored {events[0]}"
    aggregate_id = intent.target or answer.body["aggregate_id"]
    history = model.histories.get((exchange.tenant, aggregate_id), [])
    if not 0 < answer.version <= len(history):
        yield f"answered version {answer.version} of {len(history)}"
    elif not _is_fulfilled(intent.action, intent.wanted, history[answer.version - 1]):
        yield f"version {answer.version} is {history[answer.version - 1]}, and {intent.wanted} was wanted"


def _is_fulfilled(action: str, wanted: Any, state: Row) -> bool:
    match action:
        case "delete":
            return state["is_active"] is False
        case "restore":
            return state["is_active"] is True
        case "link":
            return wanted in state["links"]
        case "unlink":
            return wanted not in state["links"]
        case "reprocess":
            return bool(state["status"] == "uploaded")
        case "delete_document":
            return bool(state["status"] == "deleted")
        case _:
            return all(state[name] == value for name, value in wanted.items())


def _wrong_end(row: Row) -> Iterator[str]:
    expected = _ends_of(row["file_name"])
    if row["status"] != "deleted" and (row["status"], row["reason"]) not in expected:
        yield f"{row['document_id']} {row['file_name']} is {row['status']} {row['reason']} instead of {expected}"
    if row["status"] == "failed" and not row["message"]:
        yield f"{row['document_id']} has failed without a sentence"
    if row["status"] == "processed" and not row["chunk_count"]:
        yield f"{row['document_id']} is processed and has no chunks"


def _ends_of(file_name: str) -> Sequence[tuple[str, str | None]]:
    """Return the status and the reason that a document may have in the end, unless it was deleted."""
    if file_name in _REASON_OF:
        return [("failed", _REASON_OF[file_name])]
    return [("processed", None), *(("failed", reason) for reason in sorted(reasons_for(file_name) or ()))]


def _command_id(exchange: Exchange) -> UUID:
    return UUID(exchange.answer.command_id or exchange.answer.body["command_id"])


def _by_command(events: Sequence[LogEvent]) -> defaultdict[tuple[str, UUID], list[LogEvent]]:
    found: defaultdict[tuple[str, UUID], list[LogEvent]] = defaultdict(list)
    for event in events:
        found[event.tenant, event.command_id].append(event)
    return found


def _keyed(rows: Sequence[Row], name: str) -> dict[Any, Row]:
    return {(row["tenant"], row[name]): _rounded(row, "created_at", "updated_at") for row in rows}


def _expected(rows: Mapping[tuple[str, str], Row], columns: str) -> dict[Any, Row]:
    names = columns.split(", ")
    return {
        key: {name: row[name] for name in names} | {name: _seconds(row[name]) for name in ("created_at", "updated_at")}
        for key, row in rows.items()
    }


def _seconds(time: datetime) -> float:
    return round(time.timestamp(), 5)


def _rounded(row: Row, *names: str) -> Row:
    return row | {name: round(float(row[name]), 5) for name in names}


def _difference(found: Mapping[Any, Any], expected: Mapping[Any, Any]) -> list[str]:
    wrong = [f"missing {key}: {expected[key]}" for key in expected.keys() - found.keys()]
    wrong += [f"superfluous {key}: {found[key]}" for key in found.keys() - expected.keys()]
    both = found.keys() & expected.keys()
    return wrong + [f"{key}: {found[key]} instead of {expected[key]}" for key in both if found[key] != expected[key]]


async def _history(client: Sender, entry_id: str) -> list[Row]:
    """Return what could be read of an entry's history, page after page."""
    items: list[Row] = []
    parameters: dict[str, Any] = {}
    while True:
        response = await client.get(f"/entries/{entry_id}/history", **parameters)
        if response is None or not response.is_success:
            return items
        page = response.json()
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        parameters = {"cursor": page["next_cursor"]}


def _sample(choice: random.Random, keys: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return choice.sample(keys, min(_SAMPLES, len(keys)))
