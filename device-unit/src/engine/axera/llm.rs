//! A language model on the NPU: layers, KV cache, prefill and decode.
//!
//! Runs one sequence at a time, because the KV cache is in the layers' input buffers. For each sequence the caches are zeroed, and the
//! rows, indices and mask of prefill are filled up to the model's window, so that nothing of an earlier request remains: even a
//! masked column could pass on a NaN (0 x NaN is NaN).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use half::bf16;
use softprefix_core::bilingual;
use softprefix_core::language::Bilingual;

use super::axmodel::AxModel;
use super::card::ModelParameters;
use super::embeddings::EmbeddingFile;
use super::runtime::Runtime;
use crate::engine::{Engine, EngineError, EngineInfo, Logits, SequenceId, SequenceStep, TokenEmbeddings};
use crate::engine::{LoadProgress, LoadStage};
use crate::errors::LoadError;

/// bf16(-65536), which is added to the attention score of a masked position.
const MASKED: u16 = 0xC780;
// Shape groups of a compiled layer: the sets of input sizes that it can be run with.
const DECODE: usize = 0;
const PREFILL: usize = 1;

/// Sizes of the first layer. All other layers must have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sizes {
    hidden: usize,
    /// Values of one position's K (or V).
    kv_width: usize,
    /// Positions in the cache.
    kv_len: usize,
    /// Rows of a prefill.
    prefill: usize,
}

struct Layer {
    file: PathBuf,
    /// The loaded model; `None` between uses if the card asks for dynamic loading.
    model: Option<AxModel>,
    /// K and V, kv_len x kv_width each, of a layer that is loaded dynamically.
    saved_cache: Option<(Vec<u16>, Vec<u16>)>,
}

/// The engine. Dropping it frees all buffers and handles, then shuts the runtime down.
pub struct AxeraEngine {
    info: EngineInfo,
    sizes: Sizes,
    layers: Vec<Layer>,
    /// The model after the layers (Axera's "post"): final norm and output matrix, from a hidden row to logits.
    post: AxModel,
    embeddings: Arc<EmbeddingFile>,
    /// The open sequence, and the number of its positions that are in the cache.
    open: Option<(SequenceId, usize)>,
    next_sequence: u64,
    // Declared last: the models' own references are dropped first.
    runtime: Arc<Runtime>,
}

impl AxeraEngine {
    /// Loads all layers and the post model.
    ///
    /// # Errors
    /// A [`LoadError`] with the file, and with the tensor and both sizes if they do not match.
    pub fn load(
        runtime: &Arc<Runtime>,
        folder: &Path,
        parameters: &ModelParameters,
        progress: &LoadProgress<'_>,
    ) -> Result<Self, LoadError> {
        let embeddings = EmbeddingFile::open(
            &folder.join(&parameters.embeddings_file),
            parameters.vocab_size,
            parameters.hidden_size,
        )?;
        let mut layers = Vec::with_capacity(parameters.layers);
        let mut sizes = None;
        for index in 0..parameters.layers {
            progress(index as f32 / (parameters.layers + 1) as f32, LoadStage::Layers);
            let file = folder.join(parameters.layer_template.replace("%d", &index.to_string()));
            let mut model = AxModel::load(runtime, &file)?;
            let found = Sizes::of(&mut model, parameters.hidden_size)?;
            match sizes {
                None => sizes = Some(found),
                Some(first) if first != found => {
                    return Err(bad(
                        &file,
                        bilingual!(
                            "its sizes are {found:?}, those of layer 0 are {first:?}",
                            "大きさが {found:?} で、層 0 の {first:?} と違います"
                        ),
                    ));
                }
                Some(_) => {}
            }
            let saved_cache = parameters.dynamic_layers.then(|| {
                let cells = found.kv_len * found.kv_width;
                (vec![0; cells], vec![0; cells])
            });
            layers.push(Layer {
                file,
                model: (!parameters.dynamic_layers).then_some(model),
                saved_cache,
            });
        }
        let sizes = sizes.ok_or_else(|| {
            let reason = bilingual!("the card names no layers", "カードに層が一つも記されていません");
            bad(folder, reason)
        })?;

        let post_file = folder.join(&parameters.post_model_file);
        let mut post = AxModel::load(runtime, &post_file)?;
        check(&post_file, "input", post.input(0, "input")?.len(), sizes.hidden * 2)?;
        check(
            &post_file,
            "output",
            post.output(0, "output")?.len(),
            parameters.vocab_size * 2,
        )?;
        progress(1.0, LoadStage::Layers);

        Ok(Self {
            info: EngineInfo {
                backend: format!("npu/{}", runtime.version()),
                architecture: "axmodel".into(),
                hidden_size: sizes.hidden,
                vocab_size: parameters.vocab_size,
                window: sizes.kv_len,
                prefill_window: sizes.prefill,
                max_sequences: 1,
                chunked_prefill: false,
                drafts: false,
                weights: Vec::new(),
            },
            sizes,
            layers,
            post,
            embeddings: Arc::new(embeddings),
            open: None,
            next_sequence: 0,
            runtime: Arc::clone(runtime),
        })
    }

