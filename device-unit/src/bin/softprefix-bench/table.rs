//! Prints the measurements: a table with figures recorded from other engines, or JSON.

use std::path::Path;

use crate::{CASES, Measurement, score};

impl Measurement {
    /// Returns the share of the memory bandwidth that decoding one sequence uses.
    fn share_of_bandwidth(&self) -> f64 {
        self.decode * self.weight_bytes as f64 / self.bandwidth
    }

    /// Describes that share.
    fn bandwidth_description(&self) -> String {
        describe_share(self.share_of_bandwidth())
    }

    pub fn print(&self, path: &Path) {
        let megabytes = |bytes: Option<u64>| bytes.map_or("-".into(), |bytes| format!("{} MB", bytes / 1_000_000));
        println!("{} on {}, {} threads", path.display(), self.backend, self.threads);
        println!(
            "prompt of {} tokens, {} generated; figures of others: recorded at design time, 2 cores (Zen 4), 2 threads",
            self.prompt, self.tokens
        );
        let recorded = RECORDED.iter().find(|(name, _)| {
            path.file_name()
                .is_some_and(|file| file.to_string_lossy().to_lowercase().contains(name))
        });
        let recorded = recorded.map_or([["-"; 4]; 7], |(_, figures)| *figures);
        let accuracy = self.accuracy.as_ref();
        let kl = accuracy.and_then(|accuracy| accuracy.kl.as_ref());
        let ours = [
            accuracy.map_or("-".into(), |accuracy| format!("{} of {CASES}", accuracy.equal)),
            format!("{:.1}", self.decode),
            format!("{:.0}", self.decode_together),
            format!("{:.0}", self.prefill),
            format!("{:.2} s", self.cases.as_secs_f64()),
            megabytes(self.resident),
            kl.map_or("-".into(), |kl| format!("{:.4}", kl.ours)),
        ];
        let rows = [
            "cases with the same bits alone and together",
            "decode, alone, tok/s",
            "decode, 11 together, tok/s",
            "prefill, tok/s",
            "11 cases, end to end",
            "memory",
            "mean KL to f32",
        ];
        println!(
            "\n| | llama.cpp | candle as is | candle, widened and padded | own kernel, as prototyped | ours |\n\
             |---|---|---|---|---|---|"
        );
        for ((row, [llama, candle, widened, prototype]), ours) in rows.iter().zip(recorded).zip(ours) {
            println!("| {row} | {llama} | {candle} | {widened} | {prototype} | **{ours}** |");
        }
        println!(
            "\nread bandwidth {:.1} GB/s, {:.0} MB a token: {}\n\
             first token after {:.0} ms; loaded in {:.2} s, {} resident at most while loading; \
             digest compared in {:.2} ms",
            self.bandwidth / 1e9,
            self.weight_bytes as f64 / 1e6,
            self.bandwidth_description(),
            self.first_token.as_secs_f64() * 1e3,
            self.load.as_secs_f64(),
            megabytes(self.resident_peak),
            self.digest_check.as_secs_f64() * 1e3,
        );
        if let Some(scoring) = &self.scoring {
            scoring.print();
        }
    }

    pub fn json(&self) -> serde_json::Value {
        let kl = self.accuracy.as_ref().and_then(|accuracy| accuracy.kl.as_ref());
        serde_json::json!({
            "backend": self.backend,
            "threads": self.threads,
            "prompt": self.prompt,
            "tokens": self.tokens,
            "load_s": self.load.as_secs_f64(),
            "digest_check_s": self.digest_check.as_secs_f64(),
            "resident_bytes": self.resident,
            "resident_peak_bytes": self.resident_peak,
            "read_bandwidth": self.bandwidth,
            "bytes_per_token": self.weight_bytes,
            "share_of_bandwidth": self.share_of_bandwidth(),
            "share_of_bandwidth_words": self.bandwidth_description(),
            "first_token_s": self.first_token.as_secs_f64(),
            "prefill_tok_s": self.prefill,
            "decode_tok_s": self.decode,
            "decode_together_tok_s": self.decode_together,
            "cases_s": self.cases.as_secs_f64(),
            "scoring": self.scoring.as_ref().map(score::Speeds::json),
            "equal_cases": self.accuracy.as_ref().map(|accuracy| accuracy.equal),
            "mean_kl_to_f32": kl.map(|kl| kl.ours),
            "mean_kl_to_f32_llama_cpp": kl.map(|kl| kl.llama_cpp),
        })
    }
}

/// Describes a share of the memory bandwidth. A share above 1 means that the bandwidth was measured wrongly.
fn describe_share(share: f64) -> String {
    if share <= 1.0 {
        return format!("decoding uses {:.0} % of it", share * 100.0);
    }
    "decoding reads faster than that, so the measurement of the bandwidth failed (was the machine busy?), and no share is given".to_owned()
}

/// A model's name, and rows of the table: llama.cpp, candle, candle with weights widened at load and padded, and a prototype of our
/// kernel.
type RecordedFigures = (&'static str, [[&'static str; 4]; 7]);

/// Figures for 0.5B (Q4_K_M) and 135M (Q4_1) recorded when the engine was designed, with cases of 64 tokens. llama.cpp's KL is that of
/// the stored texts.
const RECORDED: [RecordedFigures; 2] = [
    (
        "qwen2.5",
        [
            ["1 of 11", "-", "1 of 11", "11 of 11"],
            ["39-49", "28-33", "42", "46-50"],
            ["76-81", "35", "114-146", "187-204"],
            ["132-169", "42-53", "232-309", "245-274"],
            ["18.5 s one by one, 10.6 s batched", "-", "7.1-7.9 s", "-"],
            ["556 MB", "-", "1210 MB", "670 MB"],
            ["0.0012", "-", "0.0022", "0.0006"],
        ],
    ),
    (
        "smollm2",
        [
            ["-", "-", "-", "11 of 11"],
            ["105-115", "66-69", "100-116", "94"],
            ["183-203", "84", "288-324", "334"],
            ["281-340", "86-93", "619-739", "728"],
            ["7.7 s one by one, 4.9 s batched", "-", "2.6-3.0 s", "-"],
            ["130 MB", "-", "400 MB", "220 MB"],
            ["0.0051", "-", "0.018", "0.005"],
        ],
    ),
];

#[cfg(test)]
mod tests {
    #[test]
    fn a_share_above_one_is_reported_as_a_failed_measurement() {
        assert_eq!(super::describe_share(0.87), "decoding uses 87 % of it");
        let failed = super::describe_share(1.16);
        assert!(
            failed.contains("the measurement of the bandwidth failed") && !failed.contains("116"),
            "{failed}"
        );
    }
}
