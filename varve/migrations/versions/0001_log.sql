-- The log ---------------------------------------------------------------------------------------------------------

create function varve.tenant() returns text
    language plpgsql stable parallel safe
as $$
declare
    -- After a transaction that set it, a custom setting is '' and no longer absent.
    tenant text := current_setting('varve.tenant', true);
begin
    if tenant is null or tenant = '' then
        raise exception 'no tenant is set on this connection' using errcode = 'insufficient_privilege';
    end if;
    return tenant;
end
$$;
comment on function varve.tenant is 'The tenant whose rows this transaction may see; raises when none is set.';

create table varve.log_epochs (
    number        integer     primary key,
    epoch         text        not null unique,
    log_id        uuid        not null,
    timeline      text        not null,
    fork_position bigint      not null,
    started_at    timestamptz not null default clock_timestamp()
);
comment on table varve.log_epochs is 'One row for each history of this log: a promotion or a restore starts the next.';
insert into varve.log_epochs (number, epoch, log_id, timeline, fork_position)
values (1, substr(replace(gen_random_uuid()::text, '-', ''), 1, 8), gen_random_uuid(),
        left(pg_walfile_name(pg_current_wal_lsn()), 8), 0);

create table varve.events (
    tenant        text        not null,
    position      bigint      not null,
    stream        text,
    version       integer,
    topic         text        not null,
    class_version smallint    not null,
    tags          text[]      not null default '{}',
    command_id    uuid,
    sealed        boolean     not null default false,
    key_id        text,
    data          bytea       not null,
    metadata      bytea       not null,
    recorded_at   timestamptz not null,
    primary key (tenant, position),
    unique (position),
    unique (tenant, stream, version),
    check ((stream is null) = (version is null)),
    check (version >= 0)
);
comment on table varve.events is 'The log. Rows are added by varve.append and never changed.';
comment on column varve.events.data is 'The exact bytes of the event: canonical JSON, or with sealed fields.';

create function varve.refuse_change() returns trigger
    language plpgsql
as $$
begin
    raise exception '% on %: the log is append-only', tg_op, tg_table_name using errcode = 'insufficient_privilege';
end
$$;
revoke all on function varve.refuse_change from public;
create trigger append_only before update or delete or truncate on varve.events
    for each statement execute function varve.refuse_change();

create function varve.head() returns bigint
    language sql stable security definer set search_path = varve, pg_temp
as $$ select coalesce(max(position), 0) from events $$;
comment on function varve.head is 'The last position of the log, across tenants: a number and nothing more.';
revoke all on function varve.head from public;
grant execute on function varve.head to varve_writer, varve_projector, varve_reader, varve_admin;

create table varve.snapshots (
    tenant         text        not null,
    stream         text        not null,
    version        integer     not null,
    schema_version smallint    not null,
    topic          text        not null,
    data           bytea       not null,
    taken_at       timestamptz not null default clock_timestamp(),
    primary key (tenant, stream, version, schema_version)
);
comment on table varve.snapshots is 'A cache of aggregate states: any row may be deleted at any time.';

-- Commands: audit, idempotency, claims ------------------------------------------------------------------------------

create table varve.commands (
    tenant       text        not null,
    id           uuid        not null,
    command_type text        not null,
    aggregate_id text,
    data         jsonb       not null,
    metadata     jsonb       not null,
    user_id      text        not null,
    status       text        not null check (status in ('accepted', 'refused', 'failed')),
    position     bigint,
    outcome      jsonb       not null,
    error        jsonb,
    executed_at  timestamptz not null,
    primary key (tenant, id)
);
comment on table varve.commands is 'The audit: every command, with who, what, when and how it ended.';

create table varve.idempotency (
    tenant      text        not null,
    actor       text        not null,
    key         text        not null,
    fingerprint bytea       not null,
    command_id  uuid        not null,
    expires_at  timestamptz not null,
    primary key (tenant, actor, key)
);
create index on varve.idempotency (expires_at);
comment on table varve.idempotency is 'Which command a key stands for; its outcome is the row in varve.commands.';

create table varve.claims (
    tenant text not null,
    claim  text not null,
    stream text not null,
    primary key (tenant, claim)
);
comment on table varve.claims is 'Unique keys that streams hold: taken and released by appends.';

-- Projections -------------------------------------------------------------------------------------------------------

create table varve.generations (
    projection text        not null,
    generation integer     not null,
    status     text        not null check (status in ('building', 'live', 'retired')),
    lanes      smallint    not null,
    definition text        not null,
    created_at timestamptz not null default clock_timestamp(),
    live_since timestamptz,
    primary key (projection, generation)
);
create unique index one_live_generation on varve.generations (projection) where status = 'live';
create unique index one_building_generation on varve.generations (projection) where status = 'building';

