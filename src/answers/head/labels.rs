//! The labels that people gave: a table with a key and a label, or a column of the manifest.

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::csv::ReaderBuilder;
use arrow::csv::reader::Format;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sha2::{Digest, Sha256};

use super::Split;
use crate::input::source::check_quotation;
use crate::input::storage::{ObjectUri, Storage, shown, shown_list};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::identity::Naming;
use crate::vocabulary::tile_id::TileId;

/// Labels are read as a whole; a larger file is refused.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// Names of the column that says what a tile is, in the order in which they are looked for.
const KEYS: [&str; 3] = ["tile_id", "source", "uri"];
/// Names of the columns that are taken out of a file.
const KEY: &str = "key";
const LABEL: &str = "label";
const SPLIT: &str = "split";
const GROUP: &str = "group";
const WELL_FORMED: &str = "labels are a Parquet file, or a CSV file with a header: a column `tile_id` or \
                           `source`, and a column `label`";

/// What to do about a column that is not there: each names no flag that was just given.
const NAME_KEY: &str =
    "rename the column with tile ids or sources to `tile_id` or `source`, or name it with --key";
const NAME_LABEL: &str = "rename the column with the labels to `label`, or name it with --label-column";
const OTHER_KEY: &str = "use one of these columns; without the flag, `tile_id`, `source` or `uri` is used";
const OTHER_COLUMN: &str = "use one of these columns";
const OTHER_GROUP: &str =
    "use one of these columns, `source`, `tile_id`, or a column of the manifest as `extra.COLUMN`";

/// Where labels come from.
#[derive(Clone, Debug)]
pub enum Labels {
    /// A file.
    File(LabelFile),
    /// A column of the manifest, which every row has in `extra`.
    Extra(String),
}

/// What a file of labels says.
#[derive(Clone, Debug)]
pub struct LabelFile {
    /// As given, for messages, if it may be shown.
    pub(super) name: String,
    /// Whether tiles are named by id; otherwise by the name of their source, as in the column `source`.
    pub(super) by_tile: bool,
    /// Number of each key in the lists below.
    pub(super) keys: HashMap<String, usize>,
    pub(super) labels: Vec<Given>,
    /// Rows without a label.
    pub(super) num_blank: u64,
    digest: String,
}

/// What is said of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) label: Arc<str>,
    pub(super) split: Option<Split>,
    /// In the column that groups tiles, if it is one of the file.
    pub(super) group: Option<Arc<str>>,
}

impl Labels {
    /// Says in the contract where labels come from.
    pub(super) fn origin(&self) -> String {
        match self {
            Self::File(file) => file.digest.clone(),
            Self::Extra(column) => format!("extra.{column}"),
        }
    }
}

impl LabelFile {
    /// Reads a file of labels, local or remote.
    ///
    /// - `label_column`: the column with labels, text or whole numbers; by default `label`
    /// - `key`: the column that says what is labelled: `tile_id`, or any other with sources; by default it is
    ///   looked for. Sources are URIs or paths; relative ones start at the file's folder, as in manifests.
    /// - `group`: the column with what tiles have in common, if it is one of the file
    ///
    /// # Errors
    ///
    /// `Config` if it is no such table or contradicts itself; as the store answers.
    pub async fn read(
        storage: &Storage,
        name: &str,
        label_column: Option<&str>,
        key: Option<&str>,
        group: Option<&str>,
    ) -> Result<Self> {
        let uri = storage.source(name)?;
        let object = storage.bucket(&uri).get(uri.key(), MAX_FILE_BYTES).await;
        let object = object.map_err(|fault| fault.into_error(&uri)).map_err(|error| {
            Error::new(error.kind(), format!("cannot read the labels {}", shown(name, uri.naming())))
                .because(error)
                .hint(WELL_FORMED)
        })?;
        let columns = Columns { name, naming: uri.naming(), label: label_column, key, group };
        Self::of_bytes(object.bytes, &uri.parent(), &columns)
    }

    /// - `folder`: where relative sources start; they are named as it is
    fn of_bytes(bytes: Bytes, folder: &ObjectUri, columns: &Columns<'_>) -> Result<Self> {
        let digest = hex::encode(Sha256::digest(&bytes));
        let tables = columns.tables(bytes)?;
        let mut file = Self {
            name: columns.shown(),
            by_tile: columns.key_of(&tables.schema)? == KEYS[0],
            keys: HashMap::new(),
            labels: Vec::new(),
            num_blank: 0,
            digest,
        };
        let mut first = 1;
        for table in &tables.batches {
            file.add(table, first, folder)?;
            first += table.num_rows() as u64;
        }
        Ok(file)
    }

