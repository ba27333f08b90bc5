"""What rasterio, GeoPandas and DuckDB see of a run over scenes: the reference for `tests/it/windows.rs`.

Usage: windows_oracle.py crops TABLE OUT BAND...
       windows_oracle.py footprints TABLE SCENE
       windows_oracle.py readers TABLE
       windows_oracle.py maps TABLE CLASS SCORE SCENE
       windows_oracle.py make alpha|mask|float|clouds OUT
       windows_oracle.py make-valid FOLDER
       windows_oracle.py validity TABLE SCENE [NODATA]

`crops` cuts every window that has an embedding out of the files with rasterio, stacks the bands, and saves
it as OUT/TILE_ID.tif; windows of a level are read of that overview. BAND is FILE:NUMBER; a file with larger pixels than the first is repeated to its grid.
`footprints` compares geometry, bbox and centre of every row with rasterio's transform and pyproj, in degrees,
and prints the largest deviation. `readers` opens the table with GeoPandas and DuckDB spatial and prints,
as JSON, what each of them counts and what geoparquet-validator says. `maps` looks up the centre of every
window on the exported maps, has rio-cogeo validate both, and prints what is not as it should be. `make` writes
a scene whose valid pixels are easily got wrong, `make-valid` scenes with a mask, a nodata value and an alpha band, each
or not, and with overviews: MASK-NODATA-ALPHA.tif; `validity` prints the largest difference between a row's
valid_fraction and rasterio's mask under its window, in pixels of the level that it was cut from, of each source, and
which levels those are. SCENE may be a folder. Needs
rasterio, pyproj, pyarrow, GeoPandas, DuckDB with its extension, geoparquet-validator and rio-cogeo.
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

    found = rows(table)
    level = found[0]["level"]
    overview = {"overview_level": level - 1} if level else {}
    named = (band.rsplit(":", 1) for band in bands)
    files = [(rasterio.open(name, **overview), int(number)) for name, number in named]
    first = files[0][0]
    for row in found:
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
    import geoparquet_validator

    reports = [geoparquet_validator.check(name) for name in files]
    counted["failed"] = [test for report in reports for test in geoparquet_validator.failed(report)]
    counted["passed"] = sum(outcome["status"] == "pass" for outcome in reports[0]["outcomes"])
    print(json.dumps(counted))


def maps(table, class_map, score_map, scene):
    import rasterio
    from rio_cogeo import cog_validate

    problems = []
    for name in (class_map, score_map):
        valid, errors, warnings = cog_validate(name, quiet=True)
        problems += [f"{name}: {said}" for said in errors + warnings]
        problems += [] if valid else [f"{name} is no valid COG"]
    count, missing, expected = 0, [], {}
    with rasterio.open(class_map) as classes, rasterio.open(score_map) as scores, rasterio.open(scene) as source:
        for file in (classes, scores):
            if file.crs != source.crs:
                problems.append(f"{file.name}: {file.crs} instead of {source.crs}")
        class_ids, values = classes.read(1), scores.read(1)
        for row in rows(table):
            count += 1
            centre = source.transform @ (row["x"] + row["width"] / 2, row["y"] + row["height"] / 2)
            column, line = (~classes.transform) @ centre
            # Windows that were shifted inward lie nearer to their neighbour than to their own pixel's centre.
            shifted = row["x"] + row["width"] == source.width, row["y"] + row["height"] == source.height
            place = tuple(
                size - 1 if moved else int(np.floor(at))
                for at, moved, size in ((line, shifted[1], classes.height), (column, shifted[0], classes.width))
            )
            if not all(moved or abs(at % 1 - 0.5) < 1e-6 for at, moved in zip((column, line), shifted)):
                missing.append(f"the centre of {row['x']}, {row['y']} lies at {column}, {line}")
            expected[place] = (row["class_id"], row["score"])
        for place, (class_id, score) in expected.items():
            if class_ids[place] != (classes.nodata if class_id is None else class_id):
                missing.append(f"class at {place}: {class_ids[place]} instead of {class_id}")
            if not np.array_equal(values[place], np.float32(np.nan if score is None else score), equal_nan=True):
                missing.append(f"score at {place}: {values[place]} instead of {score}")
        if len(expected) != count or classes.shape != scores.shape:
            problems.append(f"{count} rows, {len(expected)} pixels")
        for factor in classes.overviews(1):
            if not set(np.unique(classes.read(1, out_shape=[-(-side // factor) for side in classes.shape]))) <= set(np.unique(class_ids)):
                problems.append("an overview has classes of its own")
    print(json.dumps({"rows": count, "problems": problems + missing[:5]}))


def make(kind, out):
    import rasterio
    from rasterio.enums import ColorInterp, Resampling
    from rasterio.transform import from_origin

    side = 256
    rng = np.random.default_rng(7)
    profile = dict(driver="GTiff", width=side, height=side, tiled=True, blockxsize=64, blockysize=64)
    profile |= dict(crs="EPSG:32633", transform=from_origin(500_000, 5_300_000, 10, 10))
    colours = rng.integers(1, 255, (3, side, side), dtype=np.uint8)
    if kind == "alpha":
        # Transparent above, with colours that are not the nodata value.
        alpha = np.full((1, side, side), 255, np.uint8)
        alpha[:, : side // 2 + 10] = 0
        with rasterio.open(out, "w", count=4, dtype="uint8", nodata=0, photometric="RGB", **profile) as file:
            file.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
            file.write(np.concatenate([colours, alpha]))
    elif kind == "mask":
        # Overviews first, so that the mask has none.
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            with rasterio.open(out, "w", count=3, dtype="uint8", photometric="RGB", **profile) as file:
                file.write(colours)
            with rasterio.open(out, "r+") as file:
                file.build_overviews([2], Resampling.nearest)
            with rasterio.open(out, "r+") as file:
                mask = np.full((side, side), 255, np.uint8)
                mask[:, : side // 2 + 4] = 0
                file.write_mask(mask)
    elif kind == "float":
        samples = rng.random((3, side, side), dtype=np.float32)
        samples[:, :, : side // 2 + 5] = np.float32(-9999.9)
        with rasterio.open(out, "w", count=3, dtype="float32", **profile) as file:
            file.write(samples)
    elif kind == "clouds":
        # Classes of the upper left quarter alone; all of it is cloud (9).
        profile |= dict(width=side // 4, height=side // 4, transform=from_origin(500_000, 5_300_000, 20, 20))
        with rasterio.open(out, "w", count=1, dtype="uint8", **profile) as file:
            file.write(np.full((1, side // 4, side // 4), 9, np.uint8))
    else:
        sys.exit(__doc__)


def make_valid(folder):
    for mask in ("none", "full", "half"):
        for nodata in ("none", "0"):
            for alpha in ("none", "half"):
                make_one_valid(mask, nodata, alpha, Path(folder) / f"{mask}-{nodata}-{alpha}.tif")


def make_one_valid(mask, nodata, alpha, out):
    import rasterio
    from rasterio.enums import ColorInterp, Resampling
    from rasterio.transform import from_origin

    side = 256
    colours = np.random.default_rng(7).integers(1, 255, (3, side, side), dtype=np.uint8)
    if mask == alpha == "none":
        # Nodata in all bands or none: what is valid in one of them is valid in all.
        colours[:, : side // 2 + 12, : side // 2] = 0
    else:
        # The nodata value among valid pixels.
        colours[0, ::2] = 0
    bands = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
    if alpha == "half":
        opacity = np.full((1, side, side), 255, np.uint8)
        opacity[:, :, : side // 2 + 20] = 0
        colours, bands = np.concatenate([colours, opacity]), [*bands, ColorInterp.alpha]
    profile = dict(driver="GTiff", width=side, height=side, tiled=True, blockxsize=64, blockysize=64)
    profile |= dict(crs="EPSG:32633", transform=from_origin(500_000, 5_300_000, 10, 10), photometric="RGB")
    profile |= dict(count=len(colours), dtype="uint8", nodata=None if nodata == "none" else float(nodata))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        with rasterio.open(out, "w", **profile) as file:
            file.colorinterp = bands
            file.write(colours)
            if mask != "none":
                valid = np.full((side, side), 255, np.uint8)
                if mask == "half":
                    valid[: side // 2 + 28] = 0
                file.write_mask(valid)
        with rasterio.open(out, "r+") as file:
            file.build_overviews([2, 4], Resampling.nearest)


def validity(table, scene, nodata=None):
    import rasterio
    from rasterio.windows import Window

    worst, count, levels = {}, 0, set()
    for row in rows(table):
        level = row["level"]
        levels.add(level)
        overview = {} if level == 0 else {"overview_level": level - 1}
        name = row["source"].rsplit("/", 1)[1]
        path = Path(scene) / name if Path(scene).is_dir() else scene
        window = Window(*(row[edge] for edge in ("x", "y", "width", "height")))
        with rasterio.open(path, **overview) as file:
            if nodata is None:
                valid = file.dataset_mask(window=window) > 0
            else:
                valid = (file.read(window=window) != np.float32(nodata)).all(0)
        worst[name] = max(worst.get(name, 0.0), abs(valid.mean() - row["valid_fraction"]))
        count += 1
    print(json.dumps({"worst": max(worst.values()), "of": worst, "rows": count, "levels": sorted(levels)}))


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    if command == "crops":
        crops(arguments[0], arguments[1], arguments[2:])
    elif command == "footprints":
        footprints(*arguments)
    elif command == "readers":
        readers(*arguments)
    elif command in ("maps", "make", "make-valid", "validity"):
        globals()[command.replace("-", "_")](*arguments)
    else:
        sys.exit(__doc__)
