//! Medians and spreads.

/// What several repetitions came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    /// The middle one; the mean of the two in the middle for an even number.
    pub(super) median: f64,
    /// The least.
    pub(super) min: f64,
    /// The greatest.
    pub(super) max: f64,
}

impl Spread {
    /// The spread of these values; `None` if there is none.
    pub(super) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        };
        Some(Self { median, min, max })
    }
}

/// Whether less or more is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Better {
    /// Less is better.
    Lower,
    /// More is better.
    Higher,
}

impl Better {
    /// How many times better `ours` is than `theirs`; `None` where a ratio says nothing.
    pub(super) fn ratio(self, ours: f64, theirs: f64) -> Option<f64> {
        let ratio = match self {
            Self::Lower => theirs / ours,
            Self::Higher => ours / theirs,
        };
        (ratio.is_finite() && ratio > 0.0).then_some(ratio)
    }
}

/// A goal for a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Goal {
    /// To be reached or passed.
    AtLeast(f64),
    /// The figure must not exceed this.
    AtMost(f64),
    /// So many times the original's figure is not to be passed.
    TimesOriginal(f64),
}

/// How a figure stands to its goal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Verdict {
    /// Whether it reaches it.
    pub(super) met: bool,
    /// The goal.
    pub(super) goal: f64,
    /// How much better than the goal it is (or, missed, worse), as a part of the goal; never negative, `None` for goals
    /// of zero.
    pub(super) by: Option<f64>,
}

impl Goal {
    /// The goal as a number, given the original's figure; `None` without one where it takes one.
    pub(super) fn value(self, original: Option<f64>) -> Option<f64> {
        match self {
            Self::AtLeast(value) | Self::AtMost(value) => Some(value),
            Self::TimesOriginal(times) => Some(times * original?),
        }
    }

    /// `>=` or `<=`.
    pub(super) const fn sign(self) -> &'static str {
        match self {
            Self::AtLeast(_) => ">=",
            Self::AtMost(_) | Self::TimesOriginal(_) => "<=",
        }
    }

    /// How a value stands to it.
    pub(super) fn judge(self, value: f64, original: Option<f64>) -> Option<Verdict> {
        let goal = self.value(original)?;
        let met = match self {
            Self::AtLeast(_) => value >= goal,
            Self::AtMost(_) | Self::TimesOriginal(_) => value <= goal,
        };
        let by = (goal != 0.0).then(|| (value - goal).abs() / goal);
        Some(Verdict { met, goal, by })
    }

    /// As one says it.
    pub(super) fn text(self) -> String {
        let sign = self.sign();
        match self {
            Self::AtLeast(value) | Self::AtMost(value) => format!("{sign} {value}"),
            Self::TimesOriginal(times) => format!("{sign} {times} x original"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Better, Goal, Spread};

    #[test]
    fn medians_of_odd_and_even_numbers() {
        let spread = |values: &[f64]| Spread::of(values).map(|s| (s.median, s.min, s.max));
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some((2.0, 1.0, 3.0)));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 8.0]), Some((3.0, 1.0, 8.0)));
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[f64::NAN]), None, "what could not be measured does not count");
    }

    #[test]
    fn better_is_always_more_than_one() {
        assert_eq!(Better::Lower.ratio(2.0, 6.0), Some(3.0));
        assert_eq!(Better::Higher.ratio(6.0, 2.0), Some(3.0));
        assert_eq!(Better::Lower.ratio(0.0, 6.0), None);
    }

    #[test]
    fn goals_are_met_at_their_value() {
        let judge = |goal: Goal, value| goal.judge(value, Some(4.0)).map(|v| (v.met, v.by));
        assert_eq!(judge(Goal::AtLeast(0.75), 0.75), Some((true, Some(0.0))));
        assert_eq!(judge(Goal::AtMost(8.0), 10.0), Some((false, Some(0.25))));
        assert_eq!(judge(Goal::AtMost(0.0), 3.0), Some((false, None)));
        assert_eq!(judge(Goal::TimesOriginal(0.5), 2.0), Some((true, Some(0.0))));
        assert_eq!(Goal::TimesOriginal(0.5).judge(2.0, None), None, "there is no original");
    }
}