    /// Adds rows of key, label and perhaps split and group, all text.
    fn add(&mut self, table: &RecordBatch, first: u64, folder: &ObjectUri) -> Result<()> {
        let text = |name: &str| table.column_by_name(name).map(AsArray::as_string::<i32>);
        let (Some(keys), Some(labels)) = (text(KEY), text(LABEL)) else { return Ok(()) };
        let (splits, groups) = (text(SPLIT), text(GROUP));
        for row in 0..table.num_rows() {
            let number = first + row as u64;
            let split = splits.map(|splits| self.split(field(splits, row), number)).transpose()?;
            let (Some(label), false) = (field(labels, row), split == Some(None)) else {
                self.num_blank += 1;
                continue;
            };
            let key = self.key(field(keys, row), number, folder)?;
            let group = groups.map(|groups| self.group(field(groups, row), number)).transpose()?;
            let given = Given { label: label.into(), split: split.flatten(), group };
            let at = *self.keys.entry(key).or_insert(self.labels.len());
            match self.labels.get(at) {
                None => self.labels.push(given),
                Some(before) if *before == given => {}
                Some(before) => {
                    return Err(Error::config(format!(
                        "row {number} of {} contradicts an earlier one: {} is labelled `{}` and `{label}`",
                        self.name,
                        shown(field(keys, row).unwrap_or_default(), folder.naming()),
                        before.label
                    ))
                    .hint("give one label per key, with one `split` and one group"));
                }
            }
        }
        Ok(())
    }

    fn key(&self, key: Option<&str>, number: u64, folder: &ObjectUri) -> Result<String> {
        let wrong = |what: &str| Error::config(format!("row {number} of {} {what}", self.name));
        let key = key.ok_or_else(|| wrong("has no tile or source").hint("name a tile or a source in it"))?;
        if !self.by_tile {
            return Ok(folder.resolve(key)?.identity().name().into_owned());
        }
        match key.parse::<TileId>() {
            Ok(_) => Ok(key.to_owned()),
            Err(cause) => Err(wrong(&format!("names the tile `{}`", shown(key, folder.naming())))
                .because(cause)
                .hint("ids are those of the column `tile_id`; sources go into a column `source`")),
        }
    }

    fn group(&self, group: Option<&str>, number: u64) -> Result<Arc<str>> {
        group.map(Arc::from).ok_or_else(|| no_group(&format!("row {number} of {}", self.name)))
    }

    /// `None` for a row that is left out.
    fn split(&self, split: Option<&str>, number: u64) -> Result<Option<Split>> {
        Split::parse(split).map_err(|other| wrong_split(other, &format!("row {number} of {}", self.name)))
    }
}

impl Split {
    /// Reads the word of a column `split`; `None` if it is empty: such a row is left out.
    pub(super) fn parse(word: Option<&str>) -> Result<Option<Self>, UnknownSplit<'_>> {
        match word {
            None => Ok(None),
            Some("train") => Ok(Some(Self::Train)),
            Some("test") => Ok(Some(Self::Test)),
            Some(other) => Err(UnknownSplit(other)),
        }
    }
}

/// A word that is no split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnknownSplit<'a>(&'a str);

pub(super) fn wrong_split(UnknownSplit(word): UnknownSplit<'_>, place: &str) -> Error {
    Error::config(format!("{place} has the split `{word}`"))
        .hint("`split` must be `train` or `test`; rows where it is empty are left out")
}

pub(super) fn no_group(place: &str) -> Error {
    Error::config(format!("{place} has a label but no group"))
        .hint("fill in the column of --group, or remove the label")
}

/// A text without white space around it; `None` for null or nothing.
pub(super) fn field(column: &StringArray, row: usize) -> Option<&str> {
    let text = column.is_valid(row).then(|| column.value(row).trim());
    text.filter(|text| !text.is_empty())
}

