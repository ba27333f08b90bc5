#!/usr/bin/env bash
# jHDF 0.13.0 (Maven io.jhdf:jhdf) reads 0 from chunks of an HDF5 dataset that were never written, whatever fill value
# the dataset states. It knows the value: getFillValue() gives it. HDF5 stores only chunks that were written, and the
# rest of the dataset is its fill value (HDF5 file format specification, IV.A.2.f).
#
# Seen, for 6 x 6 with chunks of 2 x 2, of which the first was written with 1 (h5py 3.16.0):
#                fill value   h5py   jHDF, getFillValue()   jHDF, getData()
#   float32      7.5          7.5    7.5                    0.0
#   float32      NaN          NaN    NaN                    0.0
#   uint8        255          255    255                    0
#   int16        -9999        -9999  -9999                  0
# A part of the dataset, asked for with offset and size, is 0 alike. Within the written chunk all is right. No error,
# no warning.
#
# Why a good guess is wrong: the library is pure Java and refuses what it does not know (scale-offset, new groups) by an
# exception; it reads the fill value, prints it, and gives it out. Files written as a whole have every chunk.
# Whom it bites: tables made in full size and filled by many workers: a slide's features where background was skipped
# (NaN), class maps (255), rasters of elevation (-9999), read by a Java viewer or job: tiles that nobody looked at have
# the features of something, class 0, sea level.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check h5py==3.16.0 numpy==2.4.6

cd "$folder"
cat > pom.xml <<'XML'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>finding</groupId>
  <artifactId>finding</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>io.jhdf</groupId>
      <artifactId>jhdf</artifactId>
      <version>0.13.0</version>
    </dependency>
  </dependencies>
</project>
XML
mvn --quiet --batch-mode -Dmaven.repo.local="$folder/maven" dependency:copy-dependencies -DoutputDirectory=lib

cat > Read.java <<'JAVA'
import io.jhdf.HdfFile;
import io.jhdf.api.Dataset;
import java.lang.reflect.Array;
import java.nio.file.Path;

class Read {
    public static void main(String[] names) {
        try (HdfFile file = new HdfFile(Path.of("grid.h5"))) {
            for (String name : names) {
                Dataset dataset = (Dataset) file.getByPath(name);
                Object whole = dataset.getData();
                Object part = dataset.getData(new long[] {4, 4}, new int[] {2, 2});
                System.out.println(name + " " + dataset.getFillValue() + " " + at(whole, 1, 1) + " " + at(whole, 0, 2)
                    + " " + at(whole, 5, 5) + " " + at(part, 1, 1));
            }
        }
    }

    static Object at(Object rows, int row, int column) {
        return Array.get(Array.get(rows, row), column);
    }
}
JAVA

"$folder/venv/bin/python" - <<'PYTHON'
import math
import subprocess

import h5py
import numpy as np

fills = {"plain": ("f4", 7.5), "nan": ("f4", math.nan), "classes": ("u1", 255), "heights": ("i2", -9999)}
with h5py.File("grid.h5", "w") as file:
    for name, (dtype, fill) in fills.items():
        dataset = file.create_dataset(name, (6, 6), dtype, chunks=(2, 2), fillvalue=fill)
        dataset[:2, :2] = 1
        assert np.array_equal(dataset[2:], np.full((4, 6), fill, dtype), equal_nan=dtype == "f4")

command = ["java", "-cp", "lib/*", "Read.java", *fills]
said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
for line, (name, (dtype, fill)) in zip(said.splitlines(), fills.items(), strict=True):
    word, stated, written, *unwritten = line.split()
    print(f"{name}: fill value {stated}, a written 1: {written}, never written: {unwritten}")
    assert word == name and float(written) == 1
    assert np.array_equal(float(stated), fill, equal_nan=True), "the behaviour has changed"
    assert [float(value) for value in unwritten] == [0, 0, 0], "the behaviour has changed"
PYTHON
