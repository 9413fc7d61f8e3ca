alter table varve.embeddings alter column embedding drop not null;
comment on table varve.embeddings is
    'A cache: vectors by tenant, model and hash of the text; null where the embedder refuses the text.';