/// Turns a column of labels into text; `None` if it holds neither text nor whole numbers.
pub(super) fn as_text(column: &ArrayRef) -> Option<StringArray> {
    let plain = match column.data_type() {
        DataType::Dictionary(_, values) => values.as_ref(),
        other => other,
    };
    let is_label = plain.is_integer()
        || matches!(plain, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
        || matches!(plain, DataType::Boolean | DataType::Null);
    let text = is_label.then(|| cast(column, &DataType::Utf8))?.ok()?;
    Some(text.as_string::<i32>().clone())
}

/// The columns that are looked for in a file.
struct Columns<'a> {
    name: &'a str,
    naming: &'a Naming,
    /// By default `label`.
    label: Option<&'a str>,
    key: Option<&'a str>,
    group: Option<&'a str>,
}

/// Key, label and perhaps split and group, as text.
struct Tables {
    schema: Schema,
    batches: Vec<RecordBatch>,
}

impl Columns<'_> {
    fn shown(&self) -> String {
        shown(self.name, self.naming).into_owned()
    }

    fn tables(&self, bytes: Bytes) -> Result<Tables> {
        let extension = self.name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
        let unreadable = |cause| self.unreadable(cause);
        match extension.as_deref() {
            Some("csv") => {
                check_quotation(&bytes).map_err(unreadable)?;
                let schema = csv_schema(&bytes).map_err(unreadable)?;
                let places = self.places(&schema)?;
                let reader = ReaderBuilder::new(Arc::new(schema.clone())).with_header(true);
                let reader =
                    reader.with_projection(sorted(&places)).build(Cursor::new(bytes)).map_err(unreadable)?;
                self.collected(schema, &places, reader)
            }
            Some("parquet") => {
                let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)
                    .map_err(|cause| unreadable(cause.into()))?;
                let schema = builder.schema().as_ref().clone();
                let places = self.places(&schema)?;
                let mask = ProjectionMask::roots(builder.parquet_schema(), sorted(&places));
                let reader =
                    builder.with_projection(mask).build().map_err(|cause| unreadable(cause.into()))?;
                self.collected(schema, &places, reader)
            }
            _ => Err(Error::config(format!("the labels {} are neither .csv nor .parquet", self.shown()))
                .hint("the extension gives the format: rename or convert it")),
        }
    }

    /// Reads the columns at `places`, which come in the order of the file.
    fn collected(
        &self,
        schema: Schema,
        places: &[(&str, usize)],
        batches: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
    ) -> Result<Tables> {
        let mut texts = Vec::new();
        let in_order = sorted(places);
        for batch in batches {
            let batch = batch.map_err(|cause| self.unreadable(cause))?;
            let mut columns: Vec<(&str, ArrayRef)> = Vec::new();
            for (name, place) in places {
                let at = in_order.iter().position(|other| other == place).unwrap_or_default();
                let Some(text) = as_text(batch.column(at)) else {
                    return Err(self.no_text(schema.field(*place)));
                };
                columns.push((name, Arc::new(text)));
            }
            texts.push(RecordBatch::try_from_iter(columns).map_err(|cause| self.unreadable(cause))?);
        }
        Ok(Tables { schema, batches: texts })
    }

    fn unreadable(&self, cause: ArrowError) -> Error {
        Error::config(format!("cannot read the labels {}", self.shown()))
            .because(self.naming.cause(cause))
            .hint(WELL_FORMED)
    }

    /// Places of key, label and perhaps split and group.
    fn places(&self, schema: &Schema) -> Result<Vec<(&'static str, usize)>> {
        let place = |name: &str| schema.fields().iter().position(|field| field.name() == name);
        let key = self.key_of(schema)?;
        let missing = |name: &str, hint: &str| self.missing(&format!("`{name}`"), schema, hint);
        let key = place(key).ok_or_else(|| missing(key, OTHER_KEY))?;
        let (label, hint) = match self.label {
            Some(label) => (label, OTHER_COLUMN),
            None => (LABEL, NAME_LABEL),
        };
        let label = place(label).ok_or_else(|| missing(label, hint))?;
        let group =
            self.group.map(|name| place(name).ok_or_else(|| missing(name, OTHER_GROUP))).transpose()?;
        let places = [(KEY, Some(key)), (LABEL, Some(label)), (SPLIT, place(SPLIT)), (GROUP, group)];
        Ok(places.into_iter().filter_map(|(name, place)| Some((name, place?))).collect())
    }

    fn key_of<'s>(&'s self, schema: &Schema) -> Result<&'s str> {
        let has = |name: &&str| schema.fields().iter().any(|field| field.name() == name);
        self.key
            .or_else(|| KEYS.into_iter().find(has))
            .ok_or_else(|| self.missing("`tile_id` or `source`", schema, NAME_KEY))
    }

    fn missing(&self, what: &str, schema: &Schema, hint: &str) -> Error {
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let cause = if schema.fields().is_empty() {
            "the file is empty".to_owned()
        } else {
            format!("the columns are: {}", shown_list(names, self.naming))
        };
        Error::config(format!("the labels {} have no column {what}", self.shown())).because(cause).hint(hint)
    }

    fn no_text(&self, field: &Field) -> Error {
        let (name, data_type) = (shown(field.name(), self.naming), field.data_type().to_string());
        let data_type = self.naming.quote(&data_type);
        Error::config(format!("the column `{name}` of {} is {data_type}", self.shown()))
            .hint("keys are text; labels and groups are text or whole numbers")
    }
}

