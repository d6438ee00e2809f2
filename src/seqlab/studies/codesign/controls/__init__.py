"""Both controls of every latency figure: a product no layout can change, and one it must change."""
