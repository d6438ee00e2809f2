"""Sequence mixers behind one interface: attention, recurrent networks, linear recurrences."""
