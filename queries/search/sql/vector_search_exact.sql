-- The nearest chunks by comparing all of them: for small tenants, and for filters that leave few.
-- Parameters: embedding, top and those of visible and filters. Fields: visible and filters are conditions on c.
with compared as materialized (
    select c.chunk, c.source_kind, c.source_id, c.embedding <=> %(embedding)s::vector as distance
    from {vectors} c
    where c.tenant = (select varve.tenant()) and {visible} {filters}
)
select chunk, source_kind, source_id, 1 - distance as cosine from compared order by distance, chunk limit %(top)s
