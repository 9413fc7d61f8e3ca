-- Leases and checkpoints --------------------------------------------------------------------------------------------

-- A checkpoint moves many times a second. As long as anyone holds a snapshot open, PostgreSQL keeps every version of a
-- row that is updated, and whoever looks for the newest one walks along all of them: docs/decisions/0019-hot-rows.md.
-- So a checkpoint is never updated: it is a new row with a higher key, found first, and the one before it is deleted.
create table varve.checkpoints (
    projection  text        not null,
    generation  integer     not null,
    lane        smallint    not null,
    position    bigint      not null,
    advanced_at timestamptz not null default clock_timestamp(),
    primary key (projection, generation, lane, position)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000);
comment on column varve.checkpoints.position is
    'Everything up to here is applied: committed in the transaction of the rows. The highest one of a lane counts.';

insert into varve.checkpoints (projection, generation, lane, position, advanced_at)
select projection, generation, lane, position, advanced_at from varve.lanes;
alter table varve.lanes drop column position, drop column advanced_at;
alter table varve.lanes rename to leases;
alter index varve.lanes_pkey rename to leases_pkey;
comment on table varve.leases is 'Who runs which lane, and what it last failed with.';
alter table varve.checkpoints add foreign key (projection, generation, lane) references varve.leases on delete cascade;

-- A function, for its settings: as long as a snapshot is held, the table is some rows in many pages, and a plan that
-- knows this reads all of them.
create function varve.newest_checkpoint(p_projection text, p_generation integer, p_lane smallint)
    returns table (place tid, "position" bigint, advanced_at timestamptz)
    language sql stable set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
as $$
    select c.ctid, c.position, c.advanced_at from varve.checkpoints c
    where c.projection = p_projection and c.generation = p_generation and c.lane = p_lane
    order by c.position desc limit 1
$$;
revoke all on function varve.newest_checkpoint from public;
grant execute on function varve.newest_checkpoint to varve_writer, varve_projector, varve_reader, varve_admin;

create view varve.lanes with (security_invoker = true) as
select l.projection, l.generation, l.lane, c.position, l.owner, l.fence, l.leased_until, c.advanced_at, l.error,
       l.failures
from varve.leases l cross join lateral varve.newest_checkpoint(l.projection, l.generation, l.lane) c;
comment on view varve.lanes is 'Each lane with its lease and the newest of its checkpoints.';

grant select on varve.checkpoints, varve.lanes to varve_writer, varve_projector, varve_reader, varve_admin;
grant insert, delete on varve.checkpoints to varve_projector;
