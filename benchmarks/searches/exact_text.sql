-- BM25 over all postings of all terms, in one phase: what the search's ranking by words is compared with.
-- Parameters: tenant, terms, tag (or null), limit. `matching` is how many passages hold a term at all.
with totals as (
    select chunks::float8 as chunks, total_length::float8 / chunks as average_length from {stats} where tenant = %(tenant)s
), asked as (
    select t.term, ln(1 + (s.chunks - t.chunks + 0.5) / (t.chunks + 0.5)) as weight, s.average_length
    from {terms} t cross join totals s where t.tenant = %(tenant)s and t.term = any (%(terms)s)
)
select sum(a.weight * p.frequency * 2.2
           / (p.frequency + 1.2 * (0.25 + 0.75 * (p.length / a.average_length))))::float8 as score,
       count(*) over () as matching
from asked a join {postings} p on p.tenant = %(tenant)s and p.term = a.term
join {chunks} c on c.tenant = %(tenant)s and c.chunk = p.chunk
where %(tag)s::text is null or %(tag)s = any (c.tags)
group by p.chunk order by score desc limit %(limit)s
