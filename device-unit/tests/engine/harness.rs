//! Runs cases on an engine, alone or in batches, and keeps their tokens and the bits of their logits.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use half::bf16;
use sha2::{Digest, Sha256};
use softprefix_core::prefix::{EmbeddingRows, Magnitude, PrefixKind, PrefixRecipe, SoftPrefix, TokenPiece, inject};
use softprefix_unit::engine::cpu::kernel::Tier;
use softprefix_unit::engine::cpu::{CpuEngine, CpuOptions};
use softprefix_unit::engine::sampling::greedy;
use softprefix_unit::engine::{Engine, Logits, SequenceId, SequenceStep};
use softprefix_unit::gguf::GgufFile;
use softprefix_unit::testing::{qwen_model, small_model};
use softprefix_unit::tokenizer::{ChatTemplate, Special, Tokenizer};

/// The real models: SmolLM2, and Qwen if requested.
pub fn models() -> Vec<PathBuf> {
    [Some(small_model()), qwen_model()].into_iter().flatten().collect()
}

pub struct Bench {
    pub engine: CpuEngine,
    pub tokenizer: Tokenizer,
    pub template: ChatTemplate,
}

/// A text to generate: the rows to feed, and the number of greedy tokens after them.
#[derive(Clone)]
pub struct Case {
    pub rows: Vec<bf16>,
    pub tokens: usize,
}

/// The result of a case: its tokens, and a digest of the bits of all its logits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub tokens: Vec<u32>,
    pub digest: String,
}

/// How the rows of a prompt are divided into steps.
#[derive(Debug, Clone, Copy)]
pub enum Feed {
    Whole,
    Chunks(usize),
}

impl Bench {
    pub fn new(path: &Path, threads: usize, tier: Option<Tier>) -> Self {
        let options = CpuOptions {
            threads: Some(threads),
            tier,
            window: Some(1024),
        };
        let engine = CpuEngine::load(path, options, &|_, _| ()).unwrap();
        let file = GgufFile::open(path).unwrap();
        let tokenizer = Tokenizer::from_gguf(&file).unwrap();
        let template = ChatTemplate::from_gguf(&file).unwrap();
        Self {
            engine,
            tokenizer,
            template,
        }
    }

    pub fn hidden_size(&self) -> usize {
        self.engine.info().hidden_size
    }

    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.tokenizer.encode(text, Special::Parse).unwrap()
    }

    pub fn rows(&self, tokens: &[u32]) -> Vec<bf16> {
        self.engine.embeddings().rows(tokens).unwrap()
    }

    /// Returns the rows of a question in the chat template.
    pub fn question(&self, text: &str) -> Vec<bf16> {
        self.rows(&self.encode(&self.template.render("You are a helpful assistant.", text).unwrap()))
    }

    pub fn prefix(&self, kind: PrefixKind, len: usize, magnitude: Magnitude) -> SoftPrefix {
        let table = match &kind {
            PrefixKind::Words { text } => {
                let tokens = self.encode(text);
                let pieces = tokens
                    .iter()
                    .map(|&id| TokenPiece {
                        id,
                        text: String::new(),
                    })
                    .collect();
                Some(EmbeddingRows {
                    hidden_size: self.hidden_size(),
                    rows: self.rows(&tokens),
                    tokens: pieces,
                })
            }
            _ => None,
        };
        let recipe = PrefixRecipe::new(kind, len, magnitude);
        recipe.build(self.hidden_size(), table.as_ref(), Some(0.5)).unwrap()
    }

    pub fn case(&self, prefix: Option<&SoftPrefix>, prompt: &str, tokens: usize) -> Case {
        Case {
            rows: inject(prefix, self.question(prompt)),
            tokens,
        }
    }

    /// Runs each case alone.
    pub fn alone(&mut self, cases: &[Case], feed: Feed) -> Vec<Answer> {
        cases
            .iter()
            .map(|case| self.together(std::slice::from_ref(case), |_| 0, feed).remove(0))
            .collect()
    }

    /// Runs all cases in one batch; `first_step(i)` is the step at which case i joins.
    pub fn together(&mut self, cases: &[Case], first_step: impl Fn(usize) -> usize, feed: Feed) -> Vec<Answer> {
        struct Running {
            id: Option<SequenceId>,
            waiting: Vec<bf16>,
            tokens: Vec<u32>,
            hash: Sha256,
        }
        let hidden_size = self.hidden_size();
        let stop = AtomicBool::new(false);
        let start = |case: &Case| Running {
            id: None,
            waiting: case.rows.clone(),
            tokens: vec![],
            hash: Sha256::new(),
        };
        let mut running: Vec<Running> = cases.iter().map(start).collect();
        for time in 0.. {
            if running
                .iter()
                .zip(cases)
                .all(|(run, case)| run.tokens.len() == case.tokens)
            {
                break;
            }
            // What each case is fed now, and whether that completes its prompt.
            let mut fed: Vec<(usize, Vec<bf16>, bool)> = Vec::new();
            for (number, (run, case)) in running.iter_mut().zip(cases).enumerate() {
                if time < first_step(number) || run.tokens.len() == case.tokens {
                    continue;
                }
                let positions = case.rows.len() / hidden_size + case.tokens;
                run.id.get_or_insert_with(|| self.engine.open(positions).unwrap());
                let count = match feed {
                    Feed::Whole => run.waiting.len(),
                    Feed::Chunks(rows) => (rows * hidden_size).min(run.waiting.len()),
                };
                let rows: Vec<bf16> = run.waiting.drain(..count).collect();
                fed.push((number, rows, run.waiting.is_empty()));
            }
            let mut steps: Vec<SequenceStep<'_>> = fed
                .iter()
                .map(|(number, rows, last)| SequenceStep {
                    sequence: running[*number].id.unwrap(),
                    rows,
                    logits: if *last { Logits::Last } else { Logits::None },
                    out: Vec::new(),
                    stop: &stop,
                })
                .collect();
            self.engine.forward(&mut steps).unwrap();
            let outs: Vec<Vec<f32>> = steps.into_iter().map(|step| step.out).collect();
            for ((number, _, last), out) in fed.iter().zip(outs) {
                if !last {
                    assert!(out.is_empty());
                    continue;
                }
                let run = &mut running[*number];
                out.iter().for_each(|logit| run.hash.update(logit.to_le_bytes()));
                let token = greedy(&out).unwrap();
                run.tokens.push(token);
                run.waiting = self.engine.embeddings().rows(&[token]).unwrap();
                if run.tokens.len() == cases[*number].tokens {
                    self.engine.close(run.id.unwrap());
                }
            }
        }
        let answer = |run: Running| Answer {
            tokens: run.tokens,
            digest: hex(&run.hash.finalize()),
        };
        running.into_iter().map(answer).collect()
    }

    /// Returns the logits after every row.
    pub fn logits(&mut self, rows: &[bf16]) -> Vec<Vec<f32>> {
        let sequence = self.engine.open(rows.len() / self.hidden_size()).unwrap();
        let logits = self.engine.feed(sequence, rows, Logits::All).unwrap();
        self.engine.close(sequence);
        logits
            .chunks_exact(self.engine.info().vocab_size)
            .map(<[f32]>::to_vec)
            .collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
