//! A table that is not a shard as one Parquet file in memory, with the checksums that shards have.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowRowGroupWriterFactory, ArrowWriterOptions, compute_leaves};
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;

use super::checksum::{self, KeptPages};
use super::file::{checksum_pair, no_leaf};

/// Writes a file, a row group a batch; the same bytes for the same input. See [`checksum`].
pub struct SummedFile {
    schema: SchemaRef,
    file: SerializedFileWriter<Vec<u8>>,
    factory: ArrowRowGroupWriterFactory,
    pages: Arc<KeptPages>,
}

impl SummedFile {
    /// Begins a file.
    ///
    /// # Errors
    ///
    /// If Parquet has no such schema.
    pub fn new(schema: SchemaRef, properties: WriterProperties) -> ParquetResult<Self> {
        let pages = Arc::new(KeptPages::default());
        let options =
            ArrowWriterOptions::new()
                .with_properties(properties)
                .with_page_store_factory(Arc::<KeptPages>::clone(&pages));
        let writer = ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&schema), options)?;
        let (file, factory) = writer.into_serialized_writer()?;
        Ok(Self { schema, file, factory, pages })
    }

    /// Appends a row group.
    ///
    /// # Errors
    ///
    /// If the rows are not of the schema.
    pub fn write(&mut self, rows: &RecordBatch) -> ParquetResult<()> {
        let writers = self.factory.create_column_writers(self.file.flushed_row_groups().len())?;
        let mut writers = writers.into_iter().enumerate();
        let mut group = self.file.next_row_group()?;
        for (field, column) in self.schema.fields().iter().zip(rows.columns()) {
            for leaf in compute_leaves(field, column)? {
                let (number, mut writer) = writers.next().ok_or_else(no_leaf)?;
                writer.write(&leaf)?;
                let (bytes, close) = self.pages.summed(number, writer.close()?.close())?;
                group.append_column(&bytes, close)?;
            }
        }
        group.close().map(drop)
    }

    /// Ends the file; `metadata` is known only then.
    ///
    /// # Errors
    ///
    /// If the footer cannot be written.
    pub fn finish(mut self, metadata: Vec<(String, String)>) -> ParquetResult<Bytes> {
        for (key, value) in metadata.into_iter().chain([checksum_pair()]) {
            self.file.append_key_value_metadata(KeyValue::new(key, value));
        }
        let mut file = self.file.into_inner()?;
        checksum::seal(&mut file, &[])?;
        Ok(Bytes::from(file))
    }
}
