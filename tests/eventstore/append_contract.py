"""What every way of appending must do: subclass it with fixtures `appender` and `stored`."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest

from eventstore.append import Appender
from eventstore.errors import ClaimTaken, KeyReused, StreamConflict
from eventstore.records import Claims
from tests.builders.appends import append_of, command_record, key
from tests.builders.entries import created, deleted, restored


class AppendContract:
    """`stored` answers the rows (tenant, position, stream, version, topic) of the log in order of position."""

    async def test_events_are_numbered_in_the_order_given(self, appender: Appender, stored):
        appended = await appender.append(append_of({"a": [created(), deleted()], "b": [created()]}))
        assert appended.position == 3
        assert await stored() == [
            ("acme", 1, "a", 1, "knowledge.KnowledgeEntryCreated"),
            ("acme", 2, "a", 2, "knowledge.KnowledgeEntryDeleted"),
            ("acme", 3, "b", 1, "knowledge.KnowledgeEntryCreated"),
        ]

    async def test_tenants_share_the_order_and_nothing_else(self, appender: Appender, stored):
        await appender.append(append_of({"a": [created()]}))
        await appender.append(append_of({"a": [created()]}, tenant="umbra"))
        assert [row[:4] for row in await stored()] == [("acme", 1, "a", 1), ("umbra", 2, "a", 1)]

    async def test_an_append_of_no_events_answers_the_head(self, appender: Appender, stored):
        await appender.append(append_of())
        assert (await appender.append(append_of({}))).position == 1
        assert len(await stored()) == 1

    @pytest.mark.parametrize("after", [0, 2, 5])
    async def test_another_version_is_a_conflict(self, appender: Appender, stored, after):
        await appender.append(append_of({"a": [created()]}))
        with pytest.raises(StreamConflict) as conflict:
            await appender.append(append_of({"a": [deleted()]}, after=after))
        assert vars(conflict.value) == {"stream": "a", "expected": after, "actual": 1}
        assert len(await stored()) == 1

    async def test_several_streams_are_written_all_or_none(self, appender: Appender, stored):
        await appender.append(append_of({"taken": [created()]}))
        with pytest.raises(StreamConflict):
            await appender.append(append_of({"free": [created()], "taken": [created()], "free too": [created()]}))
        assert [row[2] for row in await stored()] == ["taken"]

    async def test_of_many_that_decided_at_one_version_one_is_stored(self, appender: Appender, stored):
        results = await asyncio.gather(
            *(appender.append(append_of({"a": [created()]})) for _ in range(12)), return_exceptions=True
        )
        assert [type(result) for result in results].count(StreamConflict) == 11
        assert len(await stored()) == 1

    async def test_a_claim_that_is_taken_refuses_the_next(self, appender: Appender, stored):
        await appender.append(append_of({"a": [created()]}, claims=Claims(taken={"name": "a"})))
        with pytest.raises(ClaimTaken) as refused:
            await appender.append(append_of({"b": [created()]}, claims=Claims(taken={"name": "b"})))
        assert vars(refused.value) == {"claim": "name", "stream": "a"}
        assert len(await stored()) == 1

    async def test_one_taken_claim_of_several_refuses_all(self, appender: Appender):
        await appender.append(append_of({"a": [created()]}, claims=Claims(taken={"one": "a"})))
        with pytest.raises(ClaimTaken):
            await appender.append(append_of({"b": [created()]}, claims=Claims(taken={"two": "b", "one": "b"})))
        assert (await appender.append(append_of({"c": [created()]}, claims=Claims(taken={"two": "c"})))).position == 2

    async def test_a_claim_that_is_released_can_be_taken(self, appender: Appender):
        await appender.append(append_of({"a": [created()]}, claims=Claims(taken={"name": "a"})))
        await appender.append(append_of({"a": [deleted()]}, after=1, claims=Claims(released=("name",))))
        taken = await appender.append(append_of({"b": [created()]}, claims=Claims(taken={"name": "b"})))
        assert taken.position == 3

    async def test_a_claim_can_be_handed_over(self, appender: Appender):
        await appender.append(append_of({"a": [created()]}, claims=Claims(taken={"name": "a"})))
        handed = Claims(taken={"name": "b"}, released=("name",))
        await appender.append(append_of({"b": [created()]}, claims=handed))
        with pytest.raises(ClaimTaken) as refused:
            await appender.append(append_of({"c": [created()]}, claims=Claims(taken={"name": "c"})))
        assert refused.value.stream == "b"

    async def test_a_claim_is_the_tenants_own(self, appender: Appender):
        await appender.append(append_of({"a": [created()]}, claims=Claims(taken={"name": "a"})))
        other = append_of({"a": [created()]}, tenant="umbra", claims=Claims(taken={"name": "a"}))
        assert (await appender.append(other)).position == 2

    async def test_of_many_that_want_one_claim_one_gets_it(self, appender: Appender):
        results = await asyncio.gather(
            *(
                appender.append(append_of({f"s{n}": [created()]}, claims=Claims(taken={"name": f"s{n}"})))
                for n in range(12)
            ),
            return_exceptions=True,
        )
        assert [type(result) for result in results].count(ClaimTaken) == 11

    async def test_the_same_command_is_stored_once(self, appender: Appender, stored):
        append = append_of()
        first, again = await appender.append(append), await appender.append(append)
        assert (first.is_repeated, again.is_repeated) == (False, True)
        assert (again.position, again.outcome, again.command_id) == (first.position, first.outcome, first.command_id)
        assert len(await stored()) == 1

    async def test_the_same_command_sent_at_once_is_stored_once(self, appender: Appender, stored):
        append = append_of()
        results = await asyncio.gather(*(appender.append(append) for _ in range(8)))
        assert sorted(result.is_repeated for result in results) == [False] + [True] * 7
        assert len(await stored()) == 1

    async def test_the_same_key_gets_the_first_answer(self, appender: Appender, stored):
        first = await appender.append(append_of({"a": [created()]}, key=key(), outcome={"version": 1, "first": True}))
        again = await appender.append(append_of({"b": [created()]}, key=key(), outcome={"version": 9}))
        assert again.is_repeated
        assert (again.command_id, again.position, again.outcome) == (
            first.command_id,
            first.position,
            {"version": 1, "first": True},
        )
        assert [row[2] for row in await stored()] == ["a"]

    async def test_the_same_key_with_another_hash_is_refused(self, appender: Appender, stored):
        await appender.append(append_of({"a": [created()]}, key=key(fingerprint=b"one")))
        with pytest.raises(KeyReused):
            await appender.append(append_of({"b": [created()]}, key=key(fingerprint=b"two")))
        assert len(await stored()) == 1

    async def test_a_key_that_expired_is_free(self, appender: Appender, stored):
        await appender.append(append_of({"a": [created()]}, key=key(seconds=0)))
        again = await appender.append(append_of({"b": [created()]}, key=key(fingerprint=b"two")))
        assert not again.is_repeated
        assert len(await stored()) == 2

    async def test_a_key_belongs_to_one_actor_of_one_tenant(self, appender: Appender, stored):
        await appender.append(append_of({"a": [created()]}, key=key()))
        await appender.append(append_of({"b": [created()]}, key=key(actor="ben")))
        await appender.append(append_of({"a": [created()]}, tenant="umbra", key=key()))
        assert len(await stored()) == 3

    async def test_a_refusal_is_remembered(self, appender: Appender):
        error = {"code": "EntryNotFound", "message": "No.", "data": {}}
        await appender.append(append_of({}, key=key(), status="refused", error=error))
        again = await appender.append(append_of({"a": [created()]}, key=key()))
        assert (again.is_repeated, again.status, again.error) == (True, "refused", error)

    async def test_a_refusal_that_a_retry_may_change_is_not_remembered(self, appender: Appender, stored):
        await appender.append(append_of({}, key=key(), status="refused", error={"code": "X"}, is_remembered=False))
        again = await appender.append(append_of({"a": [created()]}, key=key()))
        assert not again.is_repeated
        assert len(await stored()) == 1

    async def test_a_conflict_uses_up_no_key(self, appender: Appender):
        await appender.append(append_of({"a": [created()]}))
        with pytest.raises(StreamConflict):
            await appender.append(append_of({"a": [created()]}, key=key()))
        assert not (await appender.append(append_of({"a": [deleted()]}, after=1, key=key()))).is_repeated

    async def test_the_same_command_after_a_conflict_can_be_decided_anew(self, appender: Appender):
        await appender.append(append_of({"a": [created()]}))
        command = command_record(command_id=uuid4())
        conflicting = replace(append_of({"a": [created()]}), command=command)
        with pytest.raises(StreamConflict):
            await appender.append(conflicting)
        decided_anew = replace(append_of({"a": [restored()]}, after=1), command=command)
        assert (await appender.append(decided_anew)).position == 2
