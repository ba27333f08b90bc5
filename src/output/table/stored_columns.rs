//! Columns of a stored table by name and type: the one place where they are looked up.

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BooleanArray, ListArray, PrimitiveArray,
    RecordBatch, StringArray, StructArray,
};

use crate::vocabulary::error::Error;
use crate::vocabulary::tile_id::TileId;

/// What is wrong with a column of a stored table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadColumn {
    /// It is not there, or not as this version or an earlier one wrote it.
    #[error("column `{0}` is missing or of another type")]
    Missing(String),
    /// It has a value that only later versions know.
    #[error("column `{column}` has the value `{value}`, which is unknown to this version")]
    Unknown {
        /// The column.
        column: &'static str,
        /// What it says.
        value: String,
    },
}

impl BadColumn {
    /// Returns the error of a reader of the shard with this key.
    #[must_use]
    pub fn in_shard(self, key: &str) -> Error {
        Error::config(format!("{key} does not have the columns of a shard"))
            .because(self)
            .hint("`tilefleet verify OUTPUT` shows which file is damaged")
    }
}

/// The columns of some rows.
#[derive(Clone, Copy, Debug)]
pub struct StoredColumns<'a>(pub &'a RecordBatch);

impl<'a> StoredColumns<'a> {
    fn typed<A: ?Sized>(
        self,
        name: &str,
        typed: impl FnOnce(&'a ArrayRef) -> Option<&'a A>,
    ) -> Result<&'a A, BadColumn> {
        self.0.column_by_name(name).and_then(typed).ok_or_else(|| BadColumn::Missing(name.to_owned()))
    }

    /// Returns a column of text.
    ///
    /// # Errors
    ///
    /// [`BadColumn::Missing`], as all methods here.
    pub fn text(self, name: &str) -> Result<&'a StringArray, BadColumn> {
        self.typed(name, |column| column.as_string_opt())
    }

    /// Returns a column of numbers.
    ///
    /// # Errors
    ///
    /// [`BadColumn::Missing`].
    pub fn numbers<T: ArrowPrimitiveType>(self, name: &str) -> Result<&'a PrimitiveArray<T>, BadColumn> {
        self.typed(name, |column| column.as_primitive_opt())
    }

    /// Returns a column of flags.
    ///
    /// # Errors
    ///
    /// [`BadColumn::Missing`].
    pub fn flags(self, name: &str) -> Result<&'a BooleanArray, BadColumn> {
        self.typed(name, |column| column.as_boolean_opt())
    }

    /// Returns a column of bytes.
    ///
    /// # Errors
    ///
    /// [`BadColumn::Missing`].
    pub fn bytes(self, name: &str) -> Result<&'a BinaryArray, BadColumn> {
        self.typed(name, |column| column.as_binary_opt())
    }

    /// Returns a column of lists.
    ///
    /// # Errors
    ///
    /// [`BadColumn::Missing`].
    pub fn lists(self, name: &str) -> Result<&'a ListArray, BadColumn> {
        self.typed(name, |column| column.as_list_opt())
    }

    /// Returns a column of structs.
    ///
    /// # Errors
    ///
    /// [`BadColumn::Missing`].
    pub fn structs(self, name: &str) -> Result<&'a StructArray, BadColumn> {
        self.typed(name, |column| column.as_struct_opt())
    }
}

/// Returns the text of a row; `None` for a null.
pub fn text_at(column: &StringArray, row: usize) -> Option<&str> {
    column.is_valid(row).then(|| column.value(row))
}

/// Returns the flag of a row; `None` for a null.
pub fn flag_at(column: &BooleanArray, row: usize) -> Option<bool> {
    column.is_valid(row).then(|| column.value(row))
}

/// Returns the tile of a row.
///
/// # Errors
///
/// [`BadColumn::Unknown`] if it is no tile id.
pub fn tile_id_at(column: &StringArray, row: usize) -> Result<TileId, BadColumn> {
    let id = column.value(row);
    id.parse().map_err(|_| BadColumn::Unknown { column: "tile_id", value: id.to_owned() })
}

/// Returns the number of a row; `None` for a null.
pub fn number_at<T: ArrowPrimitiveType>(column: &PrimitiveArray<T>, row: usize) -> Option<T::Native> {
    column.is_valid(row).then(|| column.value(row))
}
