//! Reads manifests: Parquet or CSV tables with a column `uri`.
//!
//! Works on local copies, record batch by record batch, and blocks. Parquet files say their types, those of CSV
//! files are found by [`super::csv`]. Rows and columns are bounded: a manifest may come from anywhere.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, RecordBatch};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::csv;
use super::extra::ExtraCodec;
use crate::input::storage::{ObjectUri, shown, shown_list};
use crate::vocabulary::error::{Error, Result};

/// Rows of one record batch of a Parquet file.
const BATCH_ROWS: usize = 2048;
/// The longest row, in bytes.
pub(super) const MAX_ROW_BYTES: u64 = 1 << 20;
/// Each column becomes one of the table's.
pub(super) const MAX_COLUMNS: usize = 1000;

const WELL_FORMED: &str =
    "a manifest is a Parquet file, or a CSV file with a header and as many fields in every row";

/// An opened manifest: its additional columns are known, its rows not read yet.
pub(super) struct Manifest {
    name: ObjectUri,
    uri_column: usize,
    extra_columns: Vec<usize>,
    num_left_out: usize,
    codec: Option<Arc<ExtraCodec>>,
    batches: Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>,
}

/// Some rows of a manifest.
pub(super) struct Rows {
    /// Number of the first row in the file, counted from 1, the header not counted.
    pub(super) first: u64,
    /// References as written.
    pub(super) uris: Vec<String>,
    /// The other columns, encoded; `None` if there are none.
    pub(super) extra: Vec<Option<Vec<u8>>>,
}

impl Manifest {
    /// Opens the copy of a manifest at `path`; `name` is its URI, for messages and its extension.
    ///
    /// Where names are secret, the additional columns are left out but for those named, since any of them may hold one.
    ///
    /// - `keep`: the columns that are kept; `None`: all, or none where names are secret
    ///
    /// # Errors
    ///
    /// `Config` if it is not a Parquet or CSV table, has no column `uri` or none that is to be kept, a column twice, or
    /// one of a type that is not supported.
    pub(super) fn open(path: &Path, name: &ObjectUri, keep: Option<&[String]>) -> Result<Self> {
        let file = File::open(path)
            .map_err(|cause| Error::unavailable(format!("cannot read the copy of {name}")).because(cause))?;
        let extension = Path::new(name.key()).extension().unwrap_or_default().to_ascii_lowercase();
        let unreadable = |cause: ArrowError| {
            Error::config(format!("cannot read the manifest {name}"))
                .because(name.naming().cause(cause))
                .hint(WELL_FORMED)
        };
        let (schema, batches) = if extension == "parquet" {
            open_parquet(file).map_err(unreadable)?
        } else if extension == "csv" {
            csv::open(file).map_err(unreadable)?
        } else {
            return Err(Error::config(format!("the manifest {name} is neither .parquet nor .csv"))
                .hint("the extension gives the format: rename or convert it"));
        };
        Self::with_schema(name, &schema, batches, keep)
    }

    fn with_schema(
        name: &ObjectUri,
        schema: &Schema,
        batches: Batches,
        keep: Option<&[String]>,
    ) -> Result<Self> {
        if schema.fields().len() > MAX_COLUMNS {
            let count = schema.fields().len();
            let many = format!("the manifest {name} has {count} columns, the maximum is {MAX_COLUMNS}");
            return Err(Error::config(many).hint("remove columns that the table does not need"));
        }
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let uri_column = names.iter().position(|column| *column == "uri").ok_or_else(|| {
            Error::config(format!("the manifest {name} has no column `uri`"))
                .because(format!("its columns are: {}", shown_list(names.iter().copied(), name.naming())))
                .hint("rename the column with the images' paths or URIs to `uri`")
        })?;
        if let Some(twice) = names.iter().enumerate().find(|(at, column)| names[..*at].contains(column)) {
            let column = shown(twice.1, name.naming());
            return Err(Error::config(format!("the manifest {name} has the column `{column}` twice"))
                .hint("rename or remove one of them"));
        }
        if !is_text(schema.field(uri_column).data_type()) {
            // The type of a struct has names in it.
            let data_type = schema.field(uri_column).data_type().to_string();
            let data_type = name.naming().quote(&data_type);
            return Err(Error::config(format!("the column `uri` of {name} is {data_type}, not text"))
                .hint("write it as text: one path or URI per row"));
        }
        let keep = keep.or(name.naming().is_secret().then_some(&[]));
        let is_kept = |column: &str| keep.is_none_or(|keep| keep.iter().any(|kept| kept == column));
        let is_extra = |column: &usize| *column != uri_column && is_kept(names[*column]);
        let extra_columns: Vec<usize> = (0..names.len()).filter(is_extra).collect();
        check_kept(name, &names, keep)?;
        let fields: Vec<FieldRef> =
            extra_columns.iter().map(|column| plain_field(schema.field(*column))).collect();
        let codec = if fields.is_empty() { None } else { Some(Arc::new(ExtraCodec::new(&fields)?)) };
        let num_left_out = names.len() - 1 - extra_columns.len();
        Ok(Self { name: name.clone(), uri_column, extra_columns, num_left_out, codec, batches })
    }

