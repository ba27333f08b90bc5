//! Where the pixels of a scene lie on the Earth.

pub mod tags;
// STUB
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Aoi;
impl Aoi { pub fn intersects(&self, _: &Footprint) -> bool { true } }
pub struct Footprint;
pub struct Georeference;
impl Georeference {
    pub fn of(_: &crate::scene::Scene) -> Option<Self> { None }
    pub fn footprint(&self, _: crate::geometry::Window) -> Result<Footprint, String> { Err(String::new()) }
}
pub struct Located { pub transform: Option<[f64; 6]>, pub epsg: Option<u32> }
pub fn locate(tags: &tags::GeoTags) -> Located {
    let t = tags.pixel_scale.zip(tags.tiepoints.get(..6)).map(|(s, t)| [t[3], s[0], 0.0, t[4], 0.0, -s[1]]);
    Located { transform: t, epsg: None }
}
pub fn ground_sample_distance(o: &crate::scene::SceneObject) -> Option<f64> { o.transform.map(|t| t[1]) }
