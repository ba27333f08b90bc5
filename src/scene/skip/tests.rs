//! The suite that every [`SkipRule`] passes, and the order of a list.

use super::*;
use crate::vocabulary::geometry::{Rect, Window};

/// A rule as slides will have one: windows that are mostly brighter than paper are background.
#[derive(Debug)]
struct Background {
    brighter_than: f64,
    max_fraction: f32,
}

impl SkipRule for Background {
    /// Slides bring a code of their own.
    fn reason(&self) -> Reason {
        Reason::OutsideImage
    }

    fn by_headers(&self, _: &WindowHeaders<'_>, _: Option<&SceneBand>) -> Option<Share> {
        None
    }

    fn by_pixels(&self, pixels: &dyn WindowPixels, _: Option<&SceneBand>) -> Share {
        pixels.share(&pixels.scene().bands[0], &|sample| sample > self.brighter_than)
    }

    fn judge(&self, share: Share) -> Option<String> {
        let bright = share.filter(|bright| *bright > self.max_fraction)?;
        Some(format!("{:.1} % of the valid pixels are background", 100.0 * bright))
    }
}

/// A scene of two objects: the model's band lies in the first, the clouds in the second, if they do.
fn scene(has_clouds: bool) -> Scene {
    let object = |uri: &str| {
        serde_json::json!({"uri": uri, "version": null, "size_bytes": 1,
            "levels": [{"width": 100, "height": 100}]})
    };
    let band = |object: usize| serde_json::json!({"object": object, "band": 0, "scale": 1.0, "offset": 0.0});
    let mut scene = serde_json::json!({"objects": [object("s3://b/a.tif"), object("s3://b/b.tif")],
        "bands": [band(0)], "reference": 0, "level": 0, "size": {"width": 100, "height": 100},
        "window": {"width": 8, "height": 8}, "stride": [8.0, 8.0], "in_rows": false});
    if has_clouds {
        scene["clouds"] = band(1);
    }
    serde_json::from_value(scene).unwrap()
}

fn cut(object: usize, is_inside: bool) -> SourceWindow {
    let side = if is_inside { 8 } else { 0 };
    SourceWindow {
        object,
        frame: 0,
        level: 0,
        rect: Rect { x: 0.0, y: 0.0, width: 8.0, height: 8.0 },
        pixels: Window { x: 0, y: 0, width: side, height: side },
        bands: vec![0],
    }
}

/// Pixels of a window, band by band of the model's and the rule's: a sample, or none where nothing is known.
struct Pixels {
    scene: Scene,
    /// Of each pixel: whether it is valid, and its samples in both objects.
    pixels: Vec<(bool, [Option<f64>; 2])>,
}

impl WindowPixels for Pixels {
    fn scene(&self) -> &Scene {
        &self.scene
    }

    fn valid_fraction(&self) -> f32 {
        self.pixels.iter().filter(|(valid, _)| *valid).count() as f32 / self.pixels.len() as f32
    }

    fn share(&self, band: &SceneBand, belongs: &dyn Fn(f64) -> bool) -> Share {
        let valid: Vec<_> = self.pixels.iter().filter(|(valid, _)| *valid).collect();
        let known: Vec<f64> = valid.iter().filter_map(|(_, samples)| samples[band.object]).collect();
        let belonging = known.iter().filter(|sample| belongs(**sample)).count();
        let is_known = !known.is_empty() && 2 * known.len() >= valid.len();
        is_known.then(|| belonging as f32 / known.len() as f32)
    }
}

/// A window of which both objects are there or not, with so many of ten pixels valid, and so many of those marked with 9.
fn window(
    is_inside: [bool; 2],
    has_clouds: bool,
    num_valid: usize,
    num_marked: usize,
) -> (Vec<SourceWindow>, Pixels) {
    let cuts = vec![cut(0, is_inside[0]), cut(1, is_inside[1])];
    let pixel = |index: usize| {
        let sample = if index < num_marked { 9.0 } else { 1.0 };
        let samples = is_inside.map(|is_inside| is_inside.then_some(sample));
        (is_inside[0] && index < num_valid, samples)
    };
    (cuts, Pixels { scene: scene(has_clouds), pixels: (0..10).map(pixel).collect() })
}

