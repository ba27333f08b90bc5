"""What rasterio, GeoPandas and DuckDB see of a run over scenes: the reference for `tests/it/windows.rs`.

Usage: windows_oracle.py crops TABLE OUT BAND...
       windows_oracle.py footprints TABLE SCENE
       windows_oracle.py readers TABLE

`crops` cuts every window that has an embedding out of the files with rasterio, stacks the bands, and saves
it as OUT/TILE_ID.tif. BAND is FILE:NUMBER; a file with larger pixels than the first is repeated to its grid.
`footprints` compares geometry, bbox and centre of every row with rasterio's transform and pyproj, in degrees,
and prints the largest deviation. `readers` opens the table with GeoPandas and DuckDB spatial and prints,
as JSON, what each of them counts. Needs rasterio, pyproj, pyarrow, GeoPandas and DuckDB with its extension.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds


def rows(table):
    return ds.dataset(table, format="parquet", partitioning="hive").to_table().to_pylist()


def crops(table, out, bands):
    import rasterio
    from rasterio.windows import Window

    files = [(rasterio.open(name), int(number)) for name, number in (band.rsplit(":", 1) for band in bands)]
    first = files[0][0]
    for row in rows(table):
        if row["status"] != "ok":
            continue
        stack = []
        for file, number in files:
            times = round(file.res[0] / first.res[0])
            x, y = (round(row["x"] / times), round(row["y"] / times))
            window = Window(x, y, row["width"] // times, row["height"] // times)
            band = file.read(number, window=window)
            stack.append(band.repeat(times, 0).repeat(times, 1))
        samples = np.stack(stack)
        profile = dict(driver="GTiff", count=len(stack), dtype=samples.dtype, interleave="pixel")
        if len(stack) == 3:
            profile["photometric"] = "RGB"
        height, width = samples.shape[1:]
        with rasterio.open(Path(out) / f"{row['tile_id']}.tif", "w", height=height, width=width, **profile) as file:
            file.write(samples)


def footprints(table, scene):
    import pyproj
    import rasterio
    import shapely

    with rasterio.open(scene) as file:
        transform = file.transform
        to_degrees = pyproj.Transformer.from_crs(file.crs, "OGC:CRS84", always_xy=True)
    worst, count = 0.0, 0
    for row in rows(table):
        left, top, right, bottom = row["x"], row["y"], row["x"] + row["width"], row["y"] + row["height"]
        corners = [transform @ corner for corner in ((left, top), (left, bottom), (right, bottom), (right, top))]
        corners = np.array([to_degrees.transform(*corner) for corner in corners])
        outline = np.array(shapely.from_wkb(row["geometry"]).exterior.coords)
        worst = max(worst, *(np.abs(outline - corner).max(1).min() for corner in corners))
        centre = to_degrees.transform(*(transform @ ((left + right) / 2, (top + bottom) / 2)))
        worst = max(worst, abs(centre[0] - row["centre_lon"]), abs(centre[1] - row["centre_lat"]))
        bbox = [row["bbox"][edge] for edge in ("xmin", "ymin", "xmax", "ymax")]
        worst = max(worst, np.abs(np.array(bbox) - [*outline.min(0), *outline.max(0)]).max())
        count += 1
    print(json.dumps({"worst": worst, "rows": count}))


def readers(table):
    import duckdb
    import geopandas

    files = sorted(str(path) for path in Path(table).rglob("*.parquet"))
    frame = geopandas.read_parquet(files[0])
    counted = {
        "crs": frame.crs.to_string(),
        "geopandas": int(frame.geometry.notna().sum()),
        "valid": bool(frame.geometry.dropna().is_valid.all()),
        "bounds": list(frame.total_bounds),
    }
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    import duckdb_extension_spatial

    folder = Path(duckdb_extension_spatial.__file__).parent
    extension = next(folder.rglob("spatial.duckdb_extension"))
    connection.execute(f"LOAD '{extension}'")
    found = connection.execute(
        f"SELECT count(geometry), min(ST_XMin(geometry)), max(ST_YMax(geometry)) FROM read_parquet({files!r})"
    ).fetchone()
    counted["duckdb"] = found[0]
    counted["duckdb_corner"] = found[1:]
    print(json.dumps(counted))


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    if command == "crops":
        crops(arguments[0], arguments[1], arguments[2:])
    elif command == "footprints":
        footprints(*arguments)
    elif command == "readers":
        readers(*arguments)
    else:
        sys.exit(__doc__)
