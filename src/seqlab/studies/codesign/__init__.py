"""Does re-optimising a memory layout after quantising or sparsifying make a model faster?"""
