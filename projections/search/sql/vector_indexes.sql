-- Keys and indexes of the vector leg, made after a bulk load or at once for a live build.
alter table {vectors} add primary key (tenant, chunk);
create index on {vectors} (tenant, source_id);
create index on {vectors} (tenant, source_kind);
create index on {vectors} (tenant, entity_type);
create index on {vectors} (tenant, category);
alter table {vector_tags} add primary key (tenant, tag, chunk);
alter table {vector_stats} add primary key (tenant);
create index on {vectors} using hnsw (embedding vector_cosine_ops) with (m = 16, ef_construction = 64);
