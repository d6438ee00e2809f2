"""Hot loops: scan, convolution, normalisation, quantised products."""
