"""Let the tests of this folder, and the workflow's rehearsal, import `hub.server`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
