//! How the pixels of one object of a scene lie in those of another.

use super::earth::EarthPlace;
use super::object::SceneObject;
use crate::vocabulary::geometry::Rect;

/// How pixels of one grid lie in another that is parallel to it: a factor and a shift along each axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AxisMap {
    across: (f64, f64),
    down: (f64, f64),
}

impl AxisMap {
    /// Returns the map from the pixels of one object to those of another, both at level 0; `None` if their
    /// grids are not parallel or lie in different coordinate reference systems.
    ///
    /// Objects without georeference cover the same area as far as anybody can tell.
    #[must_use]
    pub fn between(from: &SceneObject, to: &SceneObject) -> Option<Self> {
        let ratio = |to: u32, from: u32| (f64::from(to) / f64::from(from), 0.0);
        let (a, b) = match (placed(from), placed(to)) {
            (Some((from, a)), Some((to, b))) if from.has_system_of(to) => (a, b),
            (None, None) => {
                let (from_size, to_size) = (from.size(), to.size());
                return Some(Self {
                    across: ratio(to_size.width, from_size.width),
                    down: ratio(to_size.height, from_size.height),
                });
            }
            _ => return None,
        };
        // The inverse of `b` after `a`, of which the mixed terms must vanish.
        let determinant = b[1] * b[5] - b[2] * b[4];
        let inverse =
            |x: f64, y: f64| ((b[5] * x - b[2] * y) / determinant, (b[1] * y - b[4] * x) / determinant);
        let (xx, yx) = inverse(a[1], a[4]);
        let (xy, yy) = inverse(a[2], a[5]);
        let (tx, ty) = inverse(a[0] - b[0], a[3] - b[3]);
        let parallel = xy.abs() < 1e-9 * xx.abs() && yx.abs() < 1e-9 * yy.abs() && xx > 0.0 && yy > 0.0;
        let exact =
            |factor: f64| if (factor - factor.round()).abs() < 1e-9 { factor.round() } else { factor };
        parallel.then(|| Self { across: (exact(xx), tx), down: (exact(yy), ty) })
    }

    /// Maps a rectangle.
    #[must_use]
    pub fn apply(&self, rect: Rect) -> Rect {
        Rect {
            x: rect.x * self.across.0 + self.across.1,
            y: rect.y * self.down.0 + self.down.1,
            width: rect.width * self.across.0,
            height: rect.height * self.down.0,
        }
    }

    /// Returns how many pixels of the other grid one of this is wide.
    #[must_use]
    pub fn across_factor(&self) -> f64 {
        self.across.0
    }
}

/// Returns where an object lies, if its pixels have coordinates at all.
fn placed(object: &SceneObject) -> Option<(&EarthPlace, [f64; 6])> {
    let earth = object.earth.as_ref()?;
    Some((earth, earth.transform?))
}
