-- What a generation is made for -------------------------------------------------------------------------------------

alter table varve.generations
    add column purpose text not null default 'swap'
        check (purpose in ('swap', 'hold', 'verify', 'repair', 'as_of')),
    add column only_tenant text,
    add column up_to bigint,
    add column as_of uuid,
    drop constraint generations_status_check,
    add constraint generations_status_check check (status in ('building', 'live', 'retired', 'kept')),
    add constraint generations_as_of_check check ((purpose = 'as_of') = (as_of is not null)),
    add constraint generations_up_to_check check ((purpose in ('as_of', 'verify', 'repair')) = (up_to is not null));
alter table varve.generations alter column purpose drop default;
comment on column varve.generations.purpose is
    'What becomes of it when it has caught up: swapped in at once, or when asked (hold); compared with the live one; put '
    'into the live one, for one tenant (repair); kept as the read model as of a position.';
comment on column varve.generations.only_tenant is 'It has the rows of this tenant alone; of all without one.';
comment on column varve.generations.up_to is 'Its lanes stop at this position; further ones are given to a generation that is compared, until it has caught up.';
comment on column varve.generations.as_of is 'What it is a part of; its tables are in the schema as_of, those of others in read_models.';

drop index varve.one_building_generation;
create unique index one_building_generation on varve.generations (projection)
    where status = 'building' and purpose <> 'as_of';
create unique index one_generation_as_of on varve.generations (as_of, projection) where as_of is not null;

-- A number is never given again, though its generation is dropped: what was kept or said of it would be another's.
create table varve.newest_generations (
    projection text    not null primary key,
    generation integer not null
);
insert into varve.newest_generations select projection, max(generation) from varve.generations group by projection;
comment on table varve.newest_generations is 'The number of the last generation of each projection, there or dropped.';
grant select, insert, update on varve.newest_generations to varve_projector;
grant select on varve.newest_generations to varve_admin;

-- What was compared -------------------------------------------------------------------------------------------------

create table varve.verifications (
    projection  text        not null,
    generation  integer     not null,
    only_tenant text,
    position    bigint      not null,
    is_repaired boolean     not null,
    differing   bigint      not null,
    by_table    jsonb       not null,
    some_keys   jsonb       not null,
    finished_at timestamptz not null default clock_timestamp(),
    primary key (projection, generation)
);
comment on table varve.verifications is
    'What rebuilds found in the live generation that differs from their own rows at the same position.';
comment on column varve.verifications.by_table is 'How many rows differ, by table.';
comment on column varve.verifications.some_keys is 'The first keys of those rows, by table: of any tenant.';
grant select, insert on varve.verifications to varve_projector;
grant select on varve.verifications to varve_admin;
grant select (projection, generation, only_tenant, position, is_repaired, differing, by_table, finished_at)
    on varve.verifications to varve_reader;

-- Parks and skips in the log ----------------------------------------------------------------------------------------

alter table varve.parked add column is_told boolean not null default false;
comment on column varve.parked.is_told is 'Whether the log has the fact operations.EventParked about it.';
create index on varve.parked (position) where error is not null and not is_told;

alter table varve.skipped add column skipped_by bigint not null default 0;
comment on column varve.skipped.skipped_by is
    'The position of the event that says so: as of an earlier one it was not skipped. 0 where that is not known.';
alter table varve.skipped alter column skipped_by drop default;
