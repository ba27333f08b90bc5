#!/usr/bin/env bash
# pydicom 3.0.2 reads a negative number in an item of a sequence as 65536 more where the sequence ends with a delimiter,
# and correctly where its length is counted. Both are spellings of one data set (PS3.5 7.5.2), and all is signed here:
# PixelRepresentation is 1, by which pydicom settles "US or SS" in implicit VR outside of sequences and in counted ones.
#
# Seen, for a CT of signed pixels whose RealWorldValueMappingSequence maps -1024 to 3000 with a slope of 0.5:
#                                        first, last        highdicom 0.28.2, for pixels -1024 ... -1021
#   implicit VR, counted                 -1024, 3000        -512, -511.5, -511, -510.5
#   implicit VR, delimited               64512, 3000        ValueError: pixels outside of the valid range
#   explicit VR, counted or delimited    -1024, 3000        -512, -511.5, -511, -510.5
#   delimited, saved as explicit VR      64512 (now US), 3000, for good and for everybody; the same ValueError
# Whether the items are counted makes no difference. A VOI LUT from -1024 on maps the four to 10, 20, 30, 40, and where
# delimited, to 10, 10, 10, 10. PixelPaddingValue, outside of sequences, is -2000 in all of them. pydicom gives no error
# and no warning that it does not give for the counted one.
#
# Why a good guess is wrong: pydicom is known to look up PixelRepresentation for such elements, in sequences, too; what
# it writes itself passes, as it counts lengths. That PixelRepresentation stands before the sequence does not help.
# Whom it bites: whoever gets images by DIMSE in implicit VR from senders that end sequences with delimiters, as many
# do, since they needn't know the length beforehand, and stores them as explicit VR, de-identified or compressed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2 highdicom==0.28.2 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import highdicom
import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_voi
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

warnings.simplefilter("error")
warnings.filterwarnings("ignore", "Applying a VOI LUT on a float input array")  # counted or delimited
first, last, stored, table = -1024, 3000, [-1024, -1023, -1022, -1021], [10, 20, 30, 40]
halves = [-512, -511.5, -511, -510.5]


def write(syntax, delimited, items_delimited):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = syntax, CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    image = FileDataset("image.dcm", {}, file_meta=meta, preamble=bytes(128))
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
    image.Rows, image.Columns, image.SamplesPerPixel = 2, 2, 1
    image.PhotometricInterpretation, image.PixelRepresentation = "MONOCHROME2", 1
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.RescaleSlope, image.RescaleIntercept = 1, 0
    image.add_new("PixelPaddingValue", "SS", -2000)
    unit = Dataset()
    unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "1", "UCUM", "no units"
    real = Dataset()
    real.add_new("RealWorldValueFirstValueMapped", "SS", first)
    real.add_new("RealWorldValueLastValueMapped", "SS", last)
    real.RealWorldValueSlope, real.RealWorldValueIntercept, real.LUTLabel = 0.5, 0.0, "half"
    real.MeasurementUnitsCodeSequence = [unit]
    voi = Dataset()
    voi.add_new("LUTDescriptor", "SS", [len(table), first, 16])
    voi.add_new("LUTData", "OW", np.array(table, "<u2").tobytes())
    for keyword, item in (("RealWorldValueMappingSequence", real), ("VOILUTSequence", voi)):
        item.is_undefined_length_sequence_item = items_delimited
        setattr(image, keyword, [item])
        image[keyword].is_undefined_length = delimited
    image.PixelData = np.array(stored, "<i2").tobytes()
    image.save_as("image.dcm", enforce_file_format=True)


def real_values(name):
    try:
        return highdicom.imread(name).get_frame(1, apply_real_world_transform=True).ravel().tolist()
    except ValueError as error:
        return str(error)


def check(what, found, wanted):
    print(f"    {what}:", found)
    assert found == wanted, "the behaviour has changed"


for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian):
    for delimited in (False, True):
        for items_delimited in (False, True):
            print(f"{syntax.name}, sequences delimited: {delimited}, items: {items_delimited}")
            write(syntax, delimited, items_delimited)
            wrong = delimited and syntax == ImplicitVRLittleEndian
            number = first + 65536 if wrong else first
            mapped = "Array contains value outside the valid range." if wrong else halves
            image = dcmread("image.dcm")
            assert (image.PixelRepresentation, image.PixelPaddingValue) == (1, -2000)
            real = image.RealWorldValueMappingSequence[0]
            check("first", real.RealWorldValueFirstValueMapped, number)
            check("last", real.RealWorldValueLastValueMapped, last)
            check("real values", real_values("image.dcm"), mapped)
            shown = apply_voi(apply_modality_lut(image.pixel_array, image), image)
            check("shown", shown.ravel().tolist(), table[:1] * 4 if wrong else table)
            image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            image.save_as("explicit.dcm")
            again = dcmread("explicit.dcm").RealWorldValueMappingSequence[0]["RealWorldValueFirstValueMapped"]
            check("saved as explicit VR", (again.VR, again.value), ("US" if wrong else "SS", number))
            check("real values of that", real_values("explicit.dcm"), mapped)
PYTHON
