"""Step: fill a caption's template with the facts of the data."""

from __future__ import annotations

import json

import jinja2

from seqlab.errors import UserError
from seqlab.paper.spec import PlainSpec
from seqlab.provenance.atomic import write_text
from seqlab.spec import In, Out


def write_caption(spec: PlainSpec, *, template: In, facts: In, caption: Out) -> None:
    """Render `template` (reStructuredText with Jinja fields) with the values of `facts` (JSON).

    Numbers of a caption are computed, never typed: a field that the facts lack is an error.

    Raises:
        UserError: The template names an unknown fact or is no valid template.
    """
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    try:
        text = environment.from_string(template.read_text("utf-8")).render(
            json.loads(facts.read_text("utf-8"))
        )
    except jinja2.TemplateError as error:
        raise UserError(
            f"caption cannot be rendered: {error}",
            where=str(template),
            fix=f"use only the fields of {facts}",
        ) from None
    write_text(caption, text)
