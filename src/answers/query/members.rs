//! Members of structs, `bbox['xmin']`: null where the struct is null.
//!
//! `DataFusion` 55.2 gives what lies below a null struct, which is 0 for the edges of our `bbox`: they are never
//! null themselves. So each access to a member is replaced, in every query, by one that looks at the struct too;
//! likewise `unnest` of a struct.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::compute::nullif;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, ScalarValue, TableReference};
use datafusion::error::{DataFusionError, Result};
use datafusion::functions::core::getfield::GetFieldFunc;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    ColumnarValue, Expr, Filter, LogicalPlan, Operator, Projection, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Unnest, lit,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::prelude::SessionContext;

/// Makes queries of this context see null members of null structs.
pub(super) fn register(context: &SessionContext) {
    let member = Arc::new(ScalarUDF::from(Member::default()));
    context.register_udf((*member).clone());
    context.add_analyzer_rule(Arc::new(NullMembers(member)));
}

/// As `get_field`, but null where the struct is.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Member(GetFieldFunc);

impl Default for Member {
    fn default() -> Self {
        Self(GetFieldFunc::new())
    }
}

impl ScalarUDFImpl for Member {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.0.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.0.coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.0.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.0.return_field_from_args(args)
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let path = args.args.split_off(1.min(args.args.len()));
        let Some(base) = args.args.pop().filter(|_| !path.is_empty()) else {
            return self.0.invoke_with_args(args);
        };
        path.into_iter().try_fold(base, |whole, name| {
            let args = ScalarFunctionArgs { args: vec![whole.clone(), name], ..args.clone() };
            below(&whole, self.0.invoke_with_args(args)?)
        })
    }
}

/// Leaves out the members of what is null itself.
fn below(whole: &ColumnarValue, member: ColumnarValue) -> Result<ColumnarValue> {
    let (whole, is_scalar) = match whole {
        ColumnarValue::Array(array) => (array.clone(), false),
        ColumnarValue::Scalar(scalar) => (scalar.to_array()?, true),
    };
    let ColumnarValue::Array(member) = member else { return Ok(member) };
    let absent = whole.logical_nulls().filter(|nulls| nulls.null_count() > 0);
    let member: ArrayRef = match absent {
        Some(nulls) => nullif(&member, &BooleanArray::new(!nulls.inner(), None))?,
        None => member,
    };
    if is_scalar {
        return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&member, 0)?));
    }
    Ok(ColumnarValue::Array(member))
}

/// Replaces the engine's access to members by ours, before anything is optimised.
#[derive(Debug)]
struct NullMembers(Arc<ScalarUDF>);

impl AnalyzerRule for NullMembers {
    fn name(&self) -> &'static str {
        "null_members"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let mut other_schema = false;
        let replaced = plan.transform_up_with_subqueries(|plan| {
            let (plan, is_unnested) = self.without_unnest(plan)?;
            other_schema |= is_unnested;
            let plan = self.replaced(plan)?;
            Ok(Transformed::yes(if other_schema { plan.recompute_schema()? } else { plan }))
        });
        Ok(replaced?.data)
    }
}

impl NullMembers {
    fn replaced(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        if let LogicalPlan::Filter(Filter { predicate, input, .. }) = plan {
            return Ok(LogicalPlan::Filter(Filter::try_new(self.condition(predicate)?, input)?));
        }
        Ok(plan.map_expressions(|expr| self.ours(expr))?.data)
    }

    fn ours(&self, expr: Expr) -> Result<Transformed<Expr>> {
        expr.transform_up(|expr| match expr {
            Expr::ScalarFunction(call) if is_theirs(&call) => Ok(Transformed::yes(self.call(call.args))),
            other => Ok(Transformed::no(other)),
        })
    }

    fn call(&self, args: Vec<Expr>) -> Expr {
        Expr::ScalarFunction(ScalarFunction::new_udf(self.0.clone(), args))
    }

    /// Only the engine's own function is understood by its Parquet reader, which then reads embeddings of those
    /// rows alone that a condition leaves. So conditions that a null does not fulfil stay beside ours.
    fn condition(&self, predicate: Expr) -> Result<Expr> {
        let mut conditions = Vec::new();
        for condition in split_conjunction_owned(predicate) {
            if compares_member(&condition) {
                conditions.push(condition.clone());
            }
            conditions.push(self.ours(condition)?.data);
        }
        conjunction(conditions)
            .ok_or_else(|| DataFusionError::Internal("a filter without condition".to_owned()))
    }

