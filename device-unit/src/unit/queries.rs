//! Queries about a model: the embedding rows of texts and tokens, and the norms of its vocabulary.

use half::bf16;
use softprefix_core::compare::percentile;
use softprefix_core::prefix::{EmbeddingRows, TokenPiece};
use softprefix_core::protocol::extension::{EmbedRequest, Embedded, Histogram, Percentiles, Vocabulary};
use softprefix_core::protocol::{Code, ErrorField};

use super::prepare::{encode, failed};
use super::shared_model::SharedModel;
use crate::engine::{EngineError, TokenEmbeddings};
use crate::request_text::Request;

/// Bins of the histogram of norms.
const BARS: usize = 64;

/// Returns the embedding rows of a text (without template), of token ids, or of tokens sampled from the vocabulary.
///
/// # Errors
/// -22 for an invalid request, -34 for no tokens, -32 for more tokens than the window holds, -11 for ids outside the vocabulary.
pub fn embed(model: &SharedModel, request: &Request) -> Result<Embedded, ErrorField> {
    let info = model.info();
    let wanted = "{\"text\": \"...\"}, {\"tokens\": [ids]} or {\"sample\": {\"count\": P, \"seed\": n}}";
    let ids = match request.require_data(wanted)? {
        EmbedRequest::Text { text } => encode(model, &text)?,
        EmbedRequest::Tokens { tokens } => tokens,
        // The count is checked before anything is sampled.
        EmbedRequest::Sample { sample } if sample.count <= info.window => {
            sample.generator.sample(sample.seed, sample.count, &text_tokens(model))
        }
        EmbedRequest::Sample { sample } => return Err(too_many(sample.count, info.window)),
    };
    if ids.is_empty() {
        return Err(ErrorField::new(
            Code::EMPTY_PROMPT,
            "the text has no tokens; write at least one word",
        ));
    }
    if ids.len() > info.window {
        return Err(too_many(ids.len(), info.window));
    }
    Embedded::of(&embedding_rows(model, &ids)?).map_err(|error| ErrorField::from(&error))
}

/// Returns the embedding rows of tokens.
///
/// # Errors
/// -11 for ids outside the vocabulary.
pub(super) fn embedding_rows(model: &SharedModel, ids: &[u32]) -> Result<EmbeddingRows, ErrorField> {
    let hidden_size = model.info().hidden_size;
    let embeddings = model.scheduler.embeddings();
    let mut rows = vec![bf16::ZERO; ids.len() * hidden_size];
    let mut tokens = Vec::with_capacity(ids.len());
    for (&id, row) in ids.iter().zip(rows.chunks_exact_mut(hidden_size)) {
        embeddings.row(id, row).map_err(|error| failed(&error))?;
        tokens.push(TokenPiece {
            id,
            text: model.tokenizer.token_text(id).unwrap_or_default(),
        });
    }
    Ok(EmbeddingRows {
        hidden_size,
        rows,
        tokens,
    })
}

fn too_many(count: usize, window: usize) -> ErrorField {
    ErrorField::new(
        Code::WINDOW,
        format!("{count} tokens do not fit into the window of {window}; send fewer"),
    )
}

/// Returns the ids of text tokens: neither control tokens nor unused ones.
fn text_tokens(model: &SharedModel) -> Vec<u32> {
    let known = model.tokenizer.vocab_size().min(model.info().vocab_size);
    (0..u32::try_from(known).unwrap_or(u32::MAX))
        .filter(|&id| !model.tokenizer.is_control(id))
        .filter(|&id| model.tokenizer.token_bytes(id).is_some_and(|bytes| !bytes.is_empty()))
        .collect()
}

/// Returns the norms of the vocabulary, computed once per model.
///
/// # Errors
/// -11 if the table cannot be read.
pub fn vocabulary(model: &SharedModel) -> Result<Vocabulary, ErrorField> {
    if let Some(known) = model.vocabulary.get() {
        return Ok(known.clone());
    }
    let found = norms(model.scheduler.embeddings().as_ref()).map_err(|error| failed(&error))?;
    Ok(model.vocabulary.get_or_init(|| found).clone())
}

fn norms(table: &dyn TokenEmbeddings) -> Result<Vocabulary, EngineError> {
    let (hidden_size, rows) = (table.hidden_size(), table.vocab_size());
    let mut row = vec![bf16::ZERO; hidden_size];
    let mut norms = Vec::with_capacity(rows);
    let mut all_squares = 0.0;
    for token in 0..rows {
        table.row(token as u32, &mut row)?;
        let squares: f64 = row.iter().map(|value| f64::from(value.to_f32()).powi(2)).sum();
        all_squares += squares;
        norms.push(squares.sqrt());
    }
    norms.sort_unstable_by(f64::total_cmp);
    Ok(Vocabulary {
        hidden_size,
        histogram: histogram(&norms),
        max: norms.last().copied().unwrap_or_default(),
        percentiles: Percentiles {
            p1: percentile(&norms, 0.01),
            p5: percentile(&norms, 0.05),
            p25: percentile(&norms, 0.25),
            p50: percentile(&norms, 0.5),
            p75: percentile(&norms, 0.75),
            p95: percentile(&norms, 0.95),
            p99: percentile(&norms, 0.99),
        },
        rms: (all_squares / (rows * hidden_size).max(1) as f64).sqrt(),
        rows,
    })
}

/// Returns a histogram of log10 of the norms, without rows of zeros.
fn histogram(sorted: &[f64]) -> Option<Histogram> {
    let positive = &sorted[sorted.partition_point(|&norm| norm <= 0.0)..];
    let (least, most) = (positive.first()?.log10(), positive.last()?.log10());
    let step = (most - least) / BARS as f64;
    let mut counts = vec![0; BARS];
    for norm in positive {
        let bar = if step > 0.0 {
            ((norm.log10() - least) / step) as usize
        } else {
            0
        };
        counts[bar.min(BARS - 1)] += 1;
    }
    Some(Histogram {
        counts,
        log10_max: most,
        log10_min: least,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Table;
    use super::*;

    #[test]
    fn norms_equal_the_rows_norms_and_percentiles_interpolate() {
        let found = norms(&Table(vec![
            vec![3.0, 4.0],
            vec![0.0, 0.0],
            vec![0.0, 1.0],
            vec![6.0, 8.0],
        ]))
        .unwrap();
        assert_eq!((found.rows, found.hidden_size, found.max), (4, 2, 10.0));
        assert_eq!(found.percentiles.p50, 3.0, "half way between 1 and 5");
        assert_eq!(found.rms, (126.0f64 / 8.0).sqrt());
        let histogram = found.histogram.unwrap();
        assert_eq!((histogram.log10_min, histogram.log10_max), (0.0, 1.0));
        assert_eq!(
            histogram.counts.iter().sum::<u64>(),
            3,
            "the row of zeros has no logarithm"
        );
    }

    #[test]
    fn a_vocabulary_of_equal_rows_has_one_bin() {
        let found = norms(&Table(vec![vec![3.0, 4.0]; 5])).unwrap();
        assert_eq!(found.histogram.unwrap().counts[0], 5);
    }
}
