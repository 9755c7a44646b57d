//! Numbers as text.

/// A number with commas between thousands.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A rate in bits a second, in at most six characters: `480`, `612.4k`, `88.2M`; `-` where it is not known.
#[must_use]
pub fn rate(bps: Option<u64>) -> String {
    let Some(bps) = bps else { return "-".into() };
    if bps < 1000 {
        return bps.to_string();
    }
    let mut tenths = bps;
    for unit in ["k", "M", "G", "T", "P", "E"] {
        // A thousand of a unit is one of the next.
        if tenths < 999_950 || unit == "E" {
            tenths = (tenths + 50) / 100;
            return format!("{}.{}{unit}", tenths / 10, tenths % 10);
        }
        tenths /= 1000;
    }
    String::new()
}

/// Events a second: `1,204`, below ten with a digit more; `-` where it is not known.
#[must_use]
pub fn per_second(number: Option<f64>) -> String {
    match number {
        None => "-".into(),
        Some(number) if number > 0.0 && number < 9.95 => format!("{number:.1}"),
        Some(number) => count(number.round() as u64),
    }
}

/// A time in at most five characters: `11s`, `9m`, `2h11m`, `5d0`; `-` where it is not known.
#[must_use]
pub fn span(seconds: Option<u64>) -> String {
    const HOUR: u64 = 3600;
    const DAY: u64 = 86_400;
    match seconds {
        None => "-".into(),
        Some(s) if s < 120 => format!("{s}s"),
        Some(s) if s < HOUR => format!("{}m", s / 60),
        Some(s) if s < DAY => format!("{}h{:02}", s / HOUR, s % HOUR / 60),
        Some(s) if s < 100 * DAY => format!("{}d{}", s / DAY, s % DAY / HOUR),
        Some(s) => format!("{}d", s / DAY),
    }
}

/// A part of a whole, percent; nothing of nothing is nothing.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "0.0".into() } else { format!("{:.1}", part as f64 * 100.0 / whole as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_true() {
        let counts = [0, 999, 1000, 48_211, 1_000_000].map(count);
        assert_eq!(counts, ["0", "999", "1,000", "48,211", "1,000,000"]);
        let rates = [0, 999, 1000, 612_400, 999_949, 999_950, 88_200_000, 4_000_000_000];
        let texts = rates.map(|bps| rate(Some(bps)));
        assert_eq!(texts, ["0", "999", "1.0k", "612.4k", "999.9k", "1.0M", "88.2M", "4.0G"]);
        assert_eq!((rate(None), rate(Some(u64::MAX))), ("-".into(), "18.4E".into()));
        let spans = [0, 119, 120, 3599, 7860, 86_400, 432_000, 9_000_000].map(|s| span(Some(s)));
        assert_eq!(spans, ["0s", "119s", "2m", "59m", "2h11", "1d0", "5d0", "104d"]);
        let rates = [0.0, 0.04, 9.94, 9.96, 1204.4].map(|number| per_second(Some(number)));
        assert_eq!(rates, ["0", "0.0", "9.9", "10", "1,204"]);
        assert_eq!((percent(1, 3), percent(0, 0)), ("33.3".into(), "0.0".into()));
    }

    #[test]
    fn no_rate_is_longer_than_its_column() {
        for power in 0..20 {
            for near in [-51, -50, -1, 0, 1, 49] {
                let bps = 10_u64.pow(power).saturating_add_signed(near);
                assert!(rate(Some(bps)).len() <= 6, "{bps}");
            }
        }
    }
}
