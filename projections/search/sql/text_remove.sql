-- Removes the chunks (tenants[i], chunks[i]) with their postings and tags.
-- Returns what the counters lose, to be applied by text_count.sql together with what the batch adds: per tenant the
-- chunks, their total length, and as one text each term and the number of chunks that held it, in turn.
with doomed as (
    delete from {chunks} c
    using unnest(%(tenants)s::text[], %(chunks)s::bigint[]) as d (tenant, chunk)
    where c.tenant = d.tenant and c.chunk = d.chunk
    returning c.tenant, c.chunk, c.terms, c.tags, c.length
), unposted as (
    delete from {postings} p
    using (select tenant, chunk, unnest(terms) as term from doomed) d
    where p.tenant = d.tenant and p.term = d.term and p.chunk = d.chunk
), untagged as (
    delete from {tags} t
    using (select tenant, chunk, unnest(tags) as tag from doomed) d
    where t.tenant = d.tenant and t.tag = d.tag and t.chunk = d.chunk
), lost as (
    select tenant, term, count(*) as chunks from doomed, unnest(terms) as u (term) group by tenant, term
)
select d.tenant, count(*) as chunks, sum(d.length) as length,
       (select string_agg(l.term || ' ' || l.chunks, ' ') from lost l where l.tenant = d.tenant) as terms
from doomed d group by d.tenant
