"""Any sequence of commands leaves the read model equal to an independent model in memory."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commands.knowledge.create_entry import CreateKnowledgeEntry
from commands.knowledge.delete_entry import DeleteKnowledgeEntry
from commands.knowledge.link_entries import LinkKnowledgeEntries, UnlinkKnowledgeEntries
from commands.knowledge.restore_entry import RestoreKnowledgeEntry
from commands.knowledge.update_entry import UpdateKnowledgeEntry
from commands.message import CommandRequest
from domain.knowledge.entry import EntryChanges, Link, NewEntry
from domain.shared.access import Role
from domain.shared.errors import DomainError
from queries.knowledge.entry_list import GetEntry, ListEntries
from tests.builders.actors import ADA_ADMINISTERS, ANN, BEN, EVE, UMA_ADMINISTERS_ELSEWHERE, actor
from tests.commands.model import EntryModel
from tests.fixtures.engine import running_engine
from varve.bootstrap import Platform, open_platform

ACTORS = st.sampled_from([ANN, BEN, ADA_ADMINISTERS, EVE, UMA_ADMINISTERS_ELSEWHERE])
SLOTS = st.integers(min_value=0, max_value=4)
RELATIONS = st.sampled_from(["is", "of"])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "name": st.sampled_from(["clay", "silt", "é%_"]),
    "description": st.sampled_from(["", "grey"]),
    "entity_type": st.sampled_from(["note", "rock"]),
    "category": st.sampled_from([None, "geology"]),
    "tags": st.sampled_from([[], ["a"], ["a", "b"]]),
    "attributes": st.sampled_from([{}, {"n": 1}, {"n": [None, {"deep": 1.5}]}]),
    "visibility": st.sampled_from(["tenant", "private"]),
}
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("create"), ACTORS, st.fixed_dictionaries(VALUES)),
        st.tuples(st.just("update"), ACTORS, SLOTS, st.fixed_dictionaries({}, optional=VALUES)),
        st.tuples(st.just("delete"), ACTORS, SLOTS),
        st.tuples(st.just("restore"), ACTORS, SLOTS),
        st.tuples(st.just("link"), ACTORS, SLOTS, SLOTS, RELATIONS),
        st.tuples(st.just("unlink"), ACTORS, SLOTS, SLOTS, RELATIONS),
    ),
    min_size=5,
    max_size=25,
)


class Run:
    """One sequence, on the platform and on the model at once."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.model = EntryModel()
        self.ids = [uuid4()]  # the first is of no entry
        self.position = ""

    async def take(self, kind: str, who: Any, *rest: Any) -> None:
        """Take one step and require the same outcome of both."""
        if kind == "create":
            created = await self._send(who, CreateKnowledgeEntry(entry=NewEntry(**rest[0])))
            assert created is None
            self.model.create(self.ids[-1], who, rest[0])
            return
        entry_id = self.ids[rest[0] % len(self.ids)]
        match kind, *rest:
            case "update", _, changes:
                expected = self.model.update(entry_id, who, changes)
                command: Any = UpdateKnowledgeEntry(entry_id=entry_id, changes=EntryChanges(**changes))
            case "delete", _:
                expected = self.model.delete(entry_id, who)
                command = DeleteKnowledgeEntry(entry_id=entry_id)
            case "restore", _:
                expected = self.model.restore(entry_id, who)
                command = RestoreKnowledgeEntry(entry_id=entry_id)
            case "link", _, slot, relation:
                target_id = self.ids[slot % len(self.ids)]
                expected = self.model.link(entry_id, target_id, relation, who)
                command = LinkKnowledgeEntries(entry_id=entry_id, link=Link(target_id=target_id, relation=relation))
            case "unlink", _, slot, relation:
                target_id = self.ids[slot % len(self.ids)]
                expected = self.model.unlink(entry_id, target_id, relation, who)
                command = UnlinkKnowledgeEntries(entry_id=entry_id, link=Link(target_id=target_id, relation=relation))
        assert await self._send(who, command) == expected, (kind, rest)

    async def compare(self) -> None:
        """Require that everyone reads what the model holds for them."""
        for who in (ANN, BEN, ADA_ADMINISTERS, EVE, UMA_ADMINISTERS_ELSEWHERE, actor("acme", "zoe", Role.READER)):
            visible = {entry_id for entry_id in self.ids if self.model.visible(entry_id, who)}
            for is_active in (True, False):
                query = ListEntries(is_active=is_active, limit=200)
                listed = (await self.platform.queries.ask(query, who, self.position or None)).value.items
                mine = [item for item in listed if item.entry_id in self.ids]
                wanted = {entry_id for entry_id in visible if self.model.entries[entry_id].is_active is is_active}
                assert {item.entry_id for item in mine} == wanted
                for item in mine:
                    self._require_equal(item)
            for entry_id in visible:
                self._require_equal((await self.platform.queries.ask(GetEntry(entry_id=entry_id), who)).value)

    def _require_equal(self, view: Any) -> None:
        entry = self.model.entries[view.entry_id]
        shown = view.model_dump(mode="json")
        assert {name: shown[name] for name in entry.values} == entry.values
        assert (view.owner, view.is_active, view.version) == (entry.owner, entry.is_active, entry.version)
        assert [(link.target_id, link.relation) for link in view.links] == entry.links

    async def _send(self, who: Any, command: Any) -> str | None:
        request = CommandRequest(actor=who, command_id=uuid4(), correlation_id=uuid4())
        try:
            answer = await self.platform.commands.execute(command, request)
        except DomainError as refusal:
            return type(refusal).__name__
        if isinstance(command, CreateKnowledgeEntry):
            self.ids.append(answer.aggregate_id)
        self.position = str(answer.position)
        return None


# The platform's threads draw the ids of spans from it meanwhile; no strategy does.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
def test_the_read_model_equals_the_model_in_memory(request):
    installation = request.getfixturevalue("settings")
    # One event loop for all examples: the platform and its engine stay open, and each example makes new entries.
    with asyncio.Runner() as runner:

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(steps=STEPS)
        def check(steps):
            runner.run(one(steps))

        async def one(steps):
            run = Run(opened)
            for step in steps:
                await run.take(*step)
            await run.compare()

        async def open_all():
            stack = AsyncExitStack()
            platform = await stack.enter_async_context(open_platform(installation))
            await stack.enter_async_context(running_engine(installation))
            return stack, platform

        stack, opened = runner.run(open_all())
        try:
            check()
        finally:
            runner.run(stack.aclose())
