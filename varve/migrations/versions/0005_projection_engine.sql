-- Lanes are ranges of slots -----------------------------------------------------------------------------------------

-- A partition's slot never changes; a lane is a range of slots, so lanes are split and merged without a rebuild.
do $$
begin
    if exists (select from varve.lanes where lane > 0) then
        raise exception 'a projection with several lanes: rebuild it with one before this migration';
    end if;
end
$$;
alter table varve.lanes rename column lane to first_slot;
alter table varve.lanes add column last_slot smallint not null default 255 check (last_slot between first_slot and 255);
alter table varve.lanes alter column last_slot drop default;
alter table varve.lanes add column needs_topic text, add column needs_version smallint, add column filled_to bigint;
comment on column varve.lanes.filled_to is 'How far a rebuild has read whose rows are still in the memory of its worker.';
comment on column varve.lanes.needs_topic is
    'The next event is of a type, or of a version, that the last worker did not know: one with newer code takes over.';

-- Leases and checkpoints --------------------------------------------------------------------------------------------

-- A checkpoint moves many times a second. As long as anyone holds a snapshot open, PostgreSQL keeps every version of a
-- row that is updated, and whoever looks for the newest one walks along all of them: docs/decisions/0019-hot-rows.md.
-- So a checkpoint is never updated: it is a new row with a higher key, found first, and the one before it is deleted.
create table varve.checkpoints (
    projection  text        not null,
    generation  integer     not null,
    first_slot  smallint    not null,
    position    bigint      not null,
    advanced_at timestamptz not null default clock_timestamp(),
    primary key (projection, generation, first_slot, position)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000);
comment on column varve.checkpoints.position is
    'Everything up to here is applied: committed in the transaction of the rows. The highest one of a lane counts.';

insert into varve.checkpoints (projection, generation, first_slot, position, advanced_at)
select projection, generation, first_slot, position, advanced_at from varve.lanes;
alter table varve.lanes drop column position, drop column advanced_at;
alter table varve.lanes rename to leases;
alter index varve.lanes_pkey rename to leases_pkey;
comment on table varve.leases is 'Who runs which lane, and what it last failed with.';
alter table varve.checkpoints add foreign key (projection, generation, first_slot)
    references varve.leases on delete cascade;

-- A function, for its settings: as long as a snapshot is held, the table is some rows in many pages, and a plan that
-- knows this reads all of them.
create function varve.newest_checkpoint(p_projection text, p_generation integer, p_first_slot smallint)
    returns table (place tid, "position" bigint, advanced_at timestamptz)
    language sql stable set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
as $$
    select c.ctid, c.position, c.advanced_at from varve.checkpoints c
    where c.projection = p_projection and c.generation = p_generation and c.first_slot = p_first_slot
    order by c.position desc limit 1
$$;
revoke all on function varve.newest_checkpoint from public;
grant execute on function varve.newest_checkpoint to varve_writer, varve_projector, varve_reader, varve_admin;

create view varve.lanes with (security_invoker = true) as
select l.projection, l.generation, l.first_slot, l.last_slot, c.position, l.owner, l.fence, l.leased_until,
       c.advanced_at, l.error, l.failures, l.needs_topic, l.needs_version, l.filled_to
from varve.leases l cross join lateral varve.newest_checkpoint(l.projection, l.generation, l.first_slot) c;
comment on view varve.lanes is 'Each lane with its lease and the newest of its checkpoints.';

grant select on varve.checkpoints, varve.lanes to varve_writer, varve_projector, varve_reader, varve_admin;
grant insert, delete on varve.checkpoints to varve_projector;

alter table varve.generations add column paused_at timestamptz, add column pause_reason text,
    add column is_indexed boolean not null default true;
alter table varve.generations alter column is_indexed drop default;
comment on column varve.generations.is_indexed is 'False as long as a rebuild fills the tables.';
comment on column varve.generations.lanes is 'How many lanes it is to have: it is split and merged until it has them.';

create table varve.workers (
    owner   text        not null primary key,
    known   text[]      not null,
    seen_at timestamptz not null
) with (fillfactor = 50);
comment on table varve.workers is 'The projection workers that run, and the definitions that they know: they share the lanes.';
grant select on varve.workers to varve_reader, varve_projector, varve_admin;
grant insert, update, delete on varve.workers to varve_projector;

-- The reactor of rebuilds does all that operators ask for now.
insert into varve.generations (projection, generation, status, lanes, definition, created_at, live_since, is_indexed)
select 'operator_requests', generation, status, lanes, definition, created_at, live_since, true
from varve.generations where projection = 'rebuild_requests';
insert into varve.leases (projection, generation, first_slot, last_slot)
select 'operator_requests', generation, first_slot, last_slot from varve.leases where projection = 'rebuild_requests';
insert into varve.checkpoints (projection, generation, first_slot, position)
select 'operator_requests', generation, first_slot, position from varve.checkpoints where projection = 'rebuild_requests';
delete from varve.generations where projection = 'rebuild_requests';

-- Parked events -----------------------------------------------------------------------------------------------------

create table varve.parked (
    projection    text        not null,
    generation    integer     not null,
    position      bigint      not null,
    tenant        text        not null,
    partition     text        not null,
    error         text,
    stack         text,
    attempts      integer     not null default 0,
    parked_at     timestamptz not null default clock_timestamp(),
    is_to_retry   boolean     not null default false,
    primary key (projection, generation, position),
    foreign key (projection, generation) references varve.generations on delete cascade
);
create index on varve.parked (projection, generation, partition, position);
create index on varve.parked (projection, generation) where is_to_retry;
create index on varve.parked (tenant, projection, generation);
comment on table varve.parked is
    'Events that a projection could not apply, and those of the same partition that wait behind them: without an error.';

create table varve.skipped (
    projection text   not null,
    position   bigint not null,
    primary key (projection, position)
);
comment on table varve.skipped is 'Events that an operator took out of a projection; derived from the log.';

create function varve.parked_count(p_projection text, p_generation integer) returns bigint
    language sql stable security definer set search_path = varve, pg_temp
as $$ select count(*) from parked p where p.projection = p_projection and p.generation = p_generation $$;
comment on function varve.parked_count is 'How many events of all tenants a generation has put aside: a number and nothing more.';
revoke all on function varve.parked_count from public;
grant execute on function varve.parked_count to varve_projector, varve_reader, varve_admin;

alter table varve.parked enable row level security;
create policy own_tenant on varve.parked for select to varve_reader using (tenant = (select varve.tenant()));
create policy all_tenants on varve.parked for all to varve_projector, varve_admin using (true);
grant select on varve.parked, varve.skipped to varve_reader, varve_projector, varve_admin;
grant insert, update, delete on varve.parked to varve_projector;
grant insert on varve.skipped to varve_projector;
