//! EPSG codes whose definition has been compared with PROJ.

use std::sync::LazyLock;

/// Returns the definition of a code as a PROJ string, if it is known to give PROJ's coordinates.
pub(super) fn definition(code: u32) -> Option<&'static str> {
    let code = u16::try_from(code).ok()?;
    if is_in(AGREEING, code)
        && let Some(found) = crs_definitions::from_code(code)
    {
        return Some(found.proj4);
    }
    let place = MORE.binary_search_by_key(&code, |&(code, _)| code).ok()?;
    Some(MORE[place].1)
}

/// Returns whether PROJ would take a grid of datum shifts for this code, were it installed: without one, places
/// are off by metres.
pub(super) fn needs_grid(code: u32) -> bool {
    u16::try_from(code).is_ok_and(|code| is_in(NEED_GRIDS, code))
}

fn is_in(ranges: &[(u16, u16)], code: u16) -> bool {
    let next = ranges.partition_point(|&(first, _)| first <= code);
    next > 0 && code <= ranges[next - 1].1
}

/// Definitions that `crs_definitions` lacks, or has otherwise than PROJ: a code and a PROJ string a line, in order.
static MORE: LazyLock<Vec<(u16, &str)>> = LazyLock::new(|| {
    let lines = include_str!("epsg_more.txt").lines().filter_map(|line| line.split_once(' '));
    lines.filter_map(|(code, definition)| Some((code.parse().ok()?, definition))).collect()
});

/// Ranges of codes, first and last, whose definitions gave PROJ's longitudes and latitudes within a tenth of a metre
/// at up to 40 places of their area of use, network off and no grids installed, as those of `epsg_more.txt` did.
/// Made by `scripts/golden/epsg_golden.py`.
#[rustfmt::skip] // One code a line would be three hundred.
const AGREEING: &[(u16, u16)] = &[
    (2001, 2002), (2004, 2005), (2007, 2007), (2041, 2041), (2043, 2043), (2046, 2057), (2066, 2074),
    (2076, 2077), (2080, 2080), (2087, 2087), (2089, 2095), (2099, 2135), (2154, 2163), (2169, 2180),
    (2189, 2198), (2201, 2203), (2205, 2205), (2213, 2215), (2222, 2289), (2309, 2311), (2314, 2316),
    (2318, 2318), (2326, 2396), (2443, 2461), (2463, 2491), (2641, 2735), (2738, 2758), (2782, 2786),
    (2866, 2866), (2931, 2932), (2942, 2943), (2965, 2966), (2969, 2969), (2971, 2972), (2975, 2976),
    (2980, 2981), (2988, 2992), (2995, 2999), (3002, 3002), (3005, 3049), (3057, 3060), (3062, 3062),
    (3064, 3065), (3067, 3067), (3070, 3070), (3072, 3074), (3078, 3078), (3081, 3083), (3086, 3086),
    (3088, 3089), (3092, 3092), (3094, 3109), (3111, 3138), (3141, 3142), (3152, 3152), (3161, 3161),
    (3163, 3166), (3169, 3175), (3177, 3199), (3201, 3294), (3300, 3301), (3308, 3308), (3310, 3310),
    (3312, 3328), (3336, 3347), (3353, 3353), (3355, 3355), (3367, 3369), (3372, 3373), (3375, 3387),
    (3390, 3393), (3395, 3395), (3400, 3401), (3407, 3424), (3433, 3439), (3447, 3455), (3460, 3463),
    (3465, 3560), (3566, 3567), (3571, 3578), (3580, 3580), (3582, 3739), (3750, 3751), (3759, 3760),
    (3762, 3768), (3770, 3770), (3775, 3777), (3783, 3794), (3798, 3798), (3801, 3801), (3812, 3814),
    (3816, 3832), (3845, 3892), (3920, 3968), (3970, 3978), (3994, 4063), (4075, 4096), (4121, 4121),
    (4123, 4124), (4128, 4128), (4130, 4130), (4133, 4133), (4139, 4139), (4143, 4143), (4146, 4146),
    (4148, 4151), (4153, 4153), (4155, 4155), (4157, 4158), (4163, 4167), (4169, 4176), (4180, 4181),
    (4183, 4190), (4192, 4193), (4195, 4196), (4199, 4200), (4204, 4206), (4212, 4213), (4215, 4215),
    (4217, 4217), (4219, 4219), (4223, 4223), (4231, 4231), (4236, 4237), (4241, 4241), (4243, 4246),
    (4249, 4252), (4255, 4259), (4262, 4262), (4269, 4269), (4273, 4273), (4276, 4276), (4278, 4280),
    (4283, 4283), (4286, 4289), (4293, 4295), (4299, 4300), (4302, 4306), (4308, 4308), (4311, 4311),
    (4313, 4313), (4315, 4398), (4414, 4414), (4420, 4433), (4437, 4439), (4457, 4589), (4601, 4602),
    (4604, 4605), (4607, 4607), (4610, 4612), (4614, 4616), (4619, 4619), (4621, 4621), (4623, 4624),
    (4626, 4628), (4632, 4637), (4639, 4657), (4659, 4662), (4664, 4664), (4667, 4674), (4678, 4679),
    (4682, 4686), (4694, 4694), (4696, 4704), (4706, 4709), (4711, 4712), (4714, 4717), (4719, 4739),
    (4742, 4743), (4747, 4750), (4753, 4755), (4757, 4802), (4804, 4804), (4808, 4809), (4812, 4814),
    (4817, 4817), (4820, 4820), (4822, 4839), (5013, 5016), (5041, 5048), (5070, 5070), (5072, 5130),
    (5179, 5188), (5223, 5320), (5324, 5331), (5354, 5362), (5371, 5396), (5464, 5490), (5518, 5519),
    (5523, 5523), (5527, 5533), (5535, 5535), (5546, 5552), (5589, 5596), (5629, 5629), (5632, 5641),
    (5644, 5653), (5655, 5659), (5700, 5700), (5836, 6097), (6115, 6135), (6207, 6312), (6318, 6318),
    (6328, 6372), (6391, 6621), (6623, 6623), (6625, 6627), (6646, 6887), (6894, 6894), (6922, 6984),
    (7005, 7136), (7257, 20032), (20249, 20249), (20257, 20258), (20436, 20437), (20440, 20539),
    (21095, 21095), (21291, 21292), (21500, 21782), (22091, 22091), (22171, 22191), (22193, 22197),
    (22277, 22293), (22392, 22392), (23700, 23845), (23866, 23884), (23948, 23948), (24100, 24100),
    (24311, 24311), (24313, 24374), (24378, 24600), (25000, 25392), (25828, 26192), (26237, 26237),
    (26393, 26393), (26847, 26854), (26863, 26870), (26901, 26998), (27391, 27398), (27500, 27574),
    (28193, 28193), (28348, 28358), (28991, 28992), (29221, 29385), (29901, 29903), (30164, 30177),
    (30179, 30494), (31121, 31171), (31254, 31254), (31257, 31257), (31284, 31284), (31300, 31370),
    (31528, 32000), (32100, 32766),
];

