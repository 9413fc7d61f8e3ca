-- Deletes the tenants of this batch that have no vector any more.
delete from {vector_stats} where tenant = any (%(tenants)s::text[]) and chunks = 0
