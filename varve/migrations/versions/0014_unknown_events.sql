alter table varve.leases add column needs_position bigint;
comment on column varve.leases.needs_position is
    'The position of the event that the lane stands at, with needs_topic and needs_version: no worker that met it knows it. '
    'Once it is voided, or skipped for the projection, any worker may take the lane.';

create function varve.application_of(p_tags text[]) returns text
    language sql immutable strict set search_path = varve, pg_temp
as $$ select substr(t.tag, 13) from unnest(p_tags) as t (tag) where starts_with(t.tag, 'application:') limit 1 $$;
comment on function varve.application_of is 'The application that wrote an event, by its tags; null for Varve''s own.';

-- An application's event voids none of another, whatever its topic says; one that is no voiding at all is just an event.
create or replace function varve.note_voided() returns trigger
    language plpgsql security definer set search_path = varve, pg_temp
as $$
declare
    writer   text := application_of(new.tags);
    v_wrong  bigint;
begin
    begin
        v_wrong := (convert_from(new.data, 'UTF8')::jsonb ->> 'position')::bigint;
    exception when others then
        if writer is null then
            raise;
        end if;
        return null;
    end;
    insert into voided (tenant, position, stream, version, voided_by, voided_version)
    select e.tenant, e.position, e.stream, e.version, new.position, new.version
    from events e
    where e.tenant = new.tenant and e.topic <> new.topic and e.position = v_wrong
      and application_of(e.tags) is not distinct from writer
    on conflict do nothing;
    -- They hold what is left out from now on; those before it and after the voiding do not.
    delete from snapshots s using voided v
    where v.tenant = new.tenant and v.voided_by = new.position
      and s.tenant = v.tenant and s.stream = v.stream and s.version >= v.version and s.version < v.voided_version;
    return null;
end
$$;
