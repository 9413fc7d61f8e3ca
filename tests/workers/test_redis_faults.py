"""What Redis says has one meaning each; raised by a real server wherever one can be made to."""

import asyncio
from pathlib import Path

import pytest
import redis
import redis.asyncio
from redis import exceptions
from structlog.testing import capture_logs

from eventstore.background import end
from eventstore.fault_log import FAULTS
from eventstore.sqlstates import Meaning
from queries.ports import KeptAnswer
from varve.shared_answers import RedisAnswers
from workers.broker import DOCUMENTS, create_broker
from workers.redis_faults import CODES, fault_of_redis
from workers.waking import Waker

OPERATORS = {"out_of_memory", "read_only", "not_persisted", "access_denied", "too_many_connections"}
_TRIES = 200


@pytest.fixture
def server(services):
    """A client of the test run's server, which is as before afterwards."""
    with redis.Redis.from_url(services.redis_url) as client:
        yield client
        client.replicaof("no", "one")
        client.config_set("maxmemory", "0")


def fault(call, *arguments):
    with pytest.raises(exceptions.RedisError) as raised:
        call(*arguments)
    found = fault_of_redis(raised.value)
    return found.kind, found.meaning


def test_each_word_has_one_meaning():
    assert {kind for meaning, kind in CODES.values() if meaning is Meaning.OPERATOR} >= OPERATORS


def test_a_full_memory_is_the_operators_to_mend(server):
    server.config_set("maxmemory", "1")
    try:
        assert fault(server.set, "full", "x") == ("out_of_memory", Meaning.OPERATOR)
        with server.pipeline(transaction=False) as pipeline:
            pipeline.set("full", "x")
            assert fault(pipeline.execute)[0] == "out_of_memory", "in a pipeline it is said in other words"
    finally:
        server.config_set("maxmemory", "0")


def test_a_script_that_is_refused_says_why(server):
    script = "redis.call('get', 'a'); return redis.call('set', 'full', 'x')"
    server.config_set("maxmemory", "1")
    try:
        assert fault(server.eval, script, 0) == ("out_of_memory", Meaning.OPERATOR)
        server.config_set("maxmemory", "0")
        server.replicaof("127.0.0.1", "1")
        assert fault(server.eval, script, 0) == ("read_only", Meaning.OPERATOR)
    finally:
        server.replicaof("no", "one")


async def test_a_wake_up_that_a_full_redis_refuses_is_told_once_and_ends_nothing(server, settings):
    FAULTS.forget()
    server.config_set("maxmemory", "1")
    waker = Waker(create_broker(settings.required_redis_url()), DOCUMENTS, "look")
    with capture_logs() as logs:
        task = asyncio.create_task(waker.run())
        for _ in range(4):
            waker.wake()
            await asyncio.sleep(0.3)
        assert not task.done()
        await end(task)
    assert [(line["event"], line["fault"]) for line in logs] == [("wake.not_sent", "out_of_memory")]
    FAULTS.forget()


def test_a_replica_takes_no_writes(server):
    server.replicaof("127.0.0.1", "1")
    try:
        assert fault(server.set, "replica", "x") == ("read_only", Meaning.OPERATOR)
    finally:
        server.replicaof("no", "one")


def test_a_wrong_password_is_the_operators_to_mend(server):
    options = server.connection_pool.connection_kwargs | {"password": "wrong"}
    with redis.Redis(unix_socket_path=options["path"], password="wrong", retry=None) as stranger:
        assert fault(stranger.ping) == ("access_denied", Meaning.OPERATOR)
    with redis.Redis(unix_socket_path=options["path"], retry=None) as nobody:
        assert fault(nobody.ping) == ("access_denied", Meaning.OPERATOR)


def test_too_many_clients_are_the_operators_to_mend(server):
    before = server.config_get("maxclients")["maxclients"]
    options = server.connection_pool.connection_kwargs
    server.config_set("maxclients", "1")
    try:
        for _ in range(_TRIES):  # it closes the connection at once, so that its reason is not always read
            with redis.Redis(unix_socket_path=options["path"], password=options["password"]) as another:
                found = fault(another.ping)
            if found != ("connection_lost", Meaning.PASSING):
                break
        assert found == ("too_many_connections", Meaning.OPERATOR)
    finally:
        server.config_set("maxclients", before)


def test_a_server_that_is_away_comes_back(tmp_path: Path):
    with redis.Redis(unix_socket_path=str(tmp_path / "nobody.sock")) as client:
        assert fault(client.ping) == ("connection_lost", Meaning.PASSING)


@pytest.mark.parametrize(
    ("error", "kind", "meaning"),
    [
        (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), "loading", Meaning.PASSING),
        (exceptions.ResponseError("BUSY Redis is busy running a script."), "busy", Meaning.PASSING),
        (
            exceptions.ResponseError("MISCONF it can't save snapshots"),
            "not_persisted",
            Meaning.OPERATOR,
        ),
        (exceptions.ResponseError("NOREPLICAS Not enough good replicas"), "too_few_replicas", Meaning.OPERATOR),
        (exceptions.NoPermissionError("this user has no permissions"), "access_denied", Meaning.OPERATOR),
        (exceptions.ResponseError("WRONGTYPE Operation against a key"), "wrong_type", Meaning.OF_THE_EVENT),
        (exceptions.ResponseError("ERR unknown command"), "refused", Meaning.OF_THE_EVENT),
        (exceptions.TimeoutError("Timeout reading from socket"), "connection_lost", Meaning.PASSING),
        (TimeoutError(), "connection_lost", Meaning.PASSING),
    ],
)
def test_what_no_server_here_can_be_made_to_say(error, kind, meaning):
    assert (fault_of_redis(error).kind, fault_of_redis(error).meaning) == (kind, meaning)


async def test_cached_results_do_without_a_redis_that_is_full_and_say_so_once(server, services):
    FAULTS.forget()
    server.config_set("maxmemory", "1")
    with capture_logs() as logs:
        async with redis.asyncio.Redis.from_url(services.redis_url) as client:
            answers = RedisAnswers(client, seconds=60)
            running = asyncio.create_task(answers.run())
            for number in range(3):
                answers.put("acme", f"hash {number}", KeptAnswer("ListEntries", 1, b"x"))
                await asyncio.sleep(0.2)
            assert await answers.get("acme", "hash 1") is None
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    said = [(line["service"], line["fault"]) for line in logs if "redis" in line["event"]]
    assert said == [("redis", "out_of_memory")]
    assert FAULTS.not_stored(60) == ["redis: out_of_memory"]
    FAULTS.forget()
