-- Removes all chunks of the sources (tenants[i], source_ids[i]) with their postings and tags.
-- Returns what the counters lose, to be applied by text_count.sql together with what the batch adds: per (tenant, term)
-- the chunks that held it, and per tenant, under the term null, the chunks and their total length.
with doomed as (
    delete from {chunks} c
    using (select distinct * from unnest(%(tenants)s::text[], %(source_ids)s::uuid[])) as s (tenant, source_id)
    where c.tenant = s.tenant and c.source_id = s.source_id
    returning c.tenant, c.chunk, c.terms, c.tags, c.length
), unposted as (
    delete from {postings} p
    using (select tenant, chunk, unnest(terms) as term from doomed) d
    where p.tenant = d.tenant and p.term = d.term and p.chunk = d.chunk
), untagged as (
    delete from {tags} t
    using (select tenant, chunk, unnest(tags) as tag from doomed) d
    where t.tenant = d.tenant and t.tag = d.tag and t.chunk = d.chunk
)
select tenant, term, count(*) as chunks, 0 as length
from doomed, unnest(terms) as u (term) group by tenant, term
union all
select tenant, null, count(*), sum(length) from doomed group by tenant
