-- Reading a model -----------------------------------------------------------------------------------------------------

-- These two are in SQL, so that PostgreSQL plans and runs them as a part of what asks them.
create function varve.reading_of(p_tenant text, p_model text, p_as_of uuid) returns table (model text, said json)
    language sql stable
as $$
    select g.projection, json_build_array(
        g.generation,
        (select coalesce(max(v.generation), 0) from varve.verifications v
         where v.projection = g.projection and v.is_repaired),
        g.definition,
        (select min((
            select c.position from varve.checkpoints c
            where c.projection = l.projection and c.generation = l.generation and c.first_slot = l.first_slot
            order by c.position desc limit 1))
         from varve.leases l where l.projection = g.projection and l.generation = g.generation),
        (select count(*) from varve.parked p
         where p.tenant = p_tenant and p.projection = g.projection and p.generation = g.generation))
    from varve.generations g
    where g.projection = p_model
      and case when p_as_of is null then g.status = 'live'
          else g.status = 'kept' and g.as_of = p_as_of and coalesce(g.only_tenant, p_tenant) = p_tenant end
$$;
comment on function varve.reading_of is
    'Returns, as JSON, of a read model, live or as of a past position: its generation, a number that changes when rows of '
    'it are repaired, its definition, its position, and how many events of the tenant are parked.';

-- For a question by key, with which it is planned: a quarter less of the server's time. What differs from question to
-- question is compared by `=` alone, so that PostgreSQL finds one plan for all of them as good as a plan for each.
create function varve.reading_by_key(p_tenant text, p_model text) returns table (reading text)
    language sql stable
as $$
    select json_build_object(
        'epoch', (select e.epoch from varve.log_epochs e order by e.number desc limit 1),
        'models', coalesce(
            (select json_build_object(r.model, r.said) from varve.reading_of(s.tenant, p_model, null) r), '{}'))::text
    -- The tenant is set first, since what is read depends on it.
    from (select set_config('varve.tenant', p_tenant, true) as tenant offset 0) s
$$;
comment on function varve.reading_by_key is 'As varve.start_reading, of one live model.';

create or replace function varve.start_reading(p_tenant text, p_models text[], p_as_of uuid) returns text
    language plpgsql stable set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
    set plan_cache_mode = force_generic_plan
as $$
begin
    perform set_config('varve.tenant', p_tenant, true);
    return (
        select json_build_object(
            'epoch', (select e.epoch from varve.log_epochs e order by e.number desc limit 1),
            'models', coalesce(json_object_agg(r.model, r.said), '{}'))
        from unnest(p_models) m (model)
        cross join lateral varve.reading_of(p_tenant, m.model, p_as_of) r);
end
$$;
comment on function varve.start_reading is
    'Sets the tenant and returns, as JSON, the log''s epoch and what varve.reading_of says of each of some read models.';

revoke all on function varve.reading_of, varve.reading_by_key from public;
grant execute on function varve.reading_of, varve.reading_by_key to varve_reader;
