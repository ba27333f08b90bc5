//! UIDs of the standard, which name no patient; others may be made of anything (PS3.5, 9).

/// The root under which DICOM assigns its own.
const ROOT: &str = "1.2.840.10008.";
/// Characters of the longest that it has assigned.
const MAX_CHARS: usize = 32;

/// Tells a UID that DICOM itself can have assigned, as those of SOP classes and transfer syntaxes: none is longer than 32
/// characters, and no part after the root is as long as a date.
///
/// # Reference
///
/// PS3.5, 9; PS3.6, annex A.
#[must_use]
pub fn is_uid_of_standard(uid: &str) -> bool {
    let is_short = |part: &str| matches!(part.len(), 1..=3) && part.bytes().all(|byte| byte.is_ascii_digit());
    uid.len() <= MAX_CHARS && uid.strip_prefix(ROOT).is_some_and(|own| own.split('.').all(is_short))
}

/// Returns a UID of the standard for a message, or words instead of any other.
pub(crate) fn shown(uid: &str) -> &str {
    if is_uid_of_standard(uid) { uid } else { "that is not of the standard" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_of_the_standard_are_known_by_their_root_and_length() {
        let longest = "1.2.840.10008.5.1.4.1.1.77.1.5.4";
        for uid in ["1.2.840.10008.1.2", "1.2.840.10008.1.2.4.202", longest] {
            assert_eq!(shown(uid), uid);
        }
        let one_longer = format!("{longest}0");
        let others = [
            "",
            "1.2.840.10008",
            "1.2.840.10008.",
            "1.2.840.10008.1..2",
            "1.2.840.10008.19530417",
            "1.2.840.10008.1.QUI",
            "1.2.840.10009.1.2",
            "2.25.4711",
            &one_longer,
        ];
        assert!(!others.into_iter().any(is_uid_of_standard));
    }
}
