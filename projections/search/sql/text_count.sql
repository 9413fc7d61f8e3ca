-- Adds `changes` to document frequencies: one element per (tenant, term), each once, the net of the whole batch.
-- Rows are locked in sorted key order, so that lanes which share terms can't deadlock.
insert into {terms} as t (tenant, term, chunks)
select tenant, term, change
from unnest(%(tenants)s::text[], %(terms)s::text[], %(changes)s::integer[]) as u (tenant, term, change)
order by tenant collate "C", term collate "C"
on conflict (tenant, term) do update set chunks = t.chunks + excluded.chunks
