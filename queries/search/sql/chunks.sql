-- What a hit shows: the chunks of the answer with their provenance, as far as the caller may see them.
-- Parameters: chunks and those of visible. Fields: chunks, the table of the leg that shows them, and visible, a condition
-- on c (queries.access.visible_to).
select c.chunk, c.source_kind, c.source_id, c.ordinal, c.title, c.heading_path, c.content, c.content_hash,
       c.start_offset, c.end_offset, c.page, c.language, c.entity_type, c.category, c.tags, c.owner, c.visibility,
       c.created_at, c.event_position
from {chunks} c
where c.tenant = (select varve.tenant()) and c.chunk = any (%(chunks)s::bigint[]) and {visible}