/// Ranges of codes for which PROJ prefers a grid of datum shifts. NAD83 and GDA94 are taken as WGS 84 instead.
#[rustfmt::skip] // As above.
const NEED_GRIDS: &[(u16, u16)] = &[
    (2009, 2035), (2138, 2138), (2200, 2200), (2204, 2204), (2219, 2220), (2290, 2291), (2294, 2295),
    (2964, 2964), (3068, 3069), (3080, 3080), (3110, 3110), (3309, 3309), (3370, 3371), (3396, 3399),
    (3561, 3565), (3771, 3774), (3797, 3797), (3800, 3800), (3991, 3993), (4122, 4122), (4135, 4138),
    (4203, 4203), (4225, 4225), (4267, 4267), (4272, 4272), (4275, 4275), (4277, 4277), (4314, 4314),
    (4399, 4413), (4418, 4419), (4455, 4456), (4608, 4609), (4675, 4675), (4745, 4746), (5069, 5069),
    (5524, 5524), (5534, 5534), (5536, 5539), (5588, 5588), (5623, 5625), (5666, 5669), (5676, 5679),
    (5825, 5825), (6200, 6202), (6322, 6322), (6325, 6325), (6622, 6622), (6624, 6624), (6628, 6637),
    (6966, 6966), (7991, 7991), (8082, 8083), (8237, 8237), (8240, 8240), (8246, 8246), (8545, 8545),
    (8693, 8693), (8860, 8860), (8987, 8987), (9299, 9300), (9311, 9311), (9364, 9364), (9367, 9367),
    (9372, 9373), (9384, 9384), (9387, 9387), (9453, 9453), (9456, 9456), (9739, 9739), (9741, 9741),
    (9758, 9758), (9761, 9761), (9763, 9763), (9766, 9766), (9866, 9866), (9869, 9869), (9871, 9871),
    (9880, 9880), (9939, 9939), (9943, 9943), (9964, 9964), (9967, 9967), (9969, 9969), (9972, 9972),
    (9974, 9974), (9977, 9977), (10158, 10158), (10160, 10160), (10175, 10175), (10183, 10183),
    (10185, 10185), (10188, 10188), (10191, 10191), (10194, 10194), (10196, 10196), (10199, 10199),
    (10204, 10204), (10207, 10207), (10209, 10209), (10212, 10212), (10214, 10214), (10217, 10217),
    (10219, 10219), (10222, 10222), (10224, 10224), (10227, 10227), (10229, 10229), (10235, 10235),
    (10237, 10237), (10240, 10240), (10249, 10250), (10252, 10252), (10254, 10254), (10256, 10256),
    (10258, 10258), (10260, 10260), (10262, 10262), (10265, 10266), (10268, 10268), (10270, 10270),
    (10272, 10272), (10275, 10275), (10277, 10277), (10280, 10280), (10468, 10468), (10471, 10471),
    (10623, 10623), (10626, 10626), (10628, 10628), (10632, 10632), (20002, 20002), (20033, 20033),
    (20250, 20251), (20349, 20356), (22207, 22214), (22217, 22221), (22239, 22240), (22243, 22250),
    (22262, 22265), (22309, 22310), (22315, 22321), (22337, 22338), (22348, 22357), (22407, 22412),
    (22462, 22465), (22521, 22525), (22621, 22622), (22639, 22639), (22641, 22643), (22711, 22712),
    (22762, 22765), (26701, 26722), (26729, 26760), (26766, 26787), (26791, 26799), (27200, 27200),
    (27205, 27232), (27258, 27260), (27291, 27292), (27700, 27700), (29194, 29194), (31462, 31469),
    (32001, 32003), (32005, 32031), (32033, 32058), (32064, 32067), (32074, 32076), (32081, 32086),
    (32098, 32099),
];

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::geo::Crs;

    /// In degrees of latitude.
    const TENTH_OF_A_METRE: f64 = 0.1 / 111_320.0;

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
        assert!(num_codes > 5000, "{num_codes}");
        assert!(worst.0 <= 1e-6, "{worst:?}");
    }

    #[test]
    #[ignore = "prints the tables for a sweep by scripts/golden/epsg_golden.py"]
    fn prints_the_tables() {
        let folder = std::path::PathBuf::from(std::env::var("TILEFLEET_EPSG_SWEEP").unwrap());
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        let mut places: BTreeMap<u16, Vec<[f64; 4]>> = BTreeMap::new();
        for (code, place) in records(&std::fs::read(folder.join("places.bin")).unwrap()) {
            places.entry(code).or_default().push(place);
        }
        let (candidates, grids) = (read("candidates.txt"), read("grids.txt"));
        let needs_grid: BTreeSet<u16> = grids.lines().map(|line| line.parse().unwrap()).collect();
        let agrees = |code: u16, definition: &str| {
            let places = places.get(&code).filter(|places| places.len() >= 6 && !needs_grid.contains(&code));
            places.zip(Crs::from_proj(None, definition).ok()).is_some_and(|(places, crs)| {
                places.iter().all(|place| deviation(&crs, *place) <= TENTH_OF_A_METRE)
            })
        };
        let known: Vec<u16> =
            (0..=u16::MAX).filter(|&code| crs_definitions::from_code(code).is_some()).collect();
        let is_known =
            |code: u16| crs_definitions::from_code(code).is_some_and(|found| agrees(code, found.proj4));
        println!("AGREEING: {}", ranges(&known, is_known));
        let all: Vec<u16> = (0..=u16::MAX).collect();
        println!("NEED_GRIDS: {}", ranges(&all, |code| needs_grid.contains(&code)));
        let mut last = 0;
        for (code, definition) in candidates.lines().filter_map(|line| line.split_once('\t')) {
            let code = code.parse().unwrap();
            if code != last && !is_known(code) && agrees(code, definition) {
                println!("{code} {definition}");
                last = code;
            }
        }
    }

    /// Neighbours in `codes` that are chosen, as ranges.
    fn ranges(codes: &[u16], is_chosen: impl Fn(u16) -> bool) -> String {
        let chosen = codes.chunk_by(|&a, &b| is_chosen(a) == is_chosen(b)).filter(|run| is_chosen(run[0]));
        let text: Vec<String> = chosen.map(|run| format!("({}, {})", run[0], run[run.len() - 1])).collect();
        text.join(", ")
    }

    #[test]
    fn what_images_come_in_is_there_and_what_needs_a_grid_is_not() {
        let common = [
            4326, 3857, 32601, 32660, 32701, 32760, 25832, 26913, 3031, 3413, 3035, 5070, 3577, 2056, 6933,
            4269, 3338, 3979, 7844, 7855, 9473, 21781, 31370, 28992,
        ];
        for code in common {
            assert!(definition(code).is_some(), "EPSG:{code}");
            assert!(!needs_grid(code), "EPSG:{code}");
        }
        for code in [27700, 31467, 31469, 26711, 4267] {
            assert!(definition(code).is_none() && needs_grid(code), "EPSG:{code}");
        }
        for code in [26711, 4267, 21897, 4978, 0, 99_999] {
            assert_eq!(definition(code), None, "EPSG:{code}");
        }
    }
}
