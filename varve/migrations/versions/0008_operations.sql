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
