//! What `nearest` compares all tiles with: a tile of the table, or a vector.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::functions::string::expr_fn::contains;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};
use datafusion::prelude::{DataFrame, col, lit};

use super::fault;
use super::similarity::Direction;
use super::vectors::{Vectors, is_vector};
use crate::output::table::StoredColumns;
use crate::vocabulary::error::{Error, Result as OurResult};
use crate::vocabulary::tile_id::TileId;

/// Number of tiles that a message names if one was not found.
const CANDIDATES: usize = 4;
const ID_DIGITS: usize = 32;

/// What the others are compared with, not looked up yet.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// A tile id, or the beginning of one.
    Tile(String),
    /// One row with an id or a vector.
    Asked(LogicalPlan),
}

impl Target {
    /// Takes an argument; `None` if it can be neither a tile nor a vector.
    ///
    /// # Errors
    ///
    /// As planning it says.
    pub(super) fn of(argument: &Expr) -> Result<Option<Self>> {
        let kind = argument.get_type(&DFSchema::empty())?;
        if !is_text(&kind) && !is_vector(&kind) {
            return Ok(None);
        }
        Ok(match argument {
            Expr::Literal(value, _) if is_text(&kind) => {
                value.try_as_str().flatten().map(|text| Self::Tile(text.to_owned()))
            }
            Expr::ScalarSubquery(asked) => Some(Self::Asked((*asked.subquery).clone())),
            value => {
                let one = LogicalPlanBuilder::empty(true).project([value.clone()])?.build()?;
                Some(Self::Asked(one))
            }
        })
    }

