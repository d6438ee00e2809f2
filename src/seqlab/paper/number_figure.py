"""Step: give a study's figure its number, byte for byte."""

from __future__ import annotations

from seqlab.paper.publish import publish
from seqlab.paper.spec import PlainSpec
from seqlab.spec import Ins, Out


def number_figure(spec: PlainSpec, *, source: Ins, pdf: Out, png: Out, csv: Out) -> None:
    """Copy the figure, its preview and the data drawn to their numbered names.

    Raises:
        UserError: A source lacks one of the three, or an output cannot be written.
    """
    publish(source, [pdf, png, csv])
