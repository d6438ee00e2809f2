"""Claims as settings: a published statement, what it needs, what tests it and what decides.

`config/claims/<study>.yaml` is the only place where published values live.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from seqlab.errors import UserError
from seqlab.spec import Spec, setting, validate

Value = str | int | float | bool


class Published(Spec):
    """One published number."""

    quantity: str = setting("What was measured.")
    value: float = setting("The number as printed.")
    unit: str = setting("Its unit.")
    where: str = setting("Figure, table or section that prints it.")


class Needs(Spec):
    """What must be at hand before the claim itself can be judged; null: anything will do."""

    device: str | None = setting("Part of the device's name, such as A100.", default=None)
    model: str | None = setting("Name of the model.", default=None)
    data: str | None = setting("Name of the data set.", default=None)
    scale: Literal["ci", "laptop", "paper"] | None = setting(
        "Scale of the runs: sizes and levels that were published.", default=None
    )


class Columns(Spec):
    """Columns of the table that hold the estimate; the defaults are those of a contrast."""

    estimate: str = setting("Point estimate.", default="estimate")
    low: str = setting("Lower end of its interval.", default="ci_low")
    high: str = setting("Upper end of its interval.", default="ci_high")
    n: str = setting("Number of runs.", default="n")
    verdict: str = setting("Verdict of the contrast.", default="verdict")
    reason: str = setting("Reason of that verdict.", default="reason")


class Estimand(Spec):
    """The rows and columns of a statistics table that test a claim."""

    table: str = setting("Table below results/<scale>/, such as study/experiment/statistics.csv.")
    where: dict[str, Value | list[Value]] = setting(
        "Column -> value or values that rows must have."
    )
    where_not: dict[str, Value | list[Value]] = setting(
        "Column -> value or values that rows must not have.", default={}
    )
    columns: Columns = setting("Where the estimate stands.", default=Columns())
    unit: str = setting("Unit of the estimate.")


class _Rule(Spec):
    combine: Literal["all", "any"] = setting(
        "Whether every selected row must satisfy the rule, or one of them.", default="all"
    )


class DirectionRule(_Rule):
    """The contrast has this verdict: supported; the opposite, equivalence or identity: refuted."""

    kind: Literal["direction"]
    expected: Literal["faster", "slower", "lower", "higher"] = setting("Expected verdict.")


class ThresholdRule(_Rule):
    """The whole interval on the claimed side: supported; on the other: refuted."""

    kind: Literal["threshold"]
    relation: Literal["at_most", "at_least"] = setting("Side of the limit that is claimed.")
    value: float = setting("The limit, in the unit of the estimand.")


class EquivalenceRule(_Rule):
    """Equivalent within the margin, or identical in every run: supported; a direction: refuted."""

    kind: Literal["equivalence"]


class EqualityRule(_Rule):
    """Identical in every run: supported; any difference: refuted."""

    kind: Literal["equality"]


class DifferenceRule(_Rule):
    """A difference in either direction: supported; equivalent or identical: refuted."""

    kind: Literal["difference"]


Rule = Annotated[
    DirectionRule | ThresholdRule | EquivalenceRule | EqualityRule | DifferenceRule,
    Field(discriminator="kind"),
]


class Claim(Spec):
    """One statement and how it is judged."""

    id: str = setting("Unique name.", pattern=r"^[a-z0-9][a-z0-9_.@-]*$")
    item: str = setting("Number of the figure or table it belongs to.")
    kind: Literal["published", "prediction", "replication"] = setting(
        "Whether it was published, registered here before its data, or registered here after "
        "pilots with single seeds had shown it.",
        default="published",
    )
    statement: str = setting("The claim in one sentence.")
    published: list[Published] = setting("Values as printed.", default=[])
    needs: Needs = setting("What must be at hand.", default=Needs())
    estimand: Estimand | None = setting("What tests it.", default=None)
    rule: Rule | None = setting("What decides.", default=None)
    not_evaluable: str | None = setting("Why no data could decide it.", default=None)
    analogue_of: str | None = setting(
        "Claim that this one stands in for at this scale.", default=None
    )

    @model_validator(mode="after")
    def _decidable_or_not(self) -> Claim:
        decidable = self.estimand is not None and self.rule is not None
        if decidable == (self.not_evaluable is not None) or (
            (self.estimand is None) != (self.rule is None)
        ):
            raise ValueError("give estimand and rule, or not_evaluable with the reason")
        return self


class ClaimFile(Spec):
    """Claims of one study."""

    study: str = setting("Study they belong to.")
    source: str = setting("Publication that makes them.")
    claims: list[Claim] = setting("The claims, in the order of the publication.")

    @model_validator(mode="after")
    def _names_resolve(self) -> ClaimFile:
        names = [claim.id for claim in self.claims]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"claim {twice[0]!r} is defined twice")
        for claim in self.claims:
            if claim.analogue_of is not None and claim.analogue_of not in names:
                raise ValueError(f"{claim.id}: analogue of unknown claim {claim.analogue_of!r}")
        return self


def load_claims(path: str | Path) -> ClaimFile:
    """Read and validate one claims file.

    Raises:
        UserError: The file is missing, no YAML, or has a wrong or unknown key.
    """
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read claims: {error.strerror}", where=str(path)) from None
    except yaml.YAMLError as error:
        raise UserError(f"no valid YAML: {error}", where=str(path)) from None
    return validate(ClaimFile, values, str(path))
