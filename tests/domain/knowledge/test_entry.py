import time

import pytest
from pydantic import ValidationError

from domain.knowledge.entry import (
    ENTRY,
    MAX_LINKS,
    EntryChanges,
    Link,
    NewEntry,
    decide_create,
    decide_delete,
    decide_link,
    decide_restore,
    decide_unlink,
    decide_update,
)
from domain.knowledge.errors import (
    EntryCannotLinkToItself,
    EntryHasTooManyLinks,
    EntryIsDeleted,
    EntryIsNotDeleted,
    EntryNotFound,
    LinkNotFound,
)
from tests.builders.actors import ADA_ADMINISTERS, ANN, BEN
from tests.builders.entries import (
    ENTRY_ID,
    TARGET_ID,
    created,
    deleted,
    linked,
    new_entry,
    restored,
    unlinked,
    updated,
)
from tests.spec import given, state_after

LINK = Link(target_id=TARGET_ID, relation="explains")


def rename(actor=ANN, name="Varve"):
    return lambda state: decide_update(state, ENTRY_ID, EntryChanges(name=name), actor)


def delete(actor=ANN):
    return lambda state: decide_delete(state, ENTRY_ID, actor)


def restore(actor=ANN):
    return lambda state: decide_restore(state, ENTRY_ID, actor)


def link(target=created(TARGET_ID), actor=ANN):  # noqa: B008 - an immutable event
    target_state = state_after(ENTRY, *([target] if target else []))
    return lambda state: decide_link(state, target_state, ENTRY_ID, LINK, actor)


def unlink(actor=ANN):
    return lambda state: decide_unlink(state, ENTRY_ID, LINK, actor)


def many_links(count):
    return [linked(f"relation {number}") for number in range(count)]


class TestCreating:
    def test_makes_the_actor_the_owner(self):
        given(ENTRY).when(lambda _: decide_create(ENTRY_ID, new_entry(), BEN)).then(created(owner="ben"))


class TestUpdating:
    def test_stores_the_whole_description_and_names_what_changed(self):
        given(ENTRY, created()).when(rename()).then(updated(changed=("name",), name="Varve"))

    def test_names_several_changes_in_order(self):
        changes = EntryChanges(tags=("mud",), category=None)
        given(ENTRY, created()).when(lambda state: decide_update(state, ENTRY_ID, changes, ANN)).then(
            updated(changed=("category", "tags"), tags=("mud",), category=None)
        )

    def test_names_only_what_differs(self):
        changes = EntryChanges(name="Sediment", description="")
        given(ENTRY, created()).when(lambda state: decide_update(state, ENTRY_ID, changes, ANN)).then(
            updated(changed=("description",), description="")
        )

    def test_of_what_is_so_already_changes_nothing(self):
        given(ENTRY, created()).when(rename(name="Sediment")).then_nothing()

    def test_of_nothing_changes_nothing(self):
        given(ENTRY, created()).when(lambda state: decide_update(state, ENTRY_ID, EntryChanges(), ANN)).then_nothing()

    def test_builds_on_earlier_updates(self):
        given(ENTRY, created(), updated(changed=("description",), description="New.")).when(rename()).then(
            updated(changed=("name",), name="Varve", description="New.")
        )

    def test_is_refused_for_an_entry_that_is_not_there(self):
        given(ENTRY).when(rename()).then_refused(EntryNotFound, entry_id=ENTRY_ID)

    def test_is_refused_for_a_deleted_entry(self):
        given(ENTRY, created(), deleted()).when(rename()).then_refused(EntryIsDeleted, entry_id=ENTRY_ID)

    def test_is_refused_for_anothers_private_entry_as_if_it_were_not_there(self):
        given(ENTRY, created(visibility="private")).when(rename(BEN)).then_refused(EntryNotFound, entry_id=ENTRY_ID)

    def test_of_anothers_private_entry_is_open_to_an_administrator(self):
        given(ENTRY, created(visibility="private")).when(rename(ADA_ADMINISTERS)).then(
            updated(changed=("name",), name="Varve", visibility="private")
        )

    def test_of_anothers_visible_entry_is_open_to_an_editor(self):
        given(ENTRY, created()).when(rename(BEN)).then(updated(changed=("name",), name="Varve"))


class TestDeleting:
    def test_deletes(self):
        given(ENTRY, created()).when(delete()).then(deleted())

    def test_twice_changes_nothing(self):
        given(ENTRY, created(), deleted()).when(delete()).then_nothing()

    def test_after_restoring_deletes_again(self):
        given(ENTRY, created(), deleted(), restored()).when(delete()).then(deleted())

    def test_is_refused_for_an_entry_that_is_not_there(self):
        given(ENTRY).when(delete()).then_refused(EntryNotFound, entry_id=ENTRY_ID)

    def test_is_refused_for_anothers_private_entry_deleted_or_not(self):
        given(ENTRY, created(visibility="private"), deleted()).when(delete(BEN)).then_refused(
            EntryNotFound, entry_id=ENTRY_ID
        )


