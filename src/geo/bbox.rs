//! Boxes around boxes, in longitude and latitude: west, south, east and north in degrees.

/// Returns the box around all boxes; `None` if there is none.
#[must_use]
pub fn around(boxes: &[[f64; 4]]) -> Option<[f64; 4]> {
    let join = |a: [f64; 4], b: [f64; 4]| [a[0].min(b[0]), a[1].min(b[1]), a[2].max(b[2]), a[3].max(b[3])];
    boxes.iter().copied().reduce(join)
}

/// Returns the box around all boxes, none of which crosses the antimeridian. Where they reach it from both sides
/// and leave a gap elsewhere, west is greater than east, and what lies between is the widest gap.
///
/// # Reference
///
/// RFC 7946, section 5.2.
#[must_use]
pub fn around_across_antimeridian(boxes: &[[f64; 4]]) -> Option<[f64; 4]> {
    let all @ [west, south, east, north] = around(boxes)?;
    let gap = if west <= -180.0 && east >= 180.0 { widest_gap(boxes) } else { None };
    Some(gap.map_or(all, |(start, end)| [end, south, start, north]))
}

/// Returns the longitudes between which no box lies, if there are such.
fn widest_gap(boxes: &[[f64; 4]]) -> Option<(f64, f64)> {
    let mut spans: Vec<(f64, f64)> = boxes.iter().map(|bbox| (bbox[0], bbox[2])).collect();
    spans.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut reached, mut widest) = (spans.first()?.1, None);
    for (west, east) in spans {
        let is_wider = widest.is_none_or(|(start, end)| west - reached > end - start);
        if west > reached && is_wider {
            widest = Some((reached, west));
        }
        reached = reached.max(east);
    }
    widest
}
