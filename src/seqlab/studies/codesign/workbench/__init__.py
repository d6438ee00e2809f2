"""What most items of the study share: architectures, layouts, arms, and how arms are measured."""
