"""Steps that make what several studies use: corpora, tokenizers, models."""
