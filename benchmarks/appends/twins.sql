-- Tables with the columns, constraints and indexes of those that varve.append writes, for whoever writes rows to them
-- one by one.
create sequence twin_position;
create table twin_events (like varve.events including all);
create table twin_commands (like varve.commands including all);
create table twin_idempotency (like varve.idempotency including all);
