//! `nearest('tile_id', k)`: the tiles whose embeddings are most like that of one tile.

use std::sync::Arc;

use datafusion::catalog::{TableFunctionImpl, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, ScalarUDF, scalar_subquery};
use datafusion::prelude::{DataFrame, SessionContext, col, lit};

use super::functions::CosineSimilarity;

/// What a neighbour says of itself, beside its similarity.
const COLUMNS: [&str; 10] =
    ["tile_id", "source", "level", "frame", "x", "y", "width", "height", "label", "run"];

/// Makes the function known; it looks at the table `tiles`.
pub(super) async fn register(context: &SessionContext) -> Result<()> {
    let tiles = context.table("tiles").await?;
    context.register_udtf("nearest", Arc::new(Nearest { tiles }));
    Ok(())
}

#[derive(Debug)]
struct Nearest {
    tiles: DataFrame,
}

impl TableFunctionImpl for Nearest {
    fn call(&self, args: &[Expr]) -> Result<Arc<dyn TableProvider>> {
        let (id, count) = match args {
            [Expr::Literal(id, _), Expr::Literal(count, _)] => (text(id), number(count)),
            _ => (None, None),
        };
        let (Some(id), Some(count)) = (id, count) else {
            return Err(DataFusionError::Plan(
                "nearest takes a tile id and a number: nearest('0123…', 10)".to_owned(),
            ));
        };
        let query = self.tiles.clone().filter(col("tile_id").eq(lit(id)))?.limit(0, Some(1))?;
        let query = scalar_subquery(Arc::new(query.select(vec![col("embedding")])?.logical_plan().clone()));
        let similarity = ScalarUDF::from(CosineSimilarity::default()).call(vec![col("embedding"), query]);
        let others = col("tile_id").not_eq(lit(id)).and(col("embedding").is_not_null());
        let columns = COLUMNS.map(col).into_iter().chain([similarity.alias("similarity")]);
        let ranked = self.tiles.clone().filter(others)?.select(columns.collect::<Vec<_>>())?;
        let ranked = ranked.sort(vec![col("similarity").sort(false, false)])?.limit(0, Some(count))?;
        Ok(ranked.into_view())
    }
}

fn text(value: &ScalarValue) -> Option<&str> {
    value.try_as_str().flatten()
}

fn number(value: &ScalarValue) -> Option<usize> {
    match value {
        ScalarValue::Int64(Some(number)) => usize::try_from(*number).ok(),
        ScalarValue::UInt64(Some(number)) => usize::try_from(*number).ok(),
        _ => None,
    }
}
