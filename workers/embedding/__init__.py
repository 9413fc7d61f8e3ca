"""Embedders and tokenizers: the adapters behind the ports of `domain.shared.text`."""