/// Checks all that a rule has to hold.
fn holds_contract(rule: &dyn SkipRule) {
    judges_alike_before_and_after(rule);
    judges_by_one_bound(rule);
}

/// What headers tell of a share is what the pixels have, whatever they are.
fn judges_alike_before_and_after(rule: &dyn SkipRule) {
    for is_inside in [[true, true], [true, false], [false, true], [false, false]] {
        for (has_clouds, num_valid, num_marked) in
            [(true, 10, 3), (true, 5, 5), (false, 10, 10), (true, 0, 0)]
        {
            let (cuts, pixels) = window(is_inside, has_clouds, num_valid, num_marked);
            let headers = WindowHeaders { scene: &pixels.scene, cuts: &cuts };
            let own = rule.band().and_then(|_| pixels.scene.rule_bands.first());
            let share = rule.by_pixels(&pixels, own);
            assert!(share.is_none_or(|share| (0.0..=1.0).contains(&share)), "{rule:?}: {share:?}");
            if let Some(told) = rule.by_headers(&headers, own) {
                assert_eq!(told, share, "{rule:?} of {is_inside:?}");
            }
        }
    }
}

/// There is one bound, on one side of which windows are left out, each with words that say how much.
fn judges_by_one_bound(rule: &dyn SkipRule) {
    let judged: Vec<Option<String>> =
        (0..=100).map(|hundredths| rule.judge(Some(hundredths as f32 / 100.0))).collect();
    let changes = judged.windows(2).filter(|pair| pair[0].is_some() != pair[1].is_some()).count();
    assert_eq!(changes, 1, "{rule:?}");
    let details: std::collections::HashSet<&String> = judged.iter().flatten().collect();
    assert_eq!(details.len(), judged.iter().flatten().count(), "the share is in the detail");
    for detail in details {
        assert!(!detail.contains('\n') && !detail.ends_with('.') && detail.contains(" % "), "{detail}");
    }
}

fn clouds(max_fraction: f64) -> Clouds {
    Clouds { band: "scl".to_owned(), values: vec![9], bits: vec![7], max_fraction }
}

fn background() -> Background {
    Background { brighter_than: 5.0, max_fraction: 0.5 }
}

#[test]
fn every_rule_holds_the_contract() {
    for min_fraction in [0.0, 0.5] {
        holds_contract(&TooFewValid { min_fraction });
    }
    holds_contract(&clouds(0.25));
    holds_contract(&background());
}

#[test]
fn valid_pixels_are_too_few_below_the_bound_or_if_there_is_none() {
    let judge = |min_fraction, share| TooFewValid { min_fraction }.judge(Some(share));
    assert_eq!(judge(0.0, 0.0).as_deref(), Some("0.0 % of the pixels are valid"));
    assert_eq!((judge(0.0, 0.001), judge(0.5, 0.5)), (None, None));
    assert_eq!(judge(0.5, 0.25).as_deref(), Some("25.0 % of the pixels are valid"));
}

#[test]
fn clouds_are_too_many_above_the_bound_and_where_nothing_says_it() {
    let (_, pixels) = window([true, true], true, 10, 3);
    assert_eq!(clouds(0.5).by_pixels(&pixels, pixels.scene.rule_bands.first()), Some(0.3));
    assert!(clouds(1.0).marks(f64::from(1 << 7)) && clouds(1.0).marks(9.0) && !clouds(1.0).marks(8.0));
    assert_eq!(clouds(0.3).judge(Some(0.3_f32.next_down())), None);
    assert_eq!(clouds(0.3).judge(Some(0.5)).as_deref(), Some("50.0 % of the valid pixels are clouds"));
    assert_eq!(clouds(0.3).judge(None).as_deref(), Some("there is no cloud information for this window"));
    assert_eq!((clouds(1.0).judge(None), clouds(1.0).judge(Some(1.0))), (None, None));
}

fn rules(names: &[&str]) -> SkipRules {
    let rule = |name: &&str| -> Box<dyn SkipRule> {
        match *name {
            "nodata" => Box::new(TooFewValid { min_fraction: 0.5 }),
            "clouds" => Box::new(clouds(0.1)),
            _ => Box::new(background()),
        }
    };
    SkipRules::new(names.iter().map(rule).collect())
}

