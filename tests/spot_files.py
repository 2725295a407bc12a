"""Where label files of the published data sets for event spotting are: excerpts here, whole ones beside us."""

from __future__ import annotations

from pathlib import Path

EXCERPTS = sorted((Path(__file__).parent / "spot_labels").glob("*.json"))
# The folders of data/ in E2E-Spot's repository.
WHOLE = sorted((Path(__file__).parent.parent.parent / "shared" / "annotations" / "spot").glob("*/*.json"))
NO_WHOLE = "the label files of E2E-Spot's repository are not here"
