"""The one table from PostgreSQL's error codes to their meaning.

The classes and codes are those of https://www.postgresql.org/docs/18/errcodes-appendix.html. A failed connection has no
code: libpq gives its text alone.
"""

import re
from collections.abc import Mapping
from enum import StrEnum


class Meaning(StrEnum):
    """The cause of a failure, and so the way on."""

    PASSING = "passing"
    """The server's own trouble, soon over: the same statement is sent again."""
    OF_THE_EVENT = "of the event"
    """The statement or its data: the same comes of it each time. A fold parks the event, an append is refused."""
    OPERATOR = "the operator's to mend"
    """The server, its configuration or its schema, until an operator mends it: tried again ever more seldom."""


PASSING, OF_THE_EVENT, OPERATOR = Meaning

CLASSES: Mapping[str, Meaning] = {
    "00": OF_THE_EVENT,  # success, warnings and "no data" come as errors only where a function raises them
    "01": OF_THE_EVENT,
    "02": OF_THE_EVENT,
    "03": OPERATOR,  # an incomplete statement: the code's
    "08": PASSING,  # connections
    "09": OF_THE_EVENT,  # a triggered action
    "0A": OPERATOR,  # a feature that this server lacks
    "0B": OPERATOR,  # transactions that the code begins wrongly
    "0F": OF_THE_EVENT,  # a locator
    "0L": OPERATOR,  # grants
    "0P": OPERATOR,  # roles
    "0Z": OF_THE_EVENT,  # diagnostics of a handler
    "10": OF_THE_EVENT,  # XQuery
    "20": OF_THE_EVENT,  # no case of a CASE
    "21": OF_THE_EVENT,  # cardinality: a row twice in one statement
    "22": OF_THE_EVENT,  # data
    "23": OF_THE_EVENT,  # constraints
    "24": OPERATOR,  # cursors
    "25": OPERATOR,  # transactions, read-only ones among them
    "26": PASSING,  # a prepared statement that a pooler has lost
    "27": OF_THE_EVENT,  # data that a trigger changed
    "28": OPERATOR,  # passwords and pg_hba.conf
    "2B": OPERATOR,  # grants that others depend on
    "2D": OPERATOR,  # transactions that the code ends wrongly
    "2F": OF_THE_EVENT,  # routines
    "34": OPERATOR,  # cursors' names
    "38": OF_THE_EVENT,  # routines of other languages
    "39": OF_THE_EVENT,  # calls of those
    "3B": OPERATOR,  # savepoints
    "3D": OPERATOR,  # a missing database
    "3F": OPERATOR,  # a missing schema
    "40": PASSING,  # deadlocks and transactions that could not be serialized
    "42": OPERATOR,  # privileges, and tables, columns and functions of another release
    "44": OF_THE_EVENT,  # the check option of a view
    "53": OPERATOR,  # disk, memory, connections
    "54": OF_THE_EVENT,  # more than PostgreSQL takes: a long row, a deep expression
    "55": OPERATOR,  # objects in another state
    "57": PASSING,  # an operator's intervention, a server that starts or stops
    "58": OPERATOR,  # the operating system
    "72": PASSING,  # an old snapshot
    "F0": OPERATOR,  # configuration files
    "HV": OPERATOR,  # foreign data
    "P0": OF_THE_EVENT,  # raised by a function
    "XX": OPERATOR,  # internal errors, damaged data
}
"""By a code's first two characters. A class of its own is raised by a function, and of the event as "P0" is."""

CODES: Mapping[str, Meaning] = {
    "25P02": OF_THE_EVENT,  # a fold that went on after an error
    "25P03": OF_THE_EVENT,  # a fold that thought for too long within its transaction
    "25P04": OF_THE_EVENT,  # a transaction that took too long
    "40002": OF_THE_EVENT,  # a constraint, at the commit
    "55006": PASSING,  # in use
    "55P03": PASSING,  # a lock that others held
    "55P04": PASSING,  # an enum's value, before its commit
    "57014": OF_THE_EVENT,  # a statement that took too long
    "HV00N": PASSING,  # no connection to a foreign server
}
"""The codes whose meaning is not their class's."""

WAITED = frozenset({"25P03", "25P04", "55P03", "57014"})
"""A limit of time is over. A reader does not send such a statement again, which would take as long again."""
LOCKED = "55P03"

CANNOT_STORE = frozenset({"25006", "53100", "58000", "58030", "58P01", "58P02", "58P03", "XX001", "XX002"})
"""The database can't store anything: full, read-only or damaged."""

MAY_BE_OF_ONE = frozenset({"53200", "53400", "XX000"})
"""The operator's as a rule; but one event's data alone can need more memory or temporary files than there are."""

_LOST = frozenset({"57P01", "57P02", "57P03", "57P04", "57P05"})


def meaning_of_state(state: str) -> Meaning:
    """Return the meaning of a code of five characters."""
    return CODES.get(state) or CLASSES.get(state[:2], OF_THE_EVENT)


def says_lost(state: str) -> bool:
    """Whether the code comes with the end of the connection."""
    return state[:2] == "08" or state in _LOST


_FAILED_CONNECTIONS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "too_many_connections",
        re.compile(
            r"too many (clients|connections)|connection slots are reserved|no more connections allowed"
            r"|exceeds? max_connections|max_(client_conn|db_connections|user_connections)",
            re.IGNORECASE,
        ),
    ),
    (
        "access_denied",
        re.compile(
            r"authentication failed|no password supplied|pg_hba\.conf|not permitted to log in"
            r"|role \"[^\"]*\" does not exist|permission denied for database|certificate",
            re.IGNORECASE,
        ),
    ),
    (
        "database_missing",
        re.compile(r"database \"[^\"]*\" (does not exist|is not currently accepting)|no such database", re.IGNORECASE),
    ),
)
"""Texts of PostgreSQL, libpq and PgBouncer that an operator has to do something about. Others mean: it is away."""
KINDS_OF_FAILED_CONNECTIONS = tuple(kind for kind, _ in _FAILED_CONNECTIONS)
AWAY = "connection_lost"
_REFUSED_BY_THE_CLIENT = re.compile(r"number of parameters must be|out of memory|message (is )?too (long|large)")
"""Texts of libpq about a statement that it does not send, or rows that it can't hold."""


def kind_of_failed_connection(text: str) -> str:
    """Return why there is no connection: one of `_FAILED_CONNECTIONS`, or `AWAY`."""
    for kind, pattern in _FAILED_CONNECTIONS:
        if pattern.search(text):
            return kind
    return AWAY


def is_refused_by_the_client(text: str) -> bool:
    """Whether the failure without a code is of the statement, and the connection is as it was."""
    return _REFUSED_BY_THE_CLIENT.search(text) is not None
