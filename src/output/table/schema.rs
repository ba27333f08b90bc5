//! The table's columns.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};

use super::geo;
use crate::config::{EmbeddingType, Output};
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
    /// Whether rows say where they lie on the Earth.
    pub geo: bool,
}

impl TableSpec {
    /// Describes the table of a model's rows.
    #[must_use]
    pub fn new(contract: &Contract, output: &Output, extra: Option<Fields>, geo: bool) -> Self {
        let classifier = contract.output.classifier.as_ref();
        Self {
            embedding_length: contract.output.embedding_length,
            embedding_type: output.embedding,
            classifier: classifier.is_some(),
            labels: classifier.and_then(|classifier| classifier.labels.clone()).map(Into::into),
            top_k: output.top_k,
            extra,
            geo,
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
///
/// A question mark: nullable.
#[must_use]
pub fn schema(spec: &TableSpec) -> SchemaRef {
    let geo = if spec.geo { geo::fields() } else { Vec::new() };
    let groups = [identity(), window(), outcome(), prediction(), embedding(spec), extra(spec), geo];
    Arc::new(Schema::new(groups.into_iter().flatten().collect::<Fields>()))
}

fn identity() -> Vec<Field> {
    vec![
        Field::new("tile_id", DataType::Utf8, false),
        Field::new("source", DataType::Utf8, false),
        Field::new("source_version", DataType::Utf8, true),
        Field::new("shard", DataType::Int32, false),
    ]
}

fn window() -> Vec<Field> {
    let mut fields =
        vec![Field::new("level", DataType::Int32, false), Field::new("frame", DataType::Int32, false)];
    fields.extend(["x", "y", "width", "height"].map(|name| Field::new(name, DataType::Int32, true)));
    fields
}

fn outcome() -> Vec<Field> {
    vec![
        Field::new("status", DataType::Utf8, false),
        Field::new("reason", DataType::Utf8, true),
        Field::new("detail", DataType::Utf8, true),
    ]
}

fn prediction() -> Vec<Field> {
    vec![
        Field::new("class_id", DataType::Int32, true),
        Field::new("label", DataType::Utf8, true),
        Field::new("score", DataType::Float32, true),
        Field::new("top_k", DataType::List(ranked_field()), true),
    ]
}

/// Returns the item of `top_k`. Lists call their item `element`, as Parquet prescribes
/// (`LogicalTypes.md`, Lists).
pub(super) fn ranked_field() -> FieldRef {
    Arc::new(Field::new("element", DataType::Struct(ranked_fields()), false))
}

/// Returns the members of one entry of `top_k`.
pub(super) fn ranked_fields() -> Fields {
    Fields::from(vec![
        Field::new("class_id", DataType::Int32, false),
        Field::new("label", DataType::Utf8, true),
        Field::new("score", DataType::Float32, false),
    ])
}

fn embedding(spec: &TableSpec) -> Vec<Field> {
    let element = Arc::new(Field::new("element", data_type(spec.embedding_type), false));
    let length =
        i32::try_from(spec.embedding_length).expect("embedding length fits, checked by the contract");
    vec![Field::new("embedding", DataType::FixedSizeList(element, length), true)]
}

fn data_type(kind: EmbeddingType) -> DataType {
    match kind {
        EmbeddingType::Float32 => DataType::Float32,
        EmbeddingType::Float16 => DataType::Float16,
    }
}

fn extra(spec: &TableSpec) -> Vec<Field> {
    let extra = spec.extra.iter();
    extra.map(|fields| Field::new("extra", DataType::Struct(fields.clone()), true)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> TableSpec {
        TableSpec {
            embedding_length: 2048,
            embedding_type: EmbeddingType::Float32,
            classifier: true,
            labels: None,
            top_k: 5,
            extra: None,
            geo: false,
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
