"""Targets of the study on the command line, at the configured scale; they make nothing of their own.

Inputs: numbered items; the run records that config/studies/codesign.yaml lists under `targets:`.
Outputs: none. A target that an overlay adds there is a name on the command line, too.
"""


rule codesign_all:
    input:
        whole_study("codesign"),


for target in settings("codesign", config["scale"]).targets:

    rule:
        name:
            target
        input:
            files_of_target("codesign", target),