    /// Returns how many columns the table does not get.
    pub(super) fn num_left_out(&self) -> usize {
        self.num_left_out
    }

    /// Returns the codec of the other columns; `None` if there are none.
    pub(super) fn codec(&self) -> Option<Arc<ExtraCodec>> {
        self.codec.clone()
    }

    /// Reads all rows and hands them to `visit`, some thousand at a time.
    ///
    /// # Errors
    ///
    /// `Config` if the file is damaged or a row names no source; the message has the row's number.
    pub(super) fn read(mut self, visit: &mut dyn FnMut(Rows) -> ControlFlow<()>) -> Result<()> {
        let mut first = 1;
        while let Some(batch) = self.batches.next() {
            let batch = batch.map_err(|cause| {
                Error::config(format!("cannot read the manifest {} after row {}", self.name, first - 1))
                    .because(self.name.naming().cause(cause))
                    .hint(WELL_FORMED)
            })?;
            let rows = self.rows_of(&batch, first)?;
            first += batch.num_rows() as u64;
            if visit(rows).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn rows_of(&self, batch: &RecordBatch, first: u64) -> Result<Rows> {
        let wrong = |cause: ArrowError| {
            Error::config(format!("cannot read the manifest {}", self.name))
                .because(self.name.naming().cause(cause))
        };
        let column = cast(batch.column(self.uri_column), &DataType::Utf8).map_err(wrong)?;
        let mut uris = Vec::with_capacity(batch.num_rows());
        for (row, uri) in column.as_string::<i32>().iter().enumerate() {
            let uri = uri.map(str::trim).filter(|uri| !uri.is_empty());
            let empty = || {
                Error::config(format!("row {} of {} has no uri", first + row as u64, self.name))
                    .hint("remove the row, or name a source in it")
            };
            uris.push(uri.ok_or_else(empty)?.to_owned());
        }
        let extra = match &self.codec {
            None => vec![None; uris.len()],
            Some(codec) => {
                // What does not fit is an error, not null.
                let options = CastOptions { safe: false, ..CastOptions::default() };
                let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.extra_columns.len());
                for (column, field) in self.extra_columns.iter().zip(codec.fields()) {
                    let column = cast_with_options(batch.column(*column), field.data_type(), &options);
                    columns.push(column.map_err(wrong)?);
                }
                codec.encode(&columns)?.iter().map(|row| Some(row.data().to_vec())).collect()
            }
        };
        self.check_lengths(&uris, &extra, first)?;
        Ok(Rows { first, uris, extra })
    }

    fn check_lengths(&self, uris: &[String], extra: &[Option<Vec<u8>>], first: u64) -> Result<()> {
        let lengths =
            uris.iter().zip(extra).map(|(uri, extra)| uri.len() + extra.as_ref().map_or(0, Vec::len));
        // Encoded, a row is a little longer than it was.
        match (first..).zip(lengths).find(|(_, length)| *length as u64 > 2 * MAX_ROW_BYTES) {
            None => Ok(()),
            Some((row, _)) => Err(Error::config(format!("row {row} of {} is longer than 1 MiB", self.name))
                .hint("leave long text out of the manifest, or give its URI instead")),
        }
    }
}

/// A column that is misspelt would be left out without a word.
fn check_kept(name: &ObjectUri, names: &[&str], keep: Option<&[String]>) -> Result<()> {
    let is_missing = |kept: &&String| *kept == "uri" || !names.contains(&kept.as_str());
    let Some(missing) = keep.into_iter().flatten().find(is_missing) else { return Ok(()) };
    if missing == "uri" {
        return Err(Error::config("`privacy.keep_columns` has the column `uri`, which pseudonyms are to keep out")
            .hint("to join the table with your own, make the keys of your URIs: `tilefleet pseudonym --kind source`"));
    }
    Err(Error::config(format!("the manifest {name} has no column `{missing}`"))
        .hint("`privacy.keep_columns` names columns as they are written in the manifest"))
}

/// The rows of a manifest, as they are read.
pub(super) type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

fn open_parquet(file: File) -> Result<(SchemaRef, Batches), ArrowError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(BATCH_ROWS);
    let schema = Arc::clone(builder.schema());
    Ok((schema, Box::new(builder.build()?)))
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_text(values),
        other => matches!(other, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View),
    }
}

