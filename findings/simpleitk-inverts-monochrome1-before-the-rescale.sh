#!/usr/bin/env bash
# SimpleITK 2.5.7 reads an image of MONOCHROME1 turned upside down: each stored value is taken from the largest that
# BitsStored allows, and what comes out is rescaled. It goes on naming the image MONOCHROME1. In DICOM that word
# concerns display, and is heeded after the VOI transformation (PS3.3 C.7.6.3.1.2): the values themselves stay.
#
# Seen, for stored 0, 100, 1000, 4095 of 12 bits with slope 2 and intercept -50:
#   SimpleITK      8140, 7940, 6140, -50
#   pydicom 3.0.2  -50, 150, 1950, 8140    (apply_modality_lut; highdicom 0.28.2 alike, and SimpleITK of MONOCHROME2)
# Without a slope, SimpleITK's are 4095, 3995, 3095, 0. No error, no warning.
#
# Why a good guess is wrong: SimpleITK is trusted for values, Hounsfield units and uptakes come out right, and nearly
# every CT, MR and PET is MONOCHROME2. Whoever knows the pitfall asks for the photometric interpretation, is told
# MONOCHROME1, and inverts again, which gives the negative of what is to be shown.
# Whom it bites: mammograms and chest films, of which some makers' are MONOCHROME1 and others' not; dose and optical
# density maps, whose values mean something. A network trained through pydicom gets negatives, of one maker alone.
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
from pydicom import dcmread
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

stored = np.array([0, 100, 1000, 4095], "<u2")


def read(photometric, slope, intercept):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    image = FileDataset("film.dcm", {}, file_meta=meta, preamble=bytes(128))
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
    image.PatientID = image.PatientName = image.PatientBirthDate = image.PatientSex = ""
    image.StudyID = image.StudyDate = image.StudyTime = image.AccessionNumber = image.ReferringPhysicianName = ""
    image.Modality, image.Manufacturer, image.BodyPartExamined, image.ViewPosition = "CR", "", "CHEST", "PA"
    image.SeriesNumber, image.InstanceNumber = 1, 1
    image.Rows, image.Columns, image.SamplesPerPixel = 1, 4, 1
    image.PhotometricInterpretation, image.PixelRepresentation = photometric, 0
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    if slope:
        image.RescaleSlope, image.RescaleIntercept, image.RescaleType = slope, intercept, "US"
    image.PixelData = stored.tobytes()
    image.save_as("film.dcm", enforce_file_format=True)

    again = dcmread("film.dcm")
    right = apply_modality_lut(again.pixel_array, again).ravel().tolist()
    by_highdicom = highdicom.imread("film.dcm").get_frames(apply_presentation_lut=False, apply_voi_transform=False)
    assert by_highdicom.ravel().tolist() == right
    film = SimpleITK.ReadImage("film.dcm")
    assert film.GetMetaData("0028|0004").strip() == photometric
    found = SimpleITK.GetArrayFromImage(film).ravel().tolist()
    print(photometric, (slope, intercept), "SimpleITK", found, "pydicom", right)
    return found, right


for slope, intercept in ((None, None), (2, -50)):
    values = stored * float(slope or 1) + (intercept or 0)
    turned = (4095.0 - stored) * (slope or 1) + (intercept or 0)
    assert read("MONOCHROME2", slope, intercept) == (values.tolist(), values.tolist())
    found, right = read("MONOCHROME1", slope, intercept)
    assert right == values.tolist()
    assert found == turned.tolist(), "the behaviour has changed"
PYTHON
