-- Keys of the vector leg, and the index that changes of a source need.
alter table {vectors} add primary key (tenant, chunk);
create index on {vectors} (tenant, source_id);
alter table {vector_tags} add primary key (tenant, tag, chunk);
alter table {vector_stats} add primary key (tenant);
