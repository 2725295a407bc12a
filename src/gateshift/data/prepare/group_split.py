"""Split videos into train and val by groups, such as persons or recordings, each of which stays in one list.

scikit-learn's ``StratifiedGroupKFold`` may leave train without a class, and refuses fewer videos of a class than folds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import bmat, csr_array

from gateshift.errors import ManifestError, SettingsError

# After this many nodes the solver's best split so far is used; a time limit would give another split in each run.
_MAX_NODES = 100


def find_groups(names: Sequence[str], pattern: str) -> list[str]:
    """The group of each video, by its name.

    Args:
        names: Paths of the videos below the data set's root, with forward slashes.
        pattern: Regular expression to search for in a name. The group is the text that its parentheses match, joined
            by spaces if there are several, or the whole match if there are none.

    Returns:
        One for each name.

    Raises:
        SettingsError: If it is no regular expression.
        ManifestError: If a name has no match, or an empty one.

    >>> find_groups(["wave/P01_3.mp4", "clap/P12_3.mp4"], r"P\\d+")
    ['P01', 'P12']
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise SettingsError(
            f"`group_pattern` {pattern!r} is no regular expression: {error}; try one such as 'P[0-9]+'"
        ) from None
    groups = []
    for name in names:
        match = compiled.search(name)
        group = " ".join(part for part in match.groups() or (match[0],) if part) if match else ""
        if not group:
            raise ManifestError(
                f"{name}: `group_pattern` {pattern!r} finds nothing in it, and must find a group in the path of every "
                "video; change it, or rename the video"
            )
        groups.append(group)
    return groups


def split_groups(labels: Sequence[str], groups: Sequence[str], *, val_share: float) -> list[bool]:
    """Choose the groups for val so that about the same share of each class is in them.

    Train has videos of every class, val of as many classes as possible. Among these splits, a mixed-integer program
    finds the one with the smallest mean distance of the classes' shares from ``val_share``; with more than a few tens
    of groups, the result may be slightly worse than the best.

    Args:
        labels: The class of each video.
        groups: The group of each video.
        val_share: Above 0 and below 1.

    Returns:
        For each video, whether it goes to val. The order of the videos does not matter.

    >>> split_groups(["a", "b"] * 3, ["x", "x", "y", "y", "y", "y"], val_share=0.3)
    [True, True, False, False, False, False]
    """
    names, group_of = np.unique(np.array(groups), return_inverse=True)
    classes, class_of = np.unique(np.array(labels), return_inverse=True)
    num_groups, num_classes = len(names), len(classes)
    # How many videos of a class a group has, [classes, groups], as shares of the class.
    counts = csr_array((np.ones(len(labels)), (class_of, group_of)), shape=(num_classes, num_groups))
    shares = counts.multiply(1 / counts.sum(axis=1)[:, None]).tocsr()
    has = (counts > 0).astype(float)

    # The unknowns, in this order: whether a group is in val; how far the share of each class is off; whether a class
    # is missing in val, which costs more than any share can.
    one = csr_array(np.eye(num_classes))
    rows = bmat([[shares, -one, None], [shares, one, None], [has, None, one], [has, None, None]], format="csr")
    full, free = np.ones(num_classes), np.full(num_classes, np.inf)
    low = np.concatenate([-free, val_share * full, full, -free])
    high = np.concatenate([val_share * full, free, free, has.sum(axis=1) - 1])
    found = milp(
        np.concatenate([np.zeros(num_groups), full / num_classes, 2 * full]),
        integrality=np.concatenate([np.ones(num_groups), np.zeros(2 * num_classes)]),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(rows, low, high),
        options={"node_limit": _MAX_NODES},
    )
    chosen = found.x[:num_groups] > 0.5  # there always is a split: all in train
    return [bool(value) for value in chosen[group_of]]
