//! An answer as a table for people: lists shortened, and long texts cut to the terminal.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow::util::pretty::pretty_format_batches;

use crate::vocabulary::visible;
use crate::vocabulary::words::wrapped;

/// Number of elements that are enough to distinguish two lists.
const ELEMENTS_SHOWN: usize = 3;

/// Minimum length of a cut text, in characters.
const LEAST_WIDTH: usize = 12;

/// Maximum number of lines of a sentence; the last may be cut.
const MAX_LINES: usize = 6;

/// A table draws `| ` before, ` ` after each cell, and `|` at the end.
const FRAME: usize = 3;

/// Draws a table. With a width, sentences are broken and other texts cut so that it fits; numbers, tile ids and
/// reasons never. Where there are too many columns for that, rows are drawn one after the other, one line per column.
pub(super) fn draw(
    batches: &[RecordBatch],
    schema: &SchemaRef,
    width: Option<usize>,
) -> Result<String, ArrowError> {
    let mut columns = Vec::with_capacity(schema.fields().len());
    for (index, field) in schema.fields().iter().enumerate() {
        columns.push(Column::of(field, batches.iter().map(|batch| batch.column(index)))?);
    }
    let Some(width) = width else { return beside_each_other(columns) };
    let least: usize = columns.iter().map(|column| column.least() + FRAME).sum();
    if least < width || columns.iter().all(|column| column.cells.is_empty()) {
        fit(&mut columns, width);
        return beside_each_other(columns);
    }
    Ok(below_each_other(&columns, width))
}

fn beside_each_other(columns: Vec<Column>) -> Result<String, ArrowError> {
    let names = columns.iter().map(|column| Field::new(&column.name, DataType::Utf8, true));
    let schema = Arc::new(Schema::new(names.collect::<Vec<_>>()));
    let cells = columns.into_iter().map(|column| Arc::new(StringArray::from(column.cells)) as ArrayRef);
    let cells: Vec<ArrayRef> = cells.collect();
    let batch =
        if cells.is_empty() { RecordBatch::new_empty(schema) } else { RecordBatch::try_new(schema, cells)? };
    Ok(pretty_format_batches(&[batch])?.to_string())
}

fn below_each_other(columns: &[Column], width: usize) -> String {
    let names = columns.iter().map(|column| column.name.chars().count()).max().unwrap_or_default();
    let room = width.saturating_sub(names + 2).max(LEAST_WIDTH);
    let mut lines = Vec::new();
    for row in 0..columns.first().map_or(0, |column| column.cells.len()) {
        lines.push(format!("── row {}", row + 1));
        for Column { name, cells, may_be_cut } in columns {
            let cell = cells[row].as_deref().unwrap_or_default();
            if cell.contains('\n') {
                lines.push(format!("{name}\n{cell}"));
                continue;
            }
            let cell = if *may_be_cut { fitted(cell, room) } else { vec![cell.to_owned()] };
            let cell = cell.join(&format!("\n{:names$}  ", ""));
            lines.push(format!("{name:names$}  {cell}").trim_end().to_owned());
        }
    }
    lines.join("\n")
}

/// A column as text.
struct Column {
    name: String,
    cells: Vec<Option<String>>,
    may_be_cut: bool,
}

impl Column {
    fn of<'a>(field: &Field, parts: impl Iterator<Item = &'a ArrayRef>) -> Result<Self, ArrowError> {
        let mut cells = Vec::new();
        for part in parts {
            for row in 0..part.len() {
                let shown = |row| cell(part, row).map(|cell| visible::text(&cell).into_owned());
                cells.push((!part.is_null(row)).then(|| shown(row)).transpose()?);
            }
        }
        let kind = field.data_type();
        // Ids are copied, reasons are codes, and plans of EXPLAIN are read to their ends.
        let whole = ["tile_id", "reason", "plan"].contains(&field.name().as_str());
        let may_be_cut = !whole && !kind.is_numeric() && !kind.is_temporal();
        Ok(Self { name: visible::value(field.name()).into_owned(), cells, may_be_cut })
    }

    /// Characters of the longest line, the name included.
    fn width(&self) -> usize {
        let lines = self.cells.iter().flatten().flat_map(|cell| cell.lines());
        lines.chain([self.name.as_str()]).map(|line| line.chars().count()).max().unwrap_or_default()
    }

    /// The width below which the column is not cut.
    fn least(&self) -> usize {
        if self.may_be_cut {
            self.width().min(LEAST_WIDTH.max(self.name.chars().count()))
        } else {
            self.width()
        }
    }
}

