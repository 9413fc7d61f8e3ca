"""What Alembic runs: every pending migration in one transaction each, as the owner of the tables."""

from alembic import context

# `varve.migrate` hands over an open connection; Alembic itself reads no URL and no ini file.
connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    version_table="schema_version",
    version_table_schema="varve",
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