    /// Looks up the embedding that all are compared with, and the id of the tile whose it is.
    ///
    /// # Errors
    ///
    /// `Usage` if there is no such tile, more than one, or one without a direction; else as the store answers.
    pub(super) async fn resolve(&self, tiles: &DataFrame) -> OurResult<(Option<String>, Vec<f32>)> {
        let plan = match self {
            Self::Tile(id) => return embedding_of(tiles, id).await,
            Self::Asked(plan) => plan.clone(),
        };
        let (state, _) = tiles.clone().into_parts();
        let answer = async { DataFrame::new(state, plan).limit(0, Some(2))?.collect().await };
        let answer = answer.await.map_err(|cause| fault(&cause))?;
        let value = only_value(&answer)?;
        if !is_text(value.data_type()) {
            return Ok((None, vector(&value)?));
        }
        let id = arrow::compute::cast(&value, &DataType::Utf8).map_err(unexpected)?;
        embedding_of(tiles, id.as_string::<i32>().value(0)).await
    }
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn unexpected(cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::bug("cannot read what `nearest` was given").because(cause)
}

/// Returns the one value of an answer of one row.
fn only_value(answer: &[RecordBatch]) -> OurResult<ArrayRef> {
    let mut rows = answer.iter().filter(|batch| batch.num_rows() > 0);
    let first = rows.next().map(|batch| (batch.column(0), batch.num_rows()));
    match first {
        Some((value, 1)) if rows.next().is_none() && value.is_valid(0) => Ok(value.clone()),
        Some((_, 1)) if rows.next().is_none() => Err(Error::usage("nearest was given nothing: null").hint(
            "the subquery must give a tile id or an embedding, such as that of a tile with the status `ok`",
        )),
        None => Err(Error::usage("nearest was given nothing: its subquery has no row")
            .hint("run the subquery alone to see its result")),
        Some(_) => Err(Error::usage("nearest was given more than one row")
            .hint("let the subquery give one: `LIMIT 1`, or `mean_embedding(embedding)` of all")),
    }
}

fn vector(value: &ArrayRef) -> OurResult<Vec<f32>> {
    let vectors = Vectors::of_array(value, false).map_err(|cause| fault(&cause))?;
    let vector = vectors.row(0).unwrap_or_default().to_vec();
    if !vector.iter().all(|number| number.is_finite()) {
        return Err(Error::usage("the vector that nearest was given has a value that is not finite"));
    }
    if Direction::of(&vector).is_zero() {
        return Err(Error::usage("the vector that nearest was given has no neighbours")
            .because("all of its values are zero"));
    }
    Ok(vector)
}

/// Looks up the tile of this id, or the only one whose id begins so.
async fn embedding_of(tiles: &DataFrame, id: &str) -> OurResult<(Option<String>, Vec<f32>)> {
    let id = if id.parse::<TileId>().is_ok() { id.to_owned() } else { completed(tiles, id).await? };
    let tile = collect(tiles, col("tile_id").eq(lit(&id)), 1, &["embedding", "status", "reason"]).await?;
    let Some(tile) = tile.iter().find(|batch| batch.num_rows() > 0) else {
        return Err(unknown(tiles, &id, format!("there is no tile {id} in `tiles`")).await);
    };
    let vectors = Vectors::of_array(&tile["embedding"], false).map_err(|cause| fault(&cause))?;
    let Some(embedding) = vectors.row(0) else {
        let text = |name| StoredColumns(tile).text(name).map(|text| text.value(0)).map_err(unexpected);
        return Err(Error::usage(format!("tile {id} has no embedding"))
            .because(format!("it was {}: {}", text("status")?, text("reason")?))
            .hint("`SELECT source, reason, detail FROM rejects` shows why"));
    };
    if Direction::of(embedding).is_zero() {
        return Err(Error::usage(format!("tile {id} has no neighbours"))
            .because("all values of its embedding are zero"));
    }
    Ok((Some(id), embedding.to_vec()))
}

/// Returns the only tile id that begins so.
async fn completed(tiles: &DataFrame, beginning: &str) -> OurResult<String> {
    let digits = beginning.to_ascii_lowercase();
    let is_beginning =
        (1..ID_DIGITS).contains(&digits.len()) && digits.bytes().all(|it| it.is_ascii_hexdigit());
    if !is_beginning {
        return Err(no_id(tiles, beginning).await);
    }
    let begins_so = col("tile_id").like(lit(format!("{digits}%")));
    let mut found = candidates(tiles, begins_so, CANDIDATES + 1).await?;
    match found.len() {
        0 => Err(unknown(tiles, &digits, format!("no tile id in `tiles` begins with {digits}")).await),
        1 => Ok(found.remove(0).0),
        count => Err(Error::usage(format!("{digits} begins more than one tile id"))
            .because(named(&found[..CANDIDATES.min(count)], count > CANDIDATES))
            .hint("give more digits")),
    }
}

/// Says what comes next to an id that is not there.
async fn unknown(tiles: &DataFrame, id: &str, message: String) -> Error {
    let error = Error::usage(message)
        .hint("`SELECT tile_id, source FROM tiles` lists them; `tiles_all` also shows other runs");
    let half = CANDIDATES / 2;
    let side = async |condition: Expr, ascending: bool| {
        let sorted = tiles.clone().filter(condition)?.sort(vec![col("tile_id").sort(ascending, false)])?;
        sorted.limit(0, Some(half))?.select_columns(&["tile_id", "source"])?.collect().await
    };
    let sides = async {
        let mut sides = side(col("tile_id").lt(lit(id)), false).await?;
        sides.reverse();
        sides.extend(side(col("tile_id").gt(lit(id)), true).await?);
        Ok::<_, DataFusionError>(sides)
    };
    match sides.await {
        Ok(sides) if sides.iter().any(|batch| batch.num_rows() > 0) => {
            let mut next = pairs(&sides).unwrap_or_default();
            next.sort();
            error.because(format!("next to it are {}", named(&next, false)))
        }
        _ => error,
    }
}

/// Says that a text is not an id, and which tiles were meant if it is a part of their sources.
async fn no_id(tiles: &DataFrame, text: &str) -> Error {
    let error = Error::usage(format!("`{text}` is not a tile id or the beginning of one"));
    let found =
        candidates(tiles, contains(col("source"), lit(text)), CANDIDATES + 1).await.unwrap_or_default();
    if text.is_empty() || found.is_empty() {
        return error.hint("ids are 32 hexadecimal digits; `SELECT tile_id, source FROM tiles` lists them");
    }
    let more = found.len() > CANDIDATES;
    error
        .because(format!("sources with it in their names have {}", named(&found[..CANDIDATES.min(found.len())], more)))
        .hint("give an id, or a subquery: nearest((SELECT tile_id FROM tiles WHERE source LIKE '%…' LIMIT 1), 10)")
}

/// Returns ids and sources of some tiles, in order.
async fn candidates(tiles: &DataFrame, condition: Expr, most: usize) -> OurResult<Vec<(String, String)>> {
    let mut found = pairs(&collect(tiles, condition, most, &["tile_id", "source"]).await?)?;
    found.sort();
    Ok(found)
}

async fn collect(
    tiles: &DataFrame,
    condition: Expr,
    most: usize,
    columns: &[&str],
) -> OurResult<Vec<RecordBatch>> {
    let collected = async {
        let found = tiles.clone().filter(condition)?.limit(0, Some(most))?;
        found.select_columns(columns)?.collect().await
    };
    collected.await.map_err(|cause| fault(&cause))
}

fn pairs(batches: &[RecordBatch]) -> OurResult<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    for batch in batches {
        let text = |name| StoredColumns(batch).text(name).map_err(unexpected);
        let (ids, sources) = (text("tile_id")?, text("source")?);
        let pair = |row| (ids.value(row).to_owned(), sources.value(row).to_owned());
        pairs.extend((0..batch.num_rows()).map(pair));
    }
    Ok(pairs)
}

fn named(tiles: &[(String, String)], more: bool) -> String {
    let mut names: Vec<String> = tiles.iter().map(|(id, source)| format!("{id} ({source})")).collect();
    if more {
        names.push("others".to_owned());
    }
    names.join(", ")
}
