//! Numbers for people.

use std::time::Duration;

/// Three significant digits with a decimal prefix: `7`, `1.23 k`, `45.6 M`.
pub fn short(value: f64) -> String {
    scaled(value, 1000.0, &["", " k", " M", " G", " T"])
}

/// Bytes with a binary prefix: `512 B`, `1.50 MiB`.
pub fn bytes(value: u64) -> String {
    scaled(value as f64, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB"])
}

fn scaled(value: f64, step: f64, units: &[&str]) -> String {
    let mut scaled = value;
    let mut places = units.iter().peekable();
    while let Some(unit) = places.next() {
        // What would be rounded up to the next unit is written in it.
        if scaled < step - 0.5 || places.peek().is_none() {
            let whole = scaled >= 99.95 || (scaled == value && scaled.fract() == 0.0);
            let digits = if whole { 0 } else { 1 + usize::from(scaled < 9.995 && scaled != value) };
            return format!("{scaled:.digits$}{unit}");
        }
        scaled /= step;
    }
    String::new()
}

/// All digits, in groups of three: `1,234,567`.
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Hours, minutes and seconds: `0:07`, `1:02:03`.
pub fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_are_kept_and_rounding_moves_to_the_next_unit() {
        for (value, text) in [
            (0.0, "0"),
            (7.0, "7"),
            (0.25, "0.2"),
            (99.9, "99.9"),
            (999.4, "999"),
            (999.5, "1.00 k"),
            (1234.0, "1.23 k"),
            (12_345.0, "12.3 k"),
            (123_456.0, "123 k"),
            (999_600.0, "1.00 M"),
            (45_600_000.0, "45.6 M"),
            (2e18, "2000000 T"),
        ] {
            assert_eq!(short(value), text, "{value}");
        }
    }

    #[test]
    fn bytes_have_binary_prefixes() {
        for (value, text) in
            [(0, "0 B"), (512, "512 B"), (1023, "1023 B"), (1536, "1.50 KiB"), (64 << 20, "64.0 MiB"), (300 << 20, "300 MiB")]
        {
            assert_eq!(bytes(value), text);
        }
    }

    #[test]
    fn digits_are_grouped_from_the_right() {
        for (value, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(value), text);
        }
    }

    #[test]
    fn a_clock_shows_hours_only_when_there_are_any() {
        assert_eq!(clock(Duration::from_secs(7)), "0:07");
        assert_eq!(clock(Duration::from_secs(3723)), "1:02:03");
    }
}
