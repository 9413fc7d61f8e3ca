"""Every SQLSTATE has one meaning, and a failed connection is told by its text."""

import psycopg
import pytest
from psycopg import errors
from psycopg_pool import PoolTimeout

from eventstore.faults import fault_of
from eventstore.sqlstates import CLASSES, CODES, OF_THE_EVENT, OPERATOR, PASSING, Meaning, meaning_of_state

_FIRST = "0123456789FHPX"
KNOWN = sorted(state for state in errors._sqlcodes if len(state) == 5 and state[0] in _FIRST and "_" not in state)
"""The codes of PostgreSQL's list that psycopg knows; its table holds their names as well."""
DECIDED = {
    "08006": PASSING,
    "08P01": PASSING,
    "21000": OF_THE_EVENT,
    "22021": OF_THE_EVENT,
    "23505": OF_THE_EVENT,
    "25006": OPERATOR,
    "25P03": OF_THE_EVENT,
    "25P04": OF_THE_EVENT,
    "28P01": OPERATOR,
    "3D000": OPERATOR,
    "40001": PASSING,
    "40002": OF_THE_EVENT,
    "40P01": PASSING,
    "42501": OPERATOR,
    "42703": OPERATOR,
    "42883": OPERATOR,
    "42P01": OPERATOR,
    "53100": OPERATOR,
    "53200": OPERATOR,
    "53300": OPERATOR,
    "53400": OPERATOR,
    "54000": OF_THE_EVENT,
    "55P03": PASSING,
    "57014": OF_THE_EVENT,
    "57P01": PASSING,
    "57P05": PASSING,
    "58030": OPERATOR,
    "P0001": OF_THE_EVENT,
    "XX000": OPERATOR,
    "XX001": OPERATOR,
    "XX002": OPERATOR,
}


def test_the_list_of_codes_is_whole():
    assert len(KNOWN) > 240
    assert {state[:2] for state in KNOWN} >= {"08", "22", "23", "40", "42", "53", "54", "55", "57", "58", "F0", "XX"}


def test_each_class_of_postgresql_has_a_decided_meaning():
    assert {state[:2] for state in KNOWN} <= CLASSES.keys()


@pytest.mark.parametrize("state", KNOWN)
def test_each_code_has_one_meaning_and_a_name(state):
    fault = fault_of(errors.lookup(state)("said by the server"))
    assert isinstance(fault.meaning, Meaning)
    assert fault.meaning is meaning_of_state(state)
    assert fault.kind
    assert fault.state == state


def test_a_code_stands_in_the_table_only_where_its_meaning_is_not_its_classs():
    assert [state for state, meaning in CODES.items() if meaning is CLASSES[state[:2]]] == []


def test_the_meanings_are_those_that_were_decided():
    assert {state: meaning_of_state(state) for state in DECIDED} == DECIDED


def test_a_class_that_a_function_made_up_is_of_the_event():
    assert meaning_of_state("VA001") is OF_THE_EVENT


@pytest.mark.parametrize(
    ("text", "kind", "meaning"),
    [
        (
            "FATAL:  sorry, too many clients already",
            "too_many_connections",
            OPERATOR,
        ),
        (
            "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
            "too_many_connections",
            OPERATOR,
        ),
        ('FATAL:  too many connections for role "varve_reader"', "too_many_connections", OPERATOR),
        ("FATAL:  no more connections allowed (max_client_conn)", "too_many_connections", OPERATOR),
        ('FATAL:  password authentication failed for user "varve_reader"', "access_denied", OPERATOR),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "x"', "access_denied", OPERATOR),
        ('FATAL:  database "varve" does not exist', "database_missing", OPERATOR),
        ("FATAL:  the database system is starting up", "connection_lost", PASSING),
        ("connection refused", "connection_lost", PASSING),
        ("consuming input failed: server closed the connection unexpectedly", "connection_lost", PASSING),
        (
            "sending query failed: number of parameters must be between 0 and 65535",
            "operational_error",
            OF_THE_EVENT,
        ),
    ],
)
def test_what_has_no_code_is_told_by_its_text(text, kind, meaning):
    alone = fault_of(psycopg.OperationalError(text))
    assert (alone.kind, alone.meaning, alone.state) == (kind, meaning, None)


def test_a_pool_without_a_connection_says_why_its_attempts_failed():
    waited = PoolTimeout("couldn't get a connection after 10.00 sec")
    assert fault_of(waited).kind == "no_free_connection"
    waited.__cause__ = psycopg.OperationalError("FATAL:  sorry, too many clients already")
    assert (fault_of(waited).kind, fault_of(waited).meaning) == ("too_many_connections", OPERATOR)
