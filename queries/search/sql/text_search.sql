-- BM25 (k1 1.2, b 0.75) over the postings, in two phases: the postings of the rarest terms give candidates, and the
-- best `candidates` of them that the caller may see are scored with all terms. The tail of common terms, which decides
-- little and costs most, is looked up for those few only.
-- A term is rare as one of the `rare_terms` rarest when less than a tenth of the chunks hold it, or as long as the
-- postings read so far stay within `posting_budget`; the rarest always is, so a question of common words has answers.
-- Where the candidates are fewer than `wanted`, because of a narrow filter maybe, all postings of all terms are read.
-- Parameters: terms (distinct), rare_terms, posting_budget, candidates, wanted, top and those of visible and filters.
-- Fields: visible (queries.access.visible_to) and filters (none, or each with its `and`), conditions on c, a chunk.
with totals as materialized (
    select chunks::float8 as chunks, total_length::float8 / chunks as average_length
    from {stats} where tenant = (select varve.tenant()) and chunks > 0
), asked as materialized (
    select t.term, ln(1 + (s.chunks - t.chunks + 0.5) / (t.chunks + 0.5)) as weight, s.average_length,
           t.chunks < 0.1 * s.chunks as selective,
           row_number() over rarest as rank, sum(t.chunks) over rarest as postings
    from {terms} t cross join totals s
    where t.tenant = (select varve.tenant()) and t.term = any (%(terms)s::text[])
    window rarest as (order by t.chunks, t.term)
), graded as materialized (
    select term, weight, average_length,
           rank = 1 or postings <= %(posting_budget)s or (selective and rank <= %(rare_terms)s) as rare
    from asked
), scored as (
    select p.chunk,
           sum(g.weight * p.frequency * 2.2
               / (p.frequency + 1.2 * (0.25 + 0.75 * (p.length / g.average_length)))) as score
    from graded g
    join {postings} p on p.tenant = (select varve.tenant()) and p.term = g.term
    where g.rare
    group by p.chunk
), candidates as materialized (
    -- In order of score, each looked up by key, until enough are visible: few rows are read unless a filter is narrow.
    select s.chunk, s.score, c.source_kind, c.source_id
    from (select chunk, score from scored order by score desc, chunk) s
    cross join lateral (
        select c.source_kind, c.source_id from {chunks} c
        where c.tenant = (select varve.tenant()) and c.chunk = s.chunk and {visible} {filters}
        offset 0
    ) c
    order by s.score desc, s.chunk
    limit %(candidates)s
), short as materialized (
    select (select count(*) from candidates) < %(wanted)s and exists (select from graded where not rare) as is_short
), every as (
    select p.chunk, c.source_kind, c.source_id,
           sum(g.weight * p.frequency * 2.2
               / (p.frequency + 1.2 * (0.25 + 0.75 * (p.length / g.average_length)))) as score
    from graded g
    join {postings} p on p.tenant = (select varve.tenant()) and p.term = g.term
    join {chunks} c on c.tenant = (select varve.tenant()) and c.chunk = p.chunk
    where (select is_short from short) and {visible} {filters}
    group by p.chunk, c.source_kind, c.source_id
)
select chunk, source_kind, source_id, score as text
from (
    select s.chunk, s.source_kind, s.source_id, s.score + coalesce(tail.score, 0) as score
    from candidates s
    cross join lateral (
        -- `offset 0` keeps this a look-up by key: a join the other way round would read all postings of the common terms.
        select sum(g.weight * p.frequency * 2.2
                   / (p.frequency + 1.2 * (0.25 + 0.75 * (p.length / g.average_length)))) as score
        from graded g
        cross join lateral (
            select frequency, length from {postings}
            where tenant = (select varve.tenant()) and term = g.term and chunk = s.chunk
            offset 0
        ) p
        where not g.rare
    ) tail
    where not (select is_short from short)
    union all
    select * from every
) found
order by score desc, chunk
limit %(top)s
