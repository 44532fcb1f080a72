//! Eigenvalues and eigenvectors of a symmetric matrix by Jacobi's cyclic rotations (Golub and Van Loan, "Matrix Computations", 8.5).
//!
//! Only additions, multiplications, divisions and square roots, always in the same order, so that every processor gives the same numbers.

/// Most sweeps over all pairs; about eight are needed for a hundred rows.
const SWEEPS: usize = 32;

/// A symmetric matrix as `vectors * diag(values) * vectors^T`.
pub(super) struct Eigen {
    /// In no order.
    pub values: Vec<f64>,
    /// n x n, row by row; column i belongs to value i.
    pub vectors: Vec<f64>,
}

/// Decomposes a symmetric matrix of n x n finite values, row by row.
pub(super) fn eigen(mut a: Vec<f64>, n: usize) -> Eigen {
    let mut vectors = identity(n);
    for _ in 0..SWEEPS {
        let (mut off, mut all) = (0.0, 0.0);
        for row in 0..n {
            for column in 0..n {
                let square = a[row * n + column] * a[row * n + column];
                all += square;
                off += if row == column { 0.0 } else { square };
            }
        }
        if off <= all * 1e-30 {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                rotate(&mut a, &mut vectors, n, p, q);
            }
        }
    }
    Eigen {
        values: (0..n).map(|i| a[i * n + i]).collect(),
        vectors,
    }
}

pub(super) fn identity(n: usize) -> Vec<f64> {
    let mut out = vec![0.0; n * n];
    out.iter_mut().step_by(n + 1).for_each(|value| *value = 1.0);
    out
}

/// Makes the value at (p, q) zero.
fn rotate(a: &mut [f64], vectors: &mut [f64], n: usize, p: usize, q: usize) {
    let between = a[p * n + q];
    if between == 0.0 {
        return;
    }
    let theta = (a[q * n + q] - a[p * n + p]) / (2.0 * between);
    let tangent = if theta.is_finite() {
        let sign = if theta < 0.0 { -1.0 } else { 1.0 };
        sign / (theta.abs() + (theta * theta + 1.0).sqrt())
    } else {
        0.0
    };
    let cosine = 1.0 / (tangent * tangent + 1.0).sqrt();
    let sine = tangent * cosine;
    for k in 0..n {
        let (kp, kq) = (a[k * n + p], a[k * n + q]);
        a[k * n + p] = cosine * kp - sine * kq;
        a[k * n + q] = sine * kp + cosine * kq;
    }
    for k in 0..n {
        let (pk, qk) = (a[p * n + k], a[q * n + k]);
        a[p * n + k] = cosine * pk - sine * qk;
        a[q * n + k] = sine * pk + cosine * qk;
    }
    a[p * n + q] = 0.0;
    a[q * n + p] = 0.0;
    for k in 0..n {
        let (kp, kq) = (vectors[k * n + p], vectors[k * n + q]);
        vectors[k * n + p] = cosine * kp - sine * kq;
        vectors[k * n + q] = sine * kp + cosine * kq;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_parts_of_a_symmetric_matrix_multiply_to_it_and_its_vectors_are_orthonormal(
            n in 1_usize..12,
            values in prop::collection::vec(-10.0_f64..10.0, 144),
        ) {
            let at = |i: usize, j: usize| values[i.min(j) * 12 + i.max(j)];
            let matrix: Vec<f64> = (0..n * n).map(|k| at(k / n, k % n)).collect();
            let found = eigen(matrix.clone(), n);
            let vector = |row: usize, column: usize| found.vectors[row * n + column];
            for i in 0..n {
                for j in 0..n {
                    let product: f64 = (0..n).map(|k| vector(i, k) * found.values[k] * vector(j, k)).sum();
                    prop_assert!((product - matrix[i * n + j]).abs() < 1e-11);
                    let dot: f64 = (0..n).map(|k| vector(k, i) * vector(k, j)).sum();
                    prop_assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-13);
                }
            }
        }
    }
}