create table varve.lanes (
    projection   text        not null,
    generation   integer     not null,
    lane         smallint    not null,
    position     bigint      not null default 0,
    owner        text,
    fence        bigint      not null default 0,
    leased_until timestamptz,
    advanced_at  timestamptz not null default clock_timestamp(),
    error        text,
    failures     integer     not null default 0,
    primary key (projection, generation, lane),
    foreign key (projection, generation) references varve.generations on delete cascade
) with (fillfactor = 50);
comment on column varve.lanes.position is 'Everything up to here is applied: committed in the transaction of the rows.';
comment on column varve.lanes.fence is 'Raised by every change of owner: a paused owner that comes back can not write.';

-- Work --------------------------------------------------------------------------------------------------------------

create table varve.jobs (
    tenant       text        not null,
    kind         text        not null,
    reference    text        not null,
    position     bigint      not null,
    payload      jsonb       not null,
    attempts     smallint    not null default 0,
    run_after    timestamptz not null default clock_timestamp(),
    leased_until timestamptz,
    error        text,
    primary key (tenant, kind, reference)
);
create index on varve.jobs (kind, run_after);
comment on table varve.jobs is 'Work that events ask for and that is not done yet; a row is deleted when it is.';

create table varve.embeddings (
    tenant       text   not null,
    model        text   not null,
    content_hash bytea  not null,
    embedding    vector not null,
    primary key (tenant, model, content_hash)
);
comment on table varve.embeddings is 'A cache: vectors by tenant, model and hash of the text.';

create table varve.embedding_requests (
    tenant       text        not null,
    model        text        not null,
    content_hash bytea       not null,
    content      text        not null,
    leased_until timestamptz,
    primary key (tenant, model, content_hash)
);

-- Rights ------------------------------------------------------------------------------------------------------------

alter table varve.events enable row level security;
alter table varve.snapshots enable row level security;
alter table varve.commands enable row level security;
create policy own_tenant on varve.events for select to varve_reader using (tenant = (select varve.tenant()));
create policy own_tenant on varve.commands for select to varve_reader using (tenant = (select varve.tenant()));
create policy all_tenants on varve.events for select to varve_writer, varve_projector, varve_admin using (true);
create policy all_tenants on varve.snapshots for select to varve_writer, varve_admin using (true);
create policy all_tenants on varve.commands for select to varve_writer, varve_admin using (true);

grant select on varve.log_epochs, varve.generations, varve.lanes
    to varve_writer, varve_projector, varve_reader, varve_admin;
grant select on varve.events, varve.commands to varve_reader;
grant select on varve.events, varve.snapshots, varve.commands, varve.idempotency, varve.claims to varve_writer;
grant select on varve.events to varve_projector;
grant insert, update, delete on varve.generations, varve.lanes to varve_projector;
grant select, insert, update, delete on varve.jobs, varve.embeddings, varve.embedding_requests to varve_projector;
grant delete, select on varve.idempotency to varve_projector;
grant select on all tables in schema varve to varve_admin;

create view varve.events_json with (security_invoker = true) as
select tenant, position, stream, version, topic, class_version, tags, command_id, sealed,
       case when not sealed then convert_from(data, 'UTF8')::jsonb end as data,
       convert_from(metadata, 'UTF8')::jsonb as metadata, recorded_at
from varve.events;
comment on view varve.events_json is 'The log for people and SQL: the bytes shown as jsonb.';
grant select on varve.events_json to varve_reader, varve_admin;

-- The append --------------------------------------------------------------------------------------------------------

create function varve.append(
    p_tenant text, p_command_id uuid, p_command_type text, p_aggregate_id text, p_command_data jsonb,
    p_metadata jsonb, p_user text, p_status text, p_outcome jsonb, p_error jsonb,
    p_actor text, p_key text, p_fingerprint bytea, p_key_seconds integer, p_remember boolean,
    p_streams text[], p_versions integer[], p_topics text[], p_class_versions smallint[], p_data bytea[],
    p_event_metadata bytea, p_taken text[], p_taken_by text[], p_released text[]
) returns table (result text, last_position bigint, epoch text, recorded timestamptz, command uuid, detail jsonb)
    language plpgsql volatile security definer set search_path = varve, pg_temp
as $$
declare
    head        bigint;
    head_time   timestamptz;
    now_at      timestamptz;
    known       record;
    conflict    record;
    event_count integer := coalesce(cardinality(p_streams), 0);
