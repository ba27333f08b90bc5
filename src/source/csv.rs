//! Reads CSV manifests, and tables beside an output: first how long rows are, then which columns are numbers or times, then the rows.
//!
//! A column keeps its text unless every cell of it reads back as it is written: whole numbers (`7`, not `007`),
//! decimals as Python writes them (`0.5` and `1e-05`, neither `1.10` nor `12E3`), `true` and `false` in one
//! spelling, days, and times in one form without an offset other than zero. So the same file always has the same
//! types, and no identifier becomes a number.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, RecordBatch};
use arrow::compute::kernels::cast_utils::{Parser as _, string_to_datetime};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::csv::ReaderBuilder;
use arrow::csv::reader::{BufReader as CsvReader, Format};
use arrow::datatypes::{DataType, Date32Type, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use chrono::Utc;

use super::manifest::{Batches, MAX_COLUMNS, MAX_ROW_BYTES};

/// Rows of one record batch at most, and their bytes, about; bounds what is in memory at a time.
const BATCH_ROWS: u64 = 2048;
const BATCH_BYTES: u64 = 16 << 20;

/// Opens a table, its types known.
pub(crate) fn open(mut file: File) -> Result<(SchemaRef, Batches), ArrowError> {
    let longest = longest_row(&file)?;
    file.rewind()?;
    let (header, _) = Format::default().with_header(true).infer_schema(BufReader::new(&file), Some(0))?;
    if header.fields().len() > MAX_COLUMNS {
        let count = header.fields().len();
        return Err(ArrowError::CsvError(format!("it has {count} columns, the most are {MAX_COLUMNS}")));
    }
    let batch_rows = (BATCH_BYTES / longest.max(1)).clamp(1, BATCH_ROWS) as usize;
    let as_text = |field: &Arc<Field>| Field::new(name_of(field), DataType::Utf8, true);
    let text = Arc::new(Schema::new(header.fields().iter().map(as_text).collect::<Vec<_>>()));
    file.rewind()?;
    let types = types_of(&text, text_reader(&text, batch_rows, file.try_clone()?)?)?;
    let typed =
        |(field, data_type): (&Arc<Field>, &DataType)| Field::new(field.name(), data_type.clone(), true);
    let schema = Arc::new(Schema::new(text.fields().iter().zip(&types).map(typed).collect::<Vec<_>>()));
    file.rewind()?;
    let rows = text_reader(&text, batch_rows, file)?;
    let target = schema.clone();
    Ok((schema, Box::new(rows.map(move |batch| with_types(&batch?, &target)))))
}

/// Spreadsheets begin their files with a byte order mark.
fn name_of(field: &Field) -> &str {
    field.name().trim_start_matches('\u{feff}').trim()
}

fn text_reader(
    text: &SchemaRef,
    batch_rows: usize,
    file: File,
) -> Result<CsvReader<BufReader<File>>, ArrowError> {
    let reader = ReaderBuilder::new(text.clone()).with_header(true).with_batch_size(batch_rows);
    reader.build_buffered(BufReader::new(file))
}

fn with_types(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| cast_with_options(column, field.data_type(), &options));
    RecordBatch::try_new(schema.clone(), columns.collect::<Result<Vec<ArrayRef>, _>>()?)
}

fn types_of(
    text: &SchemaRef,
    rows: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
) -> Result<Vec<DataType>, ArrowError> {
    let mut columns = vec![Column::default(); text.fields().len()];
    for batch in rows {
        for (column, cells) in columns.iter_mut().zip(batch?.columns()) {
            cells.as_string::<i32>().iter().flatten().for_each(|cell| column.add(cell));
        }
    }
    let data_type = |(column, field): (&Column, &Arc<Field>)| match field.name().as_str() {
        "uri" => DataType::Utf8,
        _ => column.data_type(),
    };
    Ok(columns.iter().zip(text.fields()).map(data_type).collect())
}

/// Returns the bytes of the longest row; a row is what the reader holds in memory to its end.
fn longest_row(file: &File) -> Result<u64, ArrowError> {
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let (mut state, mut row, mut length, mut longest) = (State::Start, 0_u64, 0_u64, 0_u64);
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(longest);
        }
        for byte in bytes {
            let ends = state.step(*byte);
            length = if ends { 0 } else { length + 1 };
            row += u64::from(ends);
            longest = longest.max(length);
            if length > MAX_ROW_BYTES {
                return Err(too_long(row));
            }
        }
        let count = bytes.len();
        reader.consume(count);
    }
}

fn too_long(row: u64) -> ArrowError {
    ArrowError::CsvError(format!(
        "row {row} is longer than {} MiB: is a quotation mark not closed?",
        MAX_ROW_BYTES >> 20
    ))
}

/// Where in a row a byte stands, by RFC 4180 as the reader takes it.
#[derive(Clone, Copy)]
enum State {
    /// At the start of a cell.
    Start,
    Plain,
    Quoted,
    /// After a quotation mark within a quoted cell: its end, or the first of two.
    Quote,
}

