-- Adds `changes` to the tenants' number of vectors: one element per tenant, in the order of their names.
insert into {vector_stats} as s (tenant, chunks)
select tenant, change from unnest(%(tenants)s::text[], %(changes)s::bigint[]) as u (tenant, change)
order by tenant
on conflict (tenant) do update set chunks = s.chunks + excluded.chunks