/// Cuts the widest texts until the table fits, or until nothing more may be cut.
fn fit(columns: &mut [Column], width: usize) {
    let room = width.saturating_sub(FRAME * columns.len() + 1);
    let (wanted, least): (Vec<usize>, Vec<usize>) =
        columns.iter().map(|column| (column.width(), column.least())).unzip();
    let within =
        |cap: usize| wanted.iter().zip(&least).map(move |(&wanted, &least)| wanted.min(cap.max(least)));
    let widest = wanted.iter().copied().max().unwrap_or_default();
    let cap =
        (LEAST_WIDTH..=widest).rev().find(|&cap| within(cap).sum::<usize>() <= room).unwrap_or(LEAST_WIDTH);
    let widths: Vec<usize> = within(cap).collect();
    for (column, width) in columns.iter_mut().zip(widths) {
        for cell in column.cells.iter_mut().flatten() {
            *cell = if cell.contains('\n') {
                cell.lines().map(|line| cut(line, width)).collect::<Vec<_>>().join("\n")
            } else {
                let mut lines = fitted(cell, width);
                // Words seldom end where the column does.
                if lines.len() > 1 {
                    lines[0] = format!("{:width$}", lines[0]);
                }
                lines.join("\n")
            };
        }
    }
}

/// Breaks a sentence into lines of `width` characters; text without spaces is cut.
fn fitted(text: &str, width: usize) -> Vec<String> {
    let is_place = text.split(' ').next().is_some_and(|word| word.contains("://"));
    if text.chars().count() <= width || !text.contains(' ') || is_place {
        return vec![cut(text, width)];
    }
    let mut lines = wrapped(text, width);
    if lines.len() > MAX_LINES {
        let rest = lines.split_off(MAX_LINES - 1).join(" ");
        lines.push(cut(&rest, width));
    }
    lines
}

/// Cuts a line to so many characters: places in the middle, since both ends tell them apart.
fn cut(line: &str, width: usize) -> String {
    let letters: Vec<char> = line.chars().collect();
    if letters.len() <= width {
        return line.to_owned();
    }
    let kept = width.saturating_sub(1);
    // Of a place, the file's name says more than the bucket's.
    let head = if line.contains("://") { kept / 3 } else { kept };
    let tail = &letters[letters.len() - (kept - head)..];
    letters[..head].iter().chain(&['…']).chain(tail).collect()
}

fn cell(column: &ArrayRef, row: usize) -> Result<String, ArrowError> {
    let elements = match column.data_type() {
        DataType::FixedSizeList(..) => column.as_fixed_size_list().value(row),
        DataType::List(_) => column.as_list::<i32>().value(row),
        _ => return plain(column, row),
    };
    let shown = elements.len().min(ELEMENTS_SHOWN);
    let mut shown = (0..shown).map(|index| element(&elements, index)).collect::<Result<Vec<_>, _>>()?;
    if elements.len() > ELEMENTS_SHOWN {
        shown.push(format!("… {} in all", elements.len()));
    }
    Ok(format!("[{}]", shown.join(", ")))
}

/// Writes one element of a list: a number with four digits, a class as its label or id and its score.
fn element(elements: &ArrayRef, index: usize) -> Result<String, ArrowError> {
    if elements.is_null(index) {
        return Ok("null".to_owned());
    }
    if elements.data_type().is_floating() {
        let numbers = arrow::compute::cast(&elements.slice(index, 1), &DataType::Float64)?;
        return Ok(format!("{:.4}", numbers.as_primitive::<Float64Type>().value(0)));
    }
    let Some(class) = elements.as_struct_opt() else { return plain(elements, index) };
    let named = |name: &str| class.column_by_name(name).filter(|column| !column.is_null(index));
    match (named("label").or_else(|| named("class_id")), named("score")) {
        (Some(class), Some(score)) => Ok(format!("{}: {}", plain(class, index)?, element(score, index)?)),
        _ => plain(elements, index),
    }
}

