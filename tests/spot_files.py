"""Where label files of the published data sets for event spotting are: excerpts here, whole ones if they are there."""

from __future__ import annotations

import os
from pathlib import Path

EXCERPTS = sorted((Path(__file__).parent / "spot_labels").glob("*.json"))
# A folder of E2E-Spot's data sets, as its repository has them in data/.
WHOLE = sorted(Path(os.environ.get("SPOT_LABELS", "spot")).glob("*/*.json"))
NO_WHOLE = "no folder SPOT_LABELS with the label files of E2E-Spot's repository (its data/)"
