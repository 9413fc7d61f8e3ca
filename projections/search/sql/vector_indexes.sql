-- What only searches need: a rebuild makes it when the vectors are there, the graph above all.
create index on {vectors} (tenant, source_kind);
create index on {vectors} (tenant, entity_type);
create index on {vectors} (tenant, category);
create index on {vectors} using hnsw (embedding vector_cosine_ops) with (m = 16, ef_construction = 64);
