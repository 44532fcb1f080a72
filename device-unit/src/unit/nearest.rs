//! Finds the tokens whose embedding rows are nearest to given rows by cosine.

use half::bf16;
use softprefix_core::prefix::{Neighbour, SoftPrefix, decode};
use softprefix_core::protocol::ErrorField;
use softprefix_core::protocol::extension::{MAX_NEAREST, MAX_NEAREST_ROWS, Nearest, NearestRequest};

use super::prepare::failed;
use super::shared_model::SharedModel;
use crate::engine::{EngineError, TokenEmbeddings};
use crate::request_text::Request;

/// Number of partial sums, so that the dot product vectorizes in a fixed order.
const LANES: usize = 16;

/// Answers a request for nearest tokens.
///
/// # Errors
/// -22 for an invalid or too large request, -30 and -31 for rows that do not fit the model, -11 if the table cannot be read.
pub fn answer(model: &SharedModel, request: &Request) -> Result<Nearest, ErrorField> {
    let request: NearestRequest = request.require_data("{\"len\": P, \"data_b64\": \"...\", \"k\": n}")?;
    if request.k == 0 || request.k > MAX_NEAREST {
        return Err(ErrorField::parameter(format!(
            "k is {}; give 1 to {MAX_NEAREST}",
            request.k
        )));
    }
    if request.rows.len > MAX_NEAREST_ROWS {
        let len = request.rows.len;
        return Err(ErrorField::parameter(format!(
            "{len} rows are too many; send at most {MAX_NEAREST_ROWS} at once"
        )));
    }
    let rows = decode(&request.rows, model.info().hidden_size).map_err(|error| ErrorField::from(&error))?;
    let found = nearest(model.scheduler.embeddings().as_ref(), &rows, request.k).map_err(|error| failed(&error))?;
    let named = |(id, cosine): (u32, f32)| Neighbour {
        id,
        text: model.tokenizer.token_text(id).unwrap_or_default(),
        cosine: cosine.into(),
    };
    Ok(Nearest {
        rows: found
            .into_iter()
            .map(|row| row.into_iter().map(named).collect())
            .collect(),
    })
}

/// Returns the `k` tokens with the largest cosine for each row, largest first, ties by id. A row of zeros has none.
fn nearest(table: &dyn TokenEmbeddings, rows: &SoftPrefix, k: usize) -> Result<Vec<Vec<(u32, f32)>>, EngineError> {
    let directions: Vec<Option<Vec<f32>>> = rows.rows().map(direction).collect();
    let mut best: Vec<Vec<(u32, f32)>> = vec![Vec::with_capacity(k + 1); directions.len()];
    let mut row = vec![bf16::ZERO; table.hidden_size()];
    let last = u32::try_from(table.vocab_size()).unwrap_or(u32::MAX);
    for token in 0..last {
        table.row(token, &mut row)?;
        let Some(candidate) = direction(&row) else {
            continue;
        };
        for (direction, best) in directions.iter().zip(&mut best) {
            let Some(direction) = direction else { continue };
            let cosine = dot(direction, &candidate);
            if best.len() == k && best.last().is_some_and(|last| cosine <= last.1) {
                continue;
            }
            let place = best.partition_point(|other| other.1 >= cosine);
            best.insert(place, (token, cosine));
            best.truncate(k);
        }
    }
    Ok(best)
}

/// Returns the row scaled to length 1, or `None` for a row of zeros.
fn direction(row: &[bf16]) -> Option<Vec<f32>> {
    let mut values: Vec<f32> = row.iter().map(|value| value.to_f32()).collect();
    let length = values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    if length == 0.0 || !length.is_finite() {
        return None;
    }
    let factor = 1.0 / length;
    values
        .iter_mut()
        .for_each(|value| *value = (f64::from(*value) * factor) as f32);
    Some(values)
}

fn dot(one: &[f32], other: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (blocks, rest) = one.as_chunks::<LANES>();
    let (others, other_rest) = other.as_chunks::<LANES>();
    for (block, other) in blocks.iter().zip(others) {
        for lane in 0..LANES {
            sums[lane] += block[lane] * other[lane];
        }
    }
    let rest: f32 = rest.iter().zip(other_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use softprefix_core::prefix::Rounding;

    use super::super::Table;
    use super::*;

    #[test]
    fn the_nearest_tokens_have_the_largest_cosine_at_any_norm() {
        let table = Table(vec![
            vec![1.0, 0.0, 0.0],
            vec![0.0, 0.0, 0.0],
            vec![0.0, 100.0, 0.0],
            vec![0.0, 0.25, 0.0],
            vec![-1.0, -1.0, 0.0],
        ]);
        let rows =
            SoftPrefix::from_f32(3, &[0.0, 8.0, 0.0, 0.0, 0.0, 0.0, 3.0, 4.0, 0.0], Rounding::NearestEven).unwrap();
        let found = nearest(&table, &rows, 3).unwrap();
        assert_eq!(found[0], [(2, 1.0), (3, 1.0), (0, 0.0)]);
        assert!(found[1].is_empty(), "a row of zeros has no direction");
        assert_eq!(found[2].iter().map(|one| one.0).collect::<Vec<_>>(), [2, 3, 0]);
        assert!((found[2][2].1 - 0.6).abs() < 1e-6);
        assert_eq!(
            nearest(&table, &rows, 50).unwrap()[0].len(),
            4,
            "a token with a row of zeros is never found"
        );
    }

    #[test]
    fn elements_after_whole_groups_of_lanes_are_included() {
        let row: Vec<bf16> = (0..37).map(|i| bf16::from_f32(i as f32)).collect();
        let row = direction(&row).unwrap();
        assert!((dot(&row, &row) - 1.0).abs() < 1e-6);
    }
}
