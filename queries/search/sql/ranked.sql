-- The ranking of what was found, and what its best `limit` hits show; always at least one row, which says how many
-- chunks were found, and has no chunk when there is nothing to show.
-- A chunk that the shown leg no longer has, or that the caller may not see there any more, makes room for the next.
-- Parameters: limit, those of found, of the scores and of visible. Fields: found, the SQL of the legs; text, cosine,
-- of_text, of_vector and ranked (queries.search.ranking); shown, the table of the leg that shows the hits; visible, a
-- condition on c (queries.access.visible_to).
with found as materialized (
{found}
), scored as materialized (
    -- Sums of floats differ in their last digits from plan to plan; equal scores must be equal.
    select chunk, source_kind, source_id, text, cosine, of_text, of_vector,
           round((of_text + of_vector) * 1e9) / 1e9 as score
    from (
        select chunk, source_kind, source_id, {text} as text, {cosine} as cosine,
               ({of_text})::float8 as of_text, ({of_vector})::float8 as of_vector
        from found
    ) shares
), ranked as materialized (
    -- Chunk numbers are unique and grow with the log: of two equal scores the older text comes first in every answer.
    select * from ({ranked}) hits order by score desc, chunk
)
select counted.found, hits.*
from (select count(*) as found from found) counted
left join lateral (
    select r.score, r.text, r.cosine, c.*
    from ranked r
    cross join lateral (
        -- In order of score, each looked up by key, until enough are shown.
        select c.chunk, c.source_kind, c.source_id, c.ordinal, c.title, c.heading_path, c.content, c.content_hash,
               c.start_offset, c.end_offset, c.page, c.language, c.entity_type, c.category, c.tags, c.owner,
               c.created_at, c.event_position
        from {shown} c
        where c.tenant = (select varve.tenant()) and c.chunk = r.chunk and {visible}
        offset 0
    ) c
    order by r.score desc, r.chunk
    limit %(limit)s
) hits on true
