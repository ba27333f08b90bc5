//! Reads CSV manifests, and tables beside an output: first how long rows are, then which columns are numbers or times, then the rows.
//!
//! A column keeps its text unless every cell of it reads back as it is written: whole numbers (`7`, not `007`),
//! decimals as Python writes them (`0.5` and `1e-05`, neither `1.10` nor `12E3`), `true` and `false` in one
//! spelling, days, and times in one form without an offset other than zero. So the same file always has the same
//! types, and no identifier becomes a number.
//!
//! A quoted cell that does not end where it should is refused: it would hold the rows after it as its text.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Seek as _};
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch, make_array};
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
///
/// # Errors
///
/// As the reader of Arrow: a file that is no CSV, or rows of other lengths than the first.
pub fn open(mut file: File) -> Result<(SchemaRef, Batches), ArrowError> {
    let longest = longest_row(&file, MAX_ROW_BYTES)?;
    file.rewind()?;
    let (header, _) = Format::default().with_header(true).infer_schema(BufReader::new(&file), Some(0))?;
    if header.fields().len() > MAX_COLUMNS {
        let count = header.fields().len();
        return Err(ArrowError::CsvError(format!("it has {count} columns, the maximum is {MAX_COLUMNS}")));
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
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| with_type(column, field.data_type()));
    RecordBatch::try_new(schema.clone(), columns.collect::<Result<Vec<ArrayRef>, _>>()?)
}

fn with_type(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let DataType::Timestamp(unit, Some(_)) = data_type else {
        return cast_with_options(column, data_type, &options);
    };
    // They are in UTC already, and Arrow knows no zone by its name unless it has a library of them.
    let times = cast_with_options(column, &DataType::Timestamp(*unit, None), &options)?;
    Ok(make_array(times.to_data().into_builder().data_type(data_type.clone()).build()?))
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

/// Refuses a text in which a quoted cell does not end, or not at a comma or the end of a line.
///
/// # Errors
///
/// `CsvError` with the line in which the cell begins.
pub fn check_quotation(text: &[u8]) -> Result<(), ArrowError> {
    longest_row(text, u64::MAX).map(drop)
}

/// Returns the bytes of the longest row; a row is what the reader holds in memory to its end.
fn longest_row(file: impl Read, limit: u64) -> Result<u64, ArrowError> {
    let mut reader = BufReader::with_capacity(1 << 16, file);
    if reader.fill_buf()?.starts_with("\u{feff}".as_bytes()) {
        reader.consume("\u{feff}".len());
    }
    let mut scan = Scan { state: State::Start, row: 0, length: 0, line: 1, opened: 1, last: 0 };
    let mut longest = 0;
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return if scan.state == State::Quoted { Err(scan.not_closed()) } else { Ok(longest) };
        }
        for byte in bytes {
            scan.step(*byte)?;
            longest = longest.max(scan.length);
            if scan.length > limit {
                return Err(scan.too_long(limit));
            }
        }
        let count = bytes.len();
        reader.consume(count);
    }
}

/// Where in a file a byte stands.
struct Scan {
    state: State,
    row: u64,
    /// Bytes of the row so far.
    length: u64,
    /// Counted from 1, as editors do.
    line: u64,
    /// The line in which the last quoted cell begins.
    opened: u64,
    last: u8,
}

impl Scan {
    fn step(&mut self, byte: u8) -> Result<(), ArrowError> {
        let before = self.state;
        let ends = self.state.step(byte);
        match (before, self.state) {
            (State::Start, State::Quoted) => self.opened = self.line,
            (State::Quote, State::Plain) => return Err(self.not_at_the_end()),
            _ => {}
        }
        self.length = if ends { 0 } else { self.length + 1 };
        self.row += u64::from(ends);
        self.line += u64::from(byte == b'\r' || (byte == b'\n' && self.last != b'\r'));
        self.last = byte;
        Ok(())
    }

    fn not_closed(&self) -> ArrowError {
        ArrowError::CsvError(format!("the quotation mark that opens in line {} is not closed", self.opened))
    }

    fn not_at_the_end(&self) -> ArrowError {
        let (opened, line) = (self.opened, self.line);
        ArrowError::CsvError(format!(
            "text follows the closing quotation mark in line {line} of the cell that opens in line {opened}: is one \
             of them missing? Within a cell a quotation mark is written twice"
        ))
    }

    fn too_long(&self, limit: u64) -> ArrowError {
        let (row, limit) = (self.row, limit >> 20);
        let opened = if self.state == State::Quoted {
            format!(" One opens in line {}", self.opened)
        } else {
            String::new()
        };
        ArrowError::CsvError(format!(
            "row {row} is longer than {limit} MiB: is a quotation mark not closed?{opened}"
        ))
    }
}

/// Where in a row a byte stands, by RFC 4180 as the reader takes it.
#[derive(Clone, Copy, PartialEq)]
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
    /// Some say that they are not numbers.
    not_finite: bool,
    /// What all are, if it is not a number.
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