    /// Runs the whole prompt through the prefill group of every layer. Returns the hidden row after the last layer for each row of the
    /// prompt.
    fn prefill(&mut self, rows: &[u16], stop: &AtomicBool) -> Result<Vec<u16>, EngineError> {
        let Sizes {
            hidden,
            kv_width,
            kv_len,
            prefill,
        } = self.sizes;
        let n = rows.len() / hidden;
        let mut x = vec![0u16; prefill * hidden];
        x[..rows.len()].copy_from_slice(rows);
        let runtime = Arc::clone(&self.runtime);
        for layer in &mut self.layers {
            if stop.load(Ordering::Relaxed) {
                return Err(EngineError::Stopped);
            }
            layer.with(&runtime, |model, saved_cache| {
                for (index, slot) in model.input(PREFILL, "indices")?.indices_mut().iter_mut().enumerate() {
                    *slot = index as u32;
                }
                for (row, line) in model
                    .input(PREFILL, "mask")?
                    .words_mut()
                    .chunks_exact_mut(prefill)
                    .enumerate()
                {
                    for (column, cell) in line.iter_mut().enumerate() {
                        *cell = if column <= row { 0 } else { MASKED };
                    }
                }
                model.input(PREFILL, "input")?.words_mut().copy_from_slice(&x);
                model.run_group(PREFILL)?;

                for (name, which) in [("K_cache", 0), ("V_cache", 1)] {
                    let mut cache = vec![0u16; kv_len * kv_width];
                    let made = model.output(PREFILL, &format!("{name}_out"))?.words();
                    cache[..n * kv_width].copy_from_slice(&made[..n * kv_width]);
                    match saved_cache {
                        Some((k, v)) => *(if which == 0 { k } else { v }) = cache,
                        None => model.input(DECODE, name)?.words_mut().copy_from_slice(&cache),
                    }
                }
                // Rows beyond the prompt stay zero. They are masked, and must be finite.
                x[..n * hidden].copy_from_slice(&model.output(PREFILL, "output")?.words()[..n * hidden]);
                Ok(())
            })?;
        }
        x.truncate(n * hidden);
        Ok(x)
    }

    /// Runs one row at `position`. Returns its hidden row after the last layer.
    fn decode(&mut self, row: &[u16], position: usize, stop: &AtomicBool) -> Result<Vec<u16>, EngineError> {
        let Sizes {
            hidden,
            kv_width,
            kv_len,
            ..
        } = self.sizes;
        let mut x = row.to_vec();
        let runtime = Arc::clone(&self.runtime);
        for layer in &mut self.layers {
            if stop.load(Ordering::Relaxed) {
                return Err(EngineError::Stopped);
            }
            layer.with(&runtime, |model, saved_cache| {
                if let Some((k, v)) = saved_cache.as_ref() {
                    model.input(DECODE, "K_cache")?.words_mut().copy_from_slice(k);
                    model.input(DECODE, "V_cache")?.words_mut().copy_from_slice(v);
                }
                model.input(DECODE, "indices")?.indices_mut().fill(position as u32);
                for (column, cell) in model.input(DECODE, "mask")?.words_mut().iter_mut().enumerate() {
                    // The last column is the current token.
                    *cell = if column < position || column == kv_len {
                        0
                    } else {
                        MASKED
                    };
                }
                model.input(DECODE, "input")?.words_mut().copy_from_slice(&x);
                model.run_group(DECODE)?;

                let at = position * kv_width..(position + 1) * kv_width;
                for (name, which) in [("K_cache", 0), ("V_cache", 1)] {
                    let made = model.output(DECODE, &format!("{name}_out"))?.words()[..kv_width].to_vec();
                    match saved_cache {
                        Some((k, v)) => (if which == 0 { k } else { v })[at.clone()].copy_from_slice(&made),
                        None => model.input(DECODE, name)?.words_mut()[at.clone()].copy_from_slice(&made),
                    }
                }
                x.copy_from_slice(&model.output(DECODE, "output")?.words()[..hidden]);
                Ok(())
            })?;
        }
        Ok(x)
    }

