"""Corpora, tokenizers and tasks behind one interface."""
