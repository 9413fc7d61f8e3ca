-- What belongs to the server and the database rather than to a version of the schema: roles, extension, schemas.
-- Idempotent, run before every migration. Roles are shared by all databases of a server, so another database may be
-- creating them at this moment. Passwords are set by `varve migrate`, never here.
do $$
declare
    role_name text;
begin
    foreach role_name in array array['varve_owner', 'varve_writer', 'varve_projector', 'varve_reader', 'varve_admin']
    loop
        if not exists (select from pg_roles where rolname = role_name) then
            begin
                execute format('create role %I nosuperuser nobypassrls nocreatedb nocreaterole nologin', role_name);
            exception when duplicate_object or unique_violation then
                null;
            end;
        end if;
    end loop;
    if not pg_has_role(current_user, 'varve_owner', 'set') then
        execute format('grant varve_owner, varve_projector to %I', current_user);
    end if;
end
$$;

create extension if not exists vector;
create schema if not exists varve authorization varve_owner;
create schema if not exists read_models authorization varve_projector;
create schema if not exists as_of authorization varve_projector;
grant usage on schema varve to varve_writer, varve_projector, varve_reader, varve_admin;
grant usage on schema read_models, as_of to varve_reader, varve_admin;
