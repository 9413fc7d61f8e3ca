-- The ranking of what was found, and what its best `limit` hits show; always at least one row, which says how many
-- chunks were ranked, and has no chunk when there is nothing to show.
-- A chunk that the shown leg no longer has, or that the caller may not see there any more, makes room for the next one of
-- its source or, where there is none, for the next hit.
-- Parameters: limit, those of found, of the scores and of visible. Fields: found, the SQL of the legs; text, cosine,
-- of_text, of_vector, score and hits (queries.search.ranking); shown, the table of the leg that shows the hits; visible, a
-- condition on c (queries.access.visible_to).
with found as materialized (
{found}
), scored as (
    select chunk, source_kind, source_id, text, cosine, of_text, of_vector, {score} as score
    from (
        select chunk, source_kind, source_id, {text} as text, {cosine} as cosine,
               ({of_text})::float8 as of_text, ({of_vector})::float8 as of_vector
        from found
    ) shares
)
select ranked.chunks_ranked, hits.*
from (select count(*) as chunks_ranked from found) ranked
left join lateral (
    select h.score, h.text, h.cosine, passage.*
    -- Chunk numbers are unique and grow with the log: of two equal scores the older text comes first in every answer.
    from (select * from ({hits}) unordered order by score desc, chunks[1]) h
    cross join lateral (
        -- In order of score, each looked up by key, until enough are shown.
        select c.chunk, c.source_kind, c.source_id, c.ordinal, c.title, c.heading_path, c.content, c.content_hash,
               c.start_offset, c.end_offset, c.page, c.language, c.entity_type, c.category, c.tags, c.owner,
               c.created_at, c.event_position
        from unnest(h.chunks) with ordinality best (chunk, place)
        cross join lateral (
            select * from {shown} c
            where c.tenant = (select varve.tenant()) and c.chunk = best.chunk and {visible}
            offset 0
        ) c
        order by best.place
        limit 1
    ) passage
    order by h.score desc, h.chunks[1]
    limit %(limit)s
) hits on true
