//! Numbers as people read them.

/// Writes a size in binary units.
#[must_use]
pub fn bytes(num_bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = num_bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{num_bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Writes a number with thin groups of three digits.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes a number of things, such as `1 shard`, `2,000 tiles` or `3 classes`.
#[must_use]
pub fn counted(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", count(number), form(number, "", ending(thing)))
}

/// Writes a part of a number of things, such as `1 of 3 tiles`.
#[must_use]
pub fn counted_of(part: u64, whole: u64, thing: &str) -> String {
    format!("{} of {}", count(part), counted(whole, thing))
}

/// Chooses the form of a word that a number asks for, such as `is` or `are`.
#[must_use]
pub fn form<'a>(number: u64, one: &'a str, many: &'a str) -> &'a str {
    if number == 1 { one } else { many }
}

/// Says of sources by what they are rejected when they are planned.
#[must_use]
pub fn by_header(num_sources: u64) -> &'static str {
    form(num_sources, "by its header", "by their headers")
}

/// Returns what a word ends in where there is more than one of the thing.
fn ending(thing: &str) -> &'static str {
    let hisses = ["s", "x", "ch", "sh"].iter().any(|end| thing.ends_with(end));
    if hisses { "es" } else { "s" }
}

/// Writes an estimate in seconds as `1 h 02 min`, `3 min 20 s` or `5 s`.
#[must_use]
pub fn seconds_left(left: f64) -> String {
    let whole = left.ceil();
    if whole < 60.0 { format!("{whole:.0} s") } else { seconds(whole) }
}

/// Writes a duration in seconds as `1 h 02 min`, `3 min 20 s` or `4.2 s`.
#[must_use]
pub fn seconds(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Breaks a text between words into lines of so many letters; a longer word has a line of its own, or several.
#[must_use]
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    let mut length = 0;
    for word in text.split(' ') {
        let letters: Vec<char> = word.chars().collect();
        if length > 0 && length + 1 + letters.len() > width {
            lines.push(String::new());
            length = 0;
        } else if length > 0 {
            lines.last_mut().expect("there is a first line").push(' ');
            length += 1;
        }
        for (number, part) in letters.chunks(width).enumerate() {
            if number > 0 {
                lines.push(String::new());
                length = 0;
            }
            lines.last_mut().expect("there is a first line").extend(part);
            length += part.len();
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_broken_between_words() {
        let broken = |text: &str, width: usize| wrapped(text, width).join("|");
        assert_eq!(broken("a reason of many words", 9), "a reason|of many|words");
        assert_eq!(broken("a reason", 8), "a reason");
        assert_eq!(broken("s3://bucket/key is gone", 8), "s3://buc|ket/key|is gone");
        assert_eq!(broken("a s3://bucket", 8), "a|s3://buc|ket");
        assert_eq!(broken("", 8), "");
        assert_eq!(broken("ä ö", 0), "ä|ö");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(0), "0");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!((counted(1, "shard"), counted(2000, "tile")), ("1 shard".into(), "2,000 tiles".into()));
        assert_eq!((counted(1, "class"), counted(0, "class")), ("1 class".into(), "0 classes".into()));
        assert_eq!(
            (counted_of(1, 1, "shard"), counted_of(1, 3000, "tile")),
            ("1 of 1 shard".into(), "1 of 3,000 tiles".into())
        );
        assert_eq!((form(1, "is", "are"), form(0, "is", "are")), ("is", "are"));
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(34 << 20), "34.0 MiB");
        assert_eq!(seconds(4.24), "4.2 s");
        assert_eq!(seconds(200.0), "3 min 20 s");
        assert_eq!(seconds(3720.0), "1 h 02 min");
        assert_eq!((seconds_left(4.2), seconds_left(59.9)), ("5 s".into(), "1 min 00 s".into()));
    }
}
