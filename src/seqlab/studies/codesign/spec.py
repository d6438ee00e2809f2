"""Settings of the co-design study; each experiment's are in a module of their own."""

from __future__ import annotations

from collections.abc import Mapping

from seqlab.spec import Spec, setting
from seqlab.studies.codesign.controls.spec import ControlsSpec
from seqlab.studies.codesign.quantization.spec import QuantizationSpec
from seqlab.studies.codesign.synthetic.spec import SyntheticSpec


class CodesignSpec(Spec):
    """Everything that decides a number of the co-design study."""

    quantization: QuantizationSpec = setting(
        "Figure 2: the order of quantisation and layout permutation."
    )
    controls: ControlsSpec = setting("Both controls of what a layout can change.")
    synthetic: SyntheticSpec = setting("Figure 3: hit rate of a walk over a community graph.")

    @property
    def claim_tables(self) -> list[str]:
        """Tables that claims are judged by, below `results/<scale>/codesign/`."""
        experiments = ("quantization", "controls", "synthetic")
        return [f"{name}/statistics.csv" for name in experiments]

    def step_spec(self, step: str, wildcards: Mapping[str, str]) -> Spec:
        """Return exactly the settings that `step` reads.

        Raises:
            KeyError: No experiment has this step.
        """
        for experiment in (self.quantization, self.controls, self.synthetic):
            found = experiment.step_spec(step, wildcards)
            if found is not None:
                return found
        raise KeyError(step)


SETTINGS = CodesignSpec
