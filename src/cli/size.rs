//! Sizes on the command line and in output: `5GB`, `512M`, `4GiB`.

/// Parses a size in bytes. `k`, `M`, `G`, `T` are powers of 1000, with `i` powers of 1024; a final `B`
/// may follow; `b` alone is mergekit's billion.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let wrong = || format!("`{text}` is not a size; write 500MB, 5GB or 512MiB");
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let unit = unit.trim();
    let factor: f64 = match unit {
        "" | "B" => 1.0,
        "b" => 1e9,
        _ => {
            let unit = unit.strip_suffix(['B', 'b']).unwrap_or(unit);
            let (letter, base) = match unit.strip_suffix('i') {
                Some(letter) => (letter, 1024f64),
                None => (unit, 1000f64),
            };
            let power = ["k", "m", "g", "t"].iter().position(|u| letter.eq_ignore_ascii_case(u));
            base.powi(power.ok_or_else(wrong)? as i32 + 1)
        }
    };
    let bytes = number * factor;
    if bytes >= 1.0 && bytes < u64::MAX as f64 { Ok(bytes as u64) } else { Err(wrong()) }
}

/// `1.14 GB`.
pub(super) fn show(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.2} {}", units[unit]) }
}

/// `572.5M` parameters.
pub(super) fn count(n: u64) -> String {
    match n {
        0..1_000 => n.to_string(),
        1_000..1_000_000 => format!("{:.1}k", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1}M", n as f64 / 1e6),
        _ => format!("{:.2}B", n as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_all_spellings() {
        for (text, bytes) in [
            ("1", 1),
            ("5GB", 5_000_000_000),
            ("512M", 512_000_000),
            ("1.5 GiB", 1_610_612_736),
            ("2k", 2000),
            ("5b", 5_000_000_000),
            ("4gb", 4_000_000_000),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in ["", "GB", "-1", "5XB", "0", "1e400G", "nan"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!([show(999), show(1_144_988_928)], ["999 B", "1.14 GB"]);
    }
}
