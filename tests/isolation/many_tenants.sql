-- Fills every read model with rows of fifty tenants: `acme` has half of them, the others share the rest.
-- Parameter: rows, how many entries, documents, activities and chunks `acme` has; a tenth of that in vectors, since their
-- index is slow to make.
create temporary table made_up as
select s.tenant, n, lpad(n::text, 32, '0')::uuid as id, (array['ann', 'ben', 'rita'])[n / 2 %% 3 + 1] as owner,
       case when n %% 10 = 0 then 'private' else 'tenant' end as visibility, 'category-' || n %% 20 as category,
       'type-' || n %% 5 as entity_type, array['tag-' || n %% 50, 'tag-' || n %% 2] as tags,
       timestamptz '2026-01-01' + n * interval '1 minute' as at, array['clay', 'word' || n %% 7, 'rare' || n %% 300] as terms,
       n <= s.rows / 10 as has_vector
from (select 'acme' as tenant, %(rows)s as rows
      union all select 'tenant-' || number, %(rows)s / 49 from generate_series(1, 49) as number) s
cross join lateral generate_series(1, s.rows) as n;

insert into read_models.knowledge_entry_list_1_entries
    (tenant, entry_id, owner, visibility, name, description, entity_type, category, tags, attributes, links, is_active,
     version, position, created_at, updated_at)
select tenant, id, owner, visibility, 'Name ' || n, 'clay and silt ' || n, entity_type, category, tags, '{}', '[]',
       n %% 25 <> 0, 1, n, at, at
from made_up;

insert into read_models.knowledge_entry_list_1_tags (tenant, tag, entry_id)
select distinct tenant, unnest(tags), id from made_up;

insert into read_models.document_status_1_documents
    (tenant, document_id, owner, visibility, file_name, media_type, size, sha256, category, tags, status, attempt, version,
     position, created_at, updated_at, reason, message)
select tenant, id, owner, visibility, n || '.md', 'text/markdown', 1, sha256(n::text::bytea)::text, category, tags,
       (array['processed', 'processed', 'failed', 'deleted', 'uploaded', 'processing'])[n %% 6 + 1], 1, 1, n, at, at,
       'a-reason', 'A reason.'
from made_up;

insert into read_models.user_activity_1_activities
    (tenant, user_id, position, event_type, stream, command_type, recorded_at)
select tenant, owner, n, 'KnowledgeEntryCreated', 'entry-' || id, 'CreateKnowledgeEntry', at from made_up;

insert into varve.parked (projection, generation, position, tenant, partition)
select 'knowledge_entry_list', 1, row_number() over (), tenant, tenant from made_up;

insert into varve.commands
    (tenant, id, command_type, data, metadata, user_id, status, outcome, executed_at)
select tenant, id, 'CreateKnowledgeEntry', '{}', '{}', owner, 'accepted', '{}', at from made_up;

insert into varve.events
    (tenant, position, stream, version, topic, class_version, command_id, data, metadata, recorded_at)
select tenant, row_number() over (), 'rebuild-' || id, 1, 'operations.ProjectionRebuildRequested', 2, id, '{}', '{}', at
from made_up where n <= 20;

insert into varve.operator_outcomes (tenant, request_id, position, status, sentence)
select tenant, id, n, 'done', 'It is done.' from made_up;

insert into read_models.search_text_1_chunks
    (tenant, chunk, source_kind, source_id, ordinal, title, heading_path, content, content_hash, start_offset, end_offset,
     entity_type, category, tags, owner, visibility, created_at, event_position, length, terms, frequencies)
select tenant, n::bigint << 20, (array['entry', 'document'])[n %% 2 + 1], id, 0, 'Name', '{}', array_to_string(terms, ' '),
       sha256(n::text::bytea), 0, 1, entity_type, category, tags, owner, visibility, at, n, cardinality(terms), terms,
       '{1,1,1}'
from made_up;

insert into read_models.search_text_1_postings (tenant, term, chunk, frequency, length)
select tenant, unnest(terms), n::bigint << 20, 1, cardinality(terms) from made_up;

insert into read_models.search_text_1_tags (tenant, tag, chunk)
select distinct tenant, unnest(tags), n::bigint << 20 from made_up;

insert into read_models.search_text_1_terms (tenant, term, chunks)
select tenant, term, count(*) from read_models.search_text_1_postings group by 1, 2;

insert into read_models.search_text_1_stats (tenant, chunks, total_length)
select tenant, count(*), sum(length) from read_models.search_text_1_chunks group by 1;

insert into read_models.search_vector_1_vectors
    (tenant, chunk, source_kind, source_id, ordinal, title, heading_path, content, content_hash, start_offset, end_offset,
     entity_type, category, tags, owner, visibility, created_at, event_position, embedding)
select tenant, n::bigint << 20, (array['entry', 'document'])[n %% 2 + 1], id, 0, 'Name', '{}', array_to_string(terms, ' '),
       sha256(n::text::bytea), 0, 1, entity_type, category, tags, owner, visibility, at, n,
       (select array_agg(sin(n * dimension)) from generate_series(1, 384) as dimension)::vector
from made_up where has_vector;

insert into read_models.search_vector_1_vector_tags (tenant, tag, chunk)
select distinct tenant, unnest(tags), n::bigint << 20 from made_up where has_vector;

insert into read_models.search_vector_1_vector_stats (tenant, chunks)
select tenant, count(*) from read_models.search_vector_1_vectors group by 1;
