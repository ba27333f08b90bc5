//! Looks for what names a person in all that a run has left: names of files, their bytes, and the rows of tables.

use std::collections::BTreeSet;

use arrow::array::{Array, ArrayData};
use futures::TryStreamExt;

use crate::output::{Output, ParquetObject};
use crate::vocabulary::error::Result;

/// A search for words, whatever their case.
pub(super) struct Search {
    words: BTreeSet<String>,
    pub found: BTreeSet<String>,
    pub num_objects: u64,
    pub num_bytes: u64,
}

impl Search {
    /// Returns how many different words are looked for.
    pub(super) fn num_words(&self) -> u64 {
        self.words.len() as u64
    }

    /// Looks for these words in all objects of a place.
    ///
    /// # Errors
    ///
    /// As the store answers; `Config` if a table is damaged.
    pub(super) async fn through<'a>(place: &Output, words: impl Iterator<Item = &'a str>) -> Result<Self> {
        let words = words.map(str::to_lowercase).collect();
        let mut search = Self { words, found: BTreeSet::new(), num_objects: 0, num_bytes: 0 };
        let mut objects = place.list(place.uri.key());
        while let Some(object) = objects.try_next().await? {
            search.look_into(place, &object.key, object.size).await?;
        }
        Ok(search)
    }

    async fn look_into(&mut self, place: &Output, key: &str, num_bytes: u64) -> Result<()> {
        let bytes = place.bucket.get_range(key, 0, num_bytes).await.map_err(|fault| fault.into_error(key))?;
        self.num_objects += 1;
        self.num_bytes += num_bytes;
        self.look_at(key.as_bytes());
        self.look_at(&bytes);
        if !key.ends_with(".parquet") {
            return Ok(());
        }
        // Its pages are compressed: what they hold is seen in the rows alone.
        let Some(table) = ParquetObject::open(&place.bucket, key).await? else { return Ok(()) };
        let mut batches = table.stream()?;
        while let Some(batch) = batches.try_next().await? {
            batch.columns().iter().for_each(|column| self.look_at_column(&column.to_data()));
        }
        Ok(())
    }

    fn look_at_column(&mut self, column: &ArrayData) {
        column.buffers().iter().for_each(|buffer| self.look_at(buffer));
        column.child_data().iter().for_each(|child| self.look_at_column(child));
    }

    fn look_at(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes).to_lowercase();
        self.found.extend(self.words.iter().filter(|word| text.contains(*word)).cloned());
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    use arrow::array::{BinaryArray, RecordBatch, StringArray, StructArray};
    use arrow::datatypes::{DataType, Field};
    use parquet::arrow::ArrowWriter;
    use parquet::basic::{Compression, ZstdLevel};
    use parquet::file::properties::{EnabledStatistics, WriterProperties};

    use super::*;
    use crate::cli::block_on;
    use crate::input::storage::{ObjectUri, Storage, StorageOptions};
    use crate::vocabulary::process::Process;
    use crate::vocabulary::random::SplitMix64;

    const WORDS: [&str; 5] =
        ["named^in^a^name", "in some bytes", "in a row", "in a struct", "nowhere at all"];

    /// Returns a text among letters without order, whose codes are shorter than bytes: it is not seen once compressed.
    fn among_letters(text: &str) -> String {
        let mut random = SplitMix64(7);
        let letters: String = (0..4000).map(|_| char::from(b'a' + (random.next_u64() % 8) as u8)).collect();
        format!("{letters}{text}{letters}")
    }

    /// Writes a table whose pages are compressed, without statistics that would show a value.
    fn write_table(path: &Path) {
        let text = StringArray::from(vec![among_letters("IN A ROW")]);
        let member = BinaryArray::from(vec![among_letters("in a struct").as_bytes()]);
        let field = Arc::new(Field::new("member", DataType::Binary, false));
        let nested = StructArray::from(vec![(field, Arc::new(member) as _)]);
        let batch =
            RecordBatch::try_from_iter([("text", Arc::new(text) as _), ("nested", Arc::new(nested) as _)]);
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_statistics_enabled(EnabledStatistics::None);
        let (file, batch) = (fs::File::create(path).unwrap(), batch.unwrap());
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties.build())).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }

    #[test]
    fn words_are_found_in_names_bytes_and_rows() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("Named^in^a^name")).unwrap();
        fs::write(folder.path().join("Named^in^a^name/a"), b"\xFF\xFEIn Some Bytes\xFF").unwrap();
        let table = folder.path().join("table.parquet");
        write_table(&table);
        let bytes = String::from_utf8_lossy(&fs::read(&table).unwrap()).to_lowercase();
        assert!(!bytes.contains("in a row") && !bytes.contains("in a struct"), "the test shows nothing");
        let storage = Storage::new(StorageOptions::default()).unwrap();
        let uri = ObjectUri::parse(&folder.path().display().to_string()).unwrap();
        let output = Output::open(&storage, &uri, Process::real());
        let search = block_on(Search::through(&output, WORDS.into_iter())).unwrap();
        assert_eq!(search.found, WORDS[..4].iter().copied().map(str::to_owned).collect());
        assert_eq!((search.num_words(), search.num_objects), (5, 2));
    }
}
