"""Fits scikit-learn's classifiers on the embeddings of a table and prints what they get right, as JSON.

usage: head_oracle.py TABLE LABELS.csv

TABLE is a folder of `run=…/shard-….parquet`; LABELS.csv has `source` (a path), `label` and `split`. Of each
classifier: its accuracy on the rows held out, and for each of these rows, by source, its class probabilities
(logistic) or scores (ridge), with the classes in order of their names. Features are standardised, as tilefleet
does; `plain` is LogisticRegression as it comes, on features as they are.
"""

import csv
import json
import sys

import numpy
import pyarrow.dataset
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def read(table, labels):
    given = {"file://" + row["source"]: row for row in csv.DictReader(open(labels))}
    rows = pyarrow.dataset.dataset(table, partitioning="hive").to_table(columns=["source", "embedding"]).to_pylist()
    rows = [row for row in rows if row["source"] in given and row["embedding"] is not None]
    features = numpy.array([row["embedding"] for row in rows], dtype=numpy.float64)
    classes = numpy.array([given[row["source"]]["label"] for row in rows])
    held_out = numpy.array([given[row["source"]]["split"] == "test" for row in rows])
    return [row["source"] for row in rows], features, classes, held_out


def main():
    sources, features, classes, held_out = read(*sys.argv[1:])
    classifiers = {
        "logistic": make_pipeline(StandardScaler(), LogisticRegression(C=1, tol=1e-6, max_iter=10_000)),
        "ridge": make_pipeline(StandardScaler(), RidgeClassifier(alpha=1)),
        "plain": LogisticRegression(max_iter=10_000),
    }
    answer = {}
    for name, classifier in classifiers.items():
        classifier.fit(features[~held_out], classes[~held_out])
        ridge = name == "ridge"
        scores = (classifier.decision_function if ridge else classifier.predict_proba)(features[held_out])
        if scores.ndim == 1:
            scores = numpy.stack([-scores, scores], axis=1)
        rows = [source for source, out in zip(sources, held_out) if out]
        answer[name] = {
            "accuracy": classifier.score(features[held_out], classes[held_out]),
            "scores": dict(zip(rows, scores.tolist())),
        }
    json.dump(answer, sys.stdout)


main()
