-- What became of operators' requests ---------------------------------------------------------------------------------

create table varve.operator_outcomes (
    tenant      text        not null,
    request_id  uuid        not null,
    position    bigint      not null,
    status      text        not null check (status in ('done', 'refused')),
    projection  text,
    generation  integer,
    code        text,
    sentence    text        not null,
    finished_at timestamptz not null default clock_timestamp(),
    primary key (tenant, request_id),
    check ((status = 'refused') = (code is not null))
);
comment on table varve.operator_outcomes is
    'How each request of an operator was carried out, written with its effect: or why it could not be any more.';
comment on column varve.operator_outcomes.generation is 'The one that the request made or changed, if it is one.';
comment on column varve.operator_outcomes.code is 'The name of the refusal: the state had changed since it was accepted.';

alter table varve.operator_outcomes enable row level security;
create policy own_tenant on varve.operator_outcomes for select to varve_reader
    using (tenant = (select varve.tenant()));
create policy all_tenants on varve.operator_outcomes for all to varve_projector, varve_admin using (true);
grant select on varve.operator_outcomes to varve_reader, varve_projector, varve_admin;
grant insert on varve.operator_outcomes to varve_projector;

-- How projections stand, for deciding on requests: docs/decisions/0038-a-request-about-nothing.md --------------------

create policy write_side on varve.parked for select to varve_writer using (true);
grant select on varve.leases, varve.parked, varve.skipped, varve.newest_generations to varve_writer;

create function varve.retrying_count(p_projection text, p_generation integer) returns bigint
    language sql stable security definer set search_path = varve, pg_temp
as $$
    select count(*) from parked p where p.projection = p_projection and p.generation = p_generation and p.is_to_retry
$$;
comment on function varve.retrying_count is
    'How many events of all tenants a generation is about to try again: a number and nothing more.';
revoke all on function varve.retrying_count from public;
grant execute on function varve.retrying_count to varve_projector, varve_reader, varve_admin;
