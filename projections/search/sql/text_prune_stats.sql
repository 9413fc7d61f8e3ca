-- Deletes the tenants of this batch that have no chunk any more.
delete from {stats} where tenant = any (%(tenants)s::text[]) and chunks = 0