impl State {
    /// Goes on by a byte; returns whether it ends the row.
    fn step(&mut self, byte: u8) -> bool {
        let outside = |other| match byte {
            b',' | b'\n' | b'\r' => Self::Start,
            _ => other,
        };
        let ends = byte == b'\n' && !matches!(self, Self::Quoted);
        *self = match (*self, byte) {
            (Self::Start | Self::Quote, b'"') => Self::Quoted,
            (Self::Start | Self::Plain | Self::Quote, _) => outside(Self::Plain),
            (Self::Quoted, b'"') => Self::Quote,
            (Self::Quoted, _) => Self::Quoted,
        };
        ends
    }
}

/// What the cells of a column are, as far as they have been seen.
#[derive(Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a kind of cell that was seen")]
struct Column {
    /// Some are whole numbers.
    whole: bool,
    /// Some of these are too large for a decimal.
    whole_beyond_decimals: bool,
    /// Some are decimals that end in `.0`.
    point_zero: bool,
    /// Some are other decimals.
    decimal: bool,
    /// Some say that they are no numbers.
    not_finite: bool,
    /// What all are, if it is no number.
    other: Option<Form>,
    /// They are not all of one kind, or text.
    text: bool,
    /// Digits behind the seconds of those times that have some.
    digits: usize,
    /// Some times have none.
    no_digits: bool,
    /// Some times have nothing but zeros there.
    zero_digits: bool,
}

/// What a cell is that is no number.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// True or false, in this spelling.
    Truth(usize),
    Day,
    /// A time: what stands before the hour, and what behind the seconds.
    Time(u8, Zone),
}

#[derive(Clone, Copy, PartialEq)]
enum Zone {
    None,
    Z,
    Zero,
}

const SPELLINGS: [[&str; 2]; 3] = [["true", "false"], ["True", "False"], ["TRUE", "FALSE"]];
/// Whole numbers up to here are decimals without a loss.
const WHOLE_DECIMALS: u64 = 1 << 53;

impl Column {
    fn add(&mut self, cell: &str) {
        if self.text {
            return;
        }
        if let Some(whole) = whole(cell) {
            self.whole = true;
            self.whole_beyond_decimals |= whole.unsigned_abs() > WHOLE_DECIMALS;
        } else if matches!(cell, "nan" | "NaN" | "inf" | "-inf") {
            self.not_finite = true;
        } else if is_decimal(cell) {
            self.point_zero |= cell.ends_with(".0");
            self.decimal |= !cell.ends_with(".0");
        } else {
            self.add_other(cell);
        }
    }

    fn add_other(&mut self, cell: &str) {
        let truth = SPELLINGS.iter().position(|spelling| spelling.contains(&cell)).map(Form::Truth);
        let form = truth.or_else(|| is_day(cell).then_some(Form::Day)).or_else(|| self.time(cell));
        self.text = form.is_none() || self.other.is_some_and(|other| Some(other) != form);
        self.other = form;
    }

    fn time(&mut self, cell: &str) -> Option<Form> {
        let (form, digits) = time(cell)?;
        if digits.is_empty() {
            self.no_digits = true;
        } else if self.digits != 0 && self.digits != digits.len() {
            return None;
        } else {
            self.digits = digits.len();
            self.zero_digits |= digits.bytes().all(|digit| digit == b'0');
        }
        Some(form)
    }

    /// Returns the type of which every cell reads back as it is written.
    fn data_type(&self) -> DataType {
        let has_decimals = self.decimal || self.point_zero;
        let is_number = self.whole || has_decimals;
        // `1` and `1.0` beside each other are two texts and one number; so are times.
        let ambiguous = (self.whole && self.point_zero) || (self.no_digits && self.zero_digits);
        if self.text || ambiguous || ((is_number || self.not_finite) && self.other.is_some()) {
            return DataType::Utf8;
        }
        let unit = match self.digits {
            0 => TimeUnit::Second,
            1..=3 => TimeUnit::Millisecond,
            4..=6 => TimeUnit::Microsecond,
            _ => TimeUnit::Nanosecond,
        };
        match self.other {
            Some(Form::Truth(_)) => DataType::Boolean,
            Some(Form::Day) => DataType::Date32,
            Some(Form::Time(..)) => DataType::Timestamp(unit, None),
            None if self.whole && !has_decimals && !self.not_finite => DataType::Int64,
            None if is_number && !self.whole_beyond_decimals => DataType::Float64,
            None => DataType::Utf8,
        }
    }
}

/// Reads a whole number that is written as numbers are printed.
fn whole(cell: &str) -> Option<i64> {
    let digits = cell.strip_prefix('-').unwrap_or(cell);
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && cell != "-0";
    let is_canonical = digits == "0" || !digits.starts_with('0');
    cell.parse().ok().filter(|_| is_plain && is_canonical)
}

