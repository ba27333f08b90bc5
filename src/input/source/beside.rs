//! Other files beside images in a folder.
//!
//! A listing has only names. What is known to be no image by its ending is left out where a folder is searched;
//! anything else stays, whatever it turns out to be. Who names a file, or an ending in a pattern, means it.

use std::collections::BTreeMap;
use std::fmt;

use crate::vocabulary::words::counted;

/// Maximum number of kinds that a message names.
const MAX_KINDS: usize = 8;

/// Endings of what is known to be no image: world files and projections, what GDAL and archives put beside a
/// scene, text, tables, vectors, sums, headers that Orthanc keeps beside a DICOM object.
#[rustfmt::skip]
const ENDINGS: [&str; 75] = [
    "tfw", "tifw", "tiffw", "jgw", "jpgw", "jpegw", "pgw", "pngw", "gfw", "bpw", "wld", "prj",
    "ovr", "msk", "xml", "imd", "rpb", "rpc", "eph", "att", "til", "met", "mtl", "tab", "points",
    "txt", "md", "rst", "log", "pdf", "doc", "docx", "rtf", "html", "htm", "css",
    "json", "geojson", "jsonl", "ndjson", "csv", "tsv", "parquet", "geoparquet", "arrow", "feather", "xls", "xlsx",
    "yaml", "yml", "toml", "ini", "cfg", "py", "ipynb", "sh",
    "shp", "shx", "dbf", "sbn", "sbx", "cpg", "qix", "qpj", "gpkg", "kml", "qgz", "qml", "sld", "lyrx",
    "md5", "sha1", "sha256", "crc",
    "head",
];

/// Whole names of the same kind, without an ending.
#[rustfmt::skip]
const NAMES: [&str; 11] = [
    "readme", "license", "licence", "copying", "changelog", "makefile", "_success", "md5sums", "sha256sums", "thumbs.db",
    "dicomdir",
];

/// Says what kind of file a key is the name of, if that is not an image: its ending, or the whole name.
fn kind_of(key: &str) -> Option<String> {
    let name = key.rsplit('/').next().unwrap_or(key).to_ascii_lowercase();
    if NAMES.contains(&name.as_str()) {
        return Some(name);
    }
    let ending = name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map(|(_, ending)| ending)?;
    ENDINGS.contains(&ending).then(|| format!(".{ending}"))
}

/// What was left out, by kind.
#[derive(Default)]
pub(super) struct Beside {
    kinds: BTreeMap<String, u64>,
}

impl Beside {
    /// Counts an object if its name says that it is not an image; returns whether it does.
    pub(super) fn takes(&mut self, key: &str) -> bool {
        let kind = kind_of(key);
        let is_beside = kind.is_some();
        if let Some(kind) = kind {
            *self.kinds.entry(kind).or_default() += 1;
        }
        is_beside
    }

    /// Returns how many there were.
    pub(super) fn count(&self) -> u64 {
        self.kinds.values().sum()
    }

    /// Says what to do about documents and tables that may have been meant.
    pub(super) fn advice(&self) -> &'static str {
        let has = |kinds: &[&str]| kinds.iter().any(|kind| self.kinds.contains_key(*kind));
        if has(&[".json", ".geojson"]) {
            "; STAC items are named by a pattern, such as FOLDER/*.json"
        } else if has(&[".csv", ".parquet"]) {
            "; give a table of images as input.manifest"
        } else {
            ""
        }
    }
}

impl fmt::Display for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds: Vec<(&String, &u64)> = self.kinds.iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let shown: Vec<String> =
            kinds.iter().take(MAX_KINDS).map(|(kind, count)| format!("{count} {kind}")).collect();
        f.write_str(&shown.join(", "))?;
        let left: u64 = kinds.iter().skip(MAX_KINDS).map(|(_, count)| **count).sum();
        if left > 0 { write!(f, ", {}", counted(left, "other")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_is_no_image() {
        let mut beside = Beside::default();
        for key in ["x/a.tfw", "a.TIF.aux.xml", "README", "b.README.md", "x.y/LICENSE", "a.tif.ovr", "i.json"]
        {
            assert!(beside.takes(key), "{key}");
        }
        for key in ["a.tif", "a", "a.jp2", "a.xyz", "readme/a.png", "json", ".txt", "a.json/b", "a.json.gz"] {
            assert!(!beside.takes(key), "{key}");
        }
        assert_eq!(beside.count(), 7);
        assert_eq!(beside.to_string(), "1 .json, 1 .md, 1 .ovr, 1 .tfw, 1 .xml, 1 license, 1 readme");
        assert!(beside.advice().contains("*.json"));
    }
}
