//! Files of whoever asks, as tables of one query.
//!
//! Parquet files are read as far as the query needs them, CSV files as a whole when they are opened. A column
//! of a CSV file keeps its text unless every cell reads back as it is written, as in manifests.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path as FilePath;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::error::DataFusionError;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::prelude::SessionContext;
use object_store::ObjectMeta;
use object_store::path::Path;

use super::frozen::Frozen;
use crate::input::source::open_csv;
use crate::input::storage::{Bucket, ObjectUri, Storage, path_of_key};
use crate::vocabulary::error::{Error, Result};

/// A CSV file is held in memory; a larger one had better be Parquet.
const MAX_CSV_BYTES: u64 = 1 << 30;
const FORM: &str = "write `--table NAME=FILE`, such as `--table labels=labels.csv`";

/// A file that a query calls by a name.
#[derive(Clone, Debug)]
pub struct Given {
    name: String,
    file: ObjectUri,
    kind: FileKind,
}

#[derive(Clone, Copy, Debug)]
enum FileKind {
    Csv,
    Parquet,
}

impl Given {
    /// Reads `NAME=FILE`; the file is a path or a URI, `.csv` or `.parquet`.
    ///
    /// # Errors
    ///
    /// `Usage` if it says something else.
    pub fn parse(text: &str) -> Result<Self> {
        let Some((name, file)) = text.split_once('=') else {
            return Err(Error::usage(format!("`{text}` gives a table no name")).hint(FORM));
        };
        let is_word = |name: &str| {
            name.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_')
                && name.starts_with(|first: char| first.is_ascii_lowercase())
        };
        if !is_word(name) {
            return Err(Error::usage(format!("`{name}` cannot be the name of a table"))
                .because("names have lower-case letters, digits and `_`, and begin with a letter")
                .hint(FORM));
        }
        let file = ObjectUri::parse(file)?;
        let extension = FilePath::new(file.key()).extension().unwrap_or_default().to_ascii_lowercase();
        let kind = match extension.to_str() {
            Some("csv") => FileKind::Csv,
            Some("parquet" | "geoparquet") => FileKind::Parquet,
            _ => {
                return Err(Error::usage(format!("{file} is neither .csv nor .parquet"))
                    .hint("the extension gives the format: rename or convert it"));
            }
        };
        Ok(Self { name: name.to_owned(), file, kind })
    }

    /// Makes the table known.
    ///
    /// # Errors
    ///
    /// `Usage` if the name is taken; `Config` if the file is no such table; as the store answers.
    pub(super) async fn register(&self, context: &SessionContext, storage: &Storage) -> Result<()> {
        if context.table_exist(&self.name).unwrap_or(true) {
            return Err(Error::usage(format!("there is a table `{}` already", self.name))
                .hint("give the file another name: `--table NAME=FILE`"));
        }
        let bucket = storage.bucket(&self.file);
        let table = match self.kind {
            FileKind::Csv => self.csv(&bucket).await?,
            FileKind::Parquet => self.parquet(&bucket, context).await?,
        };
        context.register_table(self.name.as_str(), table).map_err(|cause| self.unreadable(cause))?;
        Ok(())
    }

    fn unreadable(&self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::config(format!("cannot read the table {}", self.file))
            .because(cause)
            .hint("a table is a Parquet file, or a CSV file with a header and as many fields in every row")
    }

