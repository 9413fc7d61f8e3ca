-- The cosine of given chunks, for those that only the text leg found; a chunk without a vector is left out.
-- Parameters: embedding, chunks.
select c.chunk, 1 - (c.embedding <=> %(embedding)s::vector) as cosine
from {vectors} c
where c.tenant = (select varve.tenant()) and c.chunk = any (%(chunks)s::bigint[])