class TestRestoring:
    def test_restores(self):
        given(ENTRY, created(), deleted()).when(restore()).then(restored())

    def test_brings_back_what_the_entry_was(self):
        assert state_after(ENTRY, created(), linked(), deleted(), restored()) == state_after(ENTRY, created(), linked())

    def test_is_refused_for_an_entry_that_is_not_deleted(self):
        given(ENTRY, created()).when(restore()).then_refused(EntryIsNotDeleted, entry_id=ENTRY_ID)

    def test_is_refused_for_an_entry_that_is_not_there(self):
        given(ENTRY).when(restore()).then_refused(EntryNotFound, entry_id=ENTRY_ID)

    def test_is_refused_for_anothers_private_entry(self):
        given(ENTRY, created(visibility="private"), deleted()).when(restore(BEN)).then_refused(
            EntryNotFound, entry_id=ENTRY_ID
        )


class TestLinking:
    def test_links(self):
        given(ENTRY, created()).when(link()).then(linked())

    def test_twice_changes_nothing(self):
        given(ENTRY, created(), linked()).when(link()).then_nothing()

    def test_by_another_relation_links_once_more(self):
        given(ENTRY, created(), linked("contradicts")).when(link()).then(linked())

    def test_to_itself_is_refused(self):
        to_itself = Link(target_id=ENTRY_ID, relation="explains")
        given(ENTRY, created()).when(lambda state: decide_link(state, state, ENTRY_ID, to_itself, ANN)).then_refused(
            EntryCannotLinkToItself, entry_id=ENTRY_ID
        )

    def test_from_an_entry_that_is_not_there_is_refused(self):
        given(ENTRY).when(link()).then_refused(EntryNotFound, entry_id=ENTRY_ID)

    def test_from_a_deleted_entry_is_refused(self):
        given(ENTRY, created(), deleted()).when(link()).then_refused(EntryIsDeleted, entry_id=ENTRY_ID)

    def test_to_an_entry_that_is_not_there_is_refused(self):
        given(ENTRY, created()).when(link(target=None)).then_refused(EntryNotFound, entry_id=TARGET_ID)

    def test_to_anothers_private_entry_is_refused(self):
        hidden = created(TARGET_ID, owner="ben", visibility="private")
        given(ENTRY, created()).when(link(hidden)).then_refused(EntryNotFound, entry_id=TARGET_ID)

    def test_to_a_deleted_entry_is_refused(self):
        target = state_after(ENTRY, created(TARGET_ID), deleted(TARGET_ID))
        given(ENTRY, created()).when(lambda state: decide_link(state, target, ENTRY_ID, LINK, ANN)).then_refused(
            EntryIsDeleted, entry_id=TARGET_ID
        )


class TestLinksHaveAMaximum:
    def test_the_last_one_is_added(self):
        given(ENTRY, created(), *many_links(MAX_LINKS - 1)).when(link()).then(linked())

    def test_one_more_is_refused(self):
        given(ENTRY, created(), *many_links(MAX_LINKS)).when(link()).then_refused(
            EntryHasTooManyLinks, entry_id=ENTRY_ID, maximum=1000
        )

    def test_one_that_is_there_already_changes_nothing(self):
        given(ENTRY, created(), linked(), *many_links(MAX_LINKS - 1)).when(link()).then_nothing()

    def test_one_that_was_taken_away_makes_room(self):
        given(ENTRY, created(), *many_links(MAX_LINKS), unlinked("relation 0")).when(link()).then(linked())

    def test_an_old_history_with_more_loads_and_can_be_unlinked(self):
        history = (created(), *many_links(MAX_LINKS + 5), linked())
        assert len(state_after(ENTRY, *history).links) == MAX_LINKS + 6
        given(ENTRY, *history).when(unlink()).then(unlinked())


class TestUnlinking:
    def test_unlinks(self):
        given(ENTRY, created(), linked()).when(unlink()).then(unlinked())

    def test_a_link_that_is_not_there_is_refused(self):
        given(ENTRY, created(), linked("contradicts")).when(unlink()).then_refused(
            LinkNotFound, entry_id=ENTRY_ID, target_id=TARGET_ID, relation="explains"
        )

    def test_twice_is_refused(self):
        given(ENTRY, created(), linked(), unlinked()).when(unlink()).then_refused(
            LinkNotFound, entry_id=ENTRY_ID, target_id=TARGET_ID, relation="explains"
        )

    def test_from_a_deleted_entry_is_refused(self):
        given(ENTRY, created(), linked(), deleted()).when(unlink()).then_refused(EntryIsDeleted, entry_id=ENTRY_ID)

    def test_from_an_entry_that_is_not_there_is_refused(self):
        given(ENTRY).when(unlink()).then_refused(EntryNotFound, entry_id=ENTRY_ID)


class TestChanges:
    @pytest.mark.parametrize("field", sorted(set(EntryChanges.model_fields) - {"category"}))
    def test_only_the_category_may_be_cleared(self, field):
        with pytest.raises(ValueError, match=f"{field} can't be null"):
            EntryChanges.model_validate({field: None})


@pytest.mark.parametrize("value", [[1] * 21_840, [""] * 16_000, [[]] * 16_000, {"": [{"": 1}] * 7_000}], ids=range(4))
def test_as_many_small_attributes_as_fit_are_accepted(value):
    attributes = {"a": value}
    assert NewEntry(name="a", attributes=attributes).attributes == attributes


def test_far_too_many_attributes_are_refused_without_a_look_at_each():
    started = time.thread_time()
    with pytest.raises(ValidationError, match="65536 bytes"):
        NewEntry(name="a", attributes={"a": [1] * 200_000})
    assert time.thread_time() - started < 0.05
