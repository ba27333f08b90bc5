//! Small items in the forms that public archives use, for tests.

use super::document::{Document, parse};
use super::item::Item;
use crate::input::storage::ObjectUri;

/// Makes an item with these properties and assets, at `https://archive.example/c/items/scene`.
pub(super) fn item(properties: &str, assets: &str) -> Item {
    in_collection("scenes", properties, assets)
}

/// The same in a collection of this name.
pub(super) fn in_collection(collection: &str, properties: &str, assets: &str) -> Item {
    let text = format!(
        r#"{{"type": "Feature", "stac_version": "1.0.0", "id": "scene", "collection": "{collection}",
            "bbox": [9.0, 49.0, 10.0, 50.0], "geometry": null, "links": [],
            "properties": {properties}, "assets": {assets}}}"#
    );
    let at = ObjectUri::parse("https://archive.example/c/items/scene").unwrap();
    match parse(text.as_bytes(), &at, 0).unwrap_or_else(|error| panic!("{}", error.render())) {
        Document::Item(item) => item.unwrap_or_else(|bad| panic!("{}", bad.why)),
        other => panic!("{other:?}"),
    }
}

/// Element 84's Earth Search, version 1, collection `sentinel-2-l2a`.
pub(super) fn earth_search(baseline: &str, applied: &str) -> Item {
    let band = |key: &str, common: &str, file: &str| {
        format!(
            r#""{key}": {{"href": "https://sentinel-cogs.s3.us-west-2.amazonaws.com/sentinel-s2-l2a-cogs/33/U/VP/{file}.tif",
                "type": "image/tiff; application=geotiff; profile=cloud-optimized", "roles": ["data", "reflectance"],
                "eo:bands": [{{"name": "{key}", "common_name": "{common}"}}],
                "raster:bands": [{{"nodata": 0, "data_type": "uint16", "spatial_resolution": 10, "scale": 0.0001, "offset": -0.1}}]}},
              "{key}-jp2": {{"href": "s3://sentinel-s2-l2a/tiles/33/U/VP/{file}.jp2", "type": "image/jp2", "roles": ["data", "reflectance"],
                "eo:bands": [{{"name": "{key}", "common_name": "{common}"}}],
                "raster:bands": [{{"nodata": 0, "data_type": "uint16", "spatial_resolution": 10, "scale": 0.0001, "offset": -0.1}}]}}"#
        )
    };
    let assets = format!(
        r#"{{{}, {}, {}, {},
            "visual": {{"href": "https://sentinel-cogs.s3.us-west-2.amazonaws.com/sentinel-s2-l2a-cogs/33/U/VP/TCI.tif",
                "type": "image/tiff; application=geotiff; profile=cloud-optimized", "roles": ["visual"],
                "eo:bands": [{{"name": "red", "common_name": "red"}}, {{"name": "green", "common_name": "green"}}, {{"name": "blue", "common_name": "blue"}}]}},
            "scl": {{"href": "https://sentinel-cogs.s3.us-west-2.amazonaws.com/sentinel-s2-l2a-cogs/33/U/VP/SCL.tif",
                "type": "image/tiff; application=geotiff; profile=cloud-optimized", "roles": ["data", "reflectance"],
                "raster:bands": [{{"nodata": 0, "data_type": "uint8", "spatial_resolution": 20}}]}},
            "thumbnail": {{"href": "https://sentinel-cogs.s3.us-west-2.amazonaws.com/sentinel-s2-l2a-cogs/33/U/VP/preview.jpg",
                "type": "image/jpeg", "roles": ["thumbnail"]}}}}"#,
        band("red", "red", "B04"),
        band("rededge1", "rededge", "B05"),
        band("rededge2", "rededge", "B06"),
        band("nir", "nir", "B08"),
    );
    let properties = format!(
        r#"{{"datetime": "2024-05-01T10:00:00Z", "platform": "sentinel-2a", "constellation": "sentinel-2",
            "eo:cloud_cover": 3.5, "s2:processing_baseline": "{baseline}", "earthsearch:boa_offset_applied": {applied}}}"#
    );
    in_collection("sentinel-2-l2a", &properties, &assets)
}

/// Microsoft's Planetary Computer, collection `sentinel-2-l2a`.
pub(super) fn planetary_computer(baseline: &str) -> Item {
    let folder = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/33/U/VP";
    let band = |key: &str, common: &str| {
        format!(
            r#""{key}": {{"href": "{folder}/{key}.tif", "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                "roles": ["data"], "gsd": 10.0, "eo:bands": [{{"name": "{key}", "common_name": "{common}"}}]}}"#
        )
    };
    let assets = format!(
        r#"{{{}, {}, {},
            "visual": {{"href": "{folder}/TCI.tif", "type": "image/tiff; application=geotiff; profile=cloud-optimized", "roles": ["data"],
                "eo:bands": [{{"name": "B04", "common_name": "red"}}, {{"name": "B03", "common_name": "green"}}, {{"name": "B02", "common_name": "blue"}}]}},
            "SCL": {{"href": "{folder}/SCL.tif", "type": "image/tiff; application=geotiff; profile=cloud-optimized", "roles": ["data"], "gsd": 20.0}},
            "tilejson": {{"href": "https://planetarycomputer.microsoft.com/api/data/v1/item/tilejson.json?collection=sentinel-2-l2a",
                "type": "application/json", "roles": ["tiles"]}}}}"#,
        band("B04", "red"),
        band("B05", "rededge"),
        band("B08", "nir"),
    );
    let properties = format!(
        r#"{{"datetime": "2024-05-01T10:00:00Z", "platform": "Sentinel-2B", "constellation": "Sentinel 2", "s2:processing_baseline": "{baseline}"}}"#
    );
    in_collection("sentinel-2-l2a", &properties, &assets)
}

/// The Copernicus Data Space Ecosystem, STAC 1.1, collection `sentinel-2-l2a`.
pub(super) fn copernicus(baseline: &str) -> Item {
    let asset = |key: &str, name: &str, common: &str, gsd: u32| {
        format!(
            r#""{key}": {{"href": "s3://eodata/Sentinel-2/MSI/L2A/IMG_DATA/{key}.jp2", "type": "image/jp2", "gsd": {gsd},
                "roles": ["data", "reflectance"], "data_type": "uint16", "nodata": 0, "raster:scale": 0.0001, "raster:offset": -0.1,
                "bands": [{{"name": "{name}", "eo:common_name": "{common}"}}]}}"#
        )
    };
    let assets = format!(
        r#"{{{}, {}, {}, "SCL_20m": {{"href": "s3://eodata/Sentinel-2/MSI/L2A/IMG_DATA/SCL_20m.jp2", "type": "image/jp2", "gsd": 20,
            "roles": ["data"], "data_type": "uint8"}}}}"#,
        asset("B04_10m", "B04", "red", 10),
        asset("B04_20m", "B04", "red", 20),
        asset("B05_20m", "B05", "rededge071", 20),
    );
    let properties = format!(
        r#"{{"datetime": "2024-05-01T10:00:00Z", "platform": "sentinel-2b", "constellation": "sentinel-2", "processing:version": "{baseline}"}}"#
    );
    in_collection("sentinel-2-l2a", &properties, &assets)
}
