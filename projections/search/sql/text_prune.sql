-- Deletes the terms of this batch that no chunk holds any more: live rows and rebuilt rows are then the same.
delete from {terms} t
using unnest(%(tenants)s::text[], %(terms)s::text[]) as u (tenant, term)
where t.tenant = u.tenant and t.term = u.term and t.chunks = 0
