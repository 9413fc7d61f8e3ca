-- The rows of KnowledgeEntryListView, computed by one statement from the same events. Only what is shown is parsed: the
-- last description of each entry, and its links.
insert into same_entries (tenant, entry_id, owner, visibility, name, description, entity_type, category, tags, attributes,
                          links, is_active, version, position, created_at, updated_at)
select e.tenant, substr(e.stream, 7)::uuid, p.created->>'owner', p.described->>'visibility', p.described->>'name',
       p.described->>'description', p.described->>'entity_type', p.described->>'category',
       array(select jsonb_array_elements_text(p.described->'tags')), p.described->'attributes',
       coalesce((select jsonb_agg(jsonb_build_object('target_id', l.link->>'target_id', 'relation', l.link->>'relation'))
                 from (select convert_from(link, 'UTF8')::jsonb as link from unnest(e.links) as link) l), '[]'),
       true, e.version, e.position, e.created_at, e.updated_at
from (
    select tenant, stream, max(version) as version, max(position) as position, min(recorded_at) as created_at,
           max(recorded_at) as updated_at,
           (array_agg(data order by version) filter (where topic = 'knowledge.KnowledgeEntryCreated'))[1] as created,
           (array_agg(data order by version desc) filter (where topic in (
                'knowledge.KnowledgeEntryCreated', 'knowledge.KnowledgeEntryUpdated')))[1] as described,
           array_agg(data order by version) filter (where topic = 'knowledge.KnowledgeEntryLinked') as links
    from varve.events where topic like 'knowledge.KnowledgeEntry%%' group by tenant, stream
) e
cross join lateral (
    select convert_from(e.created, 'UTF8')::jsonb as created, convert_from(e.described, 'UTF8')::jsonb as described
) p
