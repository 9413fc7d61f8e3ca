"""Cuts and analyses texts in processes beside a worker, so that no text can hang it, fill it or end it."""
