//! What `GeoParquet` says about an answer that has our outlines.

use std::collections::BTreeSet;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};

use crate::output::table::{describe_geometry, geometry_type};

/// The outlines of an answer, as far as it is written.
pub struct Outlines {
    /// Whether each value of the column `geometry` so far is one of ours.
    ours: bool,
    has_boxes: bool,
    types: BTreeSet<&'static str>,
}

impl Outlines {
    /// Looks for the columns `geometry` and `bbox` as the tables have them.
    pub(super) fn of(schema: &Schema) -> Self {
        let kind = |name: &str| schema.field_with_name(name).ok().map(Field::data_type);
        let edges = ["xmin", "ymin", "xmax", "ymax"];
        let has_boxes = match kind("bbox") {
            Some(DataType::Struct(fields)) => edges.iter().all(|edge| fields.find(edge).is_some()),
            _ => false,
        };
        Self { ours: kind("geometry") == Some(&DataType::Binary), has_boxes, types: BTreeSet::new() }
    }

    /// Looks at further rows.
    pub(super) fn add(&mut self, batch: &RecordBatch) {
        if !self.ours {
            return;
        }
        for outline in batch["geometry"].as_binary::<i32>().iter().flatten() {
            match geometry_type(outline) {
                Some(kind) => _ = self.types.insert(kind),
                None => self.ours = false,
            }
        }
    }

    /// Returns what the file is to say; `None` if it has no outlines of ours.
    pub(super) fn metadata(&self) -> Option<String> {
        let types: Vec<&str> = self.types.iter().copied().collect();
        self.ours.then(|| describe_geometry(&types, self.has_boxes, None))
    }
}
