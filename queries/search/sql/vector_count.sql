-- How many vectors the tenant has: up to a setting it is searched exactly, above by the graph.
select coalesce((select chunks from {vector_stats} where tenant = (select varve.tenant())), 0) as chunks