/// Dictionaries, views and nothing-but-null are storage forms; the rows hold plain values.
fn plain_field(field: &Field) -> FieldRef {
    let plain = match field.data_type() {
        DataType::Dictionary(_, values) => values.as_ref().clone(),
        other => other.clone(),
    };
    let plain = match plain {
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Null => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        other => as_in_parquet(&other),
    };
    Arc::new(Field::new(field.name(), plain, true))
}

/// Parquet has neither times in seconds nor days in milliseconds: readers would find bare integers.
fn as_in_parquet(data_type: &DataType) -> DataType {
    let within = |field: &FieldRef| -> FieldRef {
        Arc::new(Field::clone(field).with_data_type(as_in_parquet(field.data_type())))
    };
    match data_type {
        DataType::Timestamp(TimeUnit::Second, zone) => {
            DataType::Timestamp(TimeUnit::Millisecond, zone.clone())
        }
        DataType::Time32(TimeUnit::Second) => DataType::Time32(TimeUnit::Millisecond),
        DataType::Date64 => DataType::Date32,
        DataType::List(item) => DataType::List(within(item)),
        DataType::LargeList(item) => DataType::LargeList(within(item)),
        DataType::FixedSizeList(item, length) => DataType::FixedSizeList(within(item), *length),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(within).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::error::Kind;
    use crate::vocabulary::keys::Keys;
    use arrow::array::{DictionaryArray, Int32Array, StringArray};
    use arrow::datatypes::Int32Type;
    use parquet::arrow::ArrowWriter;

    type All = (Vec<String>, Option<Arc<ExtraCodec>>, Vec<Option<Vec<u8>>>);

    fn uri(text: &str) -> ObjectUri {
        ObjectUri::parse(text).unwrap()
    }

    fn csv(text: &str) -> Result<All> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copy");
        std::fs::write(&path, text).unwrap();
        all(Manifest::open(&path, &uri("s3://b/list.csv"), None)?)
    }

    #[test]
    fn only_columns_that_are_named_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copy");
        std::fs::write(&path, "uri,patient,age,sex\na.jpg,Doe,90,F\n").unwrap();
        let secret =
            ObjectUri::parse_named("s3://b/list.csv", &Keys::new(b"0123456789abcdef").unwrap().naming());
        let kept = |name: &ObjectUri, keep: Option<&[&str]>| {
            let keep: Option<Vec<String>> = keep.map(|keep| keep.iter().map(|&it| it.to_owned()).collect());
            let manifest = Manifest::open(&path, name, keep.as_deref())?;
            let names = |codec: Arc<ExtraCodec>| codec.fields().iter().map(|it| it.name().clone()).collect();
            Ok::<_, Error>((manifest.codec().map_or_else(Vec::new, names), manifest.num_left_out()))
        };
        let (plain, secret) = (uri("s3://b/list.csv"), secret.unwrap());
        let all = || ["patient", "age", "sex"].map(str::to_owned).to_vec();
        assert_eq!(kept(&plain, None).unwrap(), (all(), 0));
        assert_eq!(kept(&secret, None).unwrap(), (Vec::new(), 3));
        assert_eq!(kept(&secret, Some(&[])).unwrap(), (Vec::new(), 3));
        assert_eq!(kept(&secret, Some(&["sex", "age"])).unwrap(), (all()[1..].to_vec(), 1));
        for wrong in ["aeg", "uri"] {
            let error = kept(&secret, Some(&[wrong])).unwrap_err().render();
            assert!(
                error.contains(wrong) && !error.contains("list") && !error.contains("patient"),
                "{error}"
            );
        }
    }

    fn all(manifest: Manifest) -> Result<All> {
        let codec = manifest.codec();
        let (mut uris, mut extra) = (Vec::new(), Vec::new());
        manifest.read(&mut |rows| {
            uris.extend(rows.uris);
            extra.extend(rows.extra);
            ControlFlow::Continue(())
        })?;
        Ok((uris, codec, extra))
    }

    fn types(codec: &ExtraCodec) -> Vec<(String, String)> {
        codec.fields().iter().map(|field| (field.name().clone(), field.data_type().to_string())).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(name, data_type)| ((*name).to_owned(), (*data_type).to_owned())).collect()
    }

    #[test]
    fn csv_types_hold_for_the_whole_file_and_lose_nothing() {
        let text = "\u{feff}uri,label,count,code,share,day,none,big\n\
                    a.jpg,cat,1,007,0.5,2024-01-02,,1\n\
                    \"b,c.jpg\",,2,12,1.5,2024-01-03,,123456789012345678901234\n";
        let (uris, codec, extra) = csv(text).unwrap();
        assert_eq!(uris, ["a.jpg", "b,c.jpg"]);
        let codec = codec.unwrap();
        let expected = [
            ("label", "Utf8"),
            ("count", "Int64"),
            ("code", "Utf8"),
            ("share", "Float64"),
            ("day", "Date32"),
            ("none", "Utf8"),
            ("big", "Utf8"),
        ];
        assert_eq!(types(&codec), pairs(&expected));
        let rows: Vec<Option<&[u8]>> = extra.iter().map(Option::as_deref).collect();
        let decoded = codec.decode(&rows).unwrap();
        let text = |name: &str| decoded.column_by_name(name).unwrap().as_string::<i32>().clone();
        assert_eq!(text("code"), StringArray::from(vec!["007", "12"]));
        assert_eq!(text("label"), StringArray::from(vec![Some("cat"), None]));
        assert_eq!(text("big").value(1), "123456789012345678901234");
    }

    #[test]
    fn what_looks_like_numbers_or_days_stays_text() {
        for (cells, expected) in [
            (["12E3", "45E7"], ["12E3", "45E7"]),
            (["1.10", "1.20"], ["1.10", "1.20"]),
            (["4011-22-99", "4012-00-01"], ["4011-22-99", "4012-00-01"]),
        ] {
            let (_, codec, extra) = csv(&format!("uri,v\na,{}\nb,{}\n", cells[0], cells[1])).unwrap();
            let rows: Vec<Option<&[u8]>> = extra.iter().map(Option::as_deref).collect();
            let decoded = codec.unwrap().decode(&rows).unwrap();
            let values = decoded.column(0).as_string::<i32>();
            assert_eq!([values.value(0), values.value(1)], expected);
        }
    }

    #[test]
    fn wide_tables_and_long_rows_are_refused() {
        let columns: Vec<String> = (0..MAX_COLUMNS).map(|number| format!("c{number}")).collect();
        let error = csv(&format!("uri,{}\n", columns.join(","))).err().unwrap();
        assert!(error.render().contains("1001 columns, the maximum is 1000"), "{}", error.render());
        let error = csv(&format!("uri,v\na,b\nc,\"{}\"\n", "x".repeat(1 << 21))).err().unwrap();
        assert_eq!(error.kind(), Kind::Config);
        assert!(error.render().contains("row 2 is longer than 1 MiB"), "{}", error.render());
    }

    #[test]
    fn a_manifest_of_uris_alone_has_no_extra() {
        let (uris, codec, extra) = csv("uri\na\n b \n").unwrap();
        assert_eq!(
            (uris, codec.is_none(), extra),
            (vec!["a".to_owned(), "b".to_owned()], true, vec![None, None])
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_row() {
        for (text, part) in [
            ("url,label\na,b\n", "no column `uri`"),
            ("uri,label\na,x\n,y\n", "row 2 of s3://b/list.csv has no uri"),
            ("uri,label,label\na,b,c\n", "column `label` twice"),
            ("uri,label\na,b\nc\n", "line 3"),
            ("uri,label\na,b\nc,\"d\ne,f\n", "opens in line 3 is not closed"),
            ("uri,label\na,\"b\"c\n", "text follows the closing quotation mark in line 2"),
        ] {
            let error = csv(text).err().unwrap();
            assert_eq!(error.kind(), Kind::Config);
            assert!(error.render().contains(part), "{}", error.render());
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x"), "uri\n").unwrap();
        for name in ["list.txt", "list.parquet"] {
            assert_eq!(
                Manifest::open(&folder.path().join("x"), &uri(name), None).err().unwrap().kind(),
                Kind::Config
            );
        }
    }

    #[test]
    fn parquet_columns_keep_their_types() {
        let labels: DictionaryArray<Int32Type> = [Some("cat"), None, Some("cat")].into_iter().collect();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("label", Arc::new(labels)),
            ("uri", Arc::new(StringArray::from(vec!["a", "b", "c"]))),
            ("n", Arc::new(Int32Array::from(vec![1, 2, 3]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = ArrowWriter::try_new(file.reopen().unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let (uris, codec, extra) =
            all(Manifest::open(file.path(), &uri("list.parquet"), None).unwrap()).unwrap();
        assert_eq!(uris, ["a", "b", "c"]);
        let codec = codec.unwrap();
        assert_eq!(types(&codec), pairs(&[("label", "Utf8"), ("n", "Int32")]));
        assert_eq!(extra[0].as_ref().map(Vec::len), extra[2].as_ref().map(Vec::len));
    }
}
