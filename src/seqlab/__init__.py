"""seqlab: rebuild the tables and figures of five studies of efficient sequence models."""

__version__ = "0.1.0"
