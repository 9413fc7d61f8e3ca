-- The nearest chunks: by the HNSW graph where many match, else, and where the graph names fewer than `top`, by comparing
-- every vector that matches. The graph is shared by all tenants and read on, in relaxed order, until `top` rows pass the
-- tenant and the filters or hnsw.max_scan_tuples are seen; the fewer match, the longer that takes.
-- Set before, in the same transaction: enable_sort = off, hnsw.iterative_scan = relaxed_order, hnsw.max_scan_tuples, and
-- hnsw.ef_search, which is best not less than top.
-- A step of the graph costs as much as `step_cost` comparisons, and it takes top · total / matching of them: comparing
-- all that match is quicker up to √(step_cost · top · total), and is done up to `exact_below` anyway.
-- Parameters: embedding, top, exact_below, step_cost and those of visible and filters. Fields: visible and filters,
-- conditions on c; matching and conditions, which find the same without the graph; are_many, which counts what each filter
-- alone leaves, as far as it matters (queries.search.filters).
with few as materialized (
    select greatest(%(exact_below)s::float8, sqrt(%(step_cost)s::float8 * %(top)s::float8 * greatest(reltuples, 0)))::bigint as few
    from pg_class where oid = '{vectors}'::regclass
), matching as materialized (
    select {are_many} as are_many
), by_graph as materialized (
    select c.chunk, c.source_kind, c.source_id, c.embedding <=> %(embedding)s::vector as distance
    from {vectors} c
    where (select are_many from matching)
      and c.tenant = (select varve.tenant()) and {visible} {filters}
    order by c.embedding <=> %(embedding)s::vector
    limit %(top)s
), compared as materialized (
    select c.chunk, c.source_kind, c.source_id, c.embedding <=> %(embedding)s::vector as distance
    from {matching} c
    where (select count(*) from by_graph) < %(top)s
      and c.tenant = (select varve.tenant()) and {visible} {conditions}
)
select chunk, source_kind, source_id, 1 - distance as cosine
from (
    select * from by_graph where (select count(*) from by_graph) >= %(top)s
    union all
    select * from compared
) found
-- `+ 0`: the planner takes the graph's relaxed order for sorted and would sort only within equal distances.
order by distance + 0, chunk limit %(top)s
