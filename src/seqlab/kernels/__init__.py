"""Hot loops: scan, linear recurrences, convolution, norm, sparse and quantised products."""