fn sorted(places: &[(&str, usize)]) -> Vec<usize> {
    let mut sorted: Vec<usize> = places.iter().map(|(_, place)| *place).collect();
    sorted.sort_unstable();
    sorted.dedup();
    sorted
}

/// All columns are text: a label `007` stays one.
fn csv_schema(bytes: &Bytes) -> Result<Schema, ArrowError> {
    let format = Format::default().with_header(true);
    let (header, _) = format.infer_schema(Cursor::new(bytes), Some(0))?;
    // Spreadsheets begin their files with a byte order mark.
    let name = |field: &Field| field.name().trim_start_matches('\u{feff}').trim().to_owned();
    let text = header.fields().iter().map(|field| Field::new(name(field), DataType::Utf8, true));
    Ok(Schema::new(text.collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use parquet::arrow::ArrowWriter;

    use super::*;
    use crate::vocabulary::keys::Keys;

    fn read(text: &str, label: &str, key: Option<&str>) -> Result<LabelFile> {
        read_named(text, label, key, &Naming::default())
    }

    fn read_named(text: &str, label: &str, key: Option<&str>, naming: &Naming) -> Result<LabelFile> {
        let folder = ObjectUri::parse_named("s3://b/lists", naming).unwrap();
        let columns = Columns { name: "s3://b/lists/l.csv", naming, label: Some(label), key, group: None };
        LabelFile::of_bytes(Bytes::from(text.to_owned()), &folder, &columns)
    }

    fn given(file: &LabelFile, key: &str) -> (String, Option<Split>) {
        let given = &file.labels[file.keys[key]];
        (given.label.to_string(), given.split)
    }

    #[test]
    fn sources_are_resolved_as_in_manifests_and_labels_stay_text() {
        let text = "\u{feff}note,source,label\nx,a.jpg,007\ny,s3://c/b.jpg, sea \nz,c.jpg,\nz,a.jpg,007\n";
        let file = read(text, "label", None).unwrap();
        assert_eq!((file.by_tile, file.keys.len(), file.num_blank), (false, 2, 1));
        assert_eq!(given(&file, "s3://b/lists/a.jpg"), ("007".to_owned(), None));
        assert_eq!(given(&file, "s3://c/b.jpg"), ("sea".to_owned(), None));
    }

    /// Rows of a table with pseudonyms have these in the column `source`.
    #[test]
    fn sources_are_matched_by_their_names_and_errors_say_no_more() {
        let naming = Keys::new(b"0123456789abcdef").unwrap().naming();
        let read = |text| read_named(text, "label", None, &naming);
        let file = read("source,label\nDoe.jpg,cat\n").unwrap();
        assert_eq!(file.keys.keys().collect::<Vec<_>>(), [&*naming.name("s3://b/lists/Doe.jpg")]);
        for text in [
            "source,label\nDoe,x\nDoe,y\n",
            "source,Doe\na,b\n",
            "Doe,label\na,b\n",
            "source,label\nDoe,\"x\n",
        ] {
            let message = read(text).unwrap_err().render();
            assert!(!message.contains("Doe") && !message.contains("l.csv"), "{message}");
        }
    }

    /// A header without a name is not an empty file.
    #[test]
    fn only_a_file_without_columns_is_empty() {
        let naming = &Naming::default();
        let columns = Columns { name: "l.csv", naming, label: None, key: None, group: None };
        let message = |fields: Vec<Field>| columns.missing("`label`", &Schema::new(fields), "").render();
        assert!(message(Vec::new()).contains("the file is empty"));
        assert!(message(vec![Field::new("", DataType::Utf8, true)]).contains("the columns are:"));
    }

    /// Rows behind a quotation mark that is not closed would be part of a label.
    #[test]
    fn a_cell_that_does_not_end_is_refused_with_its_line() {
        for (text, said) in [
            ("source,label\na,cat\nb,\"dog\nc,bird\n", "opens in line 3 is not closed"),
            ("source,label\na,\"cat\nb,\"dog\n", "of the cell that opens in line 2"),
        ] {
            let error = read(text, "label", None).unwrap_err();
            assert!(error.render().contains(said), "{}", error.render());
        }
    }

    #[test]
    fn a_group_is_a_column_of_its_own_or_one_that_is_read_anyway() {
        let folder = ObjectUri::parse("s3://b/lists").unwrap();
        let read = |text: &str, group| {
            let naming = &Naming::default();
            let columns = Columns { name: "l.csv", naming, label: None, key: None, group: Some(group) };
            LabelFile::of_bytes(Bytes::from(text.to_owned()), &folder, &columns)
        };
        let text = "patient,source,label\np1,a,x\n,b,\np2,c,y\n";
        let group =
            |file: &LabelFile, key: &str| file.labels[file.keys[key]].group.clone().unwrap().to_string();
        let file = read(text, "patient").unwrap();
        assert_eq!(group(&file, "s3://b/lists/c"), "p2");
        assert_eq!(group(&read(text, "label").unwrap(), "s3://b/lists/a"), "x");
        for (text, part) in [
            (text, "no column `site`"),
            ("site,source,label\n,a,x\n", "row 1 of l.csv has a label but no group"),
            ("site,source,label\n1,a,x\n2,a,x\n", "contradicts an earlier one"),
        ] {
            let message = read(text, "site").unwrap_err().render();
            assert!(message.contains(part) && message.contains("hint: "), "{message}");
        }
    }

    #[test]
    fn a_split_is_train_or_test_or_leaves_the_row_out() {
        let file = read("split,class,uri\ntrain,1,a\ntest,2,b\n,1,c\n", "class", Some("uri")).unwrap();
        assert_eq!(given(&file, "s3://b/lists/a"), ("1".to_owned(), Some(Split::Train)));
        assert_eq!(given(&file, "s3://b/lists/b"), ("2".to_owned(), Some(Split::Test)));
        assert_eq!((file.keys.len(), file.num_blank), (2, 1));
    }

    #[test]
    fn whole_numbers_of_parquet_are_labels_and_other_numbers_are_none() {
        let id = TileId::of("s3://b/a", 0, 0, None).to_string();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("label", Arc::new(Int64Array::from(vec![7]))),
            ("share", Arc::new(arrow::array::Float64Array::from(vec![0.5]))),
            ("tile_id", Arc::new(StringArray::from(vec![id.clone()]))),
        ];
        let table = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), table.schema(), None).unwrap();
        writer.write(&table).unwrap();
        let bytes = Bytes::from(writer.into_inner().unwrap());
        let folder = ObjectUri::parse("s3://b").unwrap();
        let (name, naming) = ("l.parquet", &Naming::default());
        let columns = |label| Columns { name, naming, label: Some(label), key: None, group: Some("label") };
        let read = |label| LabelFile::of_bytes(bytes.clone(), &folder, &columns(label));
        let file = read("label").unwrap();
        assert!(file.by_tile);
        assert_eq!(given(&file, &id), ("7".to_owned(), None));
        assert!(read("share").unwrap_err().to_string().contains("`share` of l.parquet is Float64"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_row() {
        for (text, part) in [
            ("path,label\na,b\n", "no column `tile_id` or `source`"),
            ("source,class\na,b\n", "no column `label`"),
            ("tile_id,label\n0123,b\n", "row 1 of s3://b/lists/l.csv names the tile `0123`"),
            ("source,label\na,x\n,y\n", "row 2 of s3://b/lists/l.csv has no tile or source"),
            ("source,label\na,x\na,y\n", "a is labelled `x` and `y`"),
            ("source,label,split\na,x,val\n", "has the split `val`"),
        ] {
            let error = read(text, "label", None).unwrap_err();
            assert_eq!(error.kind(), crate::vocabulary::error::Kind::Config);
            assert!(error.render().contains(part), "{}", error.render());
        }
    }
}
