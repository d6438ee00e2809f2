"""Tables 2 and 6: compilers of models, and whether fusion adds to a layout."""