    fn logits(&mut self, hidden: &[u16], out: &mut Vec<f32>) -> Result<(), EngineError> {
        self.post.input(0, "input")?.words_mut().copy_from_slice(hidden);
        self.post.run_single()?;
        let words = self.post.output(0, "output")?.words();
        out.extend(words.iter().map(|bits| bf16::from_bits(*bits).to_f32()));
        Ok(())
    }

    fn step(&mut self, step: &mut SequenceStep<'_>) -> Result<(), EngineError> {
        let hidden = self.sizes.hidden;
        let Some((_, mut length)) = self.open else {
            return Err(EngineError::NoSuchSequence(step.sequence.0));
        };
        let rows: Vec<u16> = step.rows.iter().map(|value| value.to_bits()).collect();
        step.out.clear();
        let made = if length == 0 {
            let made = self.prefill(&rows, step.stop)?;
            length += rows.len() / hidden;
            self.open = Some((step.sequence, length));
            made
        } else {
            let mut made = Vec::with_capacity(rows.len());
            for row in rows.chunks_exact(hidden) {
                made.extend(self.decode(row, length, step.stop)?);
                length += 1;
                self.open = Some((step.sequence, length));
            }
            made
        };
        let first = match step.logits {
            Logits::None => made.len(),
            Logits::Last => made.len() - hidden,
            Logits::All => 0,
        };
        for row in made[first..].chunks_exact(hidden) {
            self.logits(row, &mut step.out)?;
        }
        Ok(())
    }

    fn check_step(&self, step: &SequenceStep<'_>) -> Result<(), EngineError> {
        let hidden = self.sizes.hidden;
        let (open, length) = self.open.ok_or(EngineError::NoSuchSequence(step.sequence.0))?;
        if open != step.sequence {
            return Err(EngineError::NoSuchSequence(step.sequence.0));
        }
        if step.rows.is_empty() || !step.rows.len().is_multiple_of(hidden) {
            return Err(EngineError::RaggedRows {
                got: step.rows.len(),
                hidden_size: hidden,
            });
        }
        let n = step.rows.len() / hidden;
        if length == 0 && n > self.info.prefill_window {
            return Err(EngineError::WindowExceeded {
                wanted: n,
                window: self.info.prefill_window,
            });
        }
        if length + n > self.info.window {
            return Err(EngineError::WindowExceeded {
                wanted: length + n,
                window: self.info.window,
            });
        }
        Ok(())
    }
}

impl Engine for AxeraEngine {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn embeddings(&self) -> Arc<dyn TokenEmbeddings> {
        Arc::clone(&self.embeddings) as Arc<dyn TokenEmbeddings>
    }

    fn open(&mut self, positions: usize) -> Result<SequenceId, EngineError> {
        if positions > self.info.window {
            return Err(EngineError::WindowExceeded {
                wanted: positions,
                window: self.info.window,
            });
        }
        if self.open.is_some() {
            return Err(EngineError::TooManySequences { limit: 1 });
        }
        let sequence = SequenceId(self.next_sequence);
        self.next_sequence += 1;
        self.open = Some((sequence, 0));
        Ok(sequence)
    }

    fn close(&mut self, sequence: SequenceId) {
        if self.open.is_some_and(|(open, _)| open == sequence) {
            self.open = None;
        }
    }

