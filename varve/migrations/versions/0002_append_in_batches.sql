-- Conditions --------------------------------------------------------------------------------------------------------

create table varve.event_tags (
    tenant   text   not null,
    tag      text   not null,
    position bigint not null,
    topic    text   not null,
    primary key (tenant, tag, position)
);
comment on table varve.event_tags is 'The tags of events as rows: for the conditions of appends, and to read by tag.';

-- One row for each counter. It is never updated: while anyone holds a snapshot open, PostgreSQL keeps every version, and
-- a look for the newest would walk along all of them. A change deletes the row and adds one with a higher key, found
-- first: docs/decisions/0019-hot-rows.md.
create table varve.counters (
    tenant  text   not null,
    counter text   not null,
    change  bigint not null,
    value   bigint not null,
    primary key (tenant, counter, change)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
comment on table varve.counters is 'Bounded counters, such as quotas: changed by appends, derived from the log.';

create table varve.tracking (
    tenant           text   not null,
    application_name text   not null,
    position         bigint not null,
    append_id        uuid   not null,
    primary key (tenant, application_name)
) with (fillfactor = 50);
comment on table varve.tracking is
    'How far process applications of the eventsourcing library have read the log of an upstream application.';

alter table varve.commands drop constraint commands_status_check;
alter table varve.commands add constraint commands_status_check
    check (status in ('accepted', 'refused', 'failed', 'abandoned')) not valid;
comment on column varve.commands.status is
    'abandoned: its connection was lost and it was not stored; should it still arrive, this row refuses it.';

alter table varve.log_epochs add column system_identifier text;
update varve.log_epochs set system_identifier = (select system_identifier::text from pg_control_system());

alter table varve.event_tags enable row level security;
create policy own_tenant on varve.event_tags for select to varve_reader using (tenant = (select varve.tenant()));
create policy all_tenants on varve.event_tags for select to varve_writer, varve_projector, varve_admin using (true);
grant select on varve.event_tags to varve_reader, varve_writer, varve_projector, varve_admin;
grant select on varve.counters, varve.tracking to varve_writer, varve_admin;

-- The log's history -------------------------------------------------------------------------------------------------

-- Tokens begin with the log's id: its first four hexadecimal digits, which every epoch carries from now on.
update varve.log_epochs set epoch = left(log_id::text, 4) || epoch where length(epoch) = 8;

create function varve.mark_epoch(p_head bigint, p_is_restored boolean default false) returns text
    language plpgsql volatile security definer set search_path = varve, pg_temp
as $$
declare
    newest    log_epochs;
    timeline  text := left(pg_walfile_name(pg_current_wal_lsn()), 8);
    system    text := (select s.system_identifier::text from pg_control_system() s);
begin
    select * into newest from log_epochs order by number desc limit 1;
    if newest.timeline = timeline and newest.system_identifier = system and not p_is_restored then
        return newest.epoch;
    end if;
    insert into log_epochs (number, epoch, log_id, timeline, system_identifier, fork_position)
    values (newest.number + 1, left(newest.log_id::text, 4) || left(gen_random_uuid()::text, 8), newest.log_id, timeline,
            system, p_head)
    returning log_epochs.epoch into newest.epoch;
    return newest.epoch;
end
$$;
comment on function varve.mark_epoch is
    'The epoch of this history of the log; begins a new one on a promoted server, a copy, or after a restore. '
    'Its caller holds the lock of the log.';
revoke all on function varve.mark_epoch from public;

-- The append --------------------------------------------------------------------------------------------------------

drop function varve.append;

create function varve.append(
    -- An element for each append.
    p_tenants text[], p_ids uuid[], p_rounds smallint[], p_event_counts integer[],
    p_command_types text[], p_aggregates text[], p_command_data jsonb[], p_command_metadata jsonb[], p_users text[],
    p_statuses text[], p_outcomes jsonb[], p_errors jsonb[],
    p_actors text[], p_keys text[], p_fingerprints bytea[], p_key_seconds integer[],
    -- An element for each event, in the order of the appends.
    p_event_appends integer[], p_streams text[], p_versions integer[], p_topics text[], p_class_versions smallint[],
    p_event_tags text[], p_data bytea[], p_metadata bytea[],
    -- An element for each stream of an append, with the version that it must have. What is written may begin a stream
    -- with version 0 or 1; null stands for what is written with a gap, and is always refused.
    p_checked_appends integer[], p_checked_streams text[], p_checked_versions integer[], p_are_written boolean[],
    -- An element for each claim; it is released where no stream takes it.
    p_claim_appends integer[], p_claims text[], p_claim_streams text[],
    p_counter_appends integer[], p_counters text[], p_counter_adds bigint[], p_counter_limits bigint[],
    p_tracking_appends integer[], p_tracking_names text[], p_tracking_positions bigint[],
    -- An element for each item of a boundary: its first tag, and literals of arrays of its topics and its other tags.
    p_boundary_appends integer[], p_boundary_afters bigint[], p_boundary_topics text[], p_boundary_tags text[],
    p_boundary_other_tags text[]
) returns table (epoch text, head bigint, recorded timestamptz, answers jsonb)
    language plpgsql volatile security definer set search_path = varve, pg_temp
    -- Plans are made once for each session, maybe while a table is still empty, and used when it has millions of rows:
    -- each look at a table is a lateral subquery with a limit, which can only be answered by its index.
    set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off
as $$
declare
    timeline      text;
    head_time     timestamptz;
    reached       bigint;
    round_start   bigint;
    this_round    integer;
    last_round    integer := p_rounds[array_upper(p_rounds, 1)];  -- they come in order
    with_commands boolean := p_command_types is not null;
    found_answers jsonb;
    none_refused  boolean := true;
    some_expired  boolean;
    is_crowded    boolean;
    is_checked    boolean;
begin
    -- Writers stand in line until they commit, so positions become visible in order. Every later statement has a
    -- fresh snapshot; a check in the lock's own statement would see a stale one.
    -- (An `if` with a simple expression costs a third of a `perform`.)
    if pg_advisory_xact_lock(7235419873250117) is null then
        raise exception 'the lock of the log was not given';
    end if;

    select l.epoch, l.timeline, e.position, e.recorded_at into epoch, timeline, head, head_time
    from (select o.epoch, o.timeline from log_epochs o order by o.number desc limit 1) l
    left join (select n.position, n.recorded_at from events n order by n.position desc limit 1) e on true;
    head := coalesce(head, 0);
    reached := head;
    recorded := greatest(head_time, clock_timestamp());  -- time never runs against position
    if timeline is distinct from left(pg_walfile_name(pg_current_wal_lsn()), 8) then
        epoch := mark_epoch(head);
    end if;
    answers := '{}';

    -- No two appends of a round touch the same stream, claim, key or boundary: the client sorts them so, in the order
    -- in which they came. A round therefore is checked and written as a set, and sees the rounds before it.
    for this_round in 1 .. last_round loop
        round_start := reached;

        -- Stored before: its connection was lost before the answer, and it is sent again. Or given up meanwhile.
        select jsonb_object_agg(a.ordinal, jsonb_build_object(
            'result', case c.status when 'abandoned' then 'abandoned' else 'known' end, 'position', c.position,
            'command', c.id, 'status', c.status, 'outcome', c.outcome, 'error', c.error, 'recorded', c.executed_at))
        into found_answers
        from unnest(p_ids) with ordinality as a (id, ordinal)
        cross join lateral (select * from commands c
                            where c.tenant = p_tenants[a.ordinal] and c.id = a.id limit 1) c
        where p_rounds[a.ordinal] = this_round;
        if found_answers is not null then
            answers := answers || found_answers;
            none_refused := false;
        end if;

        if p_keys is not null then
            select jsonb_object_agg(a.ordinal, case when i.fingerprint <> a.fingerprint
                then jsonb_build_object('result', 'key_reused')
                else jsonb_build_object('result', 'known', 'position', c.position, 'command', c.id, 'status', c.status,
                                        'outcome', c.outcome, 'error', c.error, 'recorded', c.executed_at) end)
                filter (where i.expires_at > append.recorded),
                coalesce(bool_or(i.expires_at <= append.recorded), false)
            into found_answers, some_expired
            from unnest(p_actors, p_keys, p_fingerprints) with ordinality as a (actor, key, fingerprint, ordinal)
            cross join lateral (select * from idempotency i where i.tenant = p_tenants[a.ordinal]
                                and i.actor = a.actor and i.key = a.key limit 1) i
            cross join lateral (select * from commands c where c.tenant = i.tenant and c.id = i.command_id limit 1) c
            where p_rounds[a.ordinal] = this_round and (none_refused or not answers ? a.ordinal::text);
            if found_answers is not null then
                answers := answers || found_answers;
                none_refused := false;
            end if;
        end if;

        select jsonb_object_agg(w.append, jsonb_build_object(
            'result', 'conflict', 'stream', w.stream, 'expected', w.version, 'actual', coalesce(s.version, 0)))
        into found_answers
        from unnest(p_checked_appends, p_checked_streams, p_checked_versions, p_are_written)
            as w (append, stream, version, is_written)
        left join lateral (select e.version from events e where e.tenant = p_tenants[w.append] and e.stream = w.stream
                           order by e.version desc limit 1) s on true
        where p_rounds[w.append] = this_round and (none_refused or not answers ? w.append::text)
          and case when w.is_written is null then true
                   when s.version is not null then s.version <> w.version
                   when w.is_written then w.version not in (-1, 0)
                   else w.version <> 0 end;
        if found_answers is not null then
            answers := answers || found_answers;
            none_refused := false;
        end if;

        if p_claims is not null then
            select jsonb_object_agg(k.append, jsonb_build_object(
                'result', 'claimed', 'claim', k.claim, 'stream', c.stream))
            into found_answers
            from unnest(p_claim_appends, p_claims, p_claim_streams) as k (append, claim, stream)
            cross join lateral (select * from claims c
                                where c.tenant = p_tenants[k.append] and c.claim = k.claim limit 1) c
            where p_rounds[k.append] = this_round and k.stream is not null
              and (none_refused or not answers ? k.append::text)
              and not exists (select from unnest(p_claim_appends, p_claims, p_claim_streams) as r (append, claim, stream)
                              where r.append = k.append and r.claim = k.claim and r.stream is null);
            if found_answers is not null then
                answers := answers || found_answers;
                none_refused := false;
            end if;
        end if;

        if p_tracking_names is not null then
            select jsonb_object_agg(k.append, jsonb_build_object(
                'result', 'tracked', 'application', k.name, 'position', t.position))
            into found_answers
            from unnest(p_tracking_appends, p_tracking_names, p_tracking_positions) as k (append, name, position)
            cross join lateral (select * from tracking t where t.tenant = p_tenants[k.append]
                                and t.application_name = k.name and t.position >= k.position limit 1) t
            where p_rounds[k.append] = this_round and (none_refused or not answers ? k.append::text);
            if found_answers is not null then
                answers := answers || found_answers;
                none_refused := false;
            end if;
        end if;

        if p_boundary_appends is not null then
            select jsonb_object_agg(b.append, jsonb_build_object('result', 'crossed', 'position', m.position))
            into found_answers
            from unnest(p_boundary_appends, p_boundary_afters, p_boundary_topics, p_boundary_tags, p_boundary_other_tags)
                as b (append, after, topics, tag, other_tags)
            cross join lateral (
                (select t.position from event_tags t
                 where t.tenant = p_tenants[b.append] and t.tag = b.tag and t.position > b.after
                   and (b.topics is null or t.topic = any (b.topics::text[]))
                   -- A scalar subquery: a plan made for a small table would have `not exists` hash all tags of the tenant.
                   and (b.other_tags is null or not exists (
                        select from unnest(b.other_tags::text[]) as o (tag)
                        where (select u.position from event_tags u where u.tenant = p_tenants[b.append]
                               and u.tag = o.tag and u.position = t.position limit 1) is null))
                 order by t.position limit 1)
                union all
                (select e.position from events e
                 where b.tag is null and e.position > b.after and e.tenant = p_tenants[b.append]
                   and (b.topics is null or e.topic = any (b.topics::text[]))
                 order by e.position limit 1)
            ) m
            where p_rounds[b.append] = this_round and (none_refused or not answers ? b.append::text)
              -- However many events have the first tag: nothing is crossed unless each of the others has a new one, too.
              and (b.other_tags is null or not exists (
                   select from unnest(b.other_tags::text[]) as o (tag)
                   where (select u.position from event_tags u where u.tenant = p_tenants[b.append]
                          and u.tag = o.tag and u.position > b.after limit 1) is null));
            if found_answers is not null then
                answers := answers || found_answers;
                none_refused := false;
            end if;
        end if;

        -- Last, so that what passes here is written.
        if p_counters is not null then
            is_checked := false;
            loop
                with wanted as materialized (
                    select k.*, c.ctid as last, coalesce(c.change, 0) as change, coalesce(c.value, 0) as value
                    from (select p_tenants[k.append] as tenant, k.counter, sum(k.add) as add,
                                 sum(greatest(k.add, 0)) as raised, sum(least(k.add, 0)) as lowered, min(k.most) as most
                          from unnest(p_counter_appends, p_counters, p_counter_adds, p_counter_limits)
                              as k (append, counter, add, most)
                          where p_rounds[k.append] = this_round and (none_refused or not answers ? k.append::text)
                          group by 1, 2) k
                    left join lateral (select c.ctid, c.change, c.value from counters c
                                       where c.tenant = k.tenant and c.counter = k.counter
                                       order by c.change desc limit 1) c on true
                ), crowded as materialized (
                    select not is_checked and bool_or(w.value + w.raised > w.most or w.value + w.lowered < 0) as is_so
                    from wanted w
                ), replaced as (
                    delete from counters c using wanted w where c.ctid = w.last and not (select is_so from crowded)
                ), written as (
                    insert into counters (tenant, counter, change, value)
                    select w.tenant, w.counter, w.change + 1, w.value + w.add from wanted w
                    where not (select is_so from crowded)
                )
                select is_so into is_crowded from crowded;
                exit when is_crowded is not true;
                -- In this order not all have room. A tenant's first append that finds none is refused; its later ones of
                -- this round may have room without it and are asked to come again, each in a round of its own.
                with wanted as (
                    select k.tenant, k.append, k.counter, k.add, k.most,
                           coalesce(c.value, 0)
                           + sum(k.add) over (partition by k.tenant, k.counter order by k.append) as total
                    from (select p_tenants[k.append] as tenant, k.*
                          from unnest(p_counter_appends, p_counters, p_counter_adds, p_counter_limits)
                              as k (append, counter, add, most)) k
                    left join lateral (select * from counters c
                                       where c.tenant = k.tenant and c.counter = k.counter
                                       order by c.change desc limit 1) c on true
                    where p_rounds[k.append] = this_round and (none_refused or not answers ? k.append::text)
                ), refused as (
                    select w.tenant, min(w.append) as append from wanted w
                    where w.total > w.most or w.total < 0 group by w.tenant
                )
                select jsonb_object_agg(w.append, case when w.append = r.append
                    then jsonb_build_object('result', 'limited', 'counter', w.counter, 'value', w.total - w.add,
                                            'limit', w.most)
                    else jsonb_build_object('result', 'again') end)
                into found_answers
                from wanted w join refused r on r.tenant = w.tenant
                where w.append > r.append or (w.append = r.append and (w.total > w.most or w.total < 0));
                if found_answers is not null then
                    answers := answers || found_answers;
                    none_refused := false;
                end if;
                is_checked := true;
            end loop;
        end if;

        if p_claims is not null then
            delete from claims c
            using unnest(p_claim_appends, p_claims, p_claim_streams) as k (append, claim, stream)
            where c.tenant = p_tenants[k.append] and c.claim = k.claim and k.stream is null
              and p_rounds[k.append] = this_round and (none_refused or not answers ? k.append::text);
            insert into claims (tenant, claim, stream)
            select p_tenants[k.append], k.claim, k.stream
            from unnest(p_claim_appends, p_claims, p_claim_streams) as k (append, claim, stream)
            where k.stream is not null and p_rounds[k.append] = this_round
              and (none_refused or not answers ? k.append::text);
        end if;

        if p_tracking_names is not null then
            insert into tracking as t (tenant, application_name, position, append_id)
            select p_tenants[k.append], k.name, k.position, p_ids[k.append]
            from unnest(p_tracking_appends, p_tracking_names, p_tracking_positions) as k (append, name, position)
            where p_rounds[k.append] = this_round and (none_refused or not answers ? k.append::text)
            on conflict (tenant, application_name) do update
            set position = excluded.position, append_id = excluded.append_id;
        end if;

        -- Arrays are unnested in their order, so rows are numbered as they come.
        insert into events (tenant, position, stream, version, topic, class_version, tags, command_id, data, metadata,
                            recorded_at)
        select p_tenants[e.append], round_start + row_number() over (), e.stream, e.version, e.topic, e.class_version,
               coalesce(e.tags::text[], '{}'), p_ids[e.append], e.data, e.metadata, append.recorded
        from unnest(p_event_appends, p_streams, p_versions, p_topics, p_class_versions, p_event_tags, p_data, p_metadata)
            as e (append, stream, version, topic, class_version, tags, data, metadata)
        where p_rounds[e.append] = this_round and (none_refused or not answers ? e.append::text);
        get diagnostics reached = row_count;
        reached := round_start + reached;

        if p_event_tags is not null then
            insert into event_tags (tenant, tag, position, topic)
            select e.tenant, tag, e.position, e.topic from events e, unnest(e.tags) as tag where e.position > round_start;
        end if;

        if with_commands then
            insert into commands (tenant, id, command_type, aggregate_id, data, metadata, user_id, status, position,
                                  outcome, error, executed_at)
            -- A command without events answers the head that its decision may have seen: enough to wait for.
            select p_tenants[a.ordinal], a.id, a.command_type, a.aggregate_id, a.data, a.metadata, a.user_id, a.status,
                   a.position, a.outcome, a.error, append.recorded
            from (
                select u.*, round_start + sum(u.event_count) over (rows unbounded preceding) as position
                from unnest(p_ids, p_event_counts, p_command_types, p_aggregates, p_command_data, p_command_metadata,
                            p_users, p_statuses, p_outcomes, p_errors) with ordinality
                    as u (id, event_count, command_type, aggregate_id, data, metadata, user_id, status, outcome, error,
                          ordinal)
                where p_rounds[u.ordinal] = this_round and (none_refused or not answers ? u.ordinal::text)
            ) a
            where a.command_type is not null;
        end if;

        if p_keys is not null then
            if some_expired then
                delete from idempotency i
                using unnest(p_actors, p_keys, p_key_seconds) with ordinality as a (actor, key, seconds, ordinal)
                where i.tenant = p_tenants[a.ordinal] and i.actor = a.actor and i.key = a.key and a.seconds is not null
                  and p_rounds[a.ordinal] = this_round and (none_refused or not answers ? a.ordinal::text);
            end if;
            insert into idempotency (tenant, actor, key, fingerprint, command_id, expires_at)
            select p_tenants[a.ordinal], a.actor, a.key, a.fingerprint, a.id,
                   append.recorded + make_interval(secs => a.seconds)
            from unnest(p_ids, p_actors, p_keys, p_fingerprints, p_key_seconds) with ordinality
                as a (id, actor, key, fingerprint, seconds, ordinal)
            where a.key is not null and a.seconds is not null
              and p_rounds[a.ordinal] = this_round and (none_refused or not answers ? a.ordinal::text);
        end if;
    end loop;
    if answers = '{}' then
        answers := null;
    end if;
    return next;
end
$$;
comment on function varve.append is
    'The only way into the log: many appends, each whole or refused. Answers the head before them, and by the number '
    'of an append why it was refused; what was accepted follows on the head in order.';
revoke all on function varve.append from public;
grant execute on function varve.append to varve_writer;

create function varve.settle(p_tenants text[], p_ids uuid[], p_abandon boolean[], p_after bigint)
    returns table (epoch text, head bigint, recorded timestamptz, answers jsonb)
    language plpgsql volatile security definer set search_path = varve, pg_temp
as $$
begin
    perform pg_advisory_xact_lock(7235419873250117);
    select coalesce(max(e.position), 0) into head from events e;
    epoch := mark_epoch(head);
    recorded := clock_timestamp();
    with asked as (
        select a.tenant, a.id, a.abandon, a.ordinal, c.position, c.status, c.outcome, c.error, c.executed_at,
               c.id is not null as is_known
        from unnest(p_tenants, p_ids, p_abandon) with ordinality as a (tenant, id, abandon, ordinal)
        left join commands c on c.tenant = a.tenant and c.id = a.id
    ), stored as (
        select e.tenant, e.command_id, min(e.position) as first, max(e.position) as last, max(e.recorded_at) as at
        from events e
        where cardinality(p_ids) > 0 and e.position > p_after and e.command_id = any (p_ids) group by e.tenant, e.command_id
        union all
        select t.tenant, t.append_id, p_after, p_after, clock_timestamp() from tracking t where t.append_id = any (p_ids)
          and not exists (select from events e where e.position > p_after and e.command_id = t.append_id)
    ), abandoned as (
        insert into commands (tenant, id, command_type, data, metadata, user_id, status, position, outcome, executed_at)
        select a.tenant, a.id, '', '{}', '{}', '', 'abandoned', null, '{}', clock_timestamp()
        from asked a
        where a.abandon and not a.is_known
          and not exists (select from stored s where s.tenant = a.tenant and s.command_id = a.id)
    )
    select jsonb_object_agg(a.ordinal, case
        when a.is_known and a.status <> 'abandoned' then jsonb_build_object(
            'result', 'known', 'position', a.position, 'command', a.id, 'status', a.status, 'outcome', a.outcome,
            'error', a.error, 'recorded', a.executed_at)
        when s.first is not null then jsonb_build_object('result', 'stored', 'position', s.last, 'recorded', s.at)
        when a.abandon or a.is_known then jsonb_build_object('result', 'abandoned')
        else jsonb_build_object('result', 'absent') end)
    into answers
    from asked a left join stored s on s.tenant = a.tenant and s.command_id = a.id;
    return next;
end
$$;
comment on function varve.settle is
    'What became of appends whose connection was lost: known, stored, or absent; an absent one that is to be '
    'abandoned is refused should it still arrive.';
revoke all on function varve.settle from public;
grant execute on function varve.settle to varve_writer;
