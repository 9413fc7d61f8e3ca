-- The three rows in one statement, and so one round trip and one commit.
with event as (
    insert into twin_events (tenant, position, stream, version, topic, class_version, command_id, data, metadata,
                             recorded_at)
    values (:tenant, nextval('twin_position'), 'entry-' || uuidv7(), 1, :topic, 1, uuidv7(), :data::bytea,
            :metadata::bytea, clock_timestamp())
    returning position, stream, command_id, recorded_at
), command as (
    insert into twin_commands (tenant, id, command_type, aggregate_id, data, metadata, user_id, status, position, outcome,
                               executed_at)
    select :tenant, command_id, :command_type, stream, :command_data::jsonb, :command_metadata::jsonb, :actor,
           'accepted', position, :outcome::jsonb, recorded_at
    from event
)
insert into twin_idempotency (tenant, actor, key, fingerprint, command_id, expires_at)
select :tenant, :actor, gen_random_uuid()::text, :fingerprint::bytea, command_id, recorded_at + interval '1 day'
from event;
