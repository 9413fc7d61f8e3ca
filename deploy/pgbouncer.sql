-- Lets PgBouncer look up the password verifiers of Varve's roles, and of no others. Run once as a superuser in Varve's
-- database, after `varve migrate`; then give the role a password, the one in PgBouncer's userlist.txt.
do $$
begin
    if not exists (select from pg_roles where rolname = 'pgbouncer') then
        create role pgbouncer login nosuperuser nobypassrls nocreatedb nocreaterole;
    end if;
end
$$;

create schema if not exists pgbouncer;

create or replace function pgbouncer.login(name text) returns table (role text, password text)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
    select rolname, rolpassword from pg_authid
    where rolname = name and rolname in ('varve_writer', 'varve_projector', 'varve_reader', 'varve_admin')
$$;

revoke all on function pgbouncer.login from public;
grant usage on schema pgbouncer to pgbouncer;
grant execute on function pgbouncer.login to pgbouncer;
