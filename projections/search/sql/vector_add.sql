-- Adds the vectors of chunks from the cache, one array element per chunk; returns the (tenant, chunk) that were added,
-- so that a chunk whose text is not embedded yet is noticed. Heading paths and tags travel as JSON
-- arrays.
with added as (
    insert into {vectors} (
        tenant, chunk, source_kind, source_id, ordinal, title, heading_path, content, content_hash, start_offset,
        end_offset, page, language, entity_type, category, tags, owner, visibility, created_at, event_position, embedding
    )
    select u.tenant, u.chunk, u.source_kind, u.source_id, u.ordinal, u.title,
           array(select jsonb_array_elements_text(u.heading_path::jsonb)), u.content, u.content_hash, u.start_offset,
           u.end_offset, u.page, u.language, u.entity_type, u.category,
           array(select jsonb_array_elements_text(u.tags::jsonb)), u.owner, u.visibility, u.created_at,
           u.event_position, e.embedding
    from unnest(
        %(tenants)s::text[], %(chunks)s::bigint[], %(source_kinds)s::text[], %(source_ids)s::uuid[],
        %(ordinals)s::integer[], %(titles)s::text[], %(heading_paths)s::text[], %(contents)s::text[],
        %(content_hashes)s::bytea[], %(start_offsets)s::integer[], %(end_offsets)s::integer[], %(pages)s::integer[],
        %(languages)s::text[], %(entity_types)s::text[], %(categories)s::text[], %(tags)s::text[], %(owners)s::text[],
        %(visibilities)s::text[], %(created_at)s::timestamptz[], %(event_positions)s::bigint[]
    ) as u (
        tenant, chunk, source_kind, source_id, ordinal, title, heading_path, content, content_hash, start_offset,
        end_offset, page, language, entity_type, category, tags, owner, visibility, created_at, event_position
    )
    join varve.embeddings e on e.tenant = u.tenant and e.model = %(model)s and e.content_hash = u.content_hash
    returning tenant, chunk, tags
), tagged as (
    insert into {vector_tags} (tenant, tag, chunk) select tenant, unnest(tags), chunk from added
)
select tenant, chunk from added
