#!/usr/bin/env bash
# Pillow 13.0.0 inverts a TIFF with PhotometricInterpretation 0 (WhiteIsZero) if its samples have 8 bits, and
# leaves them as they are stored if they have 16, although the tag says the same of both (TIFF 6.0, section 8).
#
# Seen: stored 0, 100 and the largest value become 255, 155, 0 at 8 bits and stay 0, 100, 65535 at 16.
#
# Why a good guess is wrong: whoever has seen Pillow honour the tag once takes it to be honoured; whoever knows
# GDAL, which never inverts, expects stored values at 8 bits too.
# Whom it bites: scanned radiographs, faxes and X-ray detectors write WhiteIsZero at 12 to 16 bits. Converted to
# 8 bits for one network and kept at 16 for another, the same picture is a negative in one of the two.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 tifffile==2026.3.3 numpy==2.3.5

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import tifffile
from PIL import Image

for kind, expected in ((np.uint8, [255, 155, 0]), (np.uint16, [0, 100, 65535])):
    stored = np.array([[0, 100, np.iinfo(kind).max]], kind)
    tifffile.imwrite("white.tif", stored, photometric="miniswhite")
    found = np.asarray(Image.open("white.tif"))[0].tolist()
    print(np.dtype(kind).name, found)
    assert found == expected, "the behaviour has changed"
PYTHON
