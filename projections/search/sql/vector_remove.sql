-- Removes the vectors of the chunks (tenants[i], chunks[i]); returns how many each tenant lost.
with doomed as (
    delete from {vectors} v
    using unnest(%(tenants)s::text[], %(chunks)s::bigint[]) as d (tenant, chunk)
    where v.tenant = d.tenant and v.chunk = d.chunk
    returning v.tenant, v.chunk, v.tags
), untagged as (
    delete from {vector_tags} t
    using (select tenant, chunk, unnest(tags) as tag from doomed) d
    where t.tenant = d.tenant and t.tag = d.tag and t.chunk = d.chunk
)
select tenant, count(*) as chunks from doomed group by tenant
