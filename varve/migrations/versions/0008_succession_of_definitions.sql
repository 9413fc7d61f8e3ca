-- A definition begins with its version, so that workers of two versions agree which one is the newer.
update varve.generations set definition = '1.' || definition;

alter table varve.generations add column newest_version integer not null default 1,
    add column tables text[] not null default '{}';
comment on column varve.generations.newest_version is
    'The highest version that the projection had up to here: what an operator went back from is not built by itself again.';
comment on column varve.generations.tables is 'As the code that made them calls them; later code may have others.';

update varve.generations g set tables = array(
    select substr(t.tablename, length(prefix.name) + 1) from pg_tables t
    where t.schemaname = 'read_models' and starts_with(t.tablename, prefix.name)
)
from (select projection, generation, projection || '_' || generation || '_' as name from varve.generations) prefix
where (prefix.projection, prefix.generation) = (g.projection, g.generation);