/// All three rules refuse this window; the first of the list gives the reason.
#[test]
fn the_order_of_the_list_decides() {
    let (cuts, pixels) = window([true, true], true, 2, 2);
    let reason = |names: &[&str]| {
        let rules = rules(names);
        let headers = WindowHeaders { scene: &pixels.scene, cuts: &cuts };
        assert_eq!(rules.before_pixels(&headers), None, "only pixels tell");
        rules.after_pixels(&rules.measure(&pixels)).map(|skipped| skipped.reason)
    };
    assert_eq!(reason(&["nodata", "clouds", "background"]), Some(Reason::Nodata));
    assert_eq!(reason(&["clouds", "background", "nodata"]), Some(Reason::Clouds));
    assert_eq!(reason(&["background", "nodata"]), Some(Reason::OutsideImage));
    assert_eq!(reason(&[]), None);
}

/// What is decided unread is what would be decided otherwise, with the same shares for the row.
#[test]
fn a_window_outside_of_a_file_is_decided_by_headers() {
    for (is_inside, unread) in [([false, true], true), ([true, false], false), ([true, true], false)] {
        let (cuts, pixels) = window(is_inside, true, 10, 0);
        let headers = WindowHeaders { scene: &pixels.scene, cuts: &cuts };
        let rules = rules(&["nodata", "clouds"]);
        let measured = rules.measure(&pixels);
        let decided = rules.before_pixels(&headers);
        assert_eq!(decided.is_some(), unread, "clouds are not asked before valid pixels are known");
        if let Some((skipped, known)) = decided {
            assert_eq!(Some(skipped), rules.after_pixels(&measured));
            for reason in [Reason::Nodata, Reason::Clouds] {
                assert_eq!(known.share(reason), measured.share(reason));
            }
        }
    }
    let (cuts, pixels) = window([true, false], true, 10, 0);
    let alone = rules(&["clouds"]).before_pixels(&WindowHeaders { scene: &pixels.scene, cuts: &cuts });
    assert_eq!(alone.unwrap().0.reason, Reason::Clouds);
}

#[test]
fn planning_finds_the_bands_that_rules_need() {
    assert_eq!(rules(&["nodata", "clouds", "background"]).bands().collect::<Vec<_>>(), ["scl"]);
    assert_eq!(rules(&["nodata", "background"]).bands().count(), 0);
}

/// The band of the first rule lies in the second object, that of the last in the first one.
#[test]
fn each_rule_may_have_a_band_of_its_own() {
    let snow = Clouds { band: "snw".to_owned(), values: vec![1], bits: Vec::new(), max_fraction: 0.5 };
    let valid = TooFewValid { min_fraction: 0.0 };
    let rules = SkipRules::new(vec![Box::new(clouds(0.5)), Box::new(valid), Box::new(snow)]);
    assert_eq!(rules.bands().collect::<Vec<_>>(), ["scl", "snw"]);
    let (_, mut pixels) = window([true, true], true, 10, 3);
    pixels.pixels.iter_mut().for_each(|(_, samples)| samples[0] = Some(1.0));
    let own = SceneBand { object: 0, ..pixels.scene.rule_bands[0].clone() };
    pixels.scene.rule_bands.push(own);
    let shares = |pixels: &Pixels| rules.measure(pixels).0.into_iter().map(|(_, share)| share);
    assert_eq!(shares(&pixels).collect::<Vec<_>>(), [Some(0.3), Some(1.0), Some(1.0)]);
    let skipped = rules.after_pixels(&rules.measure(&pixels)).unwrap();
    assert_eq!(skipped.detail, "100.0 % of the valid pixels are clouds", "each is judged by its own share");
    let cuts = [cut(0, true), cut(1, false)];
    let headers = WindowHeaders { scene: &pixels.scene, cuts: &cuts };
    let told = rules.with_bands(&pixels.scene).map(|(rule, own)| rule.by_headers(&headers, own).is_some());
    assert_eq!(told.collect::<Vec<_>>(), [true, false, false], "only the first rule's file ends here");
    pixels.scene.rule_bands.swap(0, 1);
    assert_eq!(shares(&pixels).collect::<Vec<_>>(), [Some(0.0), Some(1.0), Some(0.7)]);
}
