#!/usr/bin/env bash
# pydicom 3.0.2's Dataset.compress() takes colour planes (PlanarConfiguration 1) for interleaved pixels when it writes
# RLE or JPEG 2000, and so puts another picture into the file. The RLE segments are to be all red, all green, all blue
# (PS3.5 G.2); for JPEG 2000 Planar Configuration is irrelevant and shall be 0 (PS3.5 8.2.4). pydicom leaves it at 1.
#
# Seen: an image of red 200, green 100, blue 50 throughout, in planes. Its RLE holds pixels (200, 200, 200) at the
# top, (100, 100, 100) in the middle, (50, 50, 50) at the bottom, for pydicom and for SimpleITK 2.5.7. Its JPEG 2000
# holds the same, lossless, for imagecodecs 2026.3.6 and SimpleITK; but pydicom itself reads it as (200, 100, 50).
# Given the array, compress(uid, ds.pixel_array), RLE is right, and JPEG 2000 is right for all but pydicom. JPEG-LS
# is right either way. No error, no warning; colour by pixel (PlanarConfiguration 0) is right everywhere.
#
# Why a good guess is wrong: pixel_array of the same data set unfolds the planes correctly, and the element is among
# those that compress() asks for. A test that compresses with pydicom and reads with pydicom passes for JPEG 2000.
# Whom it bites: archives that compress ultrasound, endoscopy and secondary captures, of which old devices wrote
# planes: the original is replaced by three grey thirds, "lossless", and the next program shows it.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6 simpleitk==2.5.7 \
    imagecodecs==2026.3.6 pylibjpeg==2.1.0 pylibjpeg-openjpeg==2.6.0 pyjpegls==1.5.1

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import imagecodecs
import numpy as np
import SimpleITK
from pydicom import dcmread
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import get_frame
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

side = 66
colour = [200, 100, 50]
pixels = np.broadcast_to(np.array(colour, np.uint8), (side, side, 3))
thirds = np.repeat(colour, side // 3)[:, None, None] * np.ones((1, side, 3), int)


def compressed(syntax, planar, from_array):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    image = FileDataset("image.dcm", {}, file_meta=meta, preamble=bytes(128))
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.Rows, image.Columns, image.SamplesPerPixel = side, side, 3
    image.PhotometricInterpretation, image.PlanarConfiguration, image.PixelRepresentation = "RGB", planar, 0
    image.BitsAllocated, image.BitsStored, image.HighBit = 8, 8, 7
    image.PixelData = np.ascontiguousarray(pixels.transpose(2, 0, 1) if planar else pixels).tobytes()
    assert np.array_equal(image.pixel_array, pixels)
    image.compress(syntax, image.pixel_array if from_array else None)
    image.save_as("image.dcm", enforce_file_format=True)
    return dcmread("image.dcm")


def named(found):
    kinds = {"right": pixels, "thirds": thirds}
    return next((name for name, kind in kinds.items() if np.array_equal(np.squeeze(found), kind)), "another")


expected = {
    # syntax, planar configuration, from the array: (pydicom, SimpleITK)
    (RLELossless, 0, False): ("right", "right"),
    (RLELossless, 1, False): ("thirds", "thirds"),
    (RLELossless, 1, True): ("right", "right"),
    (JPEG2000Lossless, 0, False): ("right", "right"),
    (JPEG2000Lossless, 1, False): ("right", "thirds"),
    (JPEG2000Lossless, 1, True): ("another", "right"),
    (JPEGLSLossless, 1, False): ("right", "right"),
    (JPEGLSLossless, 1, True): ("right", "right"),
}
for (syntax, planar, from_array), wanted in expected.items():
    image = compressed(syntax, planar, from_array)
    assert image.PlanarConfiguration == planar
    by_simpleitk = named(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage("image.dcm")))
    found = named(image.pixel_array), by_simpleitk
    print(f"{syntax.name}, planar {planar}, from the array {from_array}:", *found)
    assert found == wanted, "the behaviour has changed"
    if syntax == JPEG2000Lossless:
        assert named(imagecodecs.jpeg2k_decode(get_frame(image.PixelData, 0))) == by_simpleitk
PYTHON
