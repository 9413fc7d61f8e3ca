-- The nearest passages, every vector of the tenant compared: what the search's ranking by meaning is compared with.
-- Parameters: tenant, embedding, tag (or null), limit. `+ 0` keeps the planner from the graph.
select 1 - (c.embedding <=> %(embedding)s::vector) as score, count(*) over () as matching
from {vectors} c
where c.tenant = %(tenant)s and (%(tag)s::text is null or %(tag)s = any (c.tags))
order by (c.embedding <=> %(embedding)s::vector) + 0 limit %(limit)s
