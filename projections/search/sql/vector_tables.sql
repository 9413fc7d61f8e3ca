-- The tables of one generation of the vector leg: one model, one dimension. Chunks are numbered as in the text leg.
create table {vectors} (
    tenant         text        not null,
    chunk          bigint      not null,
    source_kind    text        not null check (source_kind in ('entry', 'document')),
    source_id      uuid        not null,
    ordinal        integer     not null,
    title          text        not null,
    heading_path   text[]      not null,
    content        text        not null,
    content_hash   bytea       not null,
    start_offset   integer     not null,
    end_offset     integer     not null,
    page           integer,
    language       text,
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

comment on column {vectors}.content is
    'As in the text leg, so that a hit can be shown while that one is away. Longer ones are stored out of line.';

create table {vector_tags} (
    tenant text   not null,
    tag    text   not null,
    chunk  bigint not null
);

create table {vector_stats} (
    tenant text   not null,
    chunks bigint not null
) with (fillfactor = 50);
comment on table {vector_stats} is 'How many vectors a tenant has: with the counts of filters, what decides between the exact scan and the graph.';
