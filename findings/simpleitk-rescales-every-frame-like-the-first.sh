#!/usr/bin/env bash
# SimpleITK 2.5.7 multiplies all frames of an enhanced multi-frame image by the rescale slope of the first one, and
# pydicom 3.0.2's apply_modality_lut() multiplies none, although each frame states its own (PS3.3 C.7.6.16.2.9, Pixel
# Value Transformation, in its item of the Per-Frame Functional Groups). highdicom 0.28.2 takes each frame's own.
#
# Seen: three PET slices of stored 100 with slopes 0.5, 2 and 10 are 50, 200 and 1000 Bq/ml for everybody. The same
# three as one legacy converted enhanced PET image, whose first frame here is the last slice: highdicom 1000, 200, 50;
# SimpleITK 1000, 1000, 1000, as whole numbers; pydicom 100, 100, 100. No error, no warning.
#
# Why a good guess is wrong: SimpleITK is known to apply the slope, does so for a series slice by slice, and plainly
# looks into the functional groups, or it would have found no slope at all. A CT passes every test: one slope for all.
# Whom it bites: scanners scale each PET slice to its own maximum, and archives convert such series to one enhanced
# object. Uptake is wrong by what the slices differ, often several times, and which frame is right depends on order.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    simpleitk==2.5.7 pydicom==3.0.2 highdicom==0.28.2 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import highdicom
import numpy as np
import SimpleITK
from highdicom.legacy import LegacyConvertedEnhancedPETImage
from pydicom import dcmread
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut
from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid

study, series, reference = generate_uid(), generate_uid(), generate_uid()
slopes = [0.5, 2, 10]


def pet_slice(number, slope):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = PositronEmissionTomographyImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    image = FileDataset("slice.dcm", {}, file_meta=meta, preamble=bytes(128))
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, reference
    image.PatientID = image.PatientName = image.PatientBirthDate = image.PatientSex = ""
    image.StudyID = image.AccessionNumber = image.ReferringPhysicianName = image.Manufacturer = ""
    image.PositionReferenceIndicator = ""
    for what in ("Study", "Content", "Acquisition"):
        setattr(image, f"{what}Date", "20260101")
        setattr(image, f"{what}Time", "120000")
    image.Modality, image.ImageType, image.Units = "PT", ["ORIGINAL", "PRIMARY"], "BQML"
    image.SeriesNumber, image.InstanceNumber = 1, number + 1
    image.PixelSpacing, image.SliceThickness = [4, 4], 2
    image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, 2 * number], [1, 0, 0, 0, 1, 0]
    image.Rows, image.Columns, image.SamplesPerPixel = 4, 4, 1
    image.PhotometricInterpretation, image.PixelRepresentation = "MONOCHROME2", 1
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.RescaleSlope, image.RescaleIntercept = slope, 0
    image.PixelData = np.full((4, 4), 100, "<i2").tobytes()
    return image


slices = [pet_slice(number, slope) for number, slope in enumerate(slopes)]
for slope, image in zip(slopes, slices):
    image.save_as("slice.dcm", enforce_file_format=True)
    values = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage("slice.dcm"))
    assert values.min() == values.max() == 100 * slope
    assert np.all(apply_modality_lut(image.pixel_array, image) == 100 * slope)

LegacyConvertedEnhancedPETImage(
    slices, series_instance_uid=generate_uid(), series_number=2, sop_instance_uid=generate_uid(), instance_number=1
).save_as("enhanced.dcm")
image = dcmread("enhanced.dcm")
frames = image.PerFrameFunctionalGroupsSequence
stated = [float(frame.PixelValueTransformationSequence[0].RescaleSlope) for frame in frames]

right = highdicom.imread("enhanced.dcm").get_frames()[:, 0, 0].tolist()
by_pydicom = apply_modality_lut(image.pixel_array, image)[:, 0, 0].tolist()
volume = SimpleITK.ReadImage("enhanced.dcm")
by_simpleitk = SimpleITK.GetArrayFromImage(volume)[:, 0, 0].tolist()
print("slopes   ", stated)
print("highdicom", right)
print("pydicom  ", by_pydicom)
print("SimpleITK", by_simpleitk, volume.GetPixelIDTypeAsString())
assert sorted(stated) == slopes and right == [100 * slope for slope in stated]
assert by_pydicom == [100, 100, 100], "the behaviour has changed"
assert by_simpleitk == [100 * stated[0]] * 3, "the behaviour has changed"
PYTHON
