"""Epochs: which tokens are good in which history of the log, and who may begin one."""

from collections.abc import Sequence

import psycopg
import pytest

from eventstore.append import Appender
from eventstore.epochs import check_epoch, mark_restored, read_epochs
from eventstore.errors import ForeignEpoch, InvalidPosition
from eventstore.position import Epoch, LogPosition, parse_position
from tests.builders.appends import append_of
from tests.builders.entries import created
from varve.settings import LOGIN_ROLES, Settings

FIRST, SECOND, THIRD = (Epoch("ab12" + digit * 8, fork) for digit, fork in (("1", 0), ("2", 100), ("3", 90)))


def token(epoch: Epoch, position: int) -> str:
    return str(LogPosition(epoch.epoch, position))


@pytest.mark.parametrize(
    ("epochs", "given", "position"),
    [
        ([FIRST], token(FIRST, 7), 7),
        ([FIRST, SECOND], token(FIRST, 100), 100),
        ([FIRST, SECOND], token(SECOND, 101), 101),
        ([FIRST, SECOND, THIRD], token(FIRST, 90), 90),
        ([FIRST, SECOND, THIRD], token(SECOND, 90), 90),
        ([FIRST, SECOND, THIRD], token(THIRD, 91), 91),
    ],
)
def test_what_all_later_histories_share_is_still_the_same_position(epochs: Sequence[Epoch], given: str, position: int):
    assert parse_position(given, epochs) == position


@pytest.mark.parametrize(
    ("epochs", "given", "fork"),
    [
        ([FIRST, SECOND], token(FIRST, 101), token(SECOND, 100)),
        ([FIRST, SECOND, THIRD], token(FIRST, 91), token(THIRD, 90)),
        ([FIRST, SECOND, THIRD], token(SECOND, 95), token(THIRD, 90)),
    ],
)
def test_what_lies_past_a_later_fork_is_gone_and_the_fork_is_named(epochs: Sequence[Epoch], given: str, fork: str):
    with pytest.raises(ForeignEpoch) as gone:
        parse_position(given, epochs)
    assert vars(gone.value) == {"token": given, "fork_position": fork}


@pytest.mark.parametrize("given", [token(SECOND, 1), "", "7", "ab1211111111", f"{FIRST.epoch}-", f"{FIRST.epoch}-1-1"])
def test_what_this_log_never_handed_out_is_no_position(given: str):
    with pytest.raises(InvalidPosition):
        parse_position(given, [FIRST])


async def another_server(admin: psycopg.AsyncConnection) -> None:
    """Let the newest epoch be of another timeline, as it is right after a promotion."""
    await admin.execute("update varve.log_epochs set timeline = '0000FFFF'")


async def test_the_first_epoch_begins_with_the_log_s_id(admin):
    (log_id,) = await (await admin.execute("select log_id::text from varve.log_epochs")).fetchone()
    (epoch,) = await read_epochs(admin)
    assert (epoch.epoch[:4], len(epoch.epoch), epoch.fork_position) == (log_id[:4], 12, 0)


@pytest.mark.parametrize("role", LOGIN_ROLES)
async def test_whoever_comes_first_to_a_promoted_server_marks_it_once(
    settings: Settings, admin, appender: Appender, role
):
    before = await appender.append(append_of({"a": [created()]}))
    await another_server(admin)
    async with await psycopg.AsyncConnection.connect(settings.role_url(role), autocommit=True) as connection:
        epoch = await check_epoch(connection)
        assert await check_epoch(connection) == epoch
    first, second = await read_epochs(admin)
    assert (first.epoch, second) == (before.epoch, Epoch(epoch, 1))
    assert epoch[:4] == before.epoch[:4]
    assert epoch != before.epoch


async def test_an_append_to_a_promoted_server_is_in_the_new_epoch(admin, appender: Appender):
    before = await appender.append(append_of({"a": [created()]}))
    await another_server(admin)
    after = await appender.append(append_of({"b": [created()]}))
    assert (before.position, after.position) == (1, 2)
    assert (after.epoch, await read_epochs(admin)) != (before.epoch, [Epoch(before.epoch, 0)])


async def test_a_restore_begins_an_epoch_at_the_head(settings: Settings, admin, appender: Appender):
    before = await appender.append(append_of({"a": [created()]}))
    async with await psycopg.AsyncConnection.connect(settings.role_url("varve_admin"), autocommit=True) as connection:
        begins = await mark_restored(connection)
    after = await appender.append(append_of({"b": [created()]}))
    assert (begins.position, after.epoch, after.position) == (1, begins.epoch, 2)
    assert await read_epochs(admin) == [Epoch(before.epoch, 0), Epoch(begins.epoch, 1)]


@pytest.mark.parametrize("role", ["varve_writer", "varve_projector", "varve_reader"])
async def test_only_an_operator_can_say_that_the_log_was_restored(settings: Settings, role):
    async with await psycopg.AsyncConnection.connect(settings.role_url(role), autocommit=True) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await mark_restored(connection)
