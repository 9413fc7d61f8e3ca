-- The log's history -------------------------------------------------------------------------------------------------

create function varve.check_epoch() returns text
    language plpgsql volatile security definer set search_path = varve, pg_temp
as $$
declare
    newest log_epochs;
    head   bigint;
begin
    select * into newest from log_epochs order by number desc limit 1;
    if pg_is_in_recovery()
       or (newest.timeline = left(pg_walfile_name(pg_current_wal_lsn()), 8)
           and newest.system_identifier = (select s.system_identifier::text from pg_control_system() s)) then
        return newest.epoch;
    end if;
    perform pg_advisory_xact_lock(7235419873250117);
    select coalesce(max(e.position), 0) into head from events e;
    return mark_epoch(head);
end
$$;
comment on function varve.check_epoch is
    'The epoch of this history of the log; whoever comes first to a promoted server or a copy begins a new one. '
    'It changes nothing on any other server, so every role may call it.';
revoke all on function varve.check_epoch from public;
grant execute on function varve.check_epoch to varve_writer, varve_projector, varve_reader, varve_admin;

create function varve.mark_restored() returns table (epoch text, fork_position bigint)
    language plpgsql volatile security definer set search_path = varve, pg_temp
as $$
begin
    perform pg_advisory_xact_lock(7235419873250117);
    select coalesce(max(e.position), 0) into fork_position from events e;
    epoch := mark_epoch(fork_position, true);
    return next;
end
$$;
comment on function varve.mark_restored is
    'Begins a new epoch at the present head: for a restore that the server itself can not know of.';
revoke all on function varve.mark_restored from public;
grant execute on function varve.mark_restored to varve_admin;

-- Wrong events ------------------------------------------------------------------------------------------------------

create table varve.voided (
    tenant         text    not null,
    position       bigint  not null,
    stream         text,
    version        integer,
    voided_by      bigint  not null,
    voided_version integer,
    primary key (tenant, position)
);
create index on varve.voided (tenant, stream, version);
comment on table varve.voided is
    'Which events are left out by readers of the log: derived from its events log.EventVoided, by a trigger.';
comment on column varve.voided.voided_by is 'The position of the event that voids it.';
comment on column varve.voided.voided_version is 'The version of that event in the same stream.';

create function varve.note_voided() returns trigger
    language plpgsql security definer set search_path = varve, pg_temp
as $$
begin
    insert into voided (tenant, position, stream, version, voided_by, voided_version)
    select e.tenant, e.position, e.stream, e.version, new.position, new.version
    from events e
    where e.tenant = new.tenant and e.topic <> new.topic
      and e.position = (convert_from(new.data, 'UTF8')::jsonb ->> 'position')::bigint
    on conflict do nothing;
    -- They hold what is left out from now on; those before it and after the voiding do not.
    delete from snapshots s using voided v
    where v.tenant = new.tenant and v.voided_by = new.position
      and s.tenant = v.tenant and s.stream = v.stream and s.version >= v.version and s.version < v.voided_version;
    return null;
end
$$;
revoke all on function varve.note_voided from public;
create trigger note_voided after insert on varve.events
    for each row when (new.topic = 'log.EventVoided') execute function varve.note_voided();

create or replace function varve.save_snapshot(
    p_tenant text, p_stream text, p_version integer, p_schema_version smallint, p_topic text, p_data bytea
) returns void
    language sql volatile security definer set search_path = varve, pg_temp
as $$
    insert into snapshots (tenant, stream, version, schema_version, topic, data)
    select p_tenant, p_stream, p_version, p_schema_version, p_topic, p_data
    where not exists (select from voided v where v.tenant = p_tenant and v.stream = p_stream
                      and v.version <= p_version and v.voided_version > p_version)
    on conflict do nothing
$$;

alter table varve.voided enable row level security;
create policy own_tenant on varve.voided for select to varve_reader using (tenant = (select varve.tenant()));
create policy all_tenants on varve.voided for select to varve_writer, varve_projector, varve_admin using (true);
grant select on varve.voided to varve_reader, varve_writer, varve_projector, varve_admin;

-- Claims and counters -----------------------------------------------------------------------------------------------

create table varve.claims_baseline (
    tenant   text   not null,
    claim    text   not null,
    stream   text   not null,
    position bigint not null,
    primary key (tenant, claim)
);
comment on table varve.claims_baseline is
    'The claims that stood when appends began to say in the log what they take and release: up to this position they '
    'can not be derived from it.';
insert into varve.claims_baseline (tenant, claim, stream, position)
select tenant, claim, stream, (select max(position) from varve.events) from varve.claims;
grant select on varve.claims_baseline to varve_admin;

create function varve.correct_claims(
    p_claim_tenants text[], p_claims text[], p_streams text[],
    p_counter_tenants text[], p_counters text[], p_values bigint[]
) returns void
    language plpgsql volatile security definer set search_path = varve, pg_temp
as $$
begin
    perform pg_advisory_xact_lock(7235419873250117);
    delete from claims c using unnest(p_claim_tenants, p_claims) as k (tenant, claim)
    where c.tenant = k.tenant and c.claim = k.claim;
    insert into claims (tenant, claim, stream)
    select k.tenant, k.claim, k.stream from unnest(p_claim_tenants, p_claims, p_streams) as k (tenant, claim, stream)
    where k.stream is not null;
    with replaced as (
        delete from counters c using unnest(p_counter_tenants, p_counters) as k (tenant, counter)
        where c.tenant = k.tenant and c.counter = k.counter
        returning c.tenant, c.counter, c.change
    )
    insert into counters (tenant, counter, change, value)
    select k.tenant, k.counter, coalesce(r.change, 0) + 1, k.value
    from unnest(p_counter_tenants, p_counters, p_values) as k (tenant, counter, value)
    left join replaced r using (tenant, counter);
end
$$;
comment on function varve.correct_claims is
    'Sets claims and counters to what the log says: a claim without a stream is removed. Its caller has compared them '
    'under the lock of the log.';
revoke all on function varve.correct_claims from public;
grant execute on function varve.correct_claims to varve_admin;