    fn forward(&mut self, batch: &mut [SequenceStep<'_>]) -> Result<(), EngineError> {
        if let [first, second, ..] = batch {
            // Only one sequence can be open, so a second step either repeats it or names an unknown one.
            let unknown = if self.open.is_some_and(|(open, _)| open == first.sequence) {
                second.sequence
            } else {
                first.sequence
            };
            return Err(EngineError::NoSuchSequence(unknown.0));
        }
        batch.iter().try_for_each(|step| self.check_step(step))?;
        let before = self.open;
        let outcome = batch.iter_mut().try_for_each(|step| self.step(step));
        if outcome == Err(EngineError::Stopped) {
            // Values stored beyond the sequence's end are masked, and overwritten by the next rows.
            self.open = before;
        }
        outcome
    }
}

impl Layer {
    /// Calls `work` with the layer's model, loading it temporarily if it is loaded dynamically.
    fn with(
        &mut self,
        runtime: &Arc<Runtime>,
        work: impl FnOnce(&mut AxModel, &mut Option<(Vec<u16>, Vec<u16>)>) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        match &mut self.model {
            Some(model) => work(model, &mut self.saved_cache),
            None => {
                let mut model = AxModel::load(runtime, &self.file).map_err(|error| match error {
                    LoadError::Engine(error) => error,
                    other => EngineError::backend(
                        "loading a layer for its run",
                        other.to_string(),
                        "set b_dynamic_load_axmodel_layer to false if there is memory for all layers",
                    ),
                })?;
                work(&mut model, &mut self.saved_cache)
            }
        }
    }
}

impl Sizes {
    /// Reads the sizes from a layer and checks every tensor that is used.
    fn of(layer: &mut AxModel, hidden: usize) -> Result<Self, LoadError> {
        let file = layer.path().to_owned();
        if layer.groups().len() < 2 {
            let groups = layer.groups().len();
            return Err(bad(
                &file,
                bilingual!(
                    "it has {groups} shape group(s); decode and prefill need two",
                    "シェイプグループが {groups} 個です。デコードとプリフィルには二つ必要です"
                ),
            ));
        }
        let kv_width = layer.output(DECODE, "K_cache_out")?.len() / 2;
        let cache = layer.input(DECODE, "K_cache")?.len() / 2;
        let mask = layer.input(DECODE, "mask")?.len() / 2;
        let prefill = layer.input(PREFILL, "indices")?.len() / 4;
        if kv_width == 0 || prefill == 0 || cache == 0 || !cache.is_multiple_of(kv_width) {
            return Err(bad(
                &file,
                bilingual!(
                    "a K_cache of {cache} values does not hold rows of {kv_width}",
                    "K_cache の {cache} 個の値が、幅 {kv_width} の行に分かれません"
                ),
            ));
        }
        let kv_len = cache / kv_width;
        check(&file, "mask (decode)", mask * 2, (kv_len + 1) * 2)?;
        for (group, name, wanted) in [
            (DECODE, "V_cache", cache * 2),
            (DECODE, "input", hidden * 2),
            (DECODE, "indices", 4),
            (PREFILL, "input", prefill * hidden * 2),
            (PREFILL, "mask", prefill * prefill * 2),
        ] {
            check(&file, name, layer.input(group, name)?.len(), wanted)?;
        }
        for (group, name, wanted) in [
            (DECODE, "V_cache_out", kv_width * 2),
            (DECODE, "output", hidden * 2),
            (PREFILL, "K_cache_out", prefill * kv_width * 2),
            (PREFILL, "V_cache_out", prefill * kv_width * 2),
            (PREFILL, "output", prefill * hidden * 2),
        ] {
            check(&file, name, layer.output(group, name)?.len(), wanted)?;
        }
        if prefill > kv_len {
            return Err(bad(
                &file,
                bilingual!(
                    "a prefill of {prefill} rows does not fit a cache of {kv_len}",
                    "プリフィルの {prefill} 行が、キャッシュの {kv_len} 行に収まりません"
                ),
            ));
        }
        Ok(Self {
            hidden,
            kv_width,
            kv_len,
            prefill,
        })
    }
}

fn bad(path: &Path, reason: Bilingual) -> LoadError {
    LoadError::bad_file(path, reason)
}

fn check(file: &Path, tensor: &str, got: usize, wanted: usize) -> Result<(), LoadError> {
    if got == wanted {
        Ok(())
    } else {
        Err(bad(
            file,
            bilingual!(
                "its tensor {tensor} has {got} bytes; {wanted} are needed",
                "テンソル {tensor} は {got} バイトですが、{wanted} バイト必要です"
            ),
        ))
    }
}
