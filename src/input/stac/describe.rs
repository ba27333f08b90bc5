//! A run as a STAC Collection, with an Item for each file of its rows and one for its model.
//!
//! ```text
//! collection.json          what the run is, where and when its tiles are
//! items/shard-00000042.json  one file of rows: asset `embeddings`
//! model.json               the model, as an MLM Item
//! ```
//!
//! Plain data goes in, JSON comes out: nothing is read or written here.
//!
//! # Reference
//!
//! STAC 1.0.0; the Embedding proposal 0.0.1 (<https://github.com/geo-embeddings/embeddings-stac-specification>),
//! whose schema is bound to STAC 1.0.0; Table 1.2.0; File 2.1.0; Processing 1.2.0. The proposal names no key of a
//! Parquet file's metadata.

use serde_json::{Map, Value, json};

use super::item::Bbox;
use super::time;
use crate::vocabulary::contract::Contract;
use crate::vocabulary::contract::mlm;
use crate::vocabulary::error::{Error, Result};

const EMBEDDINGS: &str = "https://stac-extensions.github.io/embeddings/v0.0.1/schema.json";
const TABLE: &str = "https://stac-extensions.github.io/table/v1.2.0/schema.json";
const FILE: &str = "https://stac-extensions.github.io/file/v2.1.0/schema.json";
const PROCESSING: &str = "https://stac-extensions.github.io/processing/v1.2.0/schema.json";
const PARQUET: &str = "application/vnd.apache.parquet";

/// What a catalogue says of a run.
#[derive(Clone, Debug)]
pub struct RunDescription {
    /// Its id.
    pub run: String,
    /// What it is, for people.
    pub description: String,
    /// SPDX identifier of the embeddings' licence; `other` where nobody has said.
    pub license: String,
    /// When it was planned, in microseconds since 1970, UTC.
    pub created: i64,
    /// Version of the tool.
    pub tool_version: String,
    /// What the model expects and yields.
    pub contract: Contract,
    /// SHA-256 of the ONNX file, in hex.
    pub model_digest: String,
    /// Where the ONNX file is to be had, as seen from `model.json`.
    pub model_href: String,
    /// Type of the embeddings' numbers, `float32` or `float16`.
    pub data_type: String,
    /// The columns of the table.
    pub columns: Vec<Column>,
    /// What the tiles were cut from: collections, or the run's own table of sources.
    pub sources: Vec<Source>,
    /// Size of a pixel on the ground, in metres.
    pub gsd: Option<f64>,
    /// How tiles were cut.
    pub layout: Option<ChipLayout>,
    /// The files of rows.
    pub shards: Vec<Shard>,
}

/// A column of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, in Arrow's words.
    pub data_type: String,
}

/// Where images came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The address, absolute or as seen from `collection.json`.
    pub href: String,
    /// Its media type.
    pub media_type: String,
    /// What it is, for people.
    pub title: String,
}

/// How tiles were cut, in pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChipLayout {
    /// Height and width of a tile.
    pub size: [u32; 2],
    /// From one tile's origin to the next, down and across.
    pub stride: [u32; 2],
    /// Name of the grid that tiles of different scenes share, where there is one.
    pub grid: Option<String>,
}

/// One file of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Shard {
    /// Its name without extension, such as `shard-00000042`.
    pub name: String,
    /// Its address, absolute or as seen from `items/`.
    pub href: String,
    /// Number of rows.
    pub num_rows: u64,
    /// Size in bytes.
    pub num_bytes: u64,
    /// What its tiles cover; `None` if no row says where it lies.
    pub bbox: Option<Bbox>,
    /// When its images were taken, first and last; `None` if no row says.
    pub times: Option<(i64, i64)>,
}

/// A file of the catalogue.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Its path below the catalogue's folder.
    pub path: String,
    /// Its content.
    pub json: Value,
}

/// Describes a run; the Collection comes last, so that whoever finds it finds all that it links to.
///
/// # Errors
///
/// `Config` if no row of the run says where on the Earth it lies.
pub fn describe(run: &RunDescription) -> Result<Vec<Document>> {
    let boxes: Vec<Bbox> = run.shards.iter().filter_map(|shard| shard.bbox).collect();
    let Some(extent) = union(&boxes) else {
        return Err(Error::config(format!("run {} cannot be described in STAC", run.run))
            .because("none of its rows has a geometry")
            .hint("STAC is for georeferenced scenes, not for plain images"));
    };
    let mut documents: Vec<Document> = run.shards.iter().map(|shard| item(run, shard)).collect();
    let created = time::format(run.created);
    documents.push(Document {
        path: "model.json".to_owned(),
        json: mlm::item(&run.contract, &run.model_digest, &run.model_href, &created),
    });
    documents.push(Document { path: "collection.json".to_owned(), json: collection(run, extent) });
    Ok(documents)
}