    /// Makes a projection of an unnested struct; tells whether it was one.
    fn without_unnest(&self, plan: LogicalPlan) -> Result<(LogicalPlan, bool)> {
        let LogicalPlan::Unnest(unnest) = plan else { return Ok((plan, false)) };
        if unnest.struct_type_columns.is_empty() {
            return Ok((LogicalPlan::Unnest(unnest), false));
        }
        if !unnest.list_type_columns.is_empty() {
            return Err(DataFusionError::Plan(
                "a list and a struct are not unnested in one go: unnest the list in a subquery".to_owned(),
            ));
        }
        Ok((LogicalPlan::Projection(self.members_of(&unnest)?), true))
    }

    fn members_of(&self, unnest: &Unnest) -> Result<Projection> {
        let columns = &unnest.dependency_indices;
        let member = |(at, (qualifier, field)): (usize, (Option<&TableReference>, &FieldRef))| {
            let from = columns[at];
            let column = Expr::Column(Column::from(unnest.input.schema().qualified_field(from)));
            if !unnest.struct_type_columns.contains(&from) {
                return Ok(column);
            }
            let number = columns[..at].iter().filter(|other| **other == from).count();
            let DataType::Struct(members) = unnest.input.schema().field(from).data_type() else {
                return Err(DataFusionError::Internal("a value to unnest is not a struct".to_owned()));
            };
            let member = self.call(vec![column, lit(members[number].name().as_str())]);
            Ok(member.alias_qualified(qualifier.cloned(), field.name()))
        };
        let members = unnest.schema.iter().enumerate().map(member).collect::<Result<Vec<_>>>()?;
        Projection::try_new(members, unnest.input.clone())
    }
}

fn is_theirs(call: &ScalarFunction) -> bool {
    call.func.inner().is::<GetFieldFunc>()
}

/// Tells whether a condition compares a member of a column with values: it cannot fail, and null does not fulfil it.
fn compares_member(condition: &Expr) -> bool {
    match condition {
        Expr::BinaryExpr(compared) => {
            let sides = [&*compared.left, &*compared.right];
            is_comparison(compared.op)
                && (is_member(sides[0]) && is_value(sides[1]) || is_value(sides[0]) && is_member(sides[1]))
        }
        Expr::InList(list) => is_member(&list.expr) && list.list.iter().all(is_value),
        Expr::Between(range) => is_member(&range.expr) && is_value(&range.low) && is_value(&range.high),
        Expr::Like(like) => is_member(&like.expr) && is_value(&like.pattern),
        _ => false,
    }
}