    async fn csv(&self, bucket: &Bucket) -> Result<Arc<dyn TableProvider>> {
        let unusable = |cause| Error::unavailable("cannot write a copy of the table").because(cause);
        let size =
            bucket.head(self.file.key()).await.map_err(|fault| fault.into_error(&self.file))?.known_size();
        if let Some(size) = size.filter(|size| *size > MAX_CSV_BYTES) {
            return Err(Error::usage(format!("{} is too large for a CSV file in a query", self.file))
                .because(format!("it has {size} bytes, the maximum is {MAX_CSV_BYTES}"))
                .hint("convert it to Parquet, which is read in parts"));
        }
        let copy = tempfile::NamedTempFile::new().map_err(unusable)?;
        let downloaded = bucket.download(self.file.key(), copy.path()).await;
        downloaded.map_err(|fault| fault.into_error(&self.file))?;
        let file = File::open(copy.path()).map_err(unusable)?;
        let (schema, batches) = open_csv(file).map_err(|cause| self.unreadable(cause))?;
        if schema.fields().is_empty() {
            return Err(self.unreadable("it is empty"));
        }
        let batches = batches.collect::<std::result::Result<Vec<RecordBatch>, _>>();
        let batches = batches.map_err(|cause| self.unreadable(cause))?;
        Ok(Arc::new(MemTable::try_new(schema, vec![batches]).map_err(|cause| self.unreadable(cause))?))
    }

    async fn parquet(&self, bucket: &Bucket, context: &SessionContext) -> Result<Arc<dyn TableProvider>> {
        let root = format!("tilefleet://table-{}", self.name.replace('_', "-"));
        let store = ObjectStoreUrl::parse(&root).map_err(|cause| self.unreadable(cause))?;
        let folder = bucket.folder(self.file.parent().key()).await?;
        let file = Frozen::of_one(folder, self.found(bucket).await?);
        context.register_object_store(store.as_ref(), Arc::new(file));
        let options = ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension("");
        let table = async {
            let place = ListingTableUrl::parse(format!("{root}/"))?;
            let config = ListingTableConfig::new(place).with_listing_options(options);
            ListingTable::try_new(config.infer_schema(&context.state()).await?)
        };
        let table = table.await.map_err(|cause: DataFusionError| match super::fault(&cause) {
            error if is_away(&cause) => error,
            _ => self.unreadable(cause.strip_backtrace()),
        })?;
        Ok(Arc::new(table))
    }

    /// Looks for the file; its location is its name within its folder.
    async fn found(&self, bucket: &Bucket) -> Result<ObjectMeta> {
        let found = bucket.head(self.file.key()).await.map_err(|fault| fault.into_error(&self.file))?;
        let Some(size) = found.known_size() else {
            return Err(self.unreadable("its server does not say how large it is"));
        };
        let key = self.file.key();
        let name = key.rsplit_once('/').map_or(key, |(_, name)| name);
        let path = path_of_key(name);
        let name =
            if self.file.scheme().is_local() { path.file_name().and_then(OsStr::to_str) } else { Some(name) };
        let name = name.ok_or_else(|| self.unreadable("its name is not UTF-8"))?;
        let location = Path::parse(name).map_err(|cause| self.unreadable(cause))?;
        Ok(ObjectMeta { location, last_modified: found.modified.into(), size, e_tag: None, version: None })
    }
}

/// Tells whether a store did not answer, in contrast to an answer that is not a table.
fn is_away(cause: &DataFusionError) -> bool {
    matches!(cause.find_root(), DataFusionError::ObjectStore(_) | DataFusionError::IoError(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_a_name_and_a_file() {
        for (text, said) in [
            ("labels.csv", "gives a table no name"),
            ("=labels.csv", "cannot be the name of a table"),
            ("My=labels.csv", "cannot be the name of a table"),
            ("a b=labels.csv", "cannot be the name of a table"),
            ("1=labels.csv", "cannot be the name of a table"),
            ("labels=labels.txt", "neither .csv nor .parquet"),
            ("labels=ftp://x/labels.csv", "the scheme `ftp`"),
        ] {
            let error = Given::parse(text).unwrap_err();
            assert!(error.to_string().contains(said), "{text}: {error}");
        }
        let given = Given::parse("labels_2=s3://b/a=c/labels.CSV").unwrap();
        assert_eq!((given.name.as_str(), given.file.for_reading()), ("labels_2", "s3://b/a=c/labels.CSV"));
    }
}
