"""What every session of ours asks of the server: a session that hangs must never hold up others."""

SESSION_OPTIONS = (
    "-c lock_timeout=5s -c idle_in_transaction_session_timeout=5s -c transaction_timeout=30s -c statement_timeout=30s "
    "-c client_connection_check_interval=1s"
)
"""Limits that keep a stopped or lost client from holding the log's lock above all.

The limit of whole transactions (PostgreSQL 17) is there because the one of idle ones does not fire after a pipeline.
"""
