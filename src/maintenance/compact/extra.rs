//! The manifest's columns of copied rows, as the shards have them.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, AsArray, StructArray};
use arrow::compute::{cast, concat};
use arrow::error::ArrowError;

/// Collects rows of several shards in order; those that lie together are copied together.
#[derive(Default)]
pub(super) struct Extras {
    pieces: Vec<(Arc<StructArray>, Range<usize>)>,
}

impl Extras {
    /// Appends a row of a shard.
    pub(super) fn push(&mut self, extra: Arc<StructArray>, row: usize) {
        match self.pieces.last_mut() {
            Some((last, rows)) if Arc::ptr_eq(last, &extra) && rows.end == row => rows.end += 1,
            _ => self.pieces.push((extra, row..row + 1)),
        }
    }

    /// Returns all of them as columns of the types of `planned`; `None` if they are not what is planned there.
    ///
    /// # Errors
    ///
    /// If they cannot have those types.
    pub(super) fn like(&self, planned: &StructArray) -> Result<Option<StructArray>, ArrowError> {
        let pieces: Vec<StructArray> =
            self.pieces.iter().map(|(extra, rows)| extra.slice(rows.start, rows.len())).collect();
        if pieces.is_empty() {
            return Ok(None);
        }
        let pieces: Vec<&dyn Array> = pieces.iter().map(|piece| piece as &dyn Array).collect();
        let mut joined = concat(&pieces)?;
        if joined.data_type() != planned.data_type() {
            joined = cast(&joined, planned.data_type())?;
        }
        let joined = joined.as_struct();
        Ok((joined == planned).then(|| joined.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, StringArray};
    use arrow::datatypes::{DataType, Field};

    fn extra(labels: &[&str]) -> StructArray {
        let labels: ArrayRef = Arc::new(StringArray::from(labels.to_vec()));
        StructArray::from(vec![(Arc::new(Field::new("label", DataType::Utf8, true)), labels)])
    }

    #[test]
    fn rows_are_those_of_their_shards_and_must_be_as_planned() {
        let (first, second) = (Arc::new(extra(&["a", "b", "c"])), Arc::new(extra(&["d"])));
        let mut extras = Extras::default();
        for (shard, row) in [(&first, 1), (&first, 2), (&second, 0), (&first, 0)] {
            extras.push(Arc::clone(shard), row);
        }
        assert_eq!(extras.pieces.len(), 3);
        let planned = extra(&["b", "c", "d", "a"]);
        assert_eq!(extras.like(&planned).unwrap(), Some(planned));
        assert_eq!(extras.like(&extra(&["b", "c", "d", "x"])).unwrap(), None);
        assert_eq!(extras.like(&extra(&["b", "c", "d"])).unwrap(), None);
    }
}
