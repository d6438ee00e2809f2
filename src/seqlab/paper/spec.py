"""Settings of the numbered items: which study artefact each figure and table is."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import model_validator

from seqlab.spec import Spec, setting


class Item(Spec):
    """One numbered figure or table."""

    study: str = setting("Study that makes it.")
    artefact: str = setting("Name of the artefact inside the study.")


class PlainSpec(Spec):
    """Settings of a step that has none."""


class ScaleSpec(Spec):
    """Settings of a step that depends on the scale alone."""

    scale: str = setting("Scale of the results.")


class ClaimsSpec(Spec):
    """Settings of the step that judges the claims."""

    corpora: dict[str, str] = setting("Model -> corpus that it is measured on.")
    scale: str = setting("Scale of the results.")


class RunConfigSpec(Spec):
    """Settings of the step that writes down all settings."""

    settings: str = setting("Settings of every group, overlays applied, as JSON.")


class PaperSpec(Spec):
    """Numbers of the paper's items."""

    figures: dict[str, Item] = setting("Number -> artefact, figures.")
    tables: dict[str, Item] = setting("Number -> artefact, tables.")
    aliases: dict[str, str] = setting("Other name -> number of a figure or table.", default={})

    @model_validator(mode="after")
    def _names_are_of_one_item(self) -> PaperSpec:
        numbers = {*self.figures, *self.tables}
        for number in self.tables:
            if number in self.figures:
                raise ValueError(f"tables.{number}: a figure has this number")
        for alias, number in self.aliases.items():
            if number not in numbers:
                raise ValueError(f"aliases.{alias}: no item {number!r} in figures or tables")
            if alias in numbers:
                raise ValueError(f"aliases.{alias}: an item has this number")
        return self

    def number(self, name: str) -> str:
        """Return the number that a name stands for: an alias's, or the name itself."""
        return self.aliases.get(name, name)

    def names(self, kind: str) -> list[str]:
        """Return numbers and aliases of one kind of item, `figures` or `tables`."""
        items = getattr(self, kind)
        return [*items, *(name for name, number in self.aliases.items() if number in items)]

    def item(self, kind: str, name: str) -> Item:
        """Return a figure or table by number or alias.

        Raises:
            KeyError: There is none.
        """
        found: Item = getattr(self, kind)[self.number(name)]
        return found

    def files(self, name: str, scale: str) -> list[str]:
        """Return the files of an item by number or alias: figure and caption, or table."""
        at = "" if scale == "laptop" else f"{scale}/"
        if self.number(name) in self.figures:
            return [f"figures/{at}{name}.pdf", f"figures/{at}{name}.rst"]
        return [f"results/{at}tables/{name}.csv"]

    def step_spec(self, step: str, wildcards: Mapping[str, str]) -> Spec:
        """Return exactly the settings that `step` reads."""
        if step == "merge_manifest":
            folder = wildcards.get("scale") or wildcards.get("at") or ""
            return ScaleSpec(scale=folder.rstrip("/") or "laptop")
        return PlainSpec()


SETTINGS = PaperSpec
