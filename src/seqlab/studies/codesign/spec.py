"""Settings of the co-design study; each experiment's are in a module of their own."""

from __future__ import annotations

from collections.abc import Mapping

from seqlab.spec import Spec, setting
from seqlab.studies.codesign.quantization.spec import QuantizationSpec


class CodesignSpec(Spec):
    """Everything that decides a number of the co-design study."""

    quantization: QuantizationSpec = setting(
        "Figure 2: the order of quantisation and layout permutation."
    )

    @property
    def claim_tables(self) -> list[str]:
        """Tables that claims are judged by, below `results/<scale>/codesign/`."""
        return ["quantization/statistics.csv"]

    def step_spec(self, step: str, wildcards: Mapping[str, str]) -> Spec:
        """Return exactly the settings that `step` reads."""
        return self.quantization.step_spec(step, wildcards)


SETTINGS = CodesignSpec
