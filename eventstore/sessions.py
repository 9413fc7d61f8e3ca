"""What every session of ours asks of the server: a session that hangs must never hold up others."""

from collections.abc import Mapping

SESSION_LIMITS: Mapping[str, str] = {
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "5s",
    "transaction_timeout": "30s",
    "statement_timeout": "30s",
    "client_connection_check_interval": "1s",
}
"""Limits that keep a stopped or lost client from holding the log's lock above all.

The limit of whole transactions (PostgreSQL 17) is there because the one of idle ones does not fire after a pipeline.
"""


def as_options(limits: Mapping[str, str]) -> str:
    """Return `limits` as a connection's `options`, which a pooler such as PgBouncer does not pass on."""
    return " ".join(f"-c {name}={value}" for name, value in limits.items())


SESSION_OPTIONS = as_options(SESSION_LIMITS)