fn plain(column: &ArrayRef, row: usize) -> Result<String, ArrowError> {
    Ok(ArrayFormatter::try_new(column, &FormatOptions::default())?.value(row).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    use arrow::array::Int64Array;

    fn answer() -> RecordBatch {
        let sources = ["s3://a-bucket/with/a/long/prefix/and/more/of/it/photo-0001.jpg", "s3://b/2.jpg"];
        let ids = ["0123456789abcdef0123456789abcdef"; 2];
        let details = [Some("the image ends after 1,234 of 5,678 rows of blocks"), None];
        RecordBatch::try_from_iter_with_nullable([
            ("tile_id", Arc::new(StringArray::from(ids.to_vec())) as ArrayRef, true),
            ("source", Arc::new(StringArray::from(sources.to_vec())), true),
            ("detail", Arc::new(StringArray::from(details.to_vec())), true),
            ("number", Arc::new(Int64Array::from(vec![1_234_567_890_123_i64, 1])), true),
        ])
        .unwrap()
    }

    fn drawn(width: Option<usize>) -> String {
        let answer = answer();
        draw(std::slice::from_ref(&answer), &answer.schema(), width).unwrap()
    }

    fn width_of(table: &str) -> usize {
        table.lines().map(|line| line.chars().count()).max().unwrap()
    }

    #[test]
    fn without_a_width_nothing_is_cut() {
        let table = drawn(None);
        assert!(!table.contains('…') && table.contains("/photo-0001.jpg") && width_of(&table) > 150);
        assert_eq!(drawn(Some(width_of(&table))), table);
    }

    #[test]
    fn texts_are_cut_to_the_terminal_and_numbers_are_not() {
        for width in [90, 110, 140] {
            let table = drawn(Some(width));
            assert_eq!(width_of(&table), width, "{table}");
            assert!(table.contains("0123456789abcdef0123456789abcdef") && table.contains("1234567890123"));
        }
        let table = drawn(Some(110));
        assert!(
            table.contains("s3://a-") && table.contains("o-0001.jpg") && table.contains("the image ends"),
            "{table}"
        );
    }

    /// What is wrong with an image is read to its end on the narrowest usual terminal.
    #[test]
    fn reasons_keep_their_meaning_at_80_columns() {
        let source = "file:///photos/2026/a-long-name/photo-0001.jpg";
        let detail = "the image ends after 1,234 of 5,678 rows of blocks (see s3://bucket/of/it)";
        let column = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
        let columns = [
            ("source", column(source)),
            ("reason", column("bit_depth_mismatch")),
            ("detail", column(detail)),
        ];
        let answer = RecordBatch::try_from_iter(columns).unwrap();
        let drawn = |width| draw(std::slice::from_ref(&answer), &answer.schema(), Some(width)).unwrap();
        let table = drawn(80);
        assert_eq!(width_of(&table), 80, "{table}");
        assert!(table.contains("bit_depth_mismatch") && table.contains("photo-0001.jpg"), "{table}");
        let last = |line: &str| Some(line.split('|').nth(3)?.trim().to_owned());
        let told: Vec<String> = table.lines().skip(3).filter_map(last).collect();
        assert_eq!(told.join(" "), detail, "{table}");
        let below = drawn(40);
        let told: Vec<&str> = below.split("detail").nth(1).unwrap().split_whitespace().collect();
        assert_eq!(told.join(" "), detail, "{below}");
        let endless = vec!["word"; 500].join(" ");
        assert!(fitted(&endless, 20).len() == MAX_LINES && fitted(&endless, 20)[5].ends_with('…'));
    }

    #[test]
    fn what_is_too_wide_is_drawn_row_by_row() {
        let table = drawn(Some(60));
        assert_eq!(table.lines().count(), 2 * 5, "{table}");
        assert!(
            table.starts_with("── row 1\ntile_id  0123456789abcdef0123456789abcdef\nsource   s3://"),
            "{table}"
        );
        assert!(table.ends_with("\ndetail\nnumber   1"), "{table}");
        assert_eq!(width_of(&table), 60, "{table}");
    }

    #[test]
    fn a_text_of_many_lines_is_cut_line_by_line() {
        assert_eq!(cut("a long line", 6), "a lon…");
        let text = StringArray::from(vec!["first line that is long enough\nsecond"]);
        for (name, shown) in [("text", "first line that is …"), ("plan", "first line that is long enough")]
        {
            let answer = RecordBatch::try_from_iter([(name, Arc::new(text.clone()) as ArrayRef)]).unwrap();
            let table = draw(std::slice::from_ref(&answer), &answer.schema(), Some(24)).unwrap();
            assert!(table.contains(shown) && table.contains("second"), "{table}");
        }
    }

    #[test]
    fn an_answer_without_rows_shows_its_columns() {
        let answer = answer();
        let table = draw(&[], &answer.schema(), Some(80)).unwrap();
        assert!(table.contains("tile_id") && table.contains("number"), "{table}");
    }
}