/// What a cell is that is not a number.
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
            // Parquet has no seconds.
            0..=3 => TimeUnit::Millisecond,
            4..=6 => TimeUnit::Microsecond,
            _ => TimeUnit::Nanosecond,
        };
        match self.other {
            Some(Form::Truth(_)) => DataType::Boolean,
            Some(Form::Day) => DataType::Date32,
            Some(Form::Time(_, Zone::None)) => DataType::Timestamp(unit, None),
            Some(Form::Time(..)) => DataType::Timestamp(unit, Some("UTC".into())),
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
    // A leap second reads back as the second after it.
    let is_time =
        is_time && start.as_bytes()[17] < b'6' && digits.bytes().all(|digit| digit.is_ascii_digit());
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
            &["2016-12-31T23:59:60Z"],
            &["2016-12-31T23:59:59Z", "2016-12-31T23:59:60Z"],
            &["2016-12-31T23:59:60.5"],
            &["٣"],
            &[],
        ] {
            assert_eq!(type_of(cells), DataType::Utf8, "{cells:?}");
        }
    }

    #[test]
    fn what_reads_back_has_its_type() {
        use TimeUnit::{Microsecond, Millisecond};
        let time = |unit| DataType::Timestamp(unit, None);
        let in_utc = |unit| DataType::Timestamp(unit, Some("UTC".into()));
        for (cells, expected) in [
            (&["1", "-7", "0", "9223372036854775807"][..], DataType::Int64),
            (&["0.5", "1", "1e-05", "1.5e+20", "nan", "-inf"], DataType::Float64),
            (&["1.0", "2.5", "-0.0", "123456789.125"], DataType::Float64),
            (&["True", "False"], DataType::Boolean),
            (&["2024-01-02", "0001-12-31"], DataType::Date32),
            (&["2024-01-02T03:04:05Z"], in_utc(Millisecond)),
            (&["0001-01-02T03:04:05Z", "9999-12-31T23:59:59Z"], in_utc(Millisecond)),
            (&["2024-01-02 03:04:05"], time(Millisecond)),
            (&["2024-01-02 03:04:05+00:00", "2024-01-02 03:04:05.123+00:00"], in_utc(Millisecond)),
            (&["2024-01-02T03:04:05.000000", "2024-01-02T03:04:05.123456"], time(Microsecond)),
        ] {
            assert_eq!(type_of(cells), expected, "{cells:?}");
        }
    }

    fn longest(text: &str) -> Result<u64, ArrowError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        longest_row(file.reopen().unwrap(), MAX_ROW_BYTES)
    }

    #[test]
    fn rows_are_bounded_whatever_is_quoted() {
        assert_eq!(longest("uri,a\nx,\"1\n2\"\"\n\"\n\"\",\ny\n").unwrap(), 10);
        let wide = "x".repeat(MAX_ROW_BYTES as usize);
        assert!(longest(&format!("uri\n{wide}\n{wide}")).is_ok());
        let error = longest(&format!("uri,a\nx,\"{}", "\n".repeat(MAX_ROW_BYTES as usize))).unwrap_err();
        assert!(error.to_string().contains("row 1 is longer than 1 MiB: is a quotation mark"), "{error}");
        assert!(error.to_string().contains("One opens in line 2"), "{error}");
    }

    #[test]
    fn quoted_cells_end_where_they_should() {
        for (text, said) in [
            ("uri,label\na,\"cat\nb,dog\nc,bird\n", "that opens in line 2 is not closed"),
            ("uri,label\r\na,x\r\nb,\"cat\r\n", "that opens in line 3 is not closed"),
            ("uri,label\ra,x\rb,\"cat\r", "that opens in line 3 is not closed"),
            ("uri,label\na,\"", "that opens in line 2 is not closed"),
            ("\u{feff}\"uri,label\na,b\n", "that opens in line 1 is not closed"),
            ("uri,label\na,\"x\ny\"\nb,\"cat", "that opens in line 4 is not closed"),
            ("uri,label\na,\"x\"y\n", "in line 2 of the cell that opens in line 2"),
            ("uri,label\na,\"x\" \n", "in line 2 of the cell that opens in line 2"),
            // Two that are not closed make one cell of two rows.
            ("uri,label\na,\"cat\nb,\"dog\n", "in line 3 of the cell that opens in line 2"),
        ] {
            let error = check_quotation(text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(said), "{text:?}: {error}");
        }
        for text in [
            "uri,label\na,\"cat\"\nb,\"x \"\"y\"\"\"\r\nc,\"\"",
            "uri,label\na,5\" pipe\nb,x\"y\n",
            "\u{feff}\"uri\",\"label\"\n\"a\",\"x,\ny\"\n",
            "",
        ] {
            check_quotation(text.as_bytes()).unwrap();
        }
    }
}
