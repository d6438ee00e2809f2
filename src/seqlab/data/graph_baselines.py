"""What a graph network has to beat: the largest class, and a linear model of the features alone."""

from __future__ import annotations

import numpy as np

from seqlab.data.graph_folder import Graph
from seqlab.errors import UserError

# Where the step that makes a graph writes them.
BASELINES_FILE = "baselines.json"
# Enough for convergence on every graph of the settings; the fit says so if it was not.
_ITERATIONS = 1000


def graph_baselines(graph: Graph) -> dict[str, float]:
    """Return the accuracy on test nodes of models that do not see the edges.

    Returns:
        `majority`: the most frequent class of the training nodes for every node; `features`:
        multinomial logistic regression on standardised features, fitted on the training nodes.

    Raises:
        UserError: The training nodes are all of one class.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, test = graph.split("train"), graph.split("test")
    known, wanted = graph.labels[train], graph.labels[test]
    largest = np.bincount(known).argmax()
    if (known == largest).all():
        raise UserError("all training nodes are of one class", fix="give a graph with classes")
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_ITERATIONS))
    model.fit(graph.features[train], known)
    return {
        "majority": float(np.mean(wanted == largest)),
        "features": float(np.mean(model.predict(graph.features[test]) == wanted)),
    }
