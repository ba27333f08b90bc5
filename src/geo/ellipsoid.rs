//! The WGS 84 ellipsoid: how long a degree is.

/// Semi-major axis of WGS 84, in metres.
pub(super) const SEMI_MAJOR: f64 = 6_378_137.0;

/// Inverse flattening of WGS 84.
pub(super) const INVERSE_FLATTENING: f64 = 298.257_223_563;

/// Returns the length of a degree of longitude and of one of latitude, in metres, at a latitude in degrees.
pub(super) fn metres_per_degree(latitude: f64) -> (f64, f64) {
    let flattening = 1.0 / INVERSE_FLATTENING;
    let squared_eccentricity = flattening * (2.0 - flattening);
    let (sine, cosine) = latitude.to_radians().sin_cos();
    let bracket = 1.0 - squared_eccentricity * sine * sine;
    let prime_vertical = SEMI_MAJOR / bracket.sqrt();
    let meridional = SEMI_MAJOR * (1.0 - squared_eccentricity) / bracket.powf(1.5);
    (prime_vertical * cosine * 1_f64.to_radians(), meridional * 1_f64.to_radians())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known lengths of WGS 84's degrees at the equator and at 45 degrees.
    #[test]
    fn degrees_have_their_known_lengths() {
        let near = |found: f64, known: f64| assert!((found - known).abs() < 0.1, "{found} is not {known}");
        near(metres_per_degree(0.0).0, 111_319.5);
        near(metres_per_degree(0.0).1, 110_574.3);
        near(metres_per_degree(45.0).0, 78_846.8);
        near(metres_per_degree(-45.0).1, 111_131.8);
    }
}
