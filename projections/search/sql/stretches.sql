-- Returns where the chunks of the sources (tenants[i], source_ids[i]) are: their numbers lie together, since a change of
-- a source replaces them all.
select c.tenant, min(c.chunk), max(c.chunk)
from unnest(%(tenants)s::text[], %(source_ids)s::uuid[]) as s (tenant, source_id)
join {table} c on c.tenant = s.tenant and c.source_id = s.source_id
group by c.tenant, c.source_id, c.chunk >> 20
