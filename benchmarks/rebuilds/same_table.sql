-- The rows of KnowledgeEntryListView, computed by one statement from the same events.
with events as (
    select tenant, position, version, topic, convert_from(data, 'UTF8')::jsonb as data, recorded_at
    from varve.events where topic like 'knowledge.KnowledgeEntry%%'
), described as (
    select distinct on (tenant, data->>'entry_id') tenant, (data->>'entry_id')::uuid as entry_id, data
    from events where topic in ('knowledge.KnowledgeEntryCreated', 'knowledge.KnowledgeEntryUpdated')
    order by tenant, data->>'entry_id', position desc
), totals as (
    select tenant, (data->>'entry_id')::uuid as entry_id, max(version) as version, max(position) as position,
           min(recorded_at) as created_at, max(recorded_at) as updated_at,
           max(data->>'owner') as owner,
           coalesce(jsonb_agg(jsonb_build_object('target_id', data->>'target_id', 'relation', data->>'relation')
                              order by position) filter (where topic = 'knowledge.KnowledgeEntryLinked'), '[]') as links
    from events group by 1, 2
)
insert into same_entries (tenant, entry_id, owner, visibility, name, description, entity_type, category, tags, attributes,
                          links, is_active, version, position, created_at, updated_at)
select d.tenant, d.entry_id, t.owner, d.data->>'visibility', d.data->>'name', d.data->>'description',
       d.data->>'entity_type', d.data->>'category', array(select jsonb_array_elements_text(d.data->'tags')),
       d.data->'attributes', t.links, true, t.version, t.position, t.created_at, t.updated_at
from described d join totals t using (tenant, entry_id)
