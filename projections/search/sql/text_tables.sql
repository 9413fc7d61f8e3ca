-- The tables of one generation of the text leg: BM25 as an ordinary read model.
--
-- A chunk's number is (position of the event that carried its text) << 20 | ordinal: compact, unique, the same in
-- every rebuild, and another one after every change of the text, so that the two legs never mix versions.
create table {chunks} (
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
    length         integer     not null,
    terms          text[]      not null,
    frequencies    smallint[]  not null
);
comment on column {chunks}.length is 'The terms of title and content, repetitions counted: the length that BM25 knows.';
comment on column {chunks}.terms is 'The distinct terms: postings are made from and removed by them.';

create table {postings} (
    tenant    text     not null,
    term      text     collate "C" not null,
    chunk     bigint   not null,
    frequency smallint not null,
    length    integer  not null
);

create table {tags} (
    tenant text   not null,
    tag    text   not null,
    chunk  bigint not null
);

create table {terms} (
    tenant text    not null,
    term   text    collate "C" not null,
    chunks integer not null
) with (fillfactor = 70);
comment on column {terms}.chunks is 'The document frequency: in how many chunks the term occurs.';

create table {stats} (
    tenant       text   not null,
    chunks       bigint not null,
    total_length bigint not null
) with (fillfactor = 50);
