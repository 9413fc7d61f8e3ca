-- The tables of one generation of the vector leg: one model, one dimension. Chunks are numbered as in the text leg.
create table {vectors} (
    tenant         text        not null,
    chunk          bigint      not null,
    source_kind    text        not null check (source_kind in ('entry', 'document')),
    source_id      uuid        not null,
    content_hash   bytea       not null,
    entity_type    text,
    category       text,
    tags           text[]      not null,
    owner          text        not null,
    visibility     text        not null,
    created_at     timestamptz not null,
    event_position bigint      not null,
    embedding      vector({dimension}) not null
);
-- Inline: an exact scan must not fetch every vector from another table.
alter table {vectors} alter column embedding set storage plain;

create table {vector_tags} (
    tenant text   not null,
    tag    text   not null,
    chunk  bigint not null
);

create table {vector_stats} (
    tenant text   not null,
    chunks bigint not null
) with (fillfactor = 50);
comment on table {vector_stats} is 'How many vectors a tenant has: what decides between the exact scan and the graph.';
