//! EPSG codes whose definition has been held against PROJ.

/// Returns the definition of a code as a PROJ string, if it is known to give PROJ's coordinates.
pub(super) fn definition(code: u32) -> Option<&'static str> {
    let code = u16::try_from(code).ok()?;
    let next = AGREEING.partition_point(|&(first, _)| first <= code);
    let (_, last) = AGREEING[next.checked_sub(1)?];
    if code > last {
        return None;
    }
    crs_definitions::from_code(code).map(|definition| definition.proj4)
}

/// Ranges of codes, first and last, whose definitions gave PROJ's longitudes and latitudes within 1e-7 degrees
/// at 6 to 12 places of their area of use. Made by `scripts/golden/epsg_golden.py`; PROJ chose the datum
/// shifts among those that need no grid files, as it does where none are installed. Systems for which it has
/// several, and chooses by place, are not among them.
#[rustfmt::skip] // One code a line would be three hundred.
const AGREEING: &[(u16, u16)] = &[
    (2002, 2002), (2004, 2004), (2007, 2035), (2046, 2057), (2066, 2066), (2068, 2071), (2076, 2077),
    (2080, 2080), (2087, 2087), (2089, 2095), (2099, 2135), (2138, 2163), (2169, 2169), (2176, 2180),
    (2189, 2203), (2205, 2205), (2213, 2215), (2219, 2295), (2309, 2311), (2315, 2316), (2326, 2396),
    (2443, 2461), (2463, 2491), (2641, 2735), (2738, 2758), (2782, 2786), (2866, 2866), (2931, 2932),
    (2942, 2943), (2965, 2966), (2969, 2969), (2971, 2972), (2975, 2976), (2980, 2981), (2988, 2992),
    (2995, 2999), (3002, 3002), (3005, 3049), (3057, 3060), (3064, 3065), (3067, 3067), (3070, 3070),
    (3072, 3074), (3078, 3078), (3081, 3083), (3086, 3086), (3088, 3089), (3097, 3102), (3107, 3109),
    (3111, 3119), (3121, 3138), (3141, 3142), (3152, 3152), (3161, 3161), (3163, 3166), (3169, 3175),
    (3177, 3199), (3201, 3294), (3300, 3301), (3308, 3308), (3310, 3310), (3312, 3313), (3336, 3336),
    (3338, 3347), (3353, 3353), (3355, 3355), (3375, 3387), (3390, 3393), (3395, 3395), (3400, 3401),
    (3407, 3424), (3433, 3439), (3447, 3455), (3461, 3463), (3465, 3560), (3565, 3567), (3571, 3578),
    (3580, 3580), (3582, 3739), (3750, 3751), (3760, 3760), (3762, 3768), (3770, 3770), (3775, 3777),
    (3783, 3794), (3798, 3798), (3801, 3801), (3812, 3814), (3816, 3832), (3845, 3892), (3920, 3968),
    (3970, 3978), (3991, 4063), (4075, 4096), (4121, 4124), (4128, 4128), (4130, 4130), (4133, 4133),
    (4136, 4139), (4146, 4146), (4148, 4148), (4150, 4151), (4153, 4153), (4155, 4155), (4157, 4157),
    (4163, 4167), (4169, 4174), (4176, 4176), (4180, 4181), (4183, 4190), (4192, 4192), (4195, 4196),
    (4199, 4200), (4205, 4206), (4215, 4215), (4219, 4219), (4236, 4236), (4241, 4241), (4243, 4245),
    (4249, 4249), (4252, 4252), (4255, 4255), (4257, 4259), (4262, 4262), (4269, 4269), (4273, 4273),
    (4275, 4276), (4278, 4280), (4283, 4283), (4286, 4289), (4295, 4295), (4299, 4299), (4303, 4306),
    (4308, 4308), (4311, 4311), (4315, 4318), (4322, 4398), (4414, 4414), (4422, 4433), (4437, 4439),
    (4457, 4589), (4608, 4612), (4614, 4616), (4619, 4619), (4621, 4621), (4623, 4624), (4626, 4628),
    (4632, 4637), (4639, 4657), (4659, 4662), (4667, 4674), (4678, 4678), (4683, 4686), (4694, 4694),
    (4696, 4698), (4700, 4700), (4702, 4704), (4707, 4709), (4711, 4712), (4714, 4717), (4719, 4719),
    (4721, 4722), (4724, 4725), (4727, 4735), (4737, 4739), (4742, 4742), (4747, 4750), (4753, 4755),
    (4757, 4800), (4802, 4802), (4804, 4804), (4808, 4809), (4812, 4814), (4817, 4817), (4820, 4820),
    (4822, 4839), (5013, 5016), (5041, 5048), (5070, 5070), (5072, 5130), (5179, 5188), (5223, 5320),
    (5324, 5331), (5354, 5357), (5371, 5396), (5464, 5490), (5518, 5519), (5523, 5552), (5589, 5596),
    (5629, 5629), (5632, 5641), (5644, 5653), (5655, 5655), (5676, 5676), (5679, 5679), (5700, 5700),
    (5836, 6097), (6115, 6125), (6135, 6135), (6207, 6312), (6318, 6372), (6391, 6637), (6668, 6880),
    (6883, 6887), (6922, 6984), (7005, 7006), (7035, 7136), (7257, 20032), (20257, 20258),
    (20436, 20437), (20440, 20440), (20538, 20539), (21095, 21095), (21291, 21291), (21500, 21500),
    (22171, 22191), (22193, 22197), (23830, 23845), (23866, 23884), (23948, 23948), (24100, 24100),
    (24313, 24374), (24378, 24548), (25231, 25391), (25828, 26192), (26237, 26237), (26847, 26854),
    (26863, 26870), (26902, 26903), (26906, 26939), (26941, 26960), (26966, 26998), (27391, 27398),
    (27500, 27574), (28193, 28193), (28348, 28358), (28991, 28992), (29901, 29902), (30179, 30179),
    (30339, 30494), (31121, 31171), (31254, 31254), (31257, 31257), (31284, 31284), (31466, 31466),
    (31469, 31839), (31965, 32000), (32100, 32766),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::geo::Crs;

    /// Code, x, y, longitude, latitude, as `scripts/golden/epsg_golden.py` writes them.
    fn records(bytes: &[u8]) -> impl Iterator<Item = (u16, [f64; 4])> {
        bytes.chunks_exact(34).map(|record| {
            let number = |index: usize| f64::from_le_bytes(record[2 + index * 8..][..8].try_into().unwrap());
            (u16::from_le_bytes([record[0], record[1]]), std::array::from_fn(number))
        })
    }

    /// How far in degrees our longitude and latitude are from PROJ's.
    fn deviation(crs: &Crs, [x, y, longitude, latitude]: [f64; 4]) -> f64 {
        let Ok((found_longitude, found_latitude)) = crs.to_lon_lat(x, y) else { return f64::INFINITY };
        let across = (found_longitude - longitude).rem_euclid(360.0);
        across.min(360.0 - across).max((found_latitude - latitude).abs())
    }

    #[test]
    fn codes_of_the_table_give_projs_coordinates() {
        let golden = include_bytes!("../../tests/golden/epsg.bin");
        let (mut num_codes, mut last, mut worst) = (0, None, (0.0, 0));
        for (code, place) in records(golden) {
            let Ok(crs) = Crs::from_epsg(u32::from(code)) else { continue };
            num_codes += usize::from(last != Some(code));
            last = Some(code);
            let degrees = deviation(&crs, place);
            if degrees > worst.0 {
                worst = (degrees, code);
            }
            let back = crs.from_lon_lat(place[2], place[3]).unwrap();
            let [_, _, longitude, latitude] = place;
            let apart = deviation(&crs, [back.0, back.1, longitude, latitude]);
            assert!(apart <= 1e-6, "EPSG:{code}: {back:?} is not {place:?}");
        }
        println!("{num_codes} codes, worst {worst:?}");
        assert!(num_codes > 3000, "{num_codes}");
        assert!(worst.0 <= 1e-6, "{worst:?}");
    }

    #[test]
    #[ignore = "prints the table for a sweep by scripts/golden/epsg_golden.py"]
    fn prints_the_table() {
        let sweep = std::fs::read(std::env::var("TILEFLEET_EPSG_SWEEP").unwrap()).unwrap();
        let mut codes: BTreeMap<u16, (usize, f64)> = BTreeMap::new();
        for (code, place) in records(&sweep) {
            let Some(known) = crs_definitions::from_code(code) else { continue };
            let crs = Crs::from_proj(None, known.proj4);
            let degrees = crs.map_or(f64::INFINITY, |crs| deviation(&crs, place));
            let (count, worst) = codes.entry(code).or_default();
            (*count, *worst) = (*count + 1, worst.max(degrees));
        }
        let agrees = |code| codes.get(&code).is_some_and(|&(count, worst)| count >= 6 && worst <= 1e-7);
        let known = (0..=u16::MAX).filter(|&code| crs_definitions::from_code(code).is_some());
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        let mut goes_on = false;
        for code in known {
            match ranges.last_mut() {
                Some(range) if goes_on && agrees(code) => range.1 = code,
                _ if agrees(code) => ranges.push((code, code)),
                _ => {}
            }
            goes_on = agrees(code);
        }
        let text: Vec<String> = ranges.iter().map(|(first, last)| format!("({first}, {last})")).collect();
        println!("{}", text.join(", "));
    }

    #[test]
    fn what_images_come_in_is_there_and_what_needs_a_grid_is_not() {
        let common =
            [4326, 3857, 32601, 32660, 32701, 32760, 25832, 26913, 3031, 3413, 3035, 5070, 3577, 2056, 6933];
        for code in common {
            assert!(definition(code).is_some(), "EPSG:{code}");
        }
        for code in [26711, 4267, 21897, 4978, 0, 99_999] {
            assert_eq!(definition(code), None, "EPSG:{code}");
        }
    }
}
