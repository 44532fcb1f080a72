//! What became of a model file's numbers in the unit that computes with them: part of what our unit says of itself.
//!
//! It knows names of types and counts, no file and no arithmetic.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Matrices of a model file that are stored alike, and what became of their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredWeights {
    /// How many matrices.
    pub count: usize,
    /// What became of their numbers.
    pub how: TakenOver,
    /// As the file's format calls it: `Q5_0`, `Q4_K`.
    pub kind: String,
}

/// Whether the numbers that are computed with are those of the model file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TakenOver {
    /// They are.
    Exact,
    /// The weights are; the scales of their blocks were rounded to f16.
    ScalesRounded,
    /// They were rounded anew, to eight bits with a scale for every 32.
    Rounded,
    /// Something newer than this program.
    #[serde(other)]
    Unknown,
}

impl StoredWeights {
    /// All of them in English, for logs: `132 Q5_0 as in the file; 24 Q6_K rounded to 8 bits`.
    pub fn sentence(weights: &[Self]) -> String {
        let words = weights.iter().map(|stored| {
            let how = match stored.how {
                TakenOver::Exact => "as in the file",
                TakenOver::ScalesRounded => "with their scales rounded to f16",
                TakenOver::Rounded => "rounded to 8 bits",
                TakenOver::Unknown => "taken over in an unknown way",
            };
            format!("{} {} {how}", stored.count, stored.kind)
        });
        words.collect::<Vec<_>>().join("; ")
    }
}

/// Entries that cannot be read are left out: what a unit says beside the point must not cost the rest.
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
        let mut told = support("");
        assert!(told.weights.is_empty() && !serde_json::to_string(&told).unwrap().contains("weights"));
        told.weights = [
            ("Q5_0", TakenOver::Exact),
            ("Q4_K", TakenOver::ScalesRounded),
            ("Q6_K", TakenOver::Rounded),
        ]
        .map(|(kind, how)| StoredWeights {
            count: 3,
            how,
            kind: kind.into(),
        })
        .into();
        let written = serde_json::to_string(&told).unwrap();
        assert!(
            written.contains(r#"{"count":3,"how":"scales_rounded","kind":"Q4_K"}"#),
            "{written}"
        );
        assert_eq!(serde_json::from_str::<SoftPrefixSupport>(&written).unwrap(), told);
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
        assert_eq!(newer.weights[0].how, TakenOver::Unknown);
    }
}
