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

create view varve.lanes with (security_invoker = true) as
select l.projection, l.generation, l.lane, c.position, l.owner, l.fence, l.leased_until, c.advanced_at, l.error,
       l.failures
from varve.leases l
cross join lateral (
    select c.position, c.advanced_at from varve.checkpoints c
    where c.projection = l.projection and c.generation = l.generation and c.lane = l.lane
    order by c.position desc limit 1
) c;
comment on view varve.lanes is 'Each lane with its lease and the newest of its checkpoints.';

grant select on varve.checkpoints, varve.lanes to varve_writer, varve_projector, varve_reader, varve_admin;
grant insert, delete on varve.checkpoints to varve_projector;
