"""What OpenJPEG decodes of the JPEG 2000 frames of DICOM files, for the tests of crates/jpeg2000.

usage: jpeg2000_oracle.py WG04

WG04 is a folder with the DICOM committee's J2KR and J2KI. Writes to standard output, in the format of
scripts/golden/jpeg2000_golden.py, the first frame of each of its files and of those that pydicom ships with a
transfer syntax of JPEG 2000 or HTJ2K. The tolerance is 0 where the stream is reversible, else 1. A frame that OpenJPEG
does not decode is named on standard error and left out. Needs pydicom, pylibjpeg-openjpeg and numpy.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import openjpeg
import pydicom
from pydicom.encaps import get_frame

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "golden"))
from jpeg2000_golden import entry  # noqa: E402

SHIPPED = Path(pydicom.__file__).parent / "data/test_files"
# JPEG 2000 and HTJ2K, lossless, lossless with an order of packets, and lossy.
SYNTAXES = {"1.2.840.10008.1.2.4." + code for code in ("90", "91", "201", "202", "203")}


def frame(path):
    """Returns the first code stream of a file, or none."""
    try:
        dataset = pydicom.dcmread(path, force=True)
        syntax = dataset.file_meta.TransferSyntaxUID
    except Exception:
        return None
    if syntax not in SYNTAXES or "PixelData" not in dataset:
        return None
    return get_frame(dataset.PixelData, 0, number_of_frames=int(dataset.get("NumberOfFrames", 1) or 1))


def is_reversible(stream):
    """Tells whether the first COD says 5/3 (T.800 A.6.1)."""
    return stream[stream.index(b"\xff\x52") + 13] == 1


def main():
    warnings.simplefilter("ignore")
    paths = sorted(Path(sys.argv[1]).glob("J2K[RI]/*")) + sorted(SHIPPED.glob("*.dcm"))
    for path in paths:
        stream = frame(path)
        if stream is None:
            continue
        try:
            pixels = openjpeg.decode(stream)
        except Exception as error:
            print(f"{path.name}: {error}", file=sys.stderr)
            continue
        planes = np.moveaxis(pixels, 2, 0) if pixels.ndim == 3 else pixels[None]
        tolerance = 0 if is_reversible(stream) else 1
        sys.stdout.buffer.write(entry(path.name, tolerance, stream, [plane.astype(np.int64) for plane in planes]))


if __name__ == "__main__":
    main()