fn collection(run: &RunDescription, extent: Bbox) -> Value {
    let mut links = vec![
        link("root", "./collection.json", "application/json", &run.run),
        link("emb:model", "./model.json", "application/geo+json", &run.contract.name),
    ];
    links.extend(
        run.sources
            .iter()
            .map(|source| link("emb:source-data", &source.href, &source.media_type, &source.title)),
    );
    let item = |shard: &Shard| {
        link("item", &format!("./items/{}.json", shard.name), "application/geo+json", &shard.name)
    };
    links.extend(run.shards.iter().map(item));
    let times = run.shards.iter().filter_map(|shard| shard.times);
    let interval = times.reduce(|(first, last), (start, end)| (first.min(start), last.max(end)));
    // STAC wants at least one end.
    let interval = interval.map_or_else(
        || [Value::Null, time::format(run.created).into()],
        |(first, last)| [time::format(first).into(), time::format(last).into()],
    );
    let mut collection = json!({
        "type": "Collection", "stac_version": "1.0.0", "stac_extensions": [EMBEDDINGS, TABLE], "id": run.run,
        "description": run.description, "license": run.license, "keywords": ["embeddings", run.contract.name],
        "extent": {"spatial": {"bbox": [extent.numbers()]}, "temporal": {"interval": [interval]}},
        "emb:type": "chip", "emb:dimensions": run.contract.output.embedding_length, "data_type": run.data_type,
        "table:columns": columns(run),
        "item_assets": {"embeddings": {"type": PARQUET, "roles": ["data"], "title": "Rows of one shard"}},
        "links": links,
    });
    if let Some(gsd) = run.gsd {
        collection["gsd"] = gsd.into();
    }
    if let Some(layout) = &run.layout {
        collection["emb:chip_layout"] = chip_layout(layout);
    }
    collection
}

fn chip_layout(layout: &ChipLayout) -> Value {
    let kind = if layout.grid.is_some() { "named_grid" } else { "regular_grid" };
    let mut json = json!({"layout_type": kind, "chip_size": layout.size, "stride": layout.stride});
    if let Some(grid) = &layout.grid {
        json["grid_id"] = grid.as_str().into();
    }
    json
}

fn item(run: &RunDescription, shard: &Shard) -> Document {
    let created = time::format(run.created);
    let mut properties = json!({
        "created": created, "processing:datetime": created, "processing:software": {"tilefleet": run.tool_version},
        "table:columns": columns(run), "table:row_count": shard.num_rows,
        "emb:runtime_parameters": {
            "bands": run.contract.input.bands, "contract": run.contract.name, "model_digest": run.model_digest,
        },
    });
    match shard.times {
        Some((first, last)) if first == last => properties["datetime"] = time::format(first).into(),
        Some((first, last)) => {
            properties["datetime"] = Value::Null;
            properties["start_datetime"] = time::format(first).into();
            properties["end_datetime"] = time::format(last).into();
        }
        None => {
            properties["datetime"] = created.into();
            properties["description"] =
                "No row has an acquisition time: `datetime` is the time when the run was planned.".into();
        }
    }
    let mut json = Map::new();
    if let Some(bbox) = shard.bbox {
        properties["table:primary_geometry"] = "geometry".into();
        json.insert("bbox".to_owned(), json!(bbox.numbers()));
    }
    let whole = json!({
        "type": "Feature", "stac_version": "1.0.0", "stac_extensions": [EMBEDDINGS, TABLE, FILE, PROCESSING],
        "id": shard.name, "collection": run.run, "geometry": shard.bbox.map(|bbox| footprint(&bbox)),
        "properties": properties,
        "links": [
            link("root", "../collection.json", "application/json", &run.run),
            link("parent", "../collection.json", "application/json", &run.run),
            link("collection", "../collection.json", "application/json", &run.run),
        ],
        "assets": {"embeddings": {
            "href": shard.href, "type": PARQUET, "roles": ["data"], "title": "Rows of the shard",
            "file:size": shard.num_bytes,
        }},
    });
    if let Value::Object(fields) = whole {
        json.extend(fields);
    }
    Document { path: format!("items/{}.json", shard.name), json: json.into() }
}

fn columns(run: &RunDescription) -> Vec<Value> {
    run.columns.iter().map(|column| json!({"name": column.name, "type": column.data_type})).collect()
}

fn link(rel: &str, href: &str, media_type: &str, title: &str) -> Value {
    json!({"rel": rel, "href": href, "type": media_type, "title": title})
}

