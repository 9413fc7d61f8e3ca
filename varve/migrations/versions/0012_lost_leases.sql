-- Leases that ran out -------------------------------------------------------------------------------------------------

-- Counted by the statement that takes a lane over, which writes the row anyway: docs/decisions/0032-isolated-lanes.md.
alter table varve.leases add column losses smallint not null default 0;
comment on column varve.leases.losses is
    'How often a worker was lost while the checkpoint stood: from the first time on the lane runs in a child process.';
