-- Reading a model -----------------------------------------------------------------------------------------------------

-- In SQL, so that PostgreSQL plans and runs it as a part of the question that it stands in front of: three quarters of the
-- time of varve.start_reading. That one is planned once for all questions, and so is better for those that PostgreSQL
-- plans anew each time.
create function varve.reading(p_tenant text, p_models text[], p_as_of uuid) returns table (reading text)
    language sql stable
as $$
    -- What is read depends on the tenant as it was set, so that it is set first; `offset 0` keeps the two apart.
    select said.reading
    from (select set_config('varve.tenant', p_tenant, true) as tenant offset 0) s
    cross join lateral (
        select json_build_object(
            'epoch', (select e.epoch from varve.log_epochs e order by e.number desc limit 1),
            'models', coalesce(json_object_agg(g.projection, json_build_array(
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
                 where p.tenant = s.tenant and p.projection = g.projection and p.generation = g.generation))), '{}')
        )::text as reading
        from varve.generations g
        where g.projection = any (p_models)
          and case when p_as_of is null then g.status = 'live'
              else g.status = 'kept' and g.as_of = p_as_of and coalesce(g.only_tenant, s.tenant) = s.tenant end
        offset 0
    ) said
$$;
comment on function varve.reading is
    'Sets the tenant and returns, as JSON, of each of some read models, live or as of a past position: its generation, a '
    'number that changes when rows of it are repaired, its definition, its position and how many events are parked.';
revoke all on function varve.reading from public;
grant execute on function varve.reading to varve_reader;

create or replace function varve.start_reading(p_tenant text, p_models text[], p_as_of uuid) returns text
    language plpgsql stable set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
    set plan_cache_mode = force_generic_plan
as $$
begin
    return (select r.reading from varve.reading(p_tenant, p_models, p_as_of) r);
end
$$;
comment on function varve.start_reading is 'As varve.reading, planned once and for all.';