/// A polygon, or two at the antimeridian (RFC 7946, 3.1.9).
fn footprint(bbox: &Bbox) -> Value {
    let ring = |west: f64, east: f64| {
        let (south, north) = (bbox.south, bbox.north);
        json!([[[west, south], [east, south], [east, north], [west, north], [west, south]]])
    };
    if bbox.west <= bbox.east {
        return json!({"type": "Polygon", "coordinates": ring(bbox.west, bbox.east)});
    }
    json!({"type": "MultiPolygon", "coordinates": [ring(bbox.west, 180.0), ring(-180.0, bbox.east)]})
}

/// The box of all boxes; all longitudes if one crosses the antimeridian and others lie elsewhere.
fn union(boxes: &[Bbox]) -> Option<Bbox> {
    let first = *boxes.first()?;
    let south = boxes.iter().map(|bbox| bbox.south).fold(first.south, f64::min);
    let north = boxes.iter().map(|bbox| bbox.north).fold(first.north, f64::max);
    let crosses = |bbox: &Bbox| bbox.west > bbox.east;
    let west = boxes.iter().map(|bbox| bbox.west).fold(first.west, f64::min);
    let east = boxes.iter().map(|bbox| bbox.east).fold(first.east, f64::max);
    let (west, east) = match (boxes.iter().all(crosses), boxes.iter().any(crosses)) {
        (false, true) => (-180.0, 180.0),
        _ => (west, east),
    };
    Some(Bbox { west, south, east, north })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bbox(numbers: [f64; 4]) -> Bbox {
        Bbox::of(&numbers).unwrap()
    }

    fn run() -> RunDescription {
        let contract = Contract::load(
            &tilefleet_testing::project().join("contracts/satlas-sentinel2-resnet152-si-ms.contract.toml"),
        )
        .unwrap();
        let shard = |number: usize, bbox, times| Shard {
            name: format!("shard-{number:08}"),
            href: format!("../../tiles/run=s2-0a1b2c3d-0001/shard-{number:08}.parquet"),
            num_rows: 4096,
            num_bytes: 34_000_000,
            bbox,
            times,
        };
        let may = time::parse("2024-05-01T10:00:00Z").unwrap();
        RunDescription {
            run: "s2-0a1b2c3d-0001".to_owned(),
            description: "Embeddings of Sentinel-2".to_owned(),
            license: "other".to_owned(),
            created: may + 86_400_000_000,
            tool_version: "0.1.0".to_owned(),
            contract,
            model_digest: "00ff".to_owned(),
            model_href: "satlas.onnx".to_owned(),
            data_type: "float32".to_owned(),
            columns: vec![
                Column { name: "tile_id".to_owned(), data_type: "Utf8".to_owned() },
                Column { name: "geometry".to_owned(), data_type: "Binary".to_owned() },
            ],
            sources: vec![Source {
                href: "../_tilefleet/s2-0a1b2c3d-0001/sources.parquet".to_owned(),
                media_type: PARQUET.to_owned(),
                title: "Sources of the run".to_owned(),
            }],
            gsd: Some(10.0),
            layout: Some(ChipLayout { size: [512, 512], stride: [512, 512], grid: None }),
            shards: vec![
                shard(0, Some(bbox([9.0, 49.0, 10.0, 50.0])), Some((may, may))),
                shard(1, Some(bbox([10.0, 48.0, 11.0, 49.5])), Some((may, may + 5_000_000))),
                shard(2, None, None),
                shard(3, Some(bbox([179.0, 48.0, -179.0, 49.5])), Some((may, may))),
            ],
        }
    }

    #[test]
    fn extents_and_times_are_those_of_the_shards() {
        let documents = describe(&run()).unwrap();
        assert_eq!((documents.len(), documents[5].path.as_str()), (6, "collection.json"));
        let json = |path: &str| &documents.iter().find(|document| document.path == path).unwrap().json;
        let collection = json("collection.json");
        assert_eq!(collection["extent"]["spatial"]["bbox"], json!([[-180.0, 48.0, 180.0, 50.0]]));
        let interval = json!([["2024-05-01T10:00:00Z", "2024-05-01T10:00:05Z"]]);
        assert_eq!(collection["extent"]["temporal"]["interval"], interval);
        assert_eq!(json("items/shard-00000001.json")["properties"]["end_datetime"], "2024-05-01T10:00:05Z");
        let nowhere = json("items/shard-00000002.json");
        assert!(nowhere["geometry"].is_null() && nowhere.get("bbox").is_none());
        assert_eq!(json("items/shard-00000003.json")["geometry"]["type"], "MultiPolygon");
        let both = union(&[bbox([170.0, 0.0, -170.0, 1.0]), bbox([175.0, 0.0, -160.0, 1.0])]);
        assert_eq!(both, Some(bbox([170.0, 0.0, -160.0, 1.0])));
        let plain = RunDescription { shards: run().shards.split_off(2)[..1].to_vec(), ..run() };
        assert!(describe(&plain).unwrap_err().render().contains("none of its rows has a geometry"));
    }
}
