//! The table's columns.

use std::sync::Arc;

use arrow::datatypes::{Fields, Schema, SchemaRef};

use super::groups::{ColumnGroup, domains_of, groups};
use crate::config::{EmbeddingType, Pipeline};
use crate::vocabulary::contract::Contract;

/// Version of the columns, as in the file metadata.
pub const SCHEMA_VERSION: &str = "1";

/// What one table looks like: one output, one schema.
#[derive(Clone, Debug)]
pub struct TableSpec {
    /// Number of floats of one embedding.
    pub embedding_length: usize,
    /// Element type of the embedding.
    pub embedding_type: EmbeddingType,
    /// Whether the model has a classifier. Without one the prediction columns exist and are null.
    pub classifier: bool,
    /// Class names in order of class id, where they are known.
    pub labels: Option<Arc<[String]>>,
    /// Number of classes kept in `top_k`.
    pub top_k: usize,
    /// The manifest's additional columns, where there are any.
    pub extra: Option<Fields>,
    /// The groups of columns that its kind of sources has beside those of every table.
    pub domains: Vec<Arc<dyn ColumnGroup>>,
}

impl TableSpec {
    /// Describes the table of a model's rows over the sources of a pipeline.
    #[must_use]
    pub fn new(contract: &Contract, pipeline: &Pipeline, extra: Option<Fields>) -> Self {
        let classifier = contract.output.classifier.as_ref();
        Self {
            embedding_length: contract.output.embedding_length,
            embedding_type: pipeline.output.embedding,
            classifier: classifier.is_some(),
            labels: classifier.and_then(|classifier| classifier.labels.clone()).map(Into::into),
            top_k: pipeline.output.top_k,
            extra,
            domains: domains_of(pipeline),
        }
    }
}

/// Returns the columns of a table, group by group.
///
/// Integers are signed and strings are `Utf8`, which every reader knows.
///
/// | group | columns |
/// |---|---|
/// | identity | `tile_id`, `source`, `source_version`?, `shard` |
/// | window | `level`, `frame`, `x`?, `y`?, `width`?, `height`? (null for `whole`) |
/// | outcome | `status` (`ok`, `skipped`, `rejected`), `reason`?, `detail`? |
/// | prediction | `class_id`?, `label`?, `score`?, `top_k`? |
/// | embedding | `embedding`? |
/// | extra | `extra`?, only if the manifest has additional columns |
/// | geo | `geometry`?, `bbox`?, `centre_lon`?, `centre_lat`?, `epsg`?, `datetime`?, `cell`?, `valid_fraction`?, `gsd`?, `cloud_fraction`?, only for windows of scenes |
/// | medical | `modality`?, `patient_key`?, … `may_be_burned_in`?, only for frames of DICOM objects |
/// | tags | `tags`?, only if `privacy.keep_tags` names attributes |
///
/// A question mark: nullable.
#[must_use]
pub fn schema(spec: &TableSpec) -> SchemaRef {
    let fields = groups(spec).into_iter().flat_map(|group| group.fields());
    Arc::new(Schema::new(fields.collect::<Fields>()))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};

    use super::*;

    fn spec() -> TableSpec {
        TableSpec {
            embedding_length: 2048,
            embedding_type: EmbeddingType::Float32,
            classifier: true,
            labels: None,
            top_k: 5,
            extra: None,
            domains: Vec::new(),
        }
    }

    #[test]
    fn columns_stand_in_the_order_of_their_groups() {
        let names: Vec<String> = schema(&spec()).fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(
            names.join(" "),
            "tile_id source source_version shard level frame x y width height status reason detail \
             class_id label score top_k embedding"
        );
    }

    #[test]
    fn a_headless_model_has_the_same_columns() {
        assert_eq!(schema(&TableSpec { classifier: false, ..spec() }), schema(&spec()));
    }

    #[test]
    fn extra_is_one_struct_and_only_there_on_request() {
        let columns = Fields::from(vec![Field::new("patient age", DataType::Int64, true)]);
        let schema = schema(&TableSpec { extra: Some(columns.clone()), ..spec() });
        assert_eq!(schema.field_with_name("extra").unwrap().data_type(), &DataType::Struct(columns));
    }

    #[test]
    fn embeddings_have_a_fixed_length_and_no_null_inside() {
        let schema = schema(&TableSpec { embedding_type: EmbeddingType::Float16, ..spec() });
        let field = schema.field_with_name("embedding").unwrap();
        assert!(field.is_nullable());
        let DataType::FixedSizeList(element, 2048) = field.data_type() else { panic!("{field}") };
        assert_eq!((element.data_type(), element.is_nullable()), (&DataType::Float16, false));
    }
}
