//! What several commands print for people.

use crate::output::Origin;
use crate::vocabulary::outcome::Counts;
use crate::vocabulary::reason::Reason;

pub use crate::vocabulary::words::{by_header, bytes, count, counted, counted_of, form, seconds, wrapped};

/// Number of columns that are assumed if the output is not a terminal.
const USUAL_WIDTH: usize = 100;

/// Returns the columns of standard output's terminal; `None` if it is not one.
#[must_use]
pub fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col.into())
}

/// Writes why a run exists, after its id; nothing for a pipeline's.
#[must_use]
pub fn origin(origin: &Origin) -> String {
    if *origin == Origin::Pipeline { String::new() } else { format!(" ({origin})") }
}

/// Returns a text with its further lines indented, so that they stand below the first, which begins there; without a
/// terminal on standard output it is one line.
#[must_use]
pub fn hanging(text: &str, indent: usize) -> String {
    terminal_width().map_or_else(|| text.to_owned(), |width| hanging_within(text, indent, width))
}

/// What is narrower is not read but spelled out.
const LEAST_WIDTH: usize = 24;

/// As [`hanging`], for a number of columns.
#[must_use]
pub fn hanging_within(text: &str, indent: usize, width: usize) -> String {
    let lines = wrapped(text, width.saturating_sub(indent).max(LEAST_WIDTH));
    lines.join(&format!("\n{:indent$}", ""))
}

/// Writes outcome counts: a line of totals, then for each reason its meaning, broken where it does not fit.
#[must_use]
pub fn counts(counts: &Counts) -> String {
    counts_within(counts, terminal_width().unwrap_or(USUAL_WIDTH))
}

/// Callers indent the lines by two columns.
const INDENT: usize = 2;
/// Where a meaning begins that stands below its reason.
const BELOW: usize = 12;

fn counts_within(counts: &Counts, width: usize) -> String {
    let totals = format!(
        "{} ok, {} skipped, {} rejected",
        count(counts.ok),
        count(counts.skipped),
        count(counts.rejected)
    );
    let codes = counts.reasons.keys().map(String::len).max().unwrap_or_default();
    let line = |(code, number): (&String, &u64)| {
        let short = format!("  {:>8}  {code}", count(*number));
        let known = Reason::ALL.iter().find(|reason| reason.code() == code);
        let Some(meaning) = known.map(|reason| reason.meaning().trim_end_matches('.')) else { return short };
        let head = format!("  {:>8}  {code:codes$}  ", count(*number));
        let beside = head.chars().count();
        let room = width.saturating_sub(INDENT);
        if beside + LEAST_WIDTH <= room {
            return format!("{head}{}", hanging_within(meaning, beside, room));
        }
        format!("{short}\n{:BELOW$}{}", "", hanging_within(meaning, BELOW, room))
    };
    std::iter::once(totals).chain(counts.reasons.iter().map(line)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_come_with_their_meaning() {
        let reasons = [("empty", 1200), ("too_large", 3), ("of_a_newer_version", 1)];
        let reasons = reasons.map(|(code, number)| (code.to_owned(), number)).into();
        let counts = Counts { ok: 5000, skipped: 0, rejected: 1204, reasons };
        assert_eq!(
            counts_within(&counts, 80),
            "5,000 ok, 0 skipped, 1,204 rejected\n     \
             1,200  empty               The object has no bytes\n         \
             1  of_a_newer_version\n         \
             3  too_large           The header announces more pixels than
                                `limits.max_pixels` or than its data can hold,
                                the scene would be cut into more windows than
                                `limits.max_windows`, the object is larger
                                than `limits.max_object`, or decoding it takes
                                more memory than `limits.decode_memory`"
        );
        let narrow = counts_within(&counts, 40);
        assert!(narrow.contains("empty\n            The object has no bytes\n"), "{narrow}");
        for width in [40, 60, 80, 100] {
            let widest = counts_within(&counts, width).lines().map(|line| line.chars().count()).max();
            assert!(widest.unwrap() + INDENT <= width, "{width}: {}", counts_within(&counts, width));
        }
    }

    #[test]
    fn further_lines_stand_below_the_first() {
        assert_eq!(hanging_within("it ends in row 7 of 20 rows", 4, 28), "it ends in row 7 of 20\n    rows");
        assert_eq!(hanging_within("short", 4, 28), "short");
    }
}
