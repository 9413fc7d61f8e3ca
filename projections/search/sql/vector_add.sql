-- Adds the vectors of chunks from the cache, one array element per chunk. Returns the (tenant, chunk) that the cache
-- knows, so that a chunk whose text is not embedded yet is noticed, and whether it was added: not where the embedder
-- refused its text. Heading paths and tags travel as JSON arrays.
with known as (
    select u.*, e.embedding
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
), added as (
    insert into {vectors} (
        tenant, chunk, source_kind, source_id, ordinal, title, heading_path, content, content_hash, start_offset,
        end_offset, page, language, entity_type, category, tags, owner, visibility, created_at, event_position, embedding
    )
    select tenant, chunk, source_kind, source_id, ordinal, title,
           array(select jsonb_array_elements_text(heading_path::jsonb)), content, content_hash, start_offset,
           end_offset, page, language, entity_type, category, array(select jsonb_array_elements_text(tags::jsonb)),
           owner, visibility, created_at, event_position, embedding
    from known where embedding is not null
    returning tenant, chunk, tags
), tagged as (
    insert into {vector_tags} (tenant, tag, chunk) select tenant, unnest(tags), chunk from added
)
select tenant, chunk, embedding is not null from known
