-- Adds to each tenant's number of chunks and their total length; run after text_count.sql.
insert into {stats} as s (tenant, chunks, total_length)
select tenant, chunks, length
from unnest(%(tenants)s::text[], %(chunks)s::bigint[], %(lengths)s::bigint[]) as u (tenant, chunks, length)
order by tenant
on conflict (tenant) do update
set chunks = s.chunks + excluded.chunks, total_length = s.total_length + excluded.total_length
