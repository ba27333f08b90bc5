// STUB
#[derive(serde::Deserialize)]
pub struct Item { pub datetime: Option<i64>, pub assets: Vec<Asset> }
#[derive(serde::Deserialize)]
pub struct Asset;
impl Asset { pub fn uri(&self, _: Option<&str>) -> Result<crate::storage::ObjectUri, String> { Err(String::new()) } }
pub struct Band { pub nodata: Option<f64> }
pub struct Selected { pub asset: usize, pub band: usize, pub described: bool, pub details: Band }
pub fn select<S: AsRef<str>>(_: &Item, _: &[S]) -> Result<Vec<Selected>, String> { Err(String::new()) }
pub fn conversion(_: &Item, _: &Selected) -> Result<Option<(f64, f64)>, String> { Err(String::new()) }
