#!/usr/bin/env bash
# SimpleITK 2.5.7 reads a DICOM segmentation as if the frames that it has were all there are. Frames in which a segment
# is empty are left out of most such files (the standard permits it, and highdicom does it by default); where the
# rest lie at even distances, SimpleITK takes these for the distance of slices, and the segment swells to fill the gaps.
# Slice Thickness, Spacing Between Slices and the positions say otherwise.
#
# Seen, for 16 pixels of 3 mm2 in some of 7 slices that are 3 mm apart:
#   slices with the segment   true volume   highdicom 0.28.2, dcmqi 1.5.7   SimpleITK
#   3, 4, 5                   432 mm3       3 slices of 3 mm, 432           3 slices of 3 mm, 432
#   1, 3, 5, 7                576 mm3       7 slices of 3 mm, 576           4 slices of 6 mm, 1152
#   2, 5                      288 mm3       4 slices of 3 mm, 288           2 slices of 9 mm, 864
# And the segment is 255, whatever its number. No error, no warning.
#
# Why a good guess is wrong: positions come out right, each of them, so that an overlay on the image agrees wherever
# there is a frame; an ordinary series would be read rightly just so; and a segment in one piece, like most, is right.
# Whom it bites: two lesions one above the other, a vessel cut twice, contours drawn in every second slice, and plates
# or wires: volumes come out two or three times too large, and a network learns to join what is apart.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    simpleitk==2.5.7 highdicom==0.28.2 dcmqi==1.5.7 pydicom==3.0.2 nibabel==5.4.2 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import os
import subprocess
import sys
import warnings

import highdicom
import nibabel
import numpy as np
import SimpleITK
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

warnings.simplefilter("ignore")

SLICES, ROWS, COLUMNS, DISTANCE = 7, 8, 10, 3.0
PIXEL = [2.0, 1.5]
study, series, frame_of_reference = generate_uid(), generate_uid(), generate_uid()


def ct_slice(number):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    image = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID, image.SeriesInstanceUID = study, series
    image.FrameOfReferenceUID, image.PositionReferenceIndicator = frame_of_reference, ""
    image.PatientID = image.PatientName = image.PatientBirthDate = image.PatientSex = ""
    image.StudyID = image.StudyDate = image.StudyTime = image.AccessionNumber = image.ReferringPhysicianName = ""
    image.Modality, image.Manufacturer, image.SeriesNumber, image.InstanceNumber = "CT", "", 1, number
    image.PixelSpacing, image.SliceThickness = PIXEL, DISTANCE
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.ImagePositionPatient = [0, 0, DISTANCE * number]
    image.Rows, image.Columns, image.SamplesPerPixel = ROWS, COLUMNS, 1
    image.PhotometricInterpretation, image.PixelRepresentation = "MONOCHROME2", 0
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.PixelData = bytes(2 * ROWS * COLUMNS)
    return image


images = [ct_slice(number) for number in range(1, SLICES + 1)]
liver = highdicom.seg.SegmentDescription(1, "liver", codes.SCT.Organ, codes.SCT.Liver, "MANUAL")


def write(slices):
    mask = np.zeros((SLICES, ROWS, COLUMNS), bool)
    mask[np.array(slices) - 1, 2:6, 3:7] = True
    uids = {"series_instance_uid": generate_uid(), "sop_instance_uid": generate_uid()}
    names = {"manufacturer": "m", "manufacturer_model_name": "m", "software_versions": "1"}
    numbers = {"series_number": 2, "instance_number": 1, "device_serial_number": "1"}
    segmentation = highdicom.seg.Segmentation(images, mask, "BINARY", [liver], **uids, **names, **numbers)
    segmentation.save_as("seg.dcm")
    return mask.sum() * PIXEL[0] * PIXEL[1] * DISTANCE


def with_highdicom():
    volume = highdicom.seg.segread("seg.dcm").get_volume(combine_segments=True)
    return volume.array.shape[0], volume.spacing[0], (volume.array == 1).sum() * np.prod(volume.spacing)


def with_dcmqi():
    program = os.path.join(sys.prefix, "bin", "segimage2itkimage")
    command = [program, "--inputDICOM", "seg.dcm", "--outputDirectory", ".", "--outputType", "nii"]
    subprocess.run(command, check=True, capture_output=True)
    image = nibabel.load("1.nii.gz")
    zooms = image.header.get_zooms()
    return image.shape[2], zooms[2], (np.asanyarray(image.dataobj) == 1).sum() * np.prod(zooms)


def with_simpleitk():
    image = SimpleITK.ReadImage("seg.dcm")
    pixels = SimpleITK.GetArrayFromImage(image)
    assert np.unique(pixels).tolist() == [0, 255]
    return image.GetSize()[2], image.GetSpacing()[2], (pixels == 255).sum() * np.prod(image.GetSpacing())


for slices, right, expected in (
    ([3, 4, 5], (3, 3), (3, 3, 432)),
    ([1, 3, 5, 7], (7, 3), (4, 6, 1152)),
    ([2, 5], (4, 3), (2, 9, 864)),
):
    volume = write(slices)
    assert np.allclose(with_highdicom(), (*right, volume))
    assert np.allclose(with_dcmqi(), (*right, volume))
    found = with_simpleitk()
    print("slices", slices, "volume", volume, "SimpleITK: slices, distance, volume", [float(each) for each in found])
    assert np.allclose(found, expected), "the behaviour has changed"
PYTHON
