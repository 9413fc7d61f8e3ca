-- Both legs in one statement and one snapshot: each names its best `top` chunks, and every chunk of either gets both
-- scores; null where it holds no term of the question, or has no vector yet.
-- Parameters and fields are those of text_search.sql and vector_search.sql; text_search and vector_search are their SQL.
with by_text as materialized (
{text_search}
), by_vector as materialized (
{vector_search}
), totals as materialized (
    select chunks::float8 as chunks, total_length::float8 / chunks as average_length
    from {stats} where tenant = (select varve.tenant()) and chunks > 0
), asked as materialized (
    select t.term, ln(1 + (s.chunks - t.chunks + 0.5) / (t.chunks + 0.5)) as weight, s.average_length
    from {terms} t cross join totals s
    where t.tenant = (select varve.tenant()) and t.term = any (%(terms)s::text[])
), named as materialized (
    -- Materialized: `chunk` is a `coalesce` here, which row-level security would keep from being looked up by key.
    select chunk, source_kind, source_id, t.text, v.cosine
    from by_text t full join by_vector v using (chunk, source_kind, source_id)
)
select n.chunk, n.source_kind, n.source_id, coalesce(n.text, other_text.score) as text,
       coalesce(n.cosine, other_vector.cosine) as cosine
from named n
-- `offset 0` keeps these look-ups by key.
left join lateral (
    select sum(a.weight * p.frequency * 2.2
               / (p.frequency + 1.2 * (0.25 + 0.75 * (p.length / a.average_length)))) as score
    from asked a
    cross join lateral (
        select frequency, length from {postings}
        where tenant = (select varve.tenant()) and term = a.term and chunk = n.chunk
        offset 0
    ) p
    where n.text is null
) other_text on true
left join lateral (
    select 1 - (c.embedding <=> %(embedding)s::vector) as cosine
    from {vectors} c
    where n.cosine is null and c.tenant = (select varve.tenant()) and c.chunk = n.chunk
    offset 0
) other_vector on true
