"""Labels that belong to other classes."""

from __future__ import annotations

import json

import numpy as np

from jersey_assets_tests.export.contract.broken.surgery import (
    BATCH,
    GRAPH,
    LOGITS,
    MAPPING,
    WEIGHTS,
    after_logits,
    broken,
    change,
    constant,
    node,
    set_shape,
)
from jersey_assets_tests.export.models import LABELS, set_property

REST = (GRAPH, LOGITS, BATCH, WEIGHTS)
TRUE = {label: index for index, label in enumerate(LABELS)}
MEAN, STD = [0.44, 0.42, 0.41], [0.25, 0.24, 0.23]


def beside(classes=TRUE, mean=MEAN, **changes):
    """A labels file as other tools write it, with changes."""
    content = {
        "num_classes": len(classes),
        "class_to_idx": classes,
        "idx_to_class": {str(index): label for label, index in classes.items()},
        "normalization": {"mean": mean, "std": STD},
    }
    return json.dumps({**content, **changes})


def labelled(model, labels):
    set_property(model, "jersey.labels", labels)
    return model


PLAIN = json.dumps(
    {k: v for k, v in json.loads(beside()).items() if k != "normalization"}
)


@broken(MAPPING, "'' is class 10 in the model, 0 there", *REST)
def labels_reversed(model):
    return labelled(model, LABELS[::-1])


@broken(MAPPING, "2 labels differ from the checkpoint", *REST)
def two_labels_exchanged(model):
    return labelled(model, ["", "00", "0", *LABELS[3:]])


@broken(MAPPING, "differ from the checkpoint", *REST)
def labels_sorted_as_numbers(model):
    return labelled(model, sorted(LABELS, key=lambda v: (len(v), v)))


@broken(MAPPING, "differ from the checkpoint", *REST)
def no_readable_number_last(model):
    return labelled(model, [*LABELS[1:], ""])


@broken(MAPPING, "11 scores for 10 labels", *REST)
def a_label_missing(model):
    return labelled(model, LABELS[:-1])


@broken(MAPPING, "11 scores for 12 labels", *REST)
def a_label_too_many(model):
    return labelled(model, [*LABELS, "100"])


@broken(MAPPING, "has a label twice", LOGITS, BATCH)
def a_label_twice(model):
    return labelled(model, [*LABELS[:-1], "7"])


@broken(MAPPING, "not a list of strings", LOGITS, BATCH)
def labels_as_numbers(model):
    return labelled(model, list(range(11)))


@broken(MAPPING, "not JSON", LOGITS, BATCH)
def labels_that_cannot_be_read(model):
    return labelled(model, '["", "0"')


@broken(MAPPING, "2 labels differ from the checkpoint", *REST)
def a_digit_of_another_script(model):
    return labelled(model, [*LABELS[:-1], "٩٩"])


@broken(MAPPING, "has no jersey.labels", LOGITS, BATCH)
def no_metadata(model):
    del model.metadata_props[:]
    return model


@broken(
    MAPPING, "differ from the class mapping", *REST, labels={**TRUE, "0": 2, "00": 1}
)
def another_class_mapping(model):
    return model


@broken(MAPPING, "differs from the class mapping", *REST, labels={**TRUE, "5": 11})
def a_class_mapping_with_more_classes(model):
    return model


@broken(
    MAPPING,
    "differ from labels_mapping.json",
    *REST,
    sidecar=beside({**TRUE, "7": 10, "99": 9}),
)
def another_mapping_beside_it(model):
    return model


@broken(MAPPING, '"class_to_idx" is not', *REST, sidecar=beside({"": False}))
def a_mapping_to_booleans(model):
    return model


@broken(MAPPING, "not a JSON object", *REST, sidecar=json.dumps(LABELS))
def a_list_beside_it(model):
    return model


@broken(MAPPING, "labels_mapping.json: Expecting", *REST, sidecar='{"": 0')
def half_a_mapping_beside_it(model):
    return model


@broken(MAPPING, "the normalization is", *REST, sidecar=beside(mean=[0.4, 0.4, 0.4]))
def another_normalization_beside_it(model):
    return model


@broken(MAPPING, "beside it has no normalization", *REST, sidecar=PLAIN)
def no_normalization_beside_it(model):
    return model


@broken(MAPPING, '"num_classes" is 12', *REST, sidecar=beside(num_classes=12))
def another_number_of_classes_beside_it(model):
    return model


@broken(MAPPING, '"idx_to_class" is not', *REST, sidecar=beside(idx_to_class={}))
def no_labels_by_class_beside_it(model):
    return model


@broken(MAPPING, "10 scores for 11 labels", GRAPH, LOGITS, BATCH)
def a_class_missing_in_the_head(model):
    set_shape(model.graph.output[0], "batch", 10)
    change(model, "8.weight", lambda w: w[:10])
    return change(model, "8.bias", lambda b: b[:10])


@broken(MAPPING, "22 scores for 11 labels", GRAPH, LOGITS, BATCH)
def a_class_count_that_is_not_declared(model):
    set_shape(model.graph.output[0], "batch", "classes")
    twice = constant(model, "twice", np.hstack([np.eye(11), np.eye(11)]))
    return after_logits(model, node("MatMul", ["raw", twice], "logits"))
