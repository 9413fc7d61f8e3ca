-- The nearest chunks by the HNSW graph: for large tenants. It is read on, in relaxed order, until `top` rows pass the
-- tenant and the filters or hnsw.max_scan_tuples are seen.
-- Set before, in the same transaction: hnsw.iterative_scan = relaxed_order, hnsw.ef_search >= top,
-- hnsw.max_scan_tuples.
-- Parameters: embedding, top and those of visible and filters. Fields: visible and filters, conditions on c.
with compared as materialized (
    select c.chunk, c.source_kind, c.source_id, c.embedding <=> %(embedding)s::vector as distance
    from {vectors} c
    where c.tenant = (select varve.tenant()) and {visible} {filters}
    order by c.embedding <=> %(embedding)s::vector
    limit %(top)s
)
-- `+ 0`: the planner takes the relaxed order for sorted and would sort only within equal distances.
select chunk, source_kind, source_id, 1 - distance as cosine from compared order by distance + 0, chunk
