"""Figure 2: does the order of quantising and permuting matter, for quality or for speed?"""
