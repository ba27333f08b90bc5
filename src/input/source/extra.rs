//! The manifest's additional columns as bytes, one row per source, and back again.

use std::sync::Arc;

use arrow::array::{ArrayRef, StructArray, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use arrow::row::{RowConverter, Rows, SortField};

use crate::vocabulary::error::{Error, Result};

/// Encodes rows of the additional columns as bytes, so that they can be sorted with their sources.
pub struct ExtraCodec {
    fields: Fields,
    converter: RowConverter,
}

impl ExtraCodec {
    /// Makes a codec for these columns; all of them become nullable.
    ///
    /// # Errors
    ///
    /// `Config` if a column's type is not supported.
    pub fn new(fields: &[FieldRef]) -> Result<Self> {
        let nullable = |field: &FieldRef| Arc::new(Field::new(field.name(), field.data_type().clone(), true));
        let fields: Fields = fields.iter().map(nullable).collect();
        for field in &fields {
            if !is_supported(field.data_type()) {
                return Err(Error::config(format!(
                    "the manifest's column `{}` has the type {}, which is not supported",
                    field.name(),
                    field.data_type()
                ))
                .hint("leave the column out, or convert it to text or numbers"));
            }
        }
        let sort_fields = fields.iter().map(|field| SortField::new(field.data_type().clone())).collect();
        let converter = RowConverter::new(sort_fields)
            .map_err(|cause| Error::bug("the manifest's columns cannot be encoded").because(cause))?;
        Ok(Self { fields, converter })
    }

    /// Returns the columns in their order; the children of the struct `extra`.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// Encodes columns of equal length, in the order of [`ExtraCodec::fields`], row by row.
    ///
    /// # Errors
    ///
    /// `Bug` if the columns are not those of this codec.
    pub fn encode(&self, columns: &[ArrayRef]) -> Result<Rows> {
        self.converter
            .convert_columns(columns)
            .map_err(|cause| Error::bug("a manifest's row cannot be encoded").because(cause))
    }

    /// Encodes rows of a table of sources, to be compared with others; `None` if they have other columns.
    #[must_use]
    pub fn encode_again(&self, extra: &StructArray) -> Option<Rows> {
        let names = |fields: &Fields| fields.iter().map(|field| field.name().clone()).collect::<Vec<_>>();
        if names(extra.fields()) != names(&self.fields) {
            return None;
        }
        let columns = extra.columns().iter().zip(&self.fields);
        let columns = columns.map(|(column, field)| {
            let is_same = column.data_type() == field.data_type();
            if is_same { Ok(column.clone()) } else { cast(column, field.data_type()) }
        });
        self.converter.convert_columns(&columns.collect::<std::result::Result<Vec<_>, _>>().ok()?).ok()
    }

    /// Decodes rows into one struct array; `None`, a source without a manifest row, becomes null.
    ///
    /// # Errors
    ///
    /// `Bug` if the bytes are not of this codec.
    pub fn decode(&self, rows: &[Option<&[u8]>]) -> Result<StructArray> {
        let wrong = |cause| Error::bug("a manifest's row cannot be decoded").because(cause);
        let nulls: Vec<ArrayRef> =
            self.fields.iter().map(|field| new_null_array(field.data_type(), 1)).collect();
        let absent = self.converter.convert_columns(&nulls).map_err(wrong)?;
        let parser = self.converter.parser();
        let parsed = rows.iter().map(|row| parser.parse(row.unwrap_or_else(|| absent.row(0).data())));
        let columns = self.converter.convert_rows(parsed).map_err(wrong)?;
        let present = rows.iter().map(Option::is_some).collect::<NullBuffer>();
        StructArray::try_new(self.fields.clone(), columns, Some(present)).map_err(wrong)
    }
}

/// Plain values, lists and structs: what every reader of Parquet understands.
fn is_supported(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            is_supported(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().all(|field| is_supported(field.data_type())),
        DataType::Interval(_) | DataType::Dictionary(..) => false,
        plain => !plain.is_nested(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::error::Kind;
    use arrow::array::{Array as _, Float64Array, Int64Array, StringArray};

    fn field(name: &str, data_type: DataType) -> FieldRef {
        Arc::new(Field::new(name, data_type, false))
    }

    #[test]
    fn rows_come_back_with_types_and_nulls() {
        let fields =
            [field("label", DataType::Utf8), field("id", DataType::Int64), field("score", DataType::Float64)];
        let codec = ExtraCodec::new(&fields).unwrap();
        let columns: [ArrayRef; 3] = [
            Arc::new(StringArray::from(vec![Some("a"), None, Some("ü")])),
            Arc::new(Int64Array::from(vec![Some(-1), Some(i64::MAX), None])),
            Arc::new(Float64Array::from(vec![0.5, f64::NAN, -0.0])),
        ];
        let rows = codec.encode(&columns).unwrap();
        let bytes: Vec<Vec<u8>> = rows.iter().map(|row| row.data().to_vec()).collect();
        let back = codec.decode(&[Some(&bytes[2]), None, Some(&bytes[0]), Some(&bytes[1])]).unwrap();
        assert_eq!(back.len(), 4);
        assert!(back.is_null(1) && back.is_valid(0));
        let labels = back.column(0).as_any().downcast_ref::<StringArray>().unwrap();
        assert_eq!((labels.value(0), labels.value(2), labels.is_null(3)), ("ü", "a", true));
        let ids = back.column(1).as_any().downcast_ref::<Int64Array>().unwrap();
        assert_eq!((ids.is_null(0), ids.value(2), ids.value(3)), (true, -1, i64::MAX));
        assert_eq!(codec.decode(&[]).unwrap().len(), 0);
    }

    #[test]
    fn equal_rows_have_equal_bytes() {
        let codec = ExtraCodec::new(&[field("label", DataType::Utf8)]).unwrap();
        let rows = codec.encode(&[Arc::new(StringArray::from(vec!["a", "a", "b"]))]).unwrap();
        assert_eq!(rows.row(0), rows.row(1));
        assert_ne!(rows.row(0), rows.row(2));
        let bytes: Vec<&[u8]> = rows.iter().map(|row| row.data()).collect();
        let again =
            codec.encode_again(&codec.decode(&[Some(bytes[2]), None, Some(bytes[0])]).unwrap()).unwrap();
        assert_eq!((again.row(0).data(), again.row(2).data()), (bytes[2], bytes[0]));
        let other = ExtraCodec::new(&[field("name", DataType::Utf8)]).unwrap();
        assert!(other.encode_again(&codec.decode(&[None]).unwrap()).is_none());
    }

    #[test]
    fn an_unsupported_type_names_its_column() {
        let entries = Field::new(
            "entries",
            DataType::Struct(Fields::from(vec![
                Field::new("keys", DataType::Utf8, false),
                Field::new("values", DataType::Utf8, true),
            ])),
            false,
        );
        let error = ExtraCodec::new(&[field("tags", DataType::Map(Arc::new(entries), false))]).err().unwrap();
        assert_eq!(error.kind(), Kind::Config);
        assert!(error.to_string().contains("`tags`"), "{error}");
    }
}
