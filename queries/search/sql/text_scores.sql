-- The BM25 score of given chunks, for those that only the vector leg found; a chunk that holds no term is left out.
-- Parameters: terms (distinct), chunks.
with totals as materialized (
    select chunks::float8 as chunks, total_length::float8 / chunks as average_length
    from {stats} where tenant = (select varve.tenant()) and chunks > 0
), asked as materialized (
    select t.term, ln(1 + (s.chunks - t.chunks + 0.5) / (t.chunks + 0.5)) as weight, s.average_length
    from {terms} t cross join totals s
    where t.tenant = (select varve.tenant()) and t.term = any (%(terms)s::text[])
)
select u.chunk,
       sum(a.weight * p.frequency * 2.2
           / (p.frequency + 1.2 * (0.25 + 0.75 * (p.length / a.average_length)))) as score
from unnest(%(chunks)s::bigint[]) as u (chunk)
cross join asked a
cross join lateral (
    select frequency, length from {postings}
    where tenant = (select varve.tenant()) and term = a.term and chunk = u.chunk
    offset 0
) p
group by u.chunk
