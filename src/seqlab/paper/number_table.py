"""Step: give a study's table its number, byte for byte."""

from __future__ import annotations

from seqlab.paper.publish import publish
from seqlab.paper.spec import PlainSpec
from seqlab.spec import Ins, Out


def number_table(spec: PlainSpec, *, source: Ins, csv: Out, md: Out, tex: Out) -> None:
    """Copy the table in its three formats to their numbered names.

    Raises:
        UserError: A source lacks one of the three, or an output cannot be written.
    """
    publish(source, [csv, md, tex])
