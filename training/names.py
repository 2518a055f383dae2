"""With few rows: what a label is called says as much of it as several of its rows do (experiments/LOG.md).

Names that were given in Chinese are read as texts of their own label; codes and numbers would teach nothing.
"""

from __future__ import annotations

import re

from complaints.records import Complaint
from complaints.taxonomy import Taxonomy
from training.sources import Example

# Chosen by rows held out of the training parts of finance and citizen (experiments/LOG.md).
REPEAT = 2
_CHINESE = re.compile("[\u4e00-\u9fff]")


def named(taxonomy: Taxonomy) -> list[Example]:
    """An example a leaf of every head whose leaves all have names in Chinese: its name, read REPEAT times."""
    return [
        Example(Complaint(text=head.names[leaf]), {name: leaf}, "label names", repeat=REPEAT)
        for name, head in taxonomy.heads.items()
        if all(_CHINESE.search(head.names[one]) for one in head.ids)
        for leaf in head.ids
    ]