fn is_comparison(operator: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(operator, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

fn is_member(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarFunction(call) if is_theirs(call) => match call.args.as_slice() {
            [whole, path @ ..] => {
                (matches!(whole, Expr::Column(_)) || is_member(whole)) && path.iter().all(is_value)
            }
            [] => false,
        },
        _ => false,
    }
}

fn is_value(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(..) => true,
        Expr::Cast(cast) => is_value(&cast.expr),
        Expr::Negative(value) => is_value(value),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use arrow::array::{AsArray, Float64Array, RecordBatch, StringArray, StructArray};
    use arrow::buffer::NullBuffer;
    use arrow::datatypes::{Field, Fields, Float64Type};
    use datafusion::datasource::MemTable;

    /// Boxes as ours are: edges are never null, the second box and the third whole are.
    fn context() -> SessionContext {
        let edges: Fields = vec![Field::new("xmin", DataType::Float64, false)].into();
        let west: ArrayRef = Arc::new(Float64Array::from(vec![7.0, 0.0, 0.0, -3.0]));
        let present = |rows: [bool; 4]| Some(NullBuffer::from(rows.to_vec()));
        let boxes = StructArray::new(edges.clone(), vec![west], present([true, false, true, true]));
        let within: Fields = vec![Field::new("bbox", DataType::Struct(edges), true)].into();
        let boxes: ArrayRef = Arc::new(boxes);
        let whole = StructArray::new(within, vec![boxes.clone()], present([true, true, false, true]));
        let names: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c", "d"]));
        let columns = [("name", names, false), ("bbox", boxes, true), ("whole", Arc::new(whole) as _, true)];
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let context = SessionContext::new();
        register(&context);
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
        context.register_table("t", Arc::new(table)).unwrap();
        context
    }

    /// Returns a column of numbers.
    async fn numbers(sql: &str) -> Vec<Option<f64>> {
        let batches = context().sql(sql).await.unwrap().collect().await.unwrap();
        let column = |batch: &RecordBatch| {
            let numbers = arrow::compute::cast(batch.column(0), &DataType::Float64).unwrap();
            numbers.as_primitive::<Float64Type>().iter().collect::<Vec<_>>()
        };
        batches.iter().flat_map(column).collect()
    }

    #[tokio::test]
    async fn members_of_null_structs_are_null() {
        let all = [Some(7.0), None, Some(0.0), Some(-3.0)];
        for sql in [
            "SELECT bbox['xmin'] FROM t ORDER BY name",
            "SELECT t.bbox.xmin FROM t ORDER BY name",
            "SELECT get_field(bbox, 'xmin') FROM t ORDER BY name",
            "SELECT x FROM (SELECT name, bbox['xmin'] AS x FROM t) ORDER BY name",
            "SELECT (SELECT max(u.bbox['xmin']) FROM t AS u WHERE u.name = t.name) FROM t ORDER BY name",
            "SELECT xmin FROM (SELECT name, unnest(bbox) FROM t) AS u(name, xmin) ORDER BY name",
        ] {
            assert_eq!(numbers(sql).await, all, "{sql}");
        }
        for sql in [
            "SELECT whole['bbox']['xmin'] FROM t ORDER BY name",
            "SELECT whole.bbox.xmin FROM t ORDER BY name",
            "SELECT get_field(whole, 'bbox', 'xmin') FROM t ORDER BY name",
        ] {
            assert_eq!(numbers(sql).await, [Some(7.0), None, None, Some(-3.0)], "{sql}");
        }
        let made = "SELECT nullif(bbox, CASE WHEN name = 'a' THEN bbox END)['xmin'] FROM t ORDER BY name";
        assert_eq!(numbers(made).await, [None, None, Some(0.0), Some(-3.0)]);
        assert_eq!(numbers("SELECT {x: 1.5}['x']").await, [Some(1.5)]);
    }

    #[tokio::test]
    async fn conditions_orders_and_sums_leave_them_out() {
        for (sql, expected) in [
            ("SELECT count(*) FROM t WHERE bbox['xmin'] IS NULL", &[Some(1.0)][..]),
            ("SELECT count(*) FROM t WHERE bbox['xmin'] = 0", &[Some(1.0)]),
            ("SELECT count(*) FROM t WHERE 0 = bbox['xmin'] OR bbox['xmin'] > 100", &[Some(1.0)]),
            ("SELECT count(*) FROM t WHERE bbox['xmin'] BETWEEN -1 AND 1 AND name <> 'z'", &[Some(1.0)]),
            ("SELECT count(*) FROM t WHERE bbox['xmin'] NOT IN (7)", &[Some(2.0)]),
            ("SELECT count(*) FROM t WHERE NOT (bbox['xmin'] < 7)", &[Some(1.0)]),
            ("SELECT count(*) FROM t WHERE whole['bbox']['xmin'] < 7", &[Some(1.0)]),
            ("SELECT count(bbox['xmin']) FROM t", &[Some(3.0)]),
            ("SELECT avg(bbox['xmin']) FROM t WHERE name < 'c'", &[Some(7.0)]),
            ("SELECT min(bbox['xmin']) FROM t WHERE name < 'c'", &[Some(7.0)]),
            ("SELECT count(*) FROM t GROUP BY bbox['xmin'] HAVING bbox['xmin'] IS NULL", &[Some(1.0)]),
            ("SELECT count(*) FROM t JOIN t AS u ON t.bbox['xmin'] = u.bbox['xmin']", &[Some(3.0)]),
            (
                "SELECT bbox['xmin'] FROM t ORDER BY bbox['xmin'] NULLS FIRST",
                &[None, Some(-3.0), Some(0.0), Some(7.0)],
            ),
        ] {
            assert_eq!(numbers(sql).await, expected, "{sql}");
        }
    }

    /// What the engine calls a column stays as it was.
    #[tokio::test]
    async fn columns_keep_their_names() {
        let frame = context().sql("SELECT bbox['xmin'] FROM t").await.unwrap();
        let batches = frame.collect().await.unwrap();
        assert_eq!(batches[0].schema().field(0).name(), "t.bbox[xmin]");
    }
}
