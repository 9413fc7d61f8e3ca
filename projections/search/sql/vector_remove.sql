-- Removes all vectors of the sources (tenants[i], source_ids[i]); returns how many each tenant lost.
with doomed as (
    delete from {vectors} v
    using (select distinct * from unnest(%(tenants)s::text[], %(source_ids)s::uuid[])) as s (tenant, source_id)
    where v.tenant = s.tenant and v.source_id = s.source_id
    returning v.tenant, v.chunk, v.tags
), untagged as (
    delete from {vector_tags} t
    using (select tenant, chunk, unnest(tags) as tag from doomed) d
    where t.tenant = d.tenant and t.tag = d.tag and t.chunk = d.chunk
)
select tenant, count(*) as chunks from doomed group by tenant
