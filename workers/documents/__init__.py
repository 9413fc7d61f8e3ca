"""Document processing: bytes in, structured text and chunks out; modules are imported singly, for a quick start."""