/// Tells whether a cell is a decimal as Python's `repr` writes it, and so does pandas.
fn is_decimal(cell: &str) -> bool {
    let Some(value) = cell.parse::<f64>().ok().filter(|value| value.is_finite()) else { return false };
    let text = format!("{value:?}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text == cell };
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{exponent:0>2}") == cell
}

fn is_day(cell: &str) -> bool {
    has_pattern(cell, "dddd-dd-dd") && Date32Type::parse(cell).is_some()
}

/// Reads a time: its form, and the digits behind the seconds.
fn time(cell: &str) -> Option<(Form, &str)> {
    let (start, rest) = cell.split_at_checked("dddd-dd-ddTdd:dd:dd".len())?;
    let separator = start.as_bytes()[10];
    let is_time = has_pattern(start, "dddd-dd-ddTdd:dd:dd") || has_pattern(start, "dddd-dd-dd dd:dd:dd");
    let (digits, zone) = match rest {
        _ if rest.ends_with('Z') => (&rest[..rest.len() - 1], Zone::Z),
        _ => rest.strip_suffix("+00:00").map_or((rest, Zone::None), |digits| (digits, Zone::Zero)),
    };
    let digits = match digits {
        "" => "",
        digits => digits.strip_prefix('.').filter(|digits| (1..=9).contains(&digits.len()))?,
    };
    let is_time = is_time && digits.bytes().all(|digit| digit.is_ascii_digit());
    let time = string_to_datetime(&Utc, cell).ok().filter(|_| is_time)?;
    // Nanoseconds since 1970 end in 2262.
    time.timestamp_nanos_opt().or((digits.len() < 7).then_some(0))?;
    Some((Form::Time(separator, zone), digits))
}

/// Tells whether a text has a digit wherever the pattern has a `d`, and otherwise is the same.
fn has_pattern(text: &str, pattern: &str) -> bool {
    let fits = |(byte, wanted): (u8, u8)| if wanted == b'd' { byte.is_ascii_digit() } else { byte == wanted };
    text.len() == pattern.len() && text.bytes().zip(pattern.bytes()).all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn type_of(cells: &[&str]) -> DataType {
        let mut column = Column::default();
        for cell in cells {
            column.add(cell);
        }
        column.data_type()
    }

    #[test]
    fn text_stays_text_unless_every_cell_reads_back_as_it_is_written() {
        for cells in [
            &["12E3", "45E7"][..],
            &["12e3"],
            &["1.10", "1.20"],
            &["1.1", "1.10"],
            &["007", "12"],
            &["1", "1.0"],
            &["+1"],
            &["-0"],
            &[".5"],
            &["5."],
            &["1_000"],
            &["9007199254740993", "0.5"],
            &["0.12345678901234567890"],
            &["123456789012345678901234"],
            &["nan"],
            &["true", "True"],
            &["true", "1"],
            &["4011-22-99", "4012-00-01"],
            &["2024-02-30"],
            &["2024-01-02", "2024-01-02T03:04:05"],
            &["2024-01-02T03:04:05+02:00"],
            &["2024-01-02T03:04:05Z", "2024-01-02T03:04:05"],
            &["2024-01-02T03:04:05", "2024-01-02T03:04:05.000"],
            &["2024-01-02T03:04:05.1", "2024-01-02T03:04:05.12"],
            &["2024-01-02T25:04:05"],
            &["2024-01-02T03:04:05 or so"],
            &["3024-01-02T03:04:05.123456789"],
            &["٣"],
            &[],
        ] {
            assert_eq!(type_of(cells), DataType::Utf8, "{cells:?}");
        }
    }

    #[test]
    fn what_reads_back_has_its_type() {
        use TimeUnit::{Microsecond, Millisecond, Second};
        let time = |unit| DataType::Timestamp(unit, None);
        for (cells, expected) in [
            (&["1", "-7", "0", "9223372036854775807"][..], DataType::Int64),
            (&["0.5", "1", "1e-05", "1.5e+20", "nan", "-inf"], DataType::Float64),
            (&["1.0", "2.5", "-0.0", "123456789.125"], DataType::Float64),
            (&["True", "False"], DataType::Boolean),
            (&["2024-01-02", "0001-12-31"], DataType::Date32),
            (&["2024-01-02T03:04:05Z"], time(Second)),
            (&["2024-01-02 03:04:05+00:00", "2024-01-02 03:04:05.123+00:00"], time(Millisecond)),
            (&["2024-01-02T03:04:05.000000", "2024-01-02T03:04:05.123456"], time(Microsecond)),
        ] {
            assert_eq!(type_of(cells), expected, "{cells:?}");
        }
    }

    fn longest(text: &str) -> Result<u64, ArrowError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        longest_row(&file.reopen().unwrap())
    }

    #[test]
    fn rows_are_bounded_whatever_is_quoted() {
        assert_eq!(longest("uri,a\nx,\"1\n2\"\"\n\"\n\"\",\ny\n").unwrap(), 10);
        let wide = "x".repeat(MAX_ROW_BYTES as usize);
        assert!(longest(&format!("uri\n{wide}\n{wide}")).is_ok());
        let error = longest(&format!("uri,a\nx,\"{}", "\n".repeat(MAX_ROW_BYTES as usize))).unwrap_err();
        assert!(error.to_string().contains("row 1 is longer than 1 MiB: is a quotation mark"), "{error}");
    }
}
