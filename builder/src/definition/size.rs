//! Sizes as people write them: `512MiB`.

/// Bytes of a size with a binary unit (`KiB`, `MiB`, `GiB`, or a plain number of bytes).
pub fn parse(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match text[digits..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// A size for people, in the largest unit that keeps it above 1.
pub fn show(bytes: u64) -> String {
    let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) if bytes % unit == 0 => format!("{} {name}", bytes / unit),
        #[expect(clippy::cast_precision_loss, reason = "for people, one digit after the point")]
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        assert_eq!(parse("512MiB"), Some(512 << 20));
        assert_eq!(parse("4096"), Some(4096));
        assert_eq!(parse("1 GiB"), Some(1 << 30));
        for wrong in ["", "MiB", "1MB", "-1", "99999999999999999999", "20000000000GiB", "1.5GiB"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_eq!(show(512 << 20), "512 MiB");
        assert_eq!(show(1_572_864), "1.5 MiB");
        assert_eq!(show(10), "10 B");
    }
}