begin
    -- Writers stand in line until they commit, so positions become visible in order. Every later statement has a
    -- fresh snapshot; a check in the lock's own statement would see a stale one.
    perform pg_advisory_xact_lock(7235419873250117);
    select log_epochs.epoch into epoch from log_epochs order by number desc limit 1;

    -- This very command was stored before: its connection was lost before the answer, and it is sent again.
    select c.position, c.outcome, c.status, c.error, c.executed_at into known
    from commands c where c.tenant = p_tenant and c.id = p_command_id;
    if found then
        return query select 'known', known.position, append.epoch, known.executed_at, p_command_id,
            jsonb_build_object('status', known.status, 'outcome', known.outcome, 'error', known.error);
        return;
    end if;

    if p_key is not null then
        select i.fingerprint, i.command_id, c.position, c.outcome, c.status, c.error, c.executed_at into known
        from idempotency i join commands c on c.tenant = i.tenant and c.id = i.command_id
        where i.tenant = p_tenant and i.actor = p_actor and i.key = p_key and i.expires_at > clock_timestamp();
        if found then
            if known.fingerprint <> p_fingerprint then
                return query select 'key_reused', null::bigint, append.epoch, null::timestamptz, known.command_id, null::jsonb;
            else
                return query select 'known', known.position, append.epoch, known.executed_at, known.command_id,
                    jsonb_build_object('status', known.status, 'outcome', known.outcome, 'error', known.error);
            end if;
            return;
        end if;
    end if;

    select s.stream, s.expected, coalesce(e.version, 0) as actual into conflict
    from (select u.stream, min(u.version) - 1 as expected,
                 max(u.version) - min(u.version) + 1 = count(*) as follows_on
          from unnest(p_streams, p_versions) as u (stream, version) group by u.stream) s
    left join lateral (select version from events where tenant = p_tenant and stream = s.stream
                       order by version desc limit 1) e on true
    -- A stream may begin with version 0 or 1, and has no gaps.
    where not s.follows_on or case when e.version is null then s.expected not in (-1, 0) else e.version <> s.expected end
    limit 1;
    if found then
        return query select 'conflict', null::bigint, append.epoch, null::timestamptz, p_command_id,
            jsonb_build_object('stream', conflict.stream, 'expected', conflict.expected, 'actual', conflict.actual);
        return;
    end if;

    select c.claim, c.stream into conflict
    from claims c where c.tenant = p_tenant and c.claim = any (p_taken) and c.claim <> all (p_released) limit 1;
    if found then
        return query select 'claimed', null::bigint, append.epoch, null::timestamptz, p_command_id,
            jsonb_build_object('claim', conflict.claim, 'stream', conflict.stream);
        return;
    end if;
    delete from claims where tenant = p_tenant and claim = any (p_released);
    insert into claims (tenant, claim, stream)
    select p_tenant, u.claim, u.stream from unnest(p_taken, p_taken_by) as u (claim, stream);

    select position, recorded_at into head, head_time from events order by position desc limit 1;
    head := coalesce(head, 0);
    now_at := greatest(head_time, clock_timestamp());  -- time never runs against position
    if event_count > 0 then
        insert into events (tenant, position, stream, version, topic, class_version, command_id, data, metadata, recorded_at)
        select p_tenant, head + u.ordinal, u.stream, u.version, u.topic, u.class_version, p_command_id, u.data,
               p_event_metadata, now_at
        from unnest(p_streams, p_versions, p_topics, p_class_versions, p_data) with ordinality
            as u (stream, version, topic, class_version, data, ordinal);
    end if;
    -- A command without events answers the head that its decision may have seen: waiting for it is enough to read it.
    last_position := head + event_count;
    if p_command_type is not null then
        insert into commands (tenant, id, command_type, aggregate_id, data, metadata, user_id, status, position, outcome,
                              error, executed_at)
        values (p_tenant, p_command_id, p_command_type, p_aggregate_id, p_command_data, p_metadata, p_user, p_status,
                last_position, p_outcome, p_error, now_at);
    end if;
    if p_key is not null and p_remember then
        insert into idempotency as i (tenant, actor, key, fingerprint, command_id, expires_at)
        values (p_tenant, p_actor, p_key, p_fingerprint, p_command_id, now_at + make_interval(secs => p_key_seconds))
        on conflict (tenant, actor, key) do update
        set fingerprint = excluded.fingerprint, command_id = excluded.command_id, expires_at = excluded.expires_at;
    end if;
    return query select 'appended', append.last_position, append.epoch, now_at, p_command_id, null::jsonb;
end
$$;
comment on function varve.append is 'The only way into the log: one command with its events, all or nothing.';
revoke all on function varve.append from public;
grant execute on function varve.append to varve_writer;

create function varve.save_snapshot(
    p_tenant text, p_stream text, p_version integer, p_schema_version smallint, p_topic text, p_data bytea
) returns void
    language sql volatile security definer set search_path = varve, pg_temp
as $$
    insert into snapshots (tenant, stream, version, schema_version, topic, data)
    values (p_tenant, p_stream, p_version, p_schema_version, p_topic, p_data)
    on conflict do nothing
$$;
revoke all on function varve.save_snapshot from public;
grant execute on function varve.save_snapshot to varve_writer;
