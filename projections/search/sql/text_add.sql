-- Adds chunks with their postings and tags, one array element per chunk. What is a list per chunk travels as text,
-- since arrays of arrays must be rectangular: terms and frequencies joined by spaces (a term holds none), heading paths
-- and tags as JSON arrays.
with added as (
    insert into {chunks} (
        tenant, chunk, source_kind, source_id, ordinal, title, heading_path, content, content_hash, start_offset,
        end_offset, page, language, entity_type, category, tags, owner, visibility, created_at, event_position, length,
        terms, frequencies
    )
    select tenant, chunk, source_kind, source_id, ordinal, title,
           array(select jsonb_array_elements_text(heading_path::jsonb)), content, content_hash, start_offset,
           end_offset, page, language, entity_type, category, array(select jsonb_array_elements_text(tags::jsonb)),
           owner, visibility, created_at, event_position, length, string_to_array(terms, ' '),
           string_to_array(frequencies, ' ')::smallint[]
    from unnest(
        %(tenants)s::text[], %(chunks)s::bigint[], %(source_kinds)s::text[], %(source_ids)s::uuid[],
        %(ordinals)s::integer[], %(titles)s::text[], %(heading_paths)s::text[], %(contents)s::text[],
        %(content_hashes)s::bytea[], %(start_offsets)s::integer[], %(end_offsets)s::integer[], %(pages)s::integer[],
        %(languages)s::text[], %(entity_types)s::text[], %(categories)s::text[], %(tags)s::text[], %(owners)s::text[],
        %(visibilities)s::text[], %(created_at)s::timestamptz[], %(event_positions)s::bigint[], %(lengths)s::integer[],
        %(terms)s::text[], %(frequencies)s::text[]
    ) as u (
        tenant, chunk, source_kind, source_id, ordinal, title, heading_path, content, content_hash, start_offset,
        end_offset, page, language, entity_type, category, tags, owner, visibility, created_at, event_position, length,
        terms, frequencies
    )
    returning tenant, chunk, terms, frequencies, length, tags
), tagged as (
    insert into {tags} (tenant, tag, chunk) select tenant, unnest(tags), chunk from added
)
insert into {postings} (tenant, term, chunk, frequency, length)
select tenant, term, chunk, frequency, length from added, unnest(terms, frequencies) as u (term, frequency)
