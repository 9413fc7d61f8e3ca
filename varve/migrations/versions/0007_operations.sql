-- How lanes move ----------------------------------------------------------------------------------------------------

-- Written by the renewal of the lease, which updates the row anyway: docs/decisions/0025-operations.md.
alter table varve.leases
    add column renewed_at timestamptz,
    add column reached    bigint           not null default 0,
    add column moved_at   timestamptz,
    add column rate       double precision not null default 0;
comment on column varve.leases.renewed_at is 'The heartbeat: when the owner last had the lease prolonged, idle or not.';
comment on column varve.leases.reached is 'How far the lane was then: its checkpoint, or what a rebuild had read.';
comment on column varve.leases.moved_at is 'The last renewal before which it had come further.';
comment on column varve.leases.rate is 'Positions of the log passed in a second, a moving average over some ten seconds.';

create function varve.recorded_after(p_position bigint) returns timestamptz
    language sql stable security definer set search_path = varve, pg_temp
as $$ select recorded_at from events where position > p_position order by position limit 1 $$;
comment on function varve.recorded_after is
    'When the first event after a position was recorded, of whatever tenant: a time and nothing more.';
revoke all on function varve.recorded_after from public;
grant execute on function varve.recorded_after to varve_projector, varve_reader, varve_admin;

-- Searches ----------------------------------------------------------------------------------------------------------

create table varve.search_records (
    tenant       text        not null,
    id           bigint      generated always as identity,
    searched_at  timestamptz not null,
    query_hash   bytea       not null,
    mode         text        not null,
    milliseconds real        not null,
    hits         integer     not null,
    is_cached    boolean     not null,
    sample_rate  real        not null,
    primary key (tenant, id)
);
create index on varve.search_records (searched_at);
comment on table varve.search_records is
    'A sample of the searches that were answered (search.completed): outside the log, and gone after some weeks.';
comment on column varve.search_records.query_hash is
    'Keyed, by installation and tenant: equal questions of a tenant are equal, and none can be guessed without the key.';
comment on column varve.search_records.sample_rate is 'The row stands for 1 / sample_rate searches.';

create function varve.note_searches(
    p_tenants text[], p_times timestamptz[], p_hashes bytea[], p_modes text[], p_milliseconds real[], p_hits integer[],
    p_cached boolean[], p_sample_rate real
) returns void
    language sql volatile security definer set search_path = varve, pg_temp
as $$
    insert into search_records (tenant, searched_at, query_hash, mode, milliseconds, hits, is_cached, sample_rate)
    select *, p_sample_rate
    from unnest(p_tenants, p_times, p_hashes, p_modes, p_milliseconds, p_hits, p_cached)
$$;
comment on function varve.note_searches is 'All that an API process may do with the records of searches: add some.';
revoke all on function varve.note_searches from public;
grant execute on function varve.note_searches to varve_writer;

alter table varve.search_records enable row level security;
create policy all_tenants on varve.search_records for all to varve_projector, varve_admin using (true);
grant select, delete on varve.search_records to varve_projector;
grant select on varve.search_records to varve_admin;
