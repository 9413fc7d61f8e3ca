-- Puts as many events, each with its audit row and its idempotency record, behind the log's head as one parameter says:
-- straight into the tables, since the append would take most of an hour for ten million.
with first as (
    select coalesce(max(position), 0) as head from varve.events
), made as materialized (
    select first.head + number as position, uuidv7() as id from first, generate_series(1, %(events)s) as number
), command as (
    insert into varve.commands (tenant, id, command_type, aggregate_id, data, metadata, user_id, status, position, outcome,
                                executed_at)
    select %(tenant)s, id, %(command_type)s, id::text, '{"name": "A name"}', '{}', %(user)s, 'accepted', position, '{}',
           clock_timestamp()
    from made
), key as (
    insert into varve.idempotency (tenant, actor, key, fingerprint, command_id, expires_at)
    select %(tenant)s, %(user)s, gen_random_uuid()::text, decode(repeat('00', 32), 'hex'), id,
           clock_timestamp() + interval '1 day'
    from made
)
insert into varve.events (tenant, position, stream, version, topic, class_version, command_id, data, metadata, recorded_at)
select %(tenant)s, position, 'entry-' || id, 1, %(topic)s, 1, id, %(data)s, %(metadata)s, clock_timestamp()
from made order by position;
