//! How a unit represents the numbers of its model file: part of [`SoftPrefixSupport`](super::extension::SoftPrefixSupport).

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::bilingual;
use crate::language::{Bilingual, term};

/// Matrices of a model file that are stored in one format, and how the unit represents them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredWeights {
    /// How many matrices.
    pub count: usize,
    /// How the unit represents them.
    pub how: WeightRounding,
    /// Name of the file's format: `Q5_0`, `Q4_K`.
    pub kind: String,
}

/// Whether a unit computes with the numbers of the model file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightRounding {
    /// With the very same numbers.
    Exact,
    /// With the same weights; the scales of their blocks were rounded to f16.
    ScalesRounded,
    /// With weights quantised again, to eight bits with a scale for every 32.
    Rounded,
    /// A value that this version does not know.
    #[serde(other)]
    Unknown,
}

impl StoredWeights {
    /// Number, type and rounding: `24 Q6_K rounded to 8 bits`.
    pub fn description(&self) -> Bilingual {
        let Self { count, kind, how } = self;
        let how = match how {
            WeightRounding::Exact => term("as in the file", "ファイルのまま"),
            WeightRounding::ScalesRounded => term("with their scales rounded to f16", "スケールを f16 に丸め"),
            WeightRounding::Rounded => term("rounded to 8 bits", "8 ビットに丸め"),
            WeightRounding::Unknown => term("rounded in an unknown way", "丸め方は不明"),
        };
        let (en, ja) = (how.en, how.ja);
        bilingual!("{count} {kind} {en}", "{kind} {count} 個（{ja}）")
    }

    /// The list in English, for logs: `132 Q5_0 as in the file; 24 Q6_K rounded to 8 bits`.
    pub fn sentence(weights: &[Self]) -> String {
        let descriptions: Vec<String> = weights.iter().map(|stored| stored.description().en).collect();
        descriptions.join("; ")
    }
}

/// Leaves out entries that cannot be read: they must not make the rest of `taskinfo` unreadable.
pub(super) fn readable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<StoredWeights>, D::Error> {
    let Value::Array(entries) = Value::deserialize(deserializer)? else {
        return Ok(Vec::new());
    };
    let readable = |entry| serde_json::from_value(entry).ok();
    Ok(entries.into_iter().filter_map(readable).collect())
}

#[cfg(test)]
mod tests {
    use super::super::extension::SoftPrefixSupport;
    use super::*;

    fn support(weights: &str) -> SoftPrefixSupport {
        serde_json::from_str(&format!(r#"{{"version":1,"hidden_size":2,"window":9{weights}}}"#)).unwrap()
    }

    #[test]
    fn they_are_read_back_as_they_were_written() {
        let mut sent = support("");
        assert!(sent.weights.is_empty() && !serde_json::to_string(&sent).unwrap().contains("weights"));
        sent.weights = [
            ("Q5_0", WeightRounding::Exact),
            ("Q4_K", WeightRounding::ScalesRounded),
            ("Q6_K", WeightRounding::Rounded),
        ]
        .map(|(kind, how)| StoredWeights {
            count: 3,
            how,
            kind: kind.into(),
        })
        .into();
        let written = serde_json::to_string(&sent).unwrap();
        assert!(
            written.contains(r#"{"count":3,"how":"scales_rounded","kind":"Q4_K"}"#),
            "{written}"
        );
        assert_eq!(serde_json::from_str::<SoftPrefixSupport>(&written).unwrap(), sent);
    }

    #[test]
    fn what_cannot_be_read_costs_nothing_else() {
        for unreadable in [r#""all of them""#, "null", "7", "{}", r#"[{"kind":"Q5_0"},[],null]"#] {
            assert!(
                support(&format!(r#","weights":{unreadable}"#)).weights.is_empty(),
                "{unreadable}"
            );
        }
        let newer = support(r#","weights":[{"count":1,"how":"squeezed","kind":"Q9"},5]"#);
        assert_eq!(newer.weights[0].how, WeightRounding::Unknown);
    }
}
