"""One module for each format that is read: bytes in, a `ParsedDocument` without its language out."""
