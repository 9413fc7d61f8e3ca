-- Keys of the text leg, and the index that changes of a source need. All begin with the tenant.
alter table {chunks} add primary key (tenant, chunk);
create index on {chunks} (tenant, source_id);
alter table {postings} add primary key (tenant, term, chunk) include (frequency, length);
alter table {tags} add primary key (tenant, tag, chunk);
alter table {terms} add primary key (tenant, term);
alter table {stats} add primary key (tenant);
